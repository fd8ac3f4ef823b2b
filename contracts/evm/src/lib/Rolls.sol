// SPDX-License-Identifier: Apache-2.0
pragma solidity ^0.8.30;

import {BLS} from "solady/utils/ext/ithaca/BLS.sol";
import {SSTORE2} from "solady/utils/SSTORE2.sol";
import {Roster} from "./Assignment.sol";
import {Bls} from "./Bls.sol";

/// @notice A committee, kept as the code of two contracts, where reading is cheap.
struct Roll {
    /// @notice Aggregate key 128, then per member node id u32 and weight u16, then the members' keys, 128 each.
    address members;
    /// @notice The members' shards, u16 each, member after member.
    address shards;
}

/// @title Committees in contract code, and who of them signed.
/// @dev All integers are big-endian. A certificate by everybody reads the aggregate key and the weights only; the
/// key of each member that did not sign is read and subtracted.
library Rolls {
    /// @notice The bitmap is longer than the committee needs, or marks a member that does not exist.
    error BadBitmap(uint256 members);

    uint256 private constant AGGREGATE_BYTES = 128;
    uint256 private constant ENTRY_BYTES = 6; // node id u32, weight u16
    uint256 private constant MEMBER_BYTES = ENTRY_BYTES + 128;

    /// @param keys The members' keys in the roster's order, 128 bytes each, of the right subgroup.
    function write(Roster memory roster, bytes memory keys) internal returns (Roll memory) {
        uint256 count = roster.nodeIds.length;
        BLS.G1Point memory aggregate;
        bytes memory entries;
        bytes memory shards;
        for (uint256 i; i < count; ++i) {
            aggregate = BLS.add(aggregate, Bls.keyAt(keys, i));
            uint16[] memory list = roster.shards[i];
            entries = abi.encodePacked(entries, roster.nodeIds[i], uint16(list.length));
            shards = abi.encodePacked(shards, _pack(list));
        }
        return Roll({
            members: SSTORE2.write(abi.encodePacked(abi.encode(aggregate), entries, keys)),
            shards: SSTORE2.write(shards)
        });
    }

    /// @notice Who has how many shards, and which.
    function read(Roll memory roll) internal view returns (Roster memory roster) {
        uint256 count = _count(roll.members);
        bytes memory entries = SSTORE2.read(roll.members, AGGREGATE_BYTES, AGGREGATE_BYTES + ENTRY_BYTES * count);
        bytes memory shards = SSTORE2.read(roll.shards);
        roster.nodeIds = new uint32[](count);
        roster.shards = new uint16[][](count);
        uint256 before;
        for (uint256 i; i < count; ++i) {
            uint256 weight = _weight(entries, ENTRY_BYTES * i);
            roster.nodeIds[i] = _nodeId(entries, ENTRY_BYTES * i);
            roster.shards[i] = _unpack(shards, before, weight);
            before += weight;
        }
    }

    /// @notice The shards of one node, none if it is not a member.
    function shardsOf(Roll memory roll, uint32 nodeId) internal view returns (uint16[] memory list) {
        uint256 count = _count(roll.members);
        bytes memory entries = SSTORE2.read(roll.members, AGGREGATE_BYTES, AGGREGATE_BYTES + ENTRY_BYTES * count);
        uint256 before;
        for (uint256 i; i < count; ++i) {
            uint256 weight = _weight(entries, ENTRY_BYTES * i);
            if (_nodeId(entries, ENTRY_BYTES * i) == nodeId) {
                return _unpack(SSTORE2.read(roll.shards, 2 * before, 2 * (before + weight)), 0, weight);
            }
            before += weight;
        }
    }

    /// @notice Whose keys a certificate must verify under, and how much they weigh.
    /// @param members The first of a roll's two contracts.
    /// @param bitmap One bit per member in the committee's order, least significant bit first; missing bytes are 0.
    /// @return key The signers' aggregate key, the identity if nobody signed.
    /// @return weight The signers' shards.
    function signers(address members, bytes memory bitmap)
        internal
        view
        returns (BLS.G1Point memory key, uint256 weight)
    {
        uint256 count = _count(members);
        _checkBitmap(bitmap, count);
        bytes memory head = SSTORE2.read(members, 0, AGGREGATE_BYTES + ENTRY_BYTES * count);
        BLS.G1Point memory absent;
        for (uint256 i; i < count; ++i) {
            if (_isSet(bitmap, i)) {
                weight += _weight(head, AGGREGATE_BYTES + ENTRY_BYTES * i);
            } else {
                uint256 start = AGGREGATE_BYTES + ENTRY_BYTES * count + 128 * i;
                absent = BLS.add(absent, Bls.keyAt(SSTORE2.read(members, start, start + 128), 0));
            }
        }
        key = Bls.subtract(Bls.keyAt(head, 0), absent);
    }

    function _checkBitmap(bytes memory bitmap, uint256 count) private pure {
        if (bitmap.length > (count + 7) / 8) revert BadBitmap(count);
        // Only a bitmap of full length whose last byte is not full has unused bits.
        if (8 * bitmap.length > count && uint8(bitmap[bitmap.length - 1]) >> (count & 7) != 0) revert BadBitmap(count);
    }

    function _isSet(bytes memory bitmap, uint256 member) private pure returns (bool) {
        return member >> 3 < bitmap.length && uint8(bitmap[member >> 3]) >> (member & 7) & 1 == 1;
    }

    function _count(address members) private view returns (uint256) {
        return (members.code.length - 1 - AGGREGATE_BYTES) / MEMBER_BYTES; // the code begins with a STOP
    }

    function _nodeId(bytes memory entries, uint256 start) private pure returns (uint32) {
        return uint32(_word(entries, start) >> 224);
    }

    function _weight(bytes memory entries, uint256 start) private pure returns (uint256) {
        return uint16(_word(entries, start) >> 208);
    }

    /// @dev 32 bytes from `start` on; what lies beyond the end is garbage that callers shift out.
    function _word(bytes memory data, uint256 start) private pure returns (uint256 word) {
        assembly ("memory-safe") {
            word := mload(add(add(data, 0x20), start))
        }
    }

    function _pack(uint16[] memory list) private pure returns (bytes memory packed) {
        packed = new bytes(2 * list.length);
        for (uint256 i; i < list.length; ++i) {
            packed[2 * i] = bytes1(uint8(list[i] >> 8));
            packed[2 * i + 1] = bytes1(uint8(list[i]));
        }
    }

    function _unpack(bytes memory packed, uint256 first, uint256 count) private pure returns (uint16[] memory list) {
        list = new uint16[](count);
        for (uint256 i; i < count; ++i) {
            list[i] = uint16(_word(packed, 2 * (first + i)) >> 240);
        }
    }
}
