// SPDX-License-Identifier: Apache-2.0
pragma solidity ^0.8.30;

import {IStaking} from "src/interfaces/IStaking.sol";
import {StakeBase} from "test/StakeBase.t.sol";

/// @notice Unstaking, and unstaking cancelled or done sooner.
contract UnstakingTest is StakeBase {
    function test_unstake_stands_earns_and_waits_until_its_last_epoch_is_over() public {
        _addNodes(4);
        _nextEpoch();
        _payOutAll();
        vm.expectEmit();
        emit IStaking.Unstaked(1, address(this), STAKE / 4, 2, STAKE / 4);
        vm.assertEq(staking.unstake(1, STAKE / 4), 2);
        vm.assertEq(registry.node(1).stake, STAKE - STAKE / 4);
        vm.assertEq(staking.sharesOf(1, address(this)), STAKE - STAKE / 4);
        (uint256 tokens,) = staking.poolOf(1);
        vm.assertEq(tokens, STAKE); // it serves epoch 1
        _expectBonded(1, 2);
        _nextEpoch();
        _expectBonded(1, 2); // evidence of epoch 1 may come
        vm.warp(block.timestamp + EVIDENCE_S - 1);
        _expectBonded(1, 2);
        vm.warp(block.timestamp + 1);
        vm.expectRevert(abi.encodeWithSelector(IStaking.NotSettled.selector, 1, 1, 2));
        staking.withdraw(1, 2);
        _payOutAll();
        uint256 before = token.balanceOf(address(this));
        vm.expectEmit();
        emit IStaking.Withdrawn(1, address(this), 2, STAKE / 4);
        vm.assertEq(staking.withdraw(1, 2), STAKE / 4);
        vm.assertEq(token.balanceOf(address(this)), before + STAKE / 4);
    }

    function test_unstake_after_a_selection_unlocks_when_the_selected_committee_is_over() public {
        _addNodes(4);
        _nextEpoch();
        _payOutAll();
        _select(); // committee 2 holds shards for this stake
        vm.assertEq(staking.unstake(1, STAKE), 3);
        _start();
        vm.assertTrue(_shardsIn(committee.committeeOf(2), 1).length > 0);
        _passEvidenceWindow();
        _expectBonded(1, 3);
        _select();
        _expectBonded(1, 3);
        _start();
        _passEvidenceWindow();
        _payOutAll();
        staking.withdraw(1, 3);
    }

    function test_what_was_unstaked_waits_while_certificates_of_its_last_epoch_count() public {
        _addNodes(4);
        _nextEpoch();
        _payOutAll();
        staking.unstake(1, STAKE / 4); // it serves epoch 1
        _replaceMembers(3);
        vm.assertTrue(committee.accepts(1)); // the handover is not done
        _passEvidenceWindow();
        _payOutAll();
        _expectBonded(1, 2);
        vm.warp(block.timestamp + DEADLINE_S);
        committee.close();
        staking.withdraw(1, 2);
    }

    function test_unstake_in_two_epochs_unlocks_side_by_side() public {
        _addNodes(4);
        _nextEpoch();
        _payOutAll();
        staking.unstake(1, UNIT);
        _nextEpoch();
        staking.unstake(1, 2 * UNIT);
        staking.unstake(1, 4 * UNIT);
        IStaking.Unbonding[] memory unbondings = staking.unbondingsOf(1, address(this), 0);
        vm.assertEq(unbondings.length, 2);
        vm.assertEq(unbondings[0].unlockPeriod, 2);
        vm.assertEq(unbondings[0].amount, UNIT);
        vm.assertEq(unbondings[0].unlocksAt, block.timestamp + EVIDENCE_S);
        vm.assertEq(unbondings[1].unlockPeriod, 3);
        vm.assertEq(unbondings[1].amount, 6 * UNIT);
        vm.assertEq(unbondings[1].shares, 6 * UNIT);
        vm.assertEq(unbondings[1].unlocksAt, 0);
        vm.assertEq(staking.unbondingsOf(1, address(this), 3).length, 1);
        vm.assertEq(staking.unbondingsOf(1, address(this), 4).length, 0);
        vm.assertEq(staking.unbondingsOf(1, address(this), 99).length, 0);
        _passEvidenceWindow();
        _payOutAll();
        vm.assertEq(staking.withdraw(1, 2), UNIT);
        _expectBonded(1, 3);
        _nextEpoch();
        _passEvidenceWindow();
        _payOutAll();
        vm.assertEq(staking.withdraw(1, 3), 6 * UNIT);
        vm.assertEq(staking.unbondingsOf(1, address(this), 0).length, 0);
    }

    function test_unstake_all_leaves_an_empty_pool_behind_its_last_epoch() public {
        _staked();
        staking.unstake(1, STAKE);
        vm.assertEq(staking.sharesOf(1, address(this)), 0);
        vm.assertEq(staking.stakeOn(1), 0);
        _nextEpoch();
        _payOutAll();
        (uint256 tokens, uint256 shares) = staking.poolOf(1);
        vm.assertEq(tokens + shares, 0);
        _nextEpoch();
        vm.assertEq(staking.settledPeriod(1), 3); // nothing to settle
        staking.stake(1, UNIT); // anew, at one unit a share
    }

    function test_unstake_reverts_before_the_stake_has_joined() public {
        _addNodes(4);
        _expectTooMany(address(this), 0, 1);
        _nextEpoch();
        _expectTooMany(address(this), 0, 1);
        _payOutAll();
        staking.unstake(1, STAKE);
    }

    function test_unstake_reverts_when_it_leaves_less_than_the_least() public {
        _staked();
        vm.expectRevert(abi.encodeWithSelector(IStaking.StakeTooSmall.selector, UNIT - 1, UNIT));
        staking.unstake(1, STAKE - UNIT + 1);
        staking.unstake(1, STAKE - UNIT);
        vm.assertEq(staking.sharesOf(1, address(this)), UNIT);
        vm.expectRevert(abi.encodeWithSelector(IStaking.StakeTooSmall.selector, UNIT - 1, UNIT));
        staking.unstake(1, 1);
        staking.unstake(1, UNIT);
    }

    function test_unstake_reverts_above_the_stake() public {
        _staked();
        _expectTooMany(address(this), STAKE, STAKE + 1);
    }

    function test_unstake_reverts_for_a_stranger_and_for_the_nodes_own_operator() public {
        _staked();
        _expectTooMany(STAKER, 0, 1);
        _expectTooMany(_operator(1), 0, STAKE);
    }

    function test_unstake_reverts_for_nothing() public {
        vm.expectRevert(IStaking.ZeroAmount.selector);
        staking.unstake(1, 0);
    }

    // Cancelling

    function test_cancelUnstaking_of_all_lets_it_stand_on() public {
        _staked();
        staking.unstake(1, STAKE);
        vm.expectEmit();
        emit IStaking.UnstakingCancelled(1, address(this), 2, STAKE, STAKE);
        staking.cancelUnstaking(1, 2, STAKE);
        vm.assertEq(staking.stakeOn(1), STAKE);
        vm.assertEq(staking.sharesOf(1, address(this)), STAKE);
        vm.assertEq(staking.unbondingsOf(1, address(this), 0).length, 0);
        (, uint256 leaving) = staking.pendingOf(1);
        vm.assertEq(leaving, 0);
    }

    function test_cancelUnstaking_of_a_part_leaves_the_rest_to_withdraw() public {
        _staked();
        staking.unstake(1, STAKE / 2);
        staking.cancelUnstaking(1, 2, STAKE / 4);
        vm.assertEq(staking.stakeOn(1), STAKE / 2 + STAKE / 4);
        _nextEpoch();
        _passEvidenceWindow();
        _payOutAll();
        vm.assertEq(staking.withdraw(1, 2), STAKE / 4);
    }

    function test_cancelUnstaking_reverts_once_a_committee_is_elected_without_it() public {
        _staked();
        staking.unstake(1, STAKE / 2);
        _select();
        vm.expectRevert(abi.encodeWithSelector(IStaking.ElectedWithout.selector, 2));
        staking.cancelUnstaking(1, 2, STAKE / 2);
        _start();
        vm.expectRevert(abi.encodeWithSelector(IStaking.ElectedWithout.selector, 2));
        staking.cancelUnstaking(1, 2, STAKE / 2);
    }

    function test_cancelUnstaking_reverts_for_more_than_there_is() public {
        _staked();
        staking.unstake(1, STAKE / 2);
        vm.expectRevert(abi.encodeWithSelector(IStaking.NotEnoughShares.selector, STAKE / 2, STAKE / 2 + 1));
        staking.cancelUnstaking(1, 2, STAKE / 2 + 1);
    }

    function test_cancelUnstaking_reverts_for_a_stranger_and_another_node() public {
        _staked();
        staking.unstake(1, STAKE / 2);
        vm.expectRevert(abi.encodeWithSelector(IStaking.NotEnoughShares.selector, 0, STAKE / 2));
        vm.prank(STAKER);
        staking.cancelUnstaking(1, 2, STAKE / 2);
        vm.expectRevert(abi.encodeWithSelector(IStaking.NotEnoughShares.selector, 0, STAKE / 2));
        staking.cancelUnstaking(2, 2, STAKE / 2);
    }

    function test_cancelUnstaking_reverts_for_nothing() public {
        vm.expectRevert(IStaking.ZeroAmount.selector);
        staking.cancelUnstaking(1, 2, 0);
    }

    function test_cancelUnstaking_reverts_below_the_least_shares() public {
        _staked();
        staking.unstake(1, STAKE);
        vm.expectRevert(abi.encodeWithSelector(IStaking.StakeTooSmall.selector, UNIT - 1, UNIT));
        staking.cancelUnstaking(1, 2, UNIT - 1);
    }

    function test_cancelUnstaking_at_a_standstill_reverts_below_the_least_shares() public {
        // Seven shares of a pool that everybody else has left would get all that the node is paid: each would be dear.
        _droppedBehind(7);
        vm.expectRevert(abi.encodeWithSelector(IStaking.StakeTooSmall.selector, 7, UNIT));
        staking.cancelUnstaking(1, 3, 7);
    }

    // Unstaking sooner what was unstaked behind a selection that was dropped

    function test_unstakeSooner_lets_out_at_a_standstill_what_is_less_than_a_position() public {
        _droppedBehind(7);
        vm.expectEmit();
        emit IStaking.UnstakingCancelled(1, address(this), 3, 7, 7);
        vm.expectEmit();
        emit IStaking.Unstaked(1, address(this), 7, 2, 7);
        vm.assertEq(staking.unstakeSooner(1, 3, 7), 2);
        vm.assertEq(staking.sharesOf(1, address(this)), 0);
        vm.assertEq(staking.withdraw(1, 2), STAKE);
        vm.assertEq(staking.unbondingsOf(1, address(this), 0).length, 0);
        (uint256 tokens, uint256 shares) = staking.poolOf(1);
        vm.assertEq(tokens + shares, 0);
    }

    function test_unstakeSooner_of_a_part_leaves_the_rest_for_the_epoch_behind() public {
        _addNodes(5);
        _nextEpoch();
        _payOutAll();
        _select(); // of epoch 2
        staking.unstake(1, STAKE / 2);
        _eject(5, 5);
        vm.assertEq(staking.unstakeSooner(1, 3, STAKE / 4), 2);
        vm.assertEq(staking.stakeOn(1), STAKE - STAKE / 4); // the rest stands for 2
        IStaking.Unbonding[] memory unbondings = staking.unbondingsOf(1, address(this), 0);
        vm.assertEq(unbondings.length, 2);
        vm.assertEq(unbondings[0].unlockPeriod, 2);
        vm.assertEq(unbondings[0].shares, STAKE / 4);
        vm.assertEq(unbondings[1].unlockPeriod, 3);
        vm.assertEq(unbondings[1].shares, STAKE / 4);
        (, uint256 leaving) = staking.pendingOf(1);
        vm.assertEq(leaving, STAKE / 2);
    }

    function test_unstakeSooner_changes_nothing_when_there_is_no_sooner_epoch() public {
        _staked();
        staking.unstake(1, STAKE / 2);
        vm.assertEq(staking.unstakeSooner(1, 2, STAKE / 4), 2);
        vm.assertEq(staking.unbondingsOf(1, address(this), 0)[0].shares, STAKE / 2);
        vm.assertEq(staking.stakeOn(1), STAKE / 2);
    }

    function test_unstakeSooner_reverts_once_a_committee_is_elected_without_it() public {
        _staked();
        staking.unstake(1, STAKE / 2);
        _select();
        vm.expectRevert(abi.encodeWithSelector(IStaking.ElectedWithout.selector, 2));
        staking.unstakeSooner(1, 2, STAKE / 2);
    }

    function test_unstakeSooner_reverts_for_a_stranger_for_too_much_and_for_nothing() public {
        _droppedBehind(7);
        vm.expectRevert(abi.encodeWithSelector(IStaking.NotEnoughShares.selector, 0, 7));
        vm.prank(STAKER);
        staking.unstakeSooner(1, 3, 7);
        vm.expectRevert(abi.encodeWithSelector(IStaking.NotEnoughShares.selector, 7, 8));
        staking.unstakeSooner(1, 3, 8);
        vm.expectRevert(IStaking.ZeroAmount.selector);
        staking.unstakeSooner(1, 3, 0);
    }

    /// @dev Epochs have come to a standstill in epoch 1. From node 1 all is unstaked: `amount` while a committee was selected
    /// that was dropped since, so that it would be unlocked with epoch 3, and the rest, which is unlocked.
    function _droppedBehind(uint256 amount) private {
        _addNodes(5);
        _nextEpoch();
        _payOutAll();
        _select(); // of epoch 2
        vm.assertEq(staking.unstake(1, amount), 3);
        _eject(5, 5);
        vm.warp(block.timestamp + 4 * (EPOCH_S + DEADLINE_S) + 1);
        _payOutAll();
        vm.assertEq(staking.unstake(1, STAKE - amount), 2);
        _expectBonded(1, 3);
    }
}
