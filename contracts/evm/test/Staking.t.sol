// SPDX-License-Identifier: Apache-2.0
pragma solidity ^0.8.30;

import {IERC20Errors} from "@openzeppelin/contracts/interfaces/draft-IERC6093.sol";
import {Ownable} from "@openzeppelin/contracts/access/Ownable.sol";
import {Nodes} from "src/Nodes.sol";
import {Staking} from "src/Staking.sol";
import {Base} from "test/Base.t.sol";

/// @notice Staking, unstaking, changing one's mind, and withdrawing; a share is worth one unit throughout.
contract StakingTest is Base {
    address private constant STAKER = address(0xbeef);
    uint256 private constant UNIT = 1e9; // the least stake

    // Staking

    function test_stake_counts_for_the_node_and_the_staker() public {
        _addNode(0);
        vm.expectEmit();
        emit Staking.Staked(1, address(this), 12 * UNIT, 12 * UNIT);
        vm.assertEq(staking.stake(1, 12 * UNIT, 12 * UNIT), 12 * UNIT);
        staking.stake(1, 8, 0);
        vm.assertEq(staking.node(1).stake, 12 * UNIT + 8);
        vm.assertEq(staking.stakeOn(1), 12 * UNIT + 8);
        vm.assertEq(staking.stakeOf(1, address(this)), 12 * UNIT + 8);
        vm.assertEq(token.balanceOf(address(staking)), 12 * UNIT + 8);
        (, uint256[] memory stakes) = staking.candidates();
        vm.assertEq(stakes[0], 12 * UNIT + 8);
    }

    function test_stake_by_anybody_on_any_node() public {
        _addNodes(2);
        _fund(STAKER, STAKE);
        vm.prank(STAKER);
        staking.stake(2, STAKE / 4, 0);
        vm.assertEq(staking.stakeOf(2, STAKER), STAKE / 4);
        vm.assertEq(staking.stakeOf(2, address(this)), STAKE);
        vm.assertEq(staking.stakeOn(2), STAKE + STAKE / 4);
        vm.assertEq(staking.stakeOn(1), STAKE);
    }

    function test_stake_reverts_for_an_unknown_node() public {
        vm.expectRevert(abi.encodeWithSelector(Nodes.UnknownNode.selector, 1));
        staking.stake(1, UNIT, 0);
    }

    function test_stake_reverts_for_nothing() public {
        _addNode(0);
        vm.expectRevert(Staking.ZeroAmount.selector);
        staking.stake(1, 0, 0);
    }

    function test_stake_reverts_without_allowance() public {
        _addNode(0);
        vm.expectRevert(
            abi.encodeWithSelector(IERC20Errors.ERC20InsufficientAllowance.selector, address(staking), 0, UNIT)
        );
        vm.prank(STAKER);
        staking.stake(1, UNIT, 0);
    }

    function test_stake_reverts_above_the_limit() public {
        _addNode(0);
        vm.expectRevert(abi.encodeWithSelector(Staking.StakeTooLarge.selector, 1 << 128));
        staking.stake(1, 1 << 128, 0);
        token.mint(address(this), 1 << 128);
        staking.stake(1, type(uint128).max, 0);
        vm.expectRevert(abi.encodeWithSelector(Staking.StakeTooLarge.selector, 1 << 128));
        staking.stake(1, 1, 0);
    }

    function test_stake_reverts_below_the_least_shares() public {
        _addNode(0);
        vm.expectRevert(abi.encodeWithSelector(Staking.StakeTooSmall.selector, UNIT - 1, UNIT));
        staking.stake(1, UNIT - 1, 0);
        staking.stake(1, UNIT, 0);
        staking.stake(1, 1, 0); // on top of the least, anything
    }

    function test_stake_reverts_for_fewer_shares_than_wanted() public {
        _addNode(0);
        vm.expectRevert(abi.encodeWithSelector(Staking.TooFewShares.selector, UNIT, UNIT + 1));
        staking.stake(1, UNIT, UNIT + 1);
        staking.stake(1, UNIT, UNIT);
    }

    // Unstaking

    function test_unstake_pays_after_two_epochs() public {
        _addNodes(4);
        vm.expectEmit();
        emit Staking.Unstaked(1, address(this), STAKE / 4, STAKE / 4, STAKE / 4, 2);
        (uint256 amount, uint32 unlockEpoch) = staking.unstake(1, STAKE / 4);
        vm.assertEq(amount, STAKE / 4);
        vm.assertEq(unlockEpoch, 2);
        vm.assertEq(staking.node(1).stake, STAKE - STAKE / 4);
        _nextEpoch();
        vm.expectRevert(abi.encodeWithSelector(Staking.StillBonded.selector, 2));
        staking.withdraw(1, 2);
        _nextEpoch();
        uint256 before = token.balanceOf(address(this));
        vm.expectEmit();
        emit Staking.Withdrawn(1, address(this), 2, STAKE / 4);
        vm.assertEq(staking.withdraw(1, 2), STAKE / 4);
        vm.assertEq(token.balanceOf(address(this)), before + STAKE / 4);
    }

    function test_unstake_after_a_selection_unlocks_when_the_selected_committee_is_over() public {
        _addNodes(4);
        _nextEpoch();
        _select(); // committee 2 holds shards for this stake
        (, uint32 unlockEpoch) = staking.unstake(1, STAKE);
        vm.assertEq(unlockEpoch, 3);
        _start();
        vm.assertTrue(_shardsIn(committee.committee(2), 1).length > 0);
        vm.expectRevert(abi.encodeWithSelector(Staking.StillBonded.selector, 3));
        staking.withdraw(1, 3);
        _select();
        vm.expectRevert(abi.encodeWithSelector(Staking.StillBonded.selector, 3));
        staking.withdraw(1, 3);
        _start();
        staking.withdraw(1, 3);
    }

    function test_unstake_in_two_epochs_unlocks_side_by_side() public {
        _addNodes(4);
        staking.unstake(1, UNIT);
        _nextEpoch();
        staking.unstake(1, 2 * UNIT);
        staking.unstake(1, 4 * UNIT);
        Staking.Unbonding[] memory unbondings = staking.unbondingsOf(1, address(this), 0);
        vm.assertEq(unbondings.length, 2);
        vm.assertEq(unbondings[0].unlockEpoch, 2);
        vm.assertEq(unbondings[0].amount, UNIT);
        vm.assertEq(unbondings[1].unlockEpoch, 3);
        vm.assertEq(unbondings[1].amount, 6 * UNIT);
        vm.assertEq(unbondings[1].shares, 6 * UNIT);
        vm.assertEq(staking.unbondingsOf(1, address(this), 3).length, 1);
        vm.assertEq(staking.unbondingsOf(1, address(this), 4).length, 0);
        vm.assertEq(staking.unbondingsOf(1, address(this), 99).length, 0);
        _nextEpoch();
        vm.assertEq(staking.withdraw(1, 2), UNIT);
        vm.expectRevert(abi.encodeWithSelector(Staking.StillBonded.selector, 3));
        staking.withdraw(1, 3);
        _nextEpoch();
        vm.assertEq(staking.withdraw(1, 3), 6 * UNIT);
        vm.assertEq(staking.unbondingsOf(1, address(this), 0).length, 0);
    }

    function test_unstake_all() public {
        _addNode(STAKE);
        staking.unstake(1, STAKE);
        vm.assertEq(staking.sharesOf(1, address(this)), 0);
        (uint256 tokens, uint256 shares) = staking.poolOf(1);
        vm.assertEq(tokens + shares, 0);
    }

    function test_unstake_reverts_when_it_leaves_less_than_the_least() public {
        _addNode(STAKE);
        vm.expectRevert(abi.encodeWithSelector(Staking.StakeTooSmall.selector, UNIT - 1, UNIT));
        staking.unstake(1, STAKE - UNIT + 1);
        staking.unstake(1, STAKE - UNIT);
        vm.assertEq(staking.sharesOf(1, address(this)), UNIT);
        vm.expectRevert(abi.encodeWithSelector(Staking.StakeTooSmall.selector, UNIT - 1, UNIT));
        staking.unstake(1, 1);
        staking.unstake(1, UNIT);
    }

    function test_unstake_reverts_above_the_stake() public {
        _addNodes(2);
        vm.expectRevert(abi.encodeWithSelector(Staking.NotEnoughShares.selector, STAKE, STAKE + 1));
        staking.unstake(1, STAKE + 1);
    }

    function test_unstake_reverts_for_a_stranger() public {
        _addNode(STAKE);
        vm.expectRevert(abi.encodeWithSelector(Staking.NotEnoughShares.selector, 0, 1));
        vm.prank(STAKER);
        staking.unstake(1, 1);
    }

    function test_unstake_reverts_for_the_nodes_own_operator() public {
        _addNode(STAKE);
        vm.expectRevert(abi.encodeWithSelector(Staking.NotEnoughShares.selector, 0, STAKE));
        vm.prank(_operator(1));
        staking.unstake(1, STAKE);
    }

    function test_unstake_reverts_for_nothing() public {
        vm.expectRevert(Staking.ZeroAmount.selector);
        staking.unstake(1, 0);
    }

    // Cancelling

    function test_cancelUnstaking_of_all_stakes_it_again() public {
        _addNodes(4);
        staking.unstake(1, STAKE);
        vm.expectEmit();
        emit Staking.UnstakingCancelled(1, address(this), 2, STAKE, STAKE, STAKE);
        vm.assertEq(staking.cancelUnstaking(1, 2, STAKE, STAKE), STAKE);
        vm.assertEq(staking.stakeOn(1), STAKE);
        vm.assertEq(staking.sharesOf(1, address(this)), STAKE);
        vm.assertEq(staking.unbondingsOf(1, address(this), 0).length, 0);
        vm.assertEq(token.balanceOf(address(staking)), 4 * STAKE);
    }

    function test_cancelUnstaking_of_a_part_leaves_the_rest_to_withdraw() public {
        _addNodes(4);
        staking.unstake(1, STAKE / 2);
        staking.cancelUnstaking(1, 2, STAKE / 8, 0);
        vm.assertEq(staking.stakeOn(1), STAKE / 2 + STAKE / 8);
        _nextEpoch();
        staking.cancelUnstaking(1, 2, STAKE / 8, 0); // still locked
        _nextEpoch();
        vm.assertEq(staking.withdraw(1, 2), STAKE / 4);
    }

    function test_cancelUnstaking_reverts_once_it_is_unlocked() public {
        _addNodes(4);
        staking.unstake(1, STAKE / 2);
        _nextEpoch();
        _nextEpoch();
        vm.expectRevert(abi.encodeWithSelector(Staking.AlreadyUnlocked.selector, 2));
        staking.cancelUnstaking(1, 2, STAKE / 2, 0);
    }

    function test_cancelUnstaking_reverts_for_more_than_there_is() public {
        _addNodes(4);
        staking.unstake(1, STAKE / 2);
        vm.expectRevert(abi.encodeWithSelector(Staking.NotEnoughShares.selector, STAKE / 2, STAKE / 2 + 1));
        staking.cancelUnstaking(1, 2, STAKE / 2 + 1, 0);
    }

    function test_cancelUnstaking_reverts_for_a_stranger() public {
        _addNodes(4);
        staking.unstake(1, STAKE / 2);
        vm.expectRevert(abi.encodeWithSelector(Staking.NotEnoughShares.selector, 0, STAKE / 2));
        vm.prank(STAKER);
        staking.cancelUnstaking(1, 2, STAKE / 2, 0);
    }

    function test_cancelUnstaking_reverts_for_another_node() public {
        _addNodes(4);
        staking.unstake(1, STAKE / 2);
        vm.expectRevert(abi.encodeWithSelector(Staking.NotEnoughShares.selector, 0, STAKE / 2));
        staking.cancelUnstaking(2, 2, STAKE / 2, 0);
    }

    function test_cancelUnstaking_reverts_for_nothing() public {
        vm.expectRevert(Staking.ZeroAmount.selector);
        staking.cancelUnstaking(1, 2, 0, 0);
    }

    function test_cancelUnstaking_reverts_for_fewer_shares_than_wanted() public {
        _addNodes(4);
        staking.unstake(1, STAKE / 2);
        vm.expectRevert(abi.encodeWithSelector(Staking.TooFewShares.selector, UNIT, UNIT + 1));
        staking.cancelUnstaking(1, 2, UNIT, UNIT + 1);
    }

    function test_cancelUnstaking_reverts_below_the_least_shares() public {
        _addNodes(4);
        staking.unstake(1, STAKE);
        vm.expectRevert(abi.encodeWithSelector(Staking.StakeTooSmall.selector, UNIT - 1, UNIT));
        staking.cancelUnstaking(1, 2, UNIT - 1, 0);
    }

    // Withdrawing

    function test_withdraw_reverts_the_second_time() public {
        _addNodes(4);
        staking.unstake(1, UNIT);
        _nextEpoch();
        _nextEpoch();
        staking.withdraw(1, 2);
        vm.expectRevert(abi.encodeWithSelector(Staking.NothingUnbonding.selector, 1, address(this), 2));
        staking.withdraw(1, 2);
    }

    function test_withdraw_reverts_for_a_stranger_another_node_and_another_epoch() public {
        _addNodes(4);
        staking.unstake(1, UNIT);
        _nextEpoch();
        _nextEpoch();
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
        staking.unstake(1, STAKE);
        uint256 stalledAt = block.timestamp + 4 * (EPOCH_S + DEADLINE_S);
        vm.warp(stalledAt);
        vm.assertFalse(committee.isStalled());
        vm.expectRevert(abi.encodeWithSelector(Staking.StillBonded.selector, 3));
        staking.withdraw(1, 3);
        vm.warp(stalledAt + 1);
        vm.assertTrue(committee.isStalled());
        vm.assertEq(staking.withdraw(1, 3), STAKE);
        // Somebody pushes the epochs again: the standstill is over, for who has not withdrawn.
        staking.unstake(2, STAKE);
        vm.warp(block.timestamp + SHRINK_S); // half of the stake has gone
        committee.select();
        vm.warp(block.timestamp + NOTICE_S);
        committee.start();
        vm.assertFalse(committee.isStalled());
        vm.expectRevert(abi.encodeWithSelector(Staking.StillBonded.selector, 3));
        staking.withdraw(2, 3);
    }

    function test_withdraw_when_no_epoch_ever_began() public {
        _addNode(STAKE);
        staking.unstake(1, STAKE);
        vm.expectRevert(abi.encodeWithSelector(Staking.StillBonded.selector, 2));
        staking.withdraw(1, 2);
        vm.warp(block.timestamp + 4 * (EPOCH_S + DEADLINE_S) + 1);
        vm.assertEq(staking.withdraw(1, 2), STAKE);
    }

    function test_withdraw_when_a_handover_is_never_closed() public {
        _addNodes(4);
        _nextEpoch();
        _replaceMembers(3);
        vm.assertFalse(committee.state().handoverDone);
        staking.unstake(1, STAKE);
        uint256 stalledAt = block.timestamp + 4 * (EPOCH_S + DEADLINE_S);
        vm.warp(stalledAt);
        vm.expectRevert(abi.encodeWithSelector(Staking.StillBonded.selector, 4));
        staking.withdraw(1, 4);
        vm.warp(stalledAt + 1);
        vm.assertEq(staking.withdraw(1, 4), STAKE);
    }

    function test_stake_is_conserved(uint256 staked, uint256 unstaked) public {
        _addNodes(4);
        staked = _between(staked, 2 * UNIT, 1e6 ether);
        unstaked = _between(unstaked, 1, staked - UNIT);
        _fund(STAKER, staked);
        vm.startPrank(STAKER);
        staking.stake(2, staked, 0);
        staking.unstake(2, unstaked);
        vm.stopPrank();
        _nextEpoch();
        _nextEpoch();
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
}
