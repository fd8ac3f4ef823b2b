// SPDX-License-Identifier: Apache-2.0
pragma solidity ^0.8.30;

/// @title How many shards must sign; at most `f = (n - 1) / 3` of them are of members that lie or are down.
library Votes {
    /// @notice The least weight of a quorum: any two quorums overlap in more than `f` shards, so in a correct member.
    function quorum(uint256 shards) internal pure returns (uint256) {
        return 2 * shards / 3 + 1;
    }

    /// @notice The least weight that includes a correct member.
    function oneCorrect(uint256 shards) internal pure returns (uint256) {
        return shards / 3 + 1;
    }

    /// @notice The least count that is two thirds of all or more.
    function twoThirds(uint256 shards) internal pure returns (uint256) {
        return (2 * shards + 2) / 3;
    }
}
