// SPDX-License-Identifier: Apache-2.0
pragma solidity ^0.8.30;

/// @title What a node may be called, and where it may say it is reached (PROTOCOL section 6).
/// @notice Both are read by every node, client and operator, so they are printable ASCII, and an address is scheme, host
/// and port and nothing else. That the host exists, and is a node's, nobody can check here.
library Contact {
    uint256 internal constant MAX_NAME_BYTES = 64;
    uint256 internal constant MAX_ADDRESS_BYTES = 256;

    // Sets of ASCII characters: bit `c` of a set stands for the character `c`.
    uint256 private constant PRINTABLE = ((1 << 95) - 1) << 0x20; // space to "~"
    uint256 private constant DIGITS = ((1 << 10) - 1) << 0x30; // 0-9
    uint256 private constant LETTERS = (((1 << 26) - 1) << 0x41) | (((1 << 26) - 1) << 0x61); // A-Z a-z
    uint256 private constant HEX = DIGITS | (((1 << 6) - 1) << 0x41) | (((1 << 6) - 1) << 0x61); // 0-9 A-F a-f
    uint256 private constant IN_NAMES = DIGITS | LETTERS | (1 << 0x2d) | (1 << 0x2e) | (1 << 0x5f); // also - . _
    uint256 private constant IN_IPV6 = HEX | (1 << 0x2e) | (1 << 0x3a); // also . :

    /// @dev 1 to 64 characters from space to "~", the first and the last no space.
    function isName(bytes calldata name) internal pure returns (bool) {
        uint256 length = name.length;
        if (length == 0 || length > MAX_NAME_BYTES) return false;
        return name[0] != " " && name[length - 1] != " " && _end(name, 0, PRINTABLE) == length;
    }

    /// @dev At most 256 bytes of `http(s)://host[:port]`: a host of letters, digits, "-", "." and "_", or in brackets of
    /// hexadecimal digits, ":" and "."; a port from 1 to 65535 without leading zeros.
    function isNetworkAddress(bytes calldata given) internal pure returns (bool) {
        uint256 length = given.length;
        if (length > MAX_ADDRESS_BYTES) return false;
        uint256 first; // of the host
        if (length > 7 && bytes7(given) == "http://") first = 7;
        else if (length > 8 && bytes8(given) == "https://") first = 8;
        else return false;
        uint256 end; // of the host
        if (given[first] == "[") {
            end = _end(given, first + 1, IN_IPV6);
            if (end == first + 1 || end == length || given[end] != "]") return false;
            ++end;
        } else {
            end = _end(given, first, IN_NAMES);
            if (end == first) return false;
        }
        return end == length || (given[end] == ":" && _isPort(given[end + 1:]));
    }

    function _isPort(bytes calldata digits) private pure returns (bool) {
        uint256 length = digits.length;
        if (length == 0 || length > 5 || digits[0] == "0") return false;
        uint256 port = 0;
        for (uint256 i; i < length; ++i) {
            uint256 character = uint8(digits[i]);
            if (!_isIn(character, DIGITS)) return false;
            port = port * 10 + character - 0x30;
        }
        return port <= type(uint16).max;
    }

    /// @dev Where the characters of a set end that begin at `place`.
    function _end(bytes calldata text, uint256 place, uint256 set) private pure returns (uint256) {
        while (place < text.length && _isIn(uint8(text[place]), set)) {
            ++place;
        }
        return place;
    }

    function _isIn(uint256 character, uint256 set) private pure returns (bool) {
        return (set >> character) & 1 == 1; // no set has a bit above 127
    }
}
