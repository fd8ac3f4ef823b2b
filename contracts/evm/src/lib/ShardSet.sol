// SPDX-License-Identifier: Apache-2.0
pragma solidity ^0.8.30;

import {LibBit} from "solady/utils/LibBit.sol";

/// @title Sets of shards in memory: one bit each, 256 to a word.
library ShardSet {
    /// @param shards How many there are; a set has room for the numbers below.
    function empty(uint256 shards) internal pure returns (uint256[] memory) {
        return new uint256[]((shards + 255) / 256);
    }

    /// @notice Adds the first `count` shards of a list.
    function add(uint256[] memory set, uint16[] memory list, uint256 count) internal pure {
        for (uint256 i; i < count; ++i) {
            set[list[i] >> 8] |= 1 << (list[i] & 0xff);
        }
    }

    function contains(uint256[] memory set, uint256 shard) internal pure returns (bool) {
        return shard >> 8 < set.length && set[shard >> 8] >> (shard & 0xff) & 1 == 1;
    }

    function containsAll(uint256[] memory set, uint16[] memory list) internal pure returns (bool) {
        for (uint256 i; i < list.length; ++i) {
            if (!contains(set, list[i])) return false;
        }
        return true;
    }

    function size(uint256[] memory set) internal pure returns (uint256 count) {
        for (uint256 i; i < set.length; ++i) {
            count += LibBit.popCount(set[i]);
        }
    }
}
