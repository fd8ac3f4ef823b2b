// SPDX-License-Identifier: Apache-2.0
pragma solidity ^0.8.30;

import {IERC20Errors} from "@openzeppelin/contracts/interfaces/draft-IERC6093.sol";
import {Nodes} from "src/Nodes.sol";
import {Staking} from "src/Staking.sol";
import {Base} from "test/Base.t.sol";

/// @notice Rewards: what they do to a pool's exchange rate, whose the commission is, and that nobody can make shares
/// so dear that others lose by rounding.
contract RewardsTest is Base {
    address private constant RECEIVER = address(0xa0001); // of node 1
    address private constant STAKER = address(0xbeef);
    address private constant ATTACKER = address(0xbad);
    uint256 private constant UNIT = 1e9; // the least stake

    function test_reward_is_the_stakers_but_for_the_commission() public {
        _addNode(STAKE);
        vm.expectEmit();
        emit Staking.Rewarded(1, 0, RECEIVER, 200 ether, 20 ether);
        staking.reward(1, 0, 200 ether);
        vm.assertEq(staking.stakeOf(1, address(this)), STAKE + 180 ether);
        vm.assertEq(staking.sharesOf(1, address(this)), STAKE);
        vm.assertEq(staking.stakeOn(1), STAKE + 180 ether);
        vm.assertEq(staking.earningsOf(RECEIVER), 20 ether);
        vm.assertEq(token.balanceOf(address(staking)), STAKE + 200 ether);
    }

    function test_reward_is_by_what_each_has_staked() public {
        _addNode(STAKE);
        _staked(STAKER, STAKE / 4);
        staking.reward(1, 0, 1000 ether);
        vm.assertEq(staking.stakeOf(1, address(this)), STAKE + 720 ether);
        vm.assertEq(staking.stakeOf(1, STAKER), STAKE / 4 + 180 ether);
    }

    function test_reward_makes_shares_dearer_for_who_comes_later() public {
        _addNode(STAKE);
        staking.reward(1, 0, STAKE * 10 / 9); // 1000 more: a share is worth two
        _fund(STAKER, STAKE);
        vm.assertEq(staking.sharesFor(1, 100 ether), 50 ether);
        vm.prank(STAKER);
        vm.assertLe(staking.stake(1, 100 ether, 0), 50 ether + 1);
        vm.assertLe(staking.stakeOf(1, STAKER), 100 ether);
        vm.assertLe(100 ether - 2, staking.stakeOf(1, STAKER));
    }

    function test_reward_before_the_own_stake_is_refused_by_the_wanted_shares() public {
        _addNode(STAKE);
        _fund(STAKER, STAKE);
        uint256 wanted = staking.sharesFor(1, 100 ether);
        staking.reward(1, 0, 1 ether);
        uint256 shares = staking.sharesFor(1, 100 ether);
        vm.expectRevert(abi.encodeWithSelector(Staking.TooFewShares.selector, shares, wanted));
        vm.prank(STAKER);
        staking.stake(1, 100 ether, wanted);
    }

    function test_unstake_pays_what_the_shares_have_earned() public {
        _addNode(STAKE);
        staking.reward(1, 0, 100 ether);
        (uint256 amount,) = staking.unstake(1, STAKE / 2);
        vm.assertEq(amount, (STAKE + 90 ether) / 2);
        staking.reward(1, 0, 100 ether); // not for what is unbonding
        vm.assertEq(staking.unbondingsOf(1, address(this), 0)[0].amount, (STAKE + 90 ether) / 2);
        vm.assertEq(staking.stakeOf(1, address(this)), (STAKE + 90 ether) / 2 + 90 ether);
    }

    function test_reward_of_a_node_without_stakers_is_the_receivers() public {
        _addNode(0);
        vm.expectEmit();
        emit Staking.Rewarded(1, 0, RECEIVER, 100 ether, 100 ether);
        staking.reward(1, 0, 100 ether);
        vm.assertEq(staking.earningsOf(RECEIVER), 100 ether);
        (uint256 tokens, uint256 shares) = staking.poolOf(1);
        vm.assertEq(tokens + shares, 0);
        staking.stake(1, UNIT, UNIT); // at one token unit a share
    }

    function test_reward_takes_the_commission_of_its_epoch_after_a_later_change() public {
        _addNode(STAKE);
        _nextEpoch();
        vm.prank(RECEIVER);
        staking.changeCommission(1, 3_000); // from epoch 2 on
        _nextEpoch();
        staking.reward(1, 1, 100 ether);
        vm.assertEq(staking.earningsOf(RECEIVER), 10 ether);
        staking.reward(1, 2, 100 ether);
        vm.assertEq(staking.earningsOf(RECEIVER), 40 ether);
    }

    function test_reward_rounds_the_commission_down() public {
        _addNode(STAKE);
        staking.reward(1, 0, 9);
        vm.assertEq(staking.earningsOf(RECEIVER), 0);
        vm.assertEq(staking.stakeOn(1), STAKE + 9);
    }

    function test_reward_reverts_for_nothing() public {
        _addNode(STAKE);
        vm.expectRevert(Staking.ZeroAmount.selector);
        staking.reward(1, 0, 0);
    }

    function test_reward_reverts_for_an_unknown_node() public {
        vm.expectRevert(abi.encodeWithSelector(Nodes.UnknownNode.selector, 1));
        staking.reward(1, 0, 1);
    }

    function test_reward_reverts_without_allowance() public {
        _addNode(STAKE);
        vm.expectRevert(
            abi.encodeWithSelector(IERC20Errors.ERC20InsufficientAllowance.selector, address(staking), 0, 5)
        );
        vm.prank(STAKER);
        staking.reward(1, 0, 5);
    }

    function test_reward_reverts_above_the_limit_of_a_pool() public {
        _addNode(0);
        token.mint(address(this), type(uint128).max);
        staking.stake(1, type(uint128).max, 0);
        vm.expectRevert(abi.encodeWithSelector(Staking.StakeTooLarge.selector, uint256(type(uint128).max) + 9));
        staking.reward(1, 0, 10);
    }

    function test_withdrawEarnings_pays_the_receiver_once() public {
        _addNode(STAKE);
        staking.reward(1, 0, 100 ether);
        vm.expectEmit();
        emit Staking.EarningsWithdrawn(RECEIVER, 10 ether);
        vm.startPrank(RECEIVER);
        vm.assertEq(staking.withdrawEarnings(), 10 ether);
        vm.assertEq(token.balanceOf(RECEIVER), 10 ether);
        vm.expectRevert(abi.encodeWithSelector(Staking.NothingEarned.selector, RECEIVER));
        staking.withdrawEarnings();
    }

    function test_withdrawEarnings_reverts_for_a_stranger() public {
        vm.expectRevert(abi.encodeWithSelector(Staking.NothingEarned.selector, STAKER));
        vm.prank(STAKER);
        staking.withdrawEarnings();
    }

    // Dear shares

    function test_donating_before_the_first_stakers_come_gains_nothing(uint256 donated, uint256 staked) public {
        // The attacker is the first staker, with as little as possible, and raises the worth of its shares.
        _addNode(0);
        donated = _between(donated, 1, 1e6 ether);
        staked = _between(staked, 1 ether, 1e6 ether);
        _staked(ATTACKER, UNIT);
        _fund(ATTACKER, donated);
        vm.prank(ATTACKER);
        staking.reward(1, 0, donated);
        _fund(STAKER, staked);
        uint256 shares = staking.sharesFor(1, staked);
        if (shares < UNIT) {
            // So few shares that rounding could matter: refused, not taken.
            vm.expectRevert(abi.encodeWithSelector(Staking.StakeTooSmall.selector, shares, UNIT));
            vm.prank(STAKER);
            staking.stake(1, staked, 1);
            return;
        }
        vm.prank(STAKER);
        staking.stake(1, staked, 0);
        // The staker loses at most a part in 10^9, and all that the attacker gains is that loss.
        vm.assertLe(staked - staking.stakeOf(1, STAKER), staked / UNIT + 1);
        uint256 commission = donated / 10;
        vm.assertLe(staking.stakeOf(1, ATTACKER), UNIT + donated - commission + staked / UNIT + 1);
    }

    function test_a_pool_that_everybody_left_begins_anew() public {
        _addNode(0);
        _staked(ATTACKER, UNIT);
        staking.reward(1, 0, 1000 ether);
        vm.prank(ATTACKER);
        staking.unstake(1, UNIT);
        _staked(STAKER, UNIT);
        vm.assertEq(staking.sharesOf(1, STAKER), UNIT);
        vm.assertEq(staking.stakeOf(1, STAKER), UNIT);
    }

    function test_entering_and_leaving_never_gains(uint256 rewarded, uint256 staked, uint256 part) public {
        _addNode(STAKE);
        rewarded = _between(rewarded, 1, 1e6 ether);
        staked = _between(staked, 1e6 * UNIT, 1e6 ether);
        staking.reward(1, 0, rewarded);
        uint256 worth = staking.stakeOf(1, address(this));
        _staked(STAKER, staked);
        uint256 shares = staking.sharesOf(1, STAKER);
        part = _between(part, 1, shares - UNIT);
        vm.startPrank(STAKER);
        (uint256 first,) = staking.unstake(1, part);
        (uint256 second,) = staking.unstake(1, shares - part);
        vm.stopPrank();
        vm.assertLe(first + second, staked);
        vm.assertLe(worth, staking.stakeOf(1, address(this)));
    }

    function _staked(address account, uint256 amount) private {
        _fund(account, amount);
        vm.prank(account);
        staking.stake(1, amount, 0);
    }
}
