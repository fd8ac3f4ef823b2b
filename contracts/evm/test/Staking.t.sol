// SPDX-License-Identifier: Apache-2.0
pragma solidity ^0.8.30;

import {IERC20Errors} from "@openzeppelin/contracts/interfaces/draft-IERC6093.sol";
import {Ownable} from "@openzeppelin/contracts/access/Ownable.sol";
import {Nodes} from "src/Nodes.sol";
import {Settlement} from "src/Settlement.sol";
import {Staking} from "src/Staking.sol";
import {Base} from "test/Base.t.sol";

/// @notice Staking and unstaking, and what counts at a selection; a share is worth one unit throughout.
contract StakingTest is Base {
    address private constant STAKER = address(0xbeef);
    uint256 private constant UNIT = 1e9; // the least stake

    // Staking

    function test_stake_counts_at_the_next_selection_and_joins_with_its_epoch() public {
        _addNode(0);
        vm.expectEmit();
        emit Staking.Staked(1, address(this), 12 * UNIT, 1);
        vm.assertEq(staking.stake(1, 12 * UNIT), 1);
        staking.stake(1, 8);
        vm.assertEq(staking.node(1).stake, 12 * UNIT + 8);
        vm.assertEq(staking.stakeOn(1), 12 * UNIT + 8);
        vm.assertEq(staking.stakeOf(1, address(this)), 12 * UNIT + 8);
        vm.assertEq(token.balanceOf(address(staking)), 12 * UNIT + 8);
        (, uint256[] memory stakes) = staking.candidates();
        vm.assertEq(stakes[0], 12 * UNIT + 8);
        _checkJoining(1, 12 * UNIT + 8);
        vm.assertEq(staking.sharesOf(1, address(this)), 0);
        _nextEpoch();
        vm.assertEq(staking.sharesOf(1, address(this)), 0); // not settled
        _payOutAll();
        vm.assertEq(staking.settledEpoch(1), 1);
        vm.assertEq(staking.sharesOf(1, address(this)), 12 * UNIT + 8);
        vm.assertEq(staking.stakeOf(1, address(this)), 12 * UNIT + 8);
        vm.assertEq(staking.joiningsOf(1, address(this)).length, 0);
    }

    function test_stake_by_anybody_on_any_node() public {
        _addNodes(2);
        _fund(STAKER, STAKE);
        vm.prank(STAKER);
        staking.stake(2, STAKE / 4);
        vm.assertEq(staking.stakeOf(2, STAKER), STAKE / 4);
        vm.assertEq(staking.stakeOf(2, address(this)), STAKE);
        vm.assertEq(staking.stakeOn(2), STAKE + STAKE / 4);
        vm.assertEq(staking.stakeOn(1), STAKE);
    }

    function test_stake_after_a_selection_joins_with_the_epoch_behind() public {
        _staked();
        _select(); // of epoch 2
        vm.assertEq(staking.stake(1, UNIT), 3);
        _checkJoining(3, UNIT);
        _start();
        vm.assertEq(_payOutAll(), 0);
        vm.assertEq(staking.sharesOf(1, address(this)), STAKE);
        _nextEpoch();
        _payOutAll();
        vm.assertEq(staking.sharesOf(1, address(this)), STAKE + UNIT);
    }

    function test_stake_for_two_epochs_joins_side_by_side() public {
        _addNodes(4);
        _nextEpoch();
        _payOutAll();
        staking.stake(1, UNIT); // with 2
        _select();
        staking.stake(1, 2 * UNIT); // with 3
        staking.stake(1, 4 * UNIT);
        Staking.Joining[] memory joinings = staking.joiningsOf(1, address(this));
        vm.assertEq(joinings.length, 2);
        vm.assertEq(joinings[0].epoch, 2);
        vm.assertEq(joinings[0].amount, UNIT);
        vm.assertEq(joinings[1].epoch, 3);
        vm.assertEq(joinings[1].amount, 6 * UNIT);
        (uint256 joining,) = staking.pendingOf(1);
        vm.assertEq(joining, 7 * UNIT);
        _start();
        _payOutAll();
        _checkJoining(3, 6 * UNIT);
        vm.assertEq(staking.sharesOf(1, address(this)), STAKE + UNIT);
    }

    function test_stake_reverts_when_a_third_epoch_would_wait_for_settling() public {
        _addNodes(4); // with 1
        _nextEpoch();
        staking.stake(1, UNIT); // with 2
        _select();
        vm.expectRevert(abi.encodeWithSelector(Settlement.NotSettled.selector, 1, 0, 1));
        staking.stake(1, UNIT); // with 3
        _payOutAll();
        staking.stake(1, UNIT);
        vm.assertEq(staking.stakeOf(1, address(this)), STAKE + 2 * UNIT);
    }

    function test_stake_on_a_node_that_nobody_staked_on_needs_no_settling_of_old_epochs() public {
        _addNode(0);
        _addNodes(4);
        for (uint256 i; i < 3; ++i) {
            _nextEpoch();
        }
        vm.assertEq(staking.settledEpoch(1), 3);
        staking.stake(1, UNIT);
        vm.assertEq(staking.settledEpoch(1), 3);
        _nextEpoch();
        _payOut(1, ALL);
        vm.assertEq(staking.sharesOf(1, address(this)), UNIT);
    }

    function test_stake_reverts_for_an_unknown_node() public {
        vm.expectRevert(abi.encodeWithSelector(Nodes.UnknownNode.selector, 1));
        staking.stake(1, UNIT);
    }

    function test_stake_reverts_for_nothing() public {
        _addNode(0);
        vm.expectRevert(Staking.ZeroAmount.selector);
        staking.stake(1, 0);
    }

    function test_stake_reverts_without_allowance() public {
        _addNode(0);
        vm.expectRevert(
            abi.encodeWithSelector(IERC20Errors.ERC20InsufficientAllowance.selector, address(staking), 0, UNIT)
        );
        vm.prank(STAKER);
        staking.stake(1, UNIT);
    }

    function test_stake_reverts_above_the_limit() public {
        _addNode(0);
        vm.expectRevert(abi.encodeWithSelector(Staking.StakeTooLarge.selector, 1 << 128));
        staking.stake(1, 1 << 128);
        token.mint(address(this), 1 << 128);
        staking.stake(1, type(uint128).max);
        vm.expectRevert(abi.encodeWithSelector(Staking.StakeTooLarge.selector, 1 << 128));
        staking.stake(1, 1);
        _nextEpoch();
        _payOutAll();
        vm.expectRevert(abi.encodeWithSelector(Staking.StakeTooLarge.selector, 1 << 128));
        staking.stake(1, 1);
    }

    function test_stake_reverts_below_the_least_shares() public {
        _addNode(0);
        vm.expectRevert(abi.encodeWithSelector(Staking.StakeTooSmall.selector, UNIT - 1, UNIT));
        staking.stake(1, UNIT - 1);
        staking.stake(1, UNIT);
        staking.stake(1, 1); // on top of the least, anything
        _addNode(STAKE);
        _nextEpoch();
        _payOutAll();
        staking.stake(1, 1);
    }

    // Unstaking

    function test_unstake_stands_earns_and_waits_until_its_last_epoch_is_over() public {
        _addNodes(4);
        _nextEpoch();
        _payOutAll();
        vm.expectEmit();
        emit Staking.Unstaked(1, address(this), STAKE / 4, 2);
        vm.assertEq(staking.unstake(1, STAKE / 4), 2);
        vm.assertEq(staking.node(1).stake, STAKE - STAKE / 4);
        vm.assertEq(staking.sharesOf(1, address(this)), STAKE - STAKE / 4);
        (uint256 tokens,) = staking.poolOf(1);
        vm.assertEq(tokens, STAKE); // it serves epoch 1
        _expectBonded(1, 2);
        _nextEpoch();
        _expectBonded(1, 2); // evidence of epoch 1 may come
        vm.warp(block.timestamp + EVIDENCE_S - 1);
        _expectBonded(1, 2);
        vm.warp(block.timestamp + 1);
        vm.expectRevert(abi.encodeWithSelector(Settlement.NotSettled.selector, 1, 1, 2));
        staking.withdraw(1, 2);
        _payOutAll();
        uint256 before = token.balanceOf(address(this));
        vm.expectEmit();
        emit Staking.Withdrawn(1, address(this), 2, STAKE / 4);
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
        vm.assertTrue(_shardsIn(committee.committee(2), 1).length > 0);
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
        Staking.Unbonding[] memory unbondings = staking.unbondingsOf(1, address(this), 0);
        vm.assertEq(unbondings.length, 2);
        vm.assertEq(unbondings[0].unlockEpoch, 2);
        vm.assertEq(unbondings[0].amount, UNIT);
        vm.assertEq(unbondings[0].unlocksAt, block.timestamp + EVIDENCE_S);
        vm.assertEq(unbondings[1].unlockEpoch, 3);
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
        vm.assertEq(staking.settledEpoch(1), 3); // nothing to settle
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
        vm.expectRevert(abi.encodeWithSelector(Staking.StakeTooSmall.selector, UNIT - 1, UNIT));
        staking.unstake(1, STAKE - UNIT + 1);
        staking.unstake(1, STAKE - UNIT);
        vm.assertEq(staking.sharesOf(1, address(this)), UNIT);
        vm.expectRevert(abi.encodeWithSelector(Staking.StakeTooSmall.selector, UNIT - 1, UNIT));
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
        vm.expectRevert(Staking.ZeroAmount.selector);
        staking.unstake(1, 0);
    }

    // Cancelling

    function test_cancelUnstaking_of_all_lets_it_stand_on() public {
        _staked();
        staking.unstake(1, STAKE);
        vm.expectEmit();
        emit Staking.UnstakingCancelled(1, address(this), 2, STAKE);
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
        vm.expectRevert(abi.encodeWithSelector(Staking.ElectedWithout.selector, 2));
        staking.cancelUnstaking(1, 2, STAKE / 2);
        _start();
        vm.expectRevert(abi.encodeWithSelector(Staking.ElectedWithout.selector, 2));
        staking.cancelUnstaking(1, 2, STAKE / 2);
    }

    function test_cancelUnstaking_reverts_for_more_than_there_is() public {
        _staked();
        staking.unstake(1, STAKE / 2);
        vm.expectRevert(abi.encodeWithSelector(Staking.NotEnoughShares.selector, STAKE / 2, STAKE / 2 + 1));
        staking.cancelUnstaking(1, 2, STAKE / 2 + 1);
    }

    function test_cancelUnstaking_reverts_for_a_stranger_and_another_node() public {
        _staked();
        staking.unstake(1, STAKE / 2);
        vm.expectRevert(abi.encodeWithSelector(Staking.NotEnoughShares.selector, 0, STAKE / 2));
        vm.prank(STAKER);
        staking.cancelUnstaking(1, 2, STAKE / 2);
        vm.expectRevert(abi.encodeWithSelector(Staking.NotEnoughShares.selector, 0, STAKE / 2));
        staking.cancelUnstaking(2, 2, STAKE / 2);
    }

    function test_cancelUnstaking_reverts_for_nothing() public {
        vm.expectRevert(Staking.ZeroAmount.selector);
        staking.cancelUnstaking(1, 2, 0);
    }

    function test_cancelUnstaking_reverts_below_the_least_shares() public {
        _staked();
        staking.unstake(1, STAKE);
        vm.expectRevert(abi.encodeWithSelector(Staking.StakeTooSmall.selector, UNIT - 1, UNIT));
        staking.cancelUnstaking(1, 2, UNIT - 1);
    }

    function test_cancelUnstaking_at_a_standstill_reverts_below_the_least_shares() public {
        // Seven shares of a pool that everybody else has left would get all that the node is paid: each would be dear.
        _droppedBehind(7);
        vm.expectRevert(abi.encodeWithSelector(Staking.StakeTooSmall.selector, 7, UNIT));
        staking.cancelUnstaking(1, 3, 7);
    }

    // Unstaking sooner what was unstaked behind a selection that was dropped

    function test_unstakeSooner_lets_out_at_a_standstill_what_is_less_than_a_position() public {
        _droppedBehind(7);
        vm.expectEmit();
        emit Staking.UnstakingCancelled(1, address(this), 3, 7);
        vm.expectEmit();
        emit Staking.Unstaked(1, address(this), 7, 2);
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
        Staking.Unbonding[] memory unbondings = staking.unbondingsOf(1, address(this), 0);
        vm.assertEq(unbondings.length, 2);
        vm.assertEq(unbondings[0].unlockEpoch, 2);
        vm.assertEq(unbondings[0].shares, STAKE / 4);
        vm.assertEq(unbondings[1].unlockEpoch, 3);
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
        vm.expectRevert(abi.encodeWithSelector(Staking.ElectedWithout.selector, 2));
        staking.unstakeSooner(1, 2, STAKE / 2);
    }

    function test_unstakeSooner_reverts_for_a_stranger_for_too_much_and_for_nothing() public {
        _droppedBehind(7);
        vm.expectRevert(abi.encodeWithSelector(Staking.NotEnoughShares.selector, 0, 7));
        vm.prank(STAKER);
        staking.unstakeSooner(1, 3, 7);
        vm.expectRevert(abi.encodeWithSelector(Staking.NotEnoughShares.selector, 7, 8));
        staking.unstakeSooner(1, 3, 8);
        vm.expectRevert(Staking.ZeroAmount.selector);
        staking.unstakeSooner(1, 3, 0);
    }

    // What counts at a selection: what earns in its epoch

    function test_a_selection_made_anew_counts_what_the_first_one_did() public {
        _addNodes(5);
        _nextEpoch();
        _payOutAll();
        _select(); // of epoch 2
        staking.stake(1, 7 * STAKE); // with 3
        staking.unstake(2, STAKE); // stands for 2
        vm.assertEq(staking.stakeOn(1), 8 * STAKE);
        vm.assertEq(staking.stakeOn(2), 0);
        _eject(5, 5); // the selection is dropped
        vm.assertEq(staking.stakeOn(1), STAKE);
        vm.assertEq(staking.stakeOn(2), STAKE);
        committee.select();
        vm.assertEq(_shardsIn(committee.committee(2), 1).length, 25);
        vm.assertEq(_shardsIn(committee.committee(2), 2).length, 25);
        vm.assertEq(staking.stakeOn(1), 8 * STAKE);
        vm.assertEq(staking.stakeOn(2), 0);
    }

    function test_stake_above_the_limit_by_rewards_blocks_no_election() public {
        _addNode(0);
        token.mint(address(this), 1 << 128);
        staking.stake(1, type(uint128).max);
        _nextEpoch();
        _payOutAll();
        _reward(1, 1000);
        vm.assertEq(staking.stakeOn(1), type(uint128).max);
        (uint256 tokens,) = staking.poolOf(1);
        vm.assertEq(tokens, uint256(type(uint128).max) + 900);
        _select();
    }

    // Withdrawing

    function test_withdraw_reverts_the_second_time() public {
        _unlocked();
        staking.withdraw(1, 2);
        vm.expectRevert(abi.encodeWithSelector(Staking.NothingUnbonding.selector, 1, address(this), 2));
        staking.withdraw(1, 2);
    }

    function test_withdraw_reverts_for_a_stranger_another_node_and_another_epoch() public {
        _unlocked();
        vm.expectRevert(abi.encodeWithSelector(Staking.NothingUnbonding.selector, 1, STAKER, 2));
        vm.prank(STAKER);
        staking.withdraw(1, 2);
        vm.expectRevert(abi.encodeWithSelector(Staking.NothingUnbonding.selector, 2, address(this), 2));
        staking.withdraw(2, 2);
        vm.expectRevert(abi.encodeWithSelector(Staking.NothingUnbonding.selector, 1, address(this), 1));
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
        vm.assertEq(staking.settledEpoch(1), 2);
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

    function test_stake_during_a_standstill_joins_at_the_rate_at_which_the_epoch_was_settled() public {
        _addNodes(4);
        _nextEpoch();
        vm.warp(block.timestamp + 4 * (EPOCH_S + DEADLINE_S) + 1);
        _payOutAll();
        vm.assertEq(staking.stake(1, UNIT), 2);
        vm.assertEq(staking.sharesOf(1, address(this)), STAKE + UNIT);
        vm.assertEq(staking.stakeOn(1), STAKE + UNIT);
        staking.unstake(1, UNIT);
        staking.cancelUnstaking(1, 2, UNIT);
        vm.assertEq(staking.sharesOf(1, address(this)), STAKE + UNIT);
        committee.select();
        vm.assertEq(staking.stake(1, UNIT), 3);
        vm.warp(block.timestamp + NOTICE_S);
        committee.start();
        _nextEpoch();
        _payOutAll();
        vm.assertEq(staking.sharesOf(1, address(this)), STAKE + 2 * UNIT);
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
        vm.expectRevert(Staking.NotStalled.selector);
        staking.cancelStaking(1, 3);
        _eject(5, 5);
        vm.warp(block.timestamp + 4 * (EPOCH_S + DEADLINE_S) + 1);
        _payOutAll(); // up to 2
        vm.expectRevert(abi.encodeWithSelector(Staking.NothingJoining.selector, 1, 2));
        staking.cancelStaking(1, 2);
        vm.expectRevert(abi.encodeWithSelector(Staking.NothingJoining.selector, 2, 3));
        staking.cancelStaking(2, 3);
        vm.expectEmit();
        emit Staking.StakingCancelled(1, address(this), 3, 7 * UNIT);
        vm.assertEq(staking.cancelStaking(1, 3), 7 * UNIT);
        vm.assertEq(staking.stakeOf(1, address(this)), STAKE);
        vm.expectRevert(abi.encodeWithSelector(Staking.NothingJoining.selector, 1, 3));
        staking.cancelStaking(1, 3);
        (uint256 joining,) = staking.pendingOf(1);
        vm.assertEq(joining, 0);
    }

    function test_cancelStaking_reverts_for_what_a_committee_is_elected_with() public {
        _addNodes(4);
        vm.warp(block.timestamp + 4 * (EPOCH_S + DEADLINE_S) + 1);
        committee.select();
        vm.assertTrue(committee.isStalled());
        vm.expectRevert(abi.encodeWithSelector(Staking.ElectedWith.selector, 1));
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

    function test_mint_reverts_for_anyone_but_the_owner() public {
        vm.expectRevert(abi.encodeWithSelector(Ownable.OwnableUnauthorizedAccount.selector, STAKER));
        vm.prank(STAKER);
        token.mint(STAKER, 1);
    }

    /// @dev Epoch 1 runs, with four nodes that are settled.
    function _staked() private {
        _addNodes(4);
        _nextEpoch();
        _payOutAll();
    }

    /// @dev The least stake is taken off node 1 and can be withdrawn.
    function _unlocked() private {
        _staked();
        staking.unstake(1, UNIT);
        _nextEpoch();
        _passEvidenceWindow();
        _payOutAll();
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

    function _expectBonded(uint32 nodeId, uint32 unlockEpoch) private {
        vm.assertFalse(staking.isUnlocked(unlockEpoch));
        vm.expectRevert(abi.encodeWithSelector(Staking.StillBonded.selector, unlockEpoch));
        staking.withdraw(nodeId, unlockEpoch);
    }

    function _expectTooMany(address staker, uint256 held, uint256 shares) private {
        vm.expectRevert(abi.encodeWithSelector(Staking.NotEnoughShares.selector, held, shares));
        vm.prank(staker);
        staking.unstake(1, shares);
    }

    function _checkJoining(uint32 epoch, uint256 amount) private view {
        Staking.Joining[] memory joinings = staking.joiningsOf(1, address(this));
        vm.assertEq(joinings.length, 1);
        vm.assertEq(joinings[0].epoch, epoch);
        vm.assertEq(joinings[0].amount, amount);
    }
}
