// SPDX-License-Identifier: Apache-2.0
pragma solidity ^0.8.30;

import {LibBit} from "solady/utils/LibBit.sol";

/// @title Sets of shards in memory: one bit each, 256 to a word.
library ShardSet {
    /// @param shards How many there are; a set has room for the numbers below.
    function empty(uint256 shards) internal pure returns (uint256[] memory) {
        return new uint256[]((shards + 255) / 256);
    }

    /// @notice The set of all of them.
    function all(uint256 shards) internal pure returns (uint256[] memory set) {
        set = empty(shards);
        for (uint256 word; word < set.length; ++word) {
            uint256 left = shards - 256 * word;
            set[word] = left < 256 ? (1 << left) - 1 : type(uint256).max;
        }
    }

    /// @notice Adds the first `count` shards of a list.
    function add(uint256[] memory set, uint16[] memory list, uint256 count) internal pure {
        for (uint256 i; i < count; ++i) {
            set[list[i] >> 8] |= 1 << (list[i] & 0xff);
        }
    }

    /// @notice Takes out what is in `other`, a set of as many or without words.
    function subtract(uint256[] memory set, uint256[] memory other) internal pure {
        for (uint256 word; word < other.length; ++word) {
            set[word] &= ~other[word];
        }
    }

    function contains(uint256[] memory set, uint256 shard) internal pure returns (bool) {
        return shard >> 8 < set.length && set[shard >> 8] >> (shard & 0xff) & 1 == 1;
    }

    function containsAny(uint256[] memory set, uint16[] memory list) internal pure returns (bool) {
        for (uint256 i; i < list.length; ++i) {
            if (contains(set, list[i])) return true;
        }
        return false;
    }

    function size(uint256[] memory set) internal pure returns (uint256 count) {
        for (uint256 i; i < set.length; ++i) {
            count += LibBit.popCount(set[i]);
        }
    }

    /// @notice What is in a set, ascending.
    function toList(uint256[] memory set) internal pure returns (uint16[] memory shards) {
        shards = new uint16[](size(set));
        uint256 count;
        for (uint256 word; word < set.length; ++word) {
            for (uint256 bits = set[word]; bits != 0; bits &= bits - 1) {
                shards[count++] = uint16(256 * word + LibBit.ffs(bits));
            }
        }
    }
}
