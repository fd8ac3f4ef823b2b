// SPDX-License-Identifier: Apache-2.0
pragma solidity ^0.8.30;

import {IStaking} from "src/interfaces/IStaking.sol";
import {StakeBase} from "test/StakeBase.t.sol";

/// @notice Withdrawing, also when epochs have come to a standstill.
contract WithdrawingTest is StakeBase {
    function test_withdraw_reverts_the_second_time() public {
        _unlocked();
        staking.withdraw(1, 2);
        vm.expectRevert(abi.encodeWithSelector(IStaking.NothingUnbonding.selector, 1, address(this), 2));
        staking.withdraw(1, 2);
    }

    function test_withdraw_reverts_for_a_stranger_another_node_and_another_epoch() public {
        _unlocked();
        vm.expectRevert(abi.encodeWithSelector(IStaking.NothingUnbonding.selector, 1, STAKER, 2));
        vm.prank(STAKER);
        staking.withdraw(1, 2);
        vm.expectRevert(abi.encodeWithSelector(IStaking.NothingUnbonding.selector, 2, address(this), 2));
        staking.withdraw(2, 2);
        vm.expectRevert(abi.encodeWithSelector(IStaking.NothingUnbonding.selector, 1, address(this), 1));
        staking.withdraw(1, 1);
    }

    function test_withdraw_at_once_when_epochs_have_come_to_a_standstill() public {
        _addNodes(4);
        _nextEpoch();
        _payOutAll();
        staking.unstake(1, STAKE);
        uint256 stalledAt = block.timestamp + 4 * (EPOCH_S + DEADLINE_S);
        vm.warp(stalledAt);
        vm.assertFalse(committee.isStalled());
        _expectBonded(1, 2);
        vm.warp(stalledAt + 1);
        vm.assertTrue(committee.isStalled());
        _payOutAll(); // the epoch that runs counts as over
        vm.assertEq(staking.settledPeriod(1), 2);
        vm.assertEq(staking.withdraw(1, 2), STAKE);
        // What is unstaked now is out at once, too; at the rate at which the epoch was settled.
        vm.assertEq(staking.unstake(2, STAKE), 2);
        vm.assertEq(staking.withdraw(2, 2), STAKE);
    }

    function test_withdraw_at_a_standstill_reverts_for_what_stands_for_a_committee_that_is_selected() public {
        _addNodes(4);
        _nextEpoch();
        _payOutAll();
        vm.warp(block.timestamp + 4 * (EPOCH_S + DEADLINE_S) + 1);
        _payOutAll();
        committee.select(); // of epoch 2, by the stake on nodes 1 to 4
        vm.assertTrue(committee.isStalled());
        vm.assertEq(staking.unstake(1, STAKE), 3);
        _expectBonded(1, 3);
        vm.warp(block.timestamp + NOTICE_S);
        committee.start();
        _expectBonded(1, 3);
    }

    function test_withdraw_when_no_epoch_ever_began() public {
        _addNode(STAKE);
        _expectTooMany(address(this), 0, STAKE);
        vm.warp(block.timestamp + 4 * (EPOCH_S + DEADLINE_S) + 1);
        _payOutAll();
        vm.assertEq(staking.unstake(1, STAKE), 1);
        vm.assertEq(staking.withdraw(1, 1), STAKE);
    }

    function test_cancelStaking_at_a_standstill_gives_back_what_came_after_a_selection_that_was_dropped() public {
        _addNodes(5);
        _nextEpoch();
        _payOutAll();
        _select(); // of epoch 2
        staking.stake(1, 7 * UNIT); // with 3
        vm.expectRevert(IStaking.NotStalled.selector);
        staking.cancelStaking(1, 3);
        _eject(5, 5);
        vm.warp(block.timestamp + 4 * (EPOCH_S + DEADLINE_S) + 1);
        _payOutAll(); // up to 2
        vm.expectRevert(abi.encodeWithSelector(IStaking.NothingJoining.selector, 1, 2));
        staking.cancelStaking(1, 2);
        vm.expectRevert(abi.encodeWithSelector(IStaking.NothingJoining.selector, 2, 3));
        staking.cancelStaking(2, 3);
        vm.expectEmit();
        emit IStaking.StakingCancelled(1, address(this), 3, 7 * UNIT);
        vm.assertEq(staking.cancelStaking(1, 3), 7 * UNIT);
        vm.assertEq(staking.stakeOf(1, address(this)), STAKE);
        vm.expectRevert(abi.encodeWithSelector(IStaking.NothingJoining.selector, 1, 3));
        staking.cancelStaking(1, 3);
        (uint256 joining,) = staking.pendingOf(1);
        vm.assertEq(joining, 0);
    }

    function test_cancelStaking_reverts_for_what_a_committee_is_elected_with() public {
        _addNodes(4);
        vm.warp(block.timestamp + 4 * (EPOCH_S + DEADLINE_S) + 1);
        committee.select();
        vm.assertTrue(committee.isStalled());
        vm.expectRevert(abi.encodeWithSelector(IStaking.ElectedWith.selector, 1));
        staking.cancelStaking(1, 1);
    }

    function test_withdraw_when_a_handover_is_never_closed() public {
        _addNodes(4);
        _nextEpoch();
        _replaceMembers(3);
        vm.assertFalse(committee.state().handoverDone);
        _payOutAll();
        staking.unstake(1, STAKE);
        uint256 stalledAt = block.timestamp + 4 * (EPOCH_S + DEADLINE_S);
        vm.warp(stalledAt);
        _expectBonded(1, 3);
        vm.warp(stalledAt + 1);
        _payOutAll();
        vm.assertEq(staking.withdraw(1, 3), STAKE);
    }

    function test_stake_is_conserved(uint256 staked, uint256 unstaked) public {
        _addNodes(4);
        staked = _between(staked, 2 * UNIT, STAKE / 4); // so much that few shards move
        unstaked = _between(unstaked, 1, staked - UNIT);
        _fund(STAKER, staked);
        vm.prank(STAKER);
        staking.stake(2, staked);
        _nextEpoch();
        _payOutAll();
        vm.prank(STAKER);
        staking.unstake(2, unstaked);
        _nextEpoch();
        _passEvidenceWindow();
        _payOutAll();
        vm.prank(STAKER);
        staking.withdraw(2, 2);
        vm.assertEq(token.balanceOf(STAKER), unstaked);
        vm.assertEq(staking.stakeOf(2, STAKER), staked - unstaked);
        vm.assertEq(token.balanceOf(address(staking)), 4 * STAKE + staked - unstaked);
    }

    /// @dev The least stake is taken off node 1 and can be withdrawn.
    function _unlocked() private {
        _staked();
        staking.unstake(1, UNIT);
        _nextEpoch();
        _passEvidenceWindow();
        _payOutAll();
    }
}
