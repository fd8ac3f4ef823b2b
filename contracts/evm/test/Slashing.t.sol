// SPDX-License-Identifier: Apache-2.0
pragma solidity ^0.8.30;

import {Governed} from "src/Governed.sol";
import {Nodes} from "src/Nodes.sol";
import {Staking} from "src/Staking.sol";
import {Base} from "test/Base.t.sol";

/// @notice Slashing: who may, what it reaches, and that stakers can always leave.
contract SlashingTest is Base {
    address private constant SLASHER = address(0x51);
    address private constant STAKER = address(0xbeef);
    uint256 private constant UNIT = 1e9; // the least stake
    uint256 private constant WHOLE = 1e18;
    bytes32 private constant EVIDENCE = keccak256("evidence");

    function setUp() public override {
        super.setUp();
        _addNodes(4);
        vm.prank(GOVERNOR);
        staking.setSlasher(SLASHER);
    }

    // Who may

    function test_setSlasher_tells_of_it() public {
        vm.expectEmit();
        emit Staking.SlasherChanged(STAKER);
        vm.prank(GOVERNOR);
        staking.setSlasher(STAKER);
        vm.assertEq(staking.slasher(), STAKER);
    }

    function test_setSlasher_reverts_for_anyone_but_the_governor() public {
        vm.expectRevert(abi.encodeWithSelector(Governed.NotGovernor.selector, GUARDIAN));
        vm.prank(GUARDIAN);
        staking.setSlasher(GUARDIAN);
    }

    function test_slash_reverts_for_a_stranger() public {
        vm.expectRevert(abi.encodeWithSelector(Staking.NotSlasher.selector, STAKER));
        vm.prank(STAKER);
        staking.slash(1, WHOLE / 2, EVIDENCE);
    }

    function test_slash_reverts_for_the_governor() public {
        vm.expectRevert(abi.encodeWithSelector(Staking.NotSlasher.selector, GOVERNOR));
        vm.prank(GOVERNOR);
        staking.slash(1, WHOLE / 2, EVIDENCE);
    }

    function test_slash_reverts_for_everybody_while_there_is_no_slasher() public {
        vm.prank(GOVERNOR);
        staking.setSlasher(address(0));
        vm.expectRevert(abi.encodeWithSelector(Staking.NotSlasher.selector, SLASHER));
        vm.prank(SLASHER);
        staking.slash(1, WHOLE / 2, EVIDENCE);
    }

    function test_slash_reverts_for_nothing_and_for_all() public {
        vm.startPrank(SLASHER);
        vm.expectRevert(abi.encodeWithSelector(Staking.InvalidFraction.selector, 0));
        staking.slash(1, 0, EVIDENCE);
        vm.expectRevert(abi.encodeWithSelector(Staking.InvalidFraction.selector, WHOLE));
        staking.slash(1, WHOLE, EVIDENCE);
    }

    function test_slash_reverts_for_an_unknown_node() public {
        vm.expectRevert(abi.encodeWithSelector(Nodes.UnknownNode.selector, 9));
        vm.prank(SLASHER);
        staking.slash(9, WHOLE / 2, EVIDENCE);
    }

    // What it reaches

    function test_slash_takes_the_part_from_the_stake_for_the_governor() public {
        vm.expectEmit();
        emit Staking.Slashed(1, WHOLE / 10, STAKE / 10, EVIDENCE);
        vm.assertEq(_slash(1, WHOLE / 10), STAKE / 10);
        vm.assertEq(staking.stakeOn(1), STAKE - STAKE / 10);
        vm.assertEq(staking.stakeOf(1, address(this)), STAKE - STAKE / 10);
        vm.assertEq(staking.stakeOn(2), STAKE);
        vm.assertEq(token.balanceOf(GOVERNOR), STAKE / 10);
        vm.assertEq(token.balanceOf(address(staking)), 4 * STAKE - STAKE / 10);
    }

    function test_slash_reaches_every_staker_by_the_same_part() public {
        _fund(STAKER, STAKE);
        vm.prank(STAKER);
        staking.stake(1, STAKE / 4, 0);
        _slash(1, WHOLE / 5);
        vm.assertEq(staking.stakeOf(1, address(this)), STAKE - STAKE / 5);
        vm.assertEq(staking.stakeOf(1, STAKER), STAKE / 4 - STAKE / 20);
    }

    function test_slash_reaches_what_is_locked_and_not_what_is_unlocked() public {
        staking.unstake(1, 100 ether); // unlocks in epoch 2
        _nextEpoch();
        staking.unstake(1, 200 ether); // in 3
        _nextEpoch();
        staking.unstake(1, 300 ether); // in 4
        // Of the 400 staked, and the 200 and 300 still locked.
        vm.assertEq(_slash(1, WHOLE / 2), 450 ether);
        vm.assertEq(staking.withdraw(1, 2), 100 ether);
        _nextEpoch();
        vm.assertEq(staking.withdraw(1, 3), 100 ether);
        _nextEpoch();
        vm.assertEq(staking.withdraw(1, 4), 150 ether);
        vm.assertEq(staking.stakeOf(1, address(this)), 200 ether);
    }

    function test_slash_leaves_what_is_unbonding_from_other_nodes() public {
        staking.unstake(2, STAKE / 2);
        _slash(1, WHOLE / 2);
        vm.assertEq(staking.unbondingsOf(2, address(this), 0)[0].amount, STAKE / 2);
    }

    function test_slash_reaches_a_node_that_left_and_has_only_unbonding_stake() public {
        _leave(1);
        staking.unstake(1, STAKE);
        vm.assertEq(_slash(1, WHOLE / 4), STAKE / 4);
        vm.assertEq(staking.unbondingsOf(1, address(this), 0)[0].amount, STAKE - STAKE / 4);
    }

    function test_unstaking_after_a_slash_into_a_slashed_pool_keeps_its_worth() public {
        staking.unstake(1, STAKE / 2);
        _slash(1, WHOLE / 2); // both pools are worth half
        _fund(STAKER, STAKE);
        vm.startPrank(STAKER);
        uint256 shares = staking.stake(1, 100 ether, 0);
        (uint256 amount,) = staking.unstake(1, shares);
        vm.stopPrank();
        vm.assertEq(amount, 100 ether);
        vm.assertEq(staking.unbondingsOf(1, STAKER, 0)[0].amount, 100 ether);
        vm.assertEq(staking.unbondingsOf(1, STAKER, 0)[0].shares, 200 ether);
        vm.assertEq(staking.unbondingsOf(1, address(this), 0)[0].amount, STAKE / 4);
    }

    function test_cancelUnstaking_after_a_slash_brings_back_what_is_left() public {
        staking.unstake(1, STAKE / 2);
        _slash(1, WHOLE / 2);
        uint256 shares = staking.cancelUnstaking(1, 2, STAKE / 2, 0);
        vm.assertEq(shares, STAKE / 2); // STAKE / 4 at half a token a share
        vm.assertEq(staking.stakeOf(1, address(this)), STAKE / 2);
    }

    // Rounding

    function test_slash_rounds_down() public {
        uint32 nodeId = _addNode(UNIT + 1);
        vm.assertEq(_slash(nodeId, WHOLE / 2), UNIT / 2);
        vm.assertEq(_slash(nodeId, 1), 0);
        vm.assertEq(staking.stakeOn(nodeId), UNIT / 2 + 1);
    }

    function test_slash_of_nearly_all_leaves_something_to_every_pool() public {
        staking.unstake(1, STAKE / 2);
        for (uint256 i; i < 3; ++i) {
            _slash(1, WHOLE - 1);
        }
        (uint256 tokens, uint256 shares) = staking.poolOf(1);
        vm.assertEq(tokens, 1);
        vm.assertEq(shares, STAKE / 2);
        (tokens, shares) = staking.unbondingPoolOf(1, 2);
        vm.assertEq(tokens, 1);
        vm.assertEq(shares, STAKE / 2);
    }

    function test_stake_and_unstake_still_work_after_a_slash_of_nearly_all() public {
        staking.unstake(1, STAKE / 2);
        _slash(1, WHOLE - 1);
        _slash(1, WHOLE - 1);
        _fund(STAKER, STAKE);
        vm.startPrank(STAKER);
        uint256 shares = staking.stake(1, STAKE, 0);
        vm.assertEq(staking.stakeOf(1, STAKER), STAKE);
        staking.unstake(1, shares / 2);
        staking.unstake(1, shares - shares / 2);
        vm.stopPrank();
        vm.assertEq(staking.sharesOf(1, STAKER), 0);
        staking.unstake(1, STAKE / 2);
        _nextEpoch();
        _nextEpoch();
        staking.withdraw(1, 2);
        vm.prank(STAKER);
        vm.assertTrue(staking.withdraw(1, 2) >= STAKE - 3);
        vm.assertEq(token.balanceOf(address(staking)), 3 * STAKE);
    }

    function test_slashes_conserve_tokens(uint256 staked, uint256 unstaked, uint256 fraction, uint256 again) public {
        staked = _between(staked, 2 * UNIT, 1e6 ether);
        unstaked = _between(unstaked, 1, staked - UNIT);
        _fund(STAKER, staked);
        vm.startPrank(STAKER);
        staking.stake(1, staked, 0);
        staking.unstake(1, unstaked);
        vm.stopPrank();
        uint256 taken = _slash(1, _between(fraction, 1, WHOLE - 1)) + _slash(1, _between(again, 1, WHOLE - 1));
        uint256 left = staking.stakeOf(1, STAKER) + staking.stakeOf(1, address(this));
        vm.assertLe(left, staking.stakeOn(1));
        vm.assertLe(staking.stakeOn(1), left + 1);
        uint256 unbonding = staking.unbondingsOf(1, STAKER, 0)[0].amount;
        vm.assertEq(token.balanceOf(GOVERNOR), taken);
        vm.assertEq(STAKE + staked, staking.stakeOn(1) + unbonding + taken);
    }

    // Nothing stops a withdrawal

    function test_withdraw_after_a_slash_of_nearly_all_in_a_paused_standstill() public {
        staking.unstake(1, STAKE / 2);
        _slash(1, WHOLE - 1);
        _slash(1, WHOLE - 1);
        _pauseAll();
        vm.warp(block.timestamp + 100 * EPOCH_S);
        vm.assertEq(staking.withdraw(1, 2), 1);
        staking.unstake(1, STAKE / 2);
        vm.assertEq(staking.withdraw(1, 2), 1);
    }

    function test_withdraw_while_everything_is_paused() public {
        _pauseAll();
        staking.unstake(1, STAKE);
        _nextEpoch();
        _nextEpoch();
        vm.assertEq(staking.withdraw(1, 2), STAKE);
    }

    function _slash(uint32 nodeId, uint256 fraction) private returns (uint256) {
        vm.prank(SLASHER);
        return staking.slash(nodeId, fraction, EVIDENCE);
    }

    function _pauseAll() private {
        vm.startPrank(GUARDIAN);
        staking.pause(staking.registerNode.selector);
        staking.pause(staking.changePublicKey.selector);
        staking.pause(staking.becomeCandidate.selector);
        staking.pause(staking.stake.selector);
        staking.pause(staking.cancelUnstaking.selector);
        committee.pause(committee.eject.selector);
        vm.stopPrank();
    }
}
