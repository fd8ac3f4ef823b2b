// SPDX-License-Identifier: Apache-2.0
pragma solidity ^0.8.30;

import {Assignment, Roster} from "src/lib/Assignment.sol";

/// @notice The election, callable: also for comparing it with other implementations.
contract AssignmentHarness {
    function elect(
        Roster calldata previous,
        uint32[] calldata nodeIds,
        uint256[] calldata stakes,
        uint256 shards,
        uint256 bandMillis
    ) external pure returns (Roster memory roster, uint256 total) {
        return Assignment.elect(previous, nodeIds, stakes, shards, bandMillis);
    }

    function replace(Roster calldata inOffice, uint32[] calldata nodeIds, uint256[] calldata weights, uint256 shards)
        external
        pure
        returns (Roster memory)
    {
        return Assignment.replace(inOffice, nodeIds, weights, shards);
    }
}
