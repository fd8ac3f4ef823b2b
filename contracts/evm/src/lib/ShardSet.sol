// SPDX-License-Identifier: Apache-2.0
pragma solidity ^0.8.30;

import {LibBit} from "solady/utils/LibBit.sol";

/// @title Sets of shards in memory: one bit each, 256 to a word.
library ShardSet {
    function empty(uint256 shards) internal pure returns (uint256[] memory) {
        return new uint256[]((shards + 255) / 256);
    }

    /// @param members Numbers below `shards`.
    function toSet(uint16[] memory members, uint256 shards) internal pure returns (uint256[] memory set) {
        set = empty(shards);
        for (uint256 i; i < members.length; ++i) {
            set[members[i] >> 8] |= 1 << (members[i] & 0xff);
        }
    }

    function contains(uint256[] memory set, uint256 shard) internal pure returns (bool) {
        return shard >> 8 < set.length && set[shard >> 8] >> (shard & 0xff) & 1 == 1;
    }

    /// @notice Adds to `set` what `other`, of the same size, contains.
    function addAll(uint256[] memory set, uint256[] memory other) internal pure {
        for (uint256 i; i < set.length; ++i) {
            set[i] |= other[i];
        }
    }

    /// @notice What two sets of the same size have in common.
    function intersection(uint256[] memory left, uint256[] memory right) internal pure returns (uint256[] memory set) {
        set = new uint256[](left.length);
        for (uint256 i; i < set.length; ++i) {
            set[i] = left[i] & right[i];
        }
    }

    /// @notice Whether `set` contains everything that `part` does.
    function includes(uint256[] memory set, uint256[] memory part) internal pure returns (bool) {
        for (uint256 i; i < set.length; ++i) {
            if (part[i] & ~set[i] != 0) return false;
        }
        return true;
    }

    function size(uint256[] memory set) internal pure returns (uint256 count) {
        for (uint256 i; i < set.length; ++i) {
            count += LibBit.popCount(set[i]);
        }
    }
}
