// SPDX-License-Identifier: Apache-2.0
pragma solidity ^0.8.30;

import {BLS} from "solady/utils/ext/ithaca/BLS.sol";
import {LibBit} from "solady/utils/LibBit.sol";
import {SSTORE2} from "solady/utils/SSTORE2.sol";
import {Roster} from "./Assignment.sol";
import {Bls} from "./Bls.sol";
import {LittleEndian} from "./LittleEndian.sol";

/// @notice A committee, kept as the code of two contracts, where reading is cheap.
struct Roll {
    /// @notice Aggregate key 128, then an entry per member, then the members' keys, 128 each. An entry is the node id
    /// u32 and the end u16 of the node's part of the list of shards.
    address members;
    /// @notice The members' shards, u16 each, member after member.
    address shards;
}

/// @title Committees in contract code, and who of them signed.
/// @dev All integers are big-endian. A certificate by everybody reads the aggregate key only; the keys of members that
/// did not sign are read and subtracted. Contract code holds 182 members, so a set of members fits into a word.
library Rolls {
    /// @notice The bitmap is longer than the committee needs, or marks a member that does not exist.
    error BadBitmap(uint256 members);

    uint256 private constant AGGREGATE_BYTES = 128;
    uint256 private constant ENTRY_BYTES = 6;
    uint256 private constant SHARD_BYTES = 2;
    uint256 private constant MEMBER_BYTES = ENTRY_BYTES + 128;

    /// @param keys_ The members' keys in the roster's order, 128 bytes each, of the right subgroup.
    function write(Roster memory roster, bytes memory keys_) internal returns (Roll memory) {
        uint256 count = roster.nodeIds.length;
        uint256 total;
        for (uint256 i; i < count; ++i) {
            total += roster.shards[i].length;
        }
        BLS.G1Point memory aggregate;
        bytes memory entries = _buffer(ENTRY_BYTES * count);
        bytes memory shards = _buffer(SHARD_BYTES * total);
        uint256 end;
        for (uint256 i; i < count; ++i) {
            aggregate = BLS.add(aggregate, Bls.keyAt(keys_, i));
            uint16[] memory list = roster.shards[i];
            for (uint256 k; k < list.length; ++k) {
                _put(shards, SHARD_BYTES * end++, uint256(list[k]) << 240);
            }
            _put(entries, ENTRY_BYTES * i, uint256(roster.nodeIds[i]) << 224 | end << 208);
        }
        return Roll({
            members: SSTORE2.write(abi.encodePacked(abi.encode(aggregate), entries, keys_)),
            shards: SSTORE2.write(shards)
        });
    }

    /// @notice Who has which shards, as it is kept: the members' entries, and the list of shards.
    function lists(Roll memory roll) internal view returns (bytes memory entries, bytes memory shards) {
        return (_entries(roll.members), SSTORE2.read(roll.shards));
    }

    /// @notice Who has which shards.
    function read(Roll memory roll) internal view returns (Roster memory roster) {
        (bytes memory entries, bytes memory shards) = lists(roll);
        uint256 count = entries.length / ENTRY_BYTES;
        roster.nodeIds = new uint32[](count);
        roster.shards = new uint16[][](count);
        for (uint256 i; i < count; ++i) {
            (uint256 start, uint256 end) = _part(entries, 0, i);
            roster.nodeIds[i] = _nodeId(entries, i);
            roster.shards[i] = _unpack(shards, start, end);
        }
    }

    /// @notice The members, by ascending node id.
    function nodeIdsOf(Roll memory roll) internal view returns (uint32[] memory nodeIds) {
        bytes memory entries = _entries(roll.members);
        nodeIds = new uint32[](entries.length / ENTRY_BYTES);
        for (uint256 i; i < nodeIds.length; ++i) {
            nodeIds[i] = _nodeId(entries, i);
        }
    }

    /// @notice The members' keys in EIP-2537's form, 128 bytes each, one after another.
    function keys(Roll memory roll) internal view returns (bytes memory) {
        return SSTORE2.read(roll.members, AGGREGATE_BYTES + ENTRY_BYTES * _count(roll.members));
    }

    /// @notice The member that has a shard; 0 if none has.
    function ownerOf(Roll memory roll, uint16 shard) internal view returns (uint32) {
        Roster memory roster = read(roll);
        for (uint256 i; i < roster.nodeIds.length; ++i) {
            for (uint256 k; k < roster.shards[i].length; ++k) {
                if (roster.shards[i][k] == shard) return roster.nodeIds[i];
            }
        }
        return 0;
    }

    /// @notice How many shards a node has; 0 if it is not a member.
    function weightOf(Roll memory roll, uint32 nodeId) internal view returns (uint256) {
        (, uint256 start, uint256 end) = _find(_entries(roll.members), nodeId);
        return end - start;
    }

    /// @notice A node's key, and its shards as they are kept, two bytes each; nothing if it is not a member.
    function memberOf(Roll memory roll, uint32 nodeId) internal view returns (bytes memory key, bytes memory shards) {
        bytes memory entries = _entries(roll.members);
        (uint256 member, uint256 start, uint256 end) = _find(entries, nodeId);
        if (end == start) return (key, shards);
        uint256 place = AGGREGATE_BYTES + entries.length + Bls.KEY_BYTES * member;
        key = SSTORE2.read(roll.members, place, place + Bls.KEY_BYTES);
        shards = SSTORE2.read(roll.shards, SHARD_BYTES * start, SHARD_BYTES * end);
    }

    /// @notice The shards of a node, none if it is not a member.
    function shardsOf(Roll memory roll, uint32 nodeId) internal view returns (uint16[] memory) {
        (, uint256 start, uint256 end) = _find(_entries(roll.members), nodeId);
        return _unpack(SSTORE2.read(roll.shards, SHARD_BYTES * start, SHARD_BYTES * end), 0, end - start);
    }

    /// @notice Whose keys a certificate must verify under, and how much they weigh.
    /// @param members The first of a roll's two contracts.
    /// @param shards How many the committee has.
    /// @param bitmap One bit per member in the committee's order, least significant bit first; missing bytes are 0.
    /// @return key The signers' aggregate key, the identity if nobody signed.
    /// @return weight The signers' shards.
    function signers(address members, uint256 shards, bytes memory bitmap)
        internal
        view
        returns (BLS.G1Point memory key, uint256 weight)
    {
        uint256 count = _count(members);
        uint256 signed = LittleEndian.reverse(uint256(bytes32(bitmap)));
        if (bitmap.length > (count + 7) / 8 || signed >> count != 0) revert BadBitmap(count);
        uint256 absent = signed ^ ((1 << count) - 1);
        if (absent == 0) return (Bls.keyAt(SSTORE2.read(members, 0, AGGREGATE_BYTES), 0), shards);
        bytes memory all = SSTORE2.read(members);
        BLS.G1Point memory missing;
        weight = shards;
        for (; absent != 0; absent &= absent - 1) {
            uint256 member = LibBit.ffs(absent);
            (uint256 start, uint256 end) = _part(all, AGGREGATE_BYTES, member);
            unchecked {
                weight -= end - start; // all parts together are `shards`
            }
            missing = BLS.add(missing, Bls.keyAt(all, AGGREGATE_BYTES + ENTRY_BYTES * count, member));
        }
        key = Bls.subtract(Bls.keyAt(all, 0), missing);
    }

    function _count(address members) private view returns (uint256) {
        return (members.code.length - 1 - AGGREGATE_BYTES) / MEMBER_BYTES; // the code begins with a STOP
    }

    function _entries(address members) private view returns (bytes memory) {
        return SSTORE2.read(members, AGGREGATE_BYTES, AGGREGATE_BYTES + ENTRY_BYTES * _count(members));
    }

    /// @dev A node's place and its part of the list of shards, by binary search; an empty part if it is not a member.
    function _find(bytes memory entries, uint32 nodeId)
        private
        pure
        returns (uint256 member, uint256 start, uint256 end)
    {
        uint256 beyond = entries.length / ENTRY_BYTES;
        while (member < beyond) {
            uint256 middle = (member + beyond) / 2;
            uint32 found = _nodeId(entries, middle);
            if (found == nodeId) {
                (start, end) = _part(entries, 0, middle);
                return (middle, start, end);
            }
            if (found < nodeId) member = middle + 1;
            else beyond = middle;
        }
    }

    function _nodeId(bytes memory entries, uint256 member) private pure returns (uint32) {
        return uint32(_word(entries, ENTRY_BYTES * member) >> 224);
    }

    /// @param offset Where the entries begin.
    function _part(bytes memory data, uint256 offset, uint256 member)
        private
        pure
        returns (uint256 start, uint256 end)
    {
        unchecked {
            uint256 entry = offset + ENTRY_BYTES * member;
            if (member > 0) start = uint16(_word(data, entry - ENTRY_BYTES) >> 208);
            end = uint16(_word(data, entry) >> 208);
        }
    }

    /// @dev 32 bytes from `start` on; what lies beyond the end is garbage that callers shift out.
    function _word(bytes memory data, uint256 start) private pure returns (uint256 word) {
        assembly ("memory-safe") {
            word := mload(add(add(data, 0x20), start))
        }
    }

    /// @dev Zeros, with room for `_put` behind them.
    function _buffer(uint256 size) private pure returns (bytes memory data) {
        data = new bytes(size + 32);
        assembly ("memory-safe") {
            mstore(data, size)
        }
    }

    /// @dev Writes a word to `start`, its garbage to the bytes behind: call it in ascending order.
    function _put(bytes memory data, uint256 start, uint256 word) private pure {
        assembly ("memory-safe") {
            mstore(add(add(data, 0x20), start), word)
        }
    }

    function _unpack(bytes memory packed, uint256 start, uint256 end) private pure returns (uint16[] memory list) {
        list = new uint16[](end - start);
        for (uint256 i; i < list.length; ++i) {
            list[i] = uint16(_word(packed, SHARD_BYTES * (start + i)) >> 240);
        }
    }
}
