// SPDX-License-Identifier: Apache-2.0
pragma solidity ^0.8.30;

import {ICommittee} from "src/interfaces/ICommittee.sol";
import {Base} from "test/Base.t.sol";

/// @notice The first selection waits for members and stake, or for a time: the first to stake is not the network.
contract OpeningTest is Base {
    uint32 private constant DURATION_S = 7 days;

    function _opening() internal pure override returns (ICommittee.Opening memory) {
        return ICommittee.Opening(3, uint128(3 * STAKE), DURATION_S);
    }

    function test_the_first_staker_is_not_the_first_committee() public {
        _addNode(1e9);
        vm.expectRevert(abi.encodeWithSelector(ICommittee.NotEnoughStake.selector, 1e9, 3 * STAKE));
        committee.select();
        vm.assertEq(committee.stakeNeeded(), 3 * STAKE);
        _addNodes(10);
        committee.select();
        vm.assertEq(_shardsIn(committee.committeeOf(1), 1).length, 0);
    }

    function test_one_node_with_all_the_stake_waits_for_others() public {
        _addNode(10 * STAKE);
        for (uint256 i; i < 5; ++i) {
            _addNode(1e9); // worth no shard
        }
        vm.expectRevert(abi.encodeWithSelector(ICommittee.NotEnoughMembers.selector, 1, 3));
        committee.select();
        _addNodes(2);
        committee.select();
    }

    function test_the_first_selection_waits_no_longer_than_the_opening() public {
        _addNode(1e9);
        vm.warp(block.timestamp + DURATION_S - 1);
        vm.expectRevert(abi.encodeWithSelector(ICommittee.NotEnoughStake.selector, 1e9, 3 * STAKE));
        committee.select();
        vm.warp(block.timestamp + 1);
        committee.select();
        committee.start();
        vm.assertEq(committee.epoch(), 1);
    }

    function test_later_selections_want_no_members() public {
        _addNodes(3);
        _nextEpoch();
        _leave(3);
        _nextEpoch();
        vm.assertEq(committee.committeeOf(2).members.length, 2);
    }
}
