// SPDX-License-Identifier: Apache-2.0
pragma solidity ^0.8.30;

import {Base} from "test/Base.t.sol";

/// @notice Attacks by which a little stake would take a third of the shards or more; each fails.
contract CaptureTest is Base {
    function test_dust_on_fourteen_nodes_takes_nothing_from_six() public {
        _addNodes(6);
        _nextEpoch();
        for (uint256 i; i < 14; ++i) {
            _addNode(1e9);
        }
        _nextEpoch();
        vm.assertEq(_shardsFrom(7), 0);
    }

    function test_dust_on_seventeen_nodes_takes_nothing_from_three() public {
        _addNodes(3);
        for (uint256 i; i < 17; ++i) {
            _addNode(1e9);
        }
        _nextEpoch();
        vm.assertEq(_shardsFrom(4), 0);
    }

    function test_a_fiftieth_of_the_stake_on_twenty_nodes_takes_a_fiftieth_of_the_shards() public {
        // Each of them is worth a shard of 1000: a cap that falls with the number of nodes would give them 400.
        _deploy(1000, 500);
        for (uint256 i; i < 6; ++i) {
            _addNode(49_000 ether);
        }
        for (uint256 i; i < 20; ++i) {
            _addNode(300 ether);
        }
        _nextEpoch();
        vm.assertEq(_shardsFrom(7), 20);
    }

    /// @dev What the nodes from this one on hold in the current epoch.
    function _shardsFrom(uint32 first) private view returns (uint256 count) {
        for (uint32 nodeId = first; nodeId <= staking.nodeCount(); ++nodeId) {
            count += _shardsIn(committee.committee(committee.epoch()), nodeId).length;
        }
    }
}
