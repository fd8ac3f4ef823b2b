// SPDX-License-Identifier: Apache-2.0
pragma solidity ^0.8.30;

import {LittleEndian} from "./LittleEndian.sol";

/// @title The id of a blob, recomputed on chain.
/// @notice `Blake2b-256(encoding type u8, length u64 little-endian, root 32)`. As an integer the id is the u256 whose
/// little-endian bytes are those 32.
library BlobId {
    /// @notice The chain lacks the Blake2b precompile of EIP-152 (Istanbul).
    error Blake2bMissing();

    // Blake2b's initial state for a digest of 32 bytes without a key (RFC 7693: word 0 is xored with 0x01010020).
    bytes32 private constant STATE_0 = 0x28c9bdf267e6096a3ba7ca8485ae67bb2bf894fe72f36e3cf1361d5f3af54fa5;
    bytes32 private constant STATE_1 = 0xd182e6ad7f520e511f6c3e2b8c68059b6bbd41fbabd9831f79217e1319cde05b;
    uint32 private constant ROUNDS = 12;
    uint8 private constant MESSAGE_BYTES = 41;

    /// @return id The id's 32 bytes, in their own order.
    function compute(uint8 encodingType, uint64 length, bytes32 root) internal view returns (bytes32 id) {
        // EIP-152: rounds u32, state 64, block 128 (the message, zero-padded), offset u128 little-endian, final u8.
        bytes memory input = abi.encodePacked(
            ROUNDS,
            STATE_0,
            STATE_1,
            abi.encodePacked(encodingType, LittleEndian.reverse64(length), root, new bytes(128 - MESSAGE_BYTES)),
            abi.encodePacked(MESSAGE_BYTES, uint120(0), uint8(1))
        );
        (bool success, bytes memory state) = address(9).staticcall(input);
        if (!success || state.length != 64) revert Blake2bMissing();
        return bytes32(state);
    }

    /// @notice The id as an integer.
    function toInteger(bytes32 id) internal pure returns (uint256) {
        return LittleEndian.reverse(uint256(id));
    }

    /// @notice The id's bytes again.
    function fromInteger(uint256 id) internal pure returns (bytes32) {
        return bytes32(LittleEndian.reverse(id));
    }
}
