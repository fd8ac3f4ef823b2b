// SPDX-License-Identifier: Apache-2.0
pragma solidity ^0.8.30;

import {Governed} from "src/Governed.sol";
import {IRegistry} from "src/interfaces/IRegistry.sol";
import {IStaking} from "src/interfaces/IStaking.sol";
import {Base} from "test/Base.t.sol";

/// @notice Slashing: who may and from when on, what it reaches and how much, and that stakers can always leave.
contract SlashingTest is Base {
    address private constant SLASHER = address(0x51);
    address private constant STAKER = address(0xbeef);
    uint256 private constant UNIT = 1e9; // the least stake
    uint256 private constant WHOLE = 1e18;
    uint256 private constant MOST = WHOLE / 10; // in an epoch
    bytes32 private constant EVIDENCE = keccak256("evidence");

    /// @dev Epoch 2 runs, node 1 to 4 are settled, and the slasher counts.
    function setUp() public override {
        super.setUp();
        _addNodes(4);
        vm.prank(GOVERNOR);
        staking.setSlasher(SLASHER);
        _nextEpoch();
        _turn();
        _passEvidenceWindow();
    }

    // Who may, and from when on

    function test_setSlasher_counts_once_all_can_have_left_who_unstake_before_the_next_selection_but_one() public {
        vm.expectEmit();
        emit IStaking.SlasherChanged(STAKER, 4);
        vm.prank(GOVERNOR);
        staking.setSlasher(STAKER);
        vm.assertEq(staking.slasher(), SLASHER);
        _select();
        vm.assertEq(staking.unstake(1, STAKE), 4); // after the next selection: the last that get away
        _start();
        _turn();
        vm.assertEq(staking.slasher(), SLASHER);
        _passEvidenceWindow();
        vm.assertEq(staking.slasher(), STAKER);
        vm.assertEq(staking.withdraw(1, 4), STAKE);
        vm.expectRevert(abi.encodeWithSelector(IStaking.NotSlasher.selector, SLASHER));
        vm.prank(SLASHER);
        staking.slash(1, MOST, EVIDENCE, address(0), 0);
    }

    function test_setSlasher_counts_no_sooner_at_a_standstill() public {
        vm.warp(block.timestamp + 4 * (EPOCH_S + DEADLINE_S) + 1);
        vm.prank(GOVERNOR);
        staking.setSlasher(GOVERNOR);
        vm.assertTrue(staking.isUnlocked(3));
        vm.assertEq(staking.slasher(), SLASHER);
        vm.warp(block.timestamp + 1000 days);
        vm.assertEq(staking.slasher(), SLASHER);
    }

    function test_setSlasher_to_nobody_counts_at_once() public {
        vm.prank(GOVERNOR);
        staking.setSlasher(address(0));
        vm.assertEq(staking.slasher(), address(0));
        _expectNotSlasher(SLASHER);
    }

    function test_setSlasher_twice_forgets_the_first() public {
        vm.startPrank(GOVERNOR);
        staking.setSlasher(STAKER);
        staking.setSlasher(GUARDIAN);
        vm.stopPrank();
        _turn();
        _turn();
        _passEvidenceWindow();
        vm.assertEq(staking.slasher(), GUARDIAN);
    }

    function test_setSlasher_reverts_for_anyone_but_the_governor() public {
        vm.expectRevert(abi.encodeWithSelector(Governed.NotGovernor.selector, GUARDIAN));
        vm.prank(GUARDIAN);
        staking.setSlasher(GUARDIAN);
    }

    function test_slash_reverts_for_a_stranger_and_for_the_governor() public {
        _expectNotSlasher(STAKER);
        _expectNotSlasher(GOVERNOR);
    }

    function test_slash_reverts_for_everybody_while_there_is_no_slasher() public {
        _deploy(SHARDS, 500);
        _addNode(STAKE);
        _expectNotSlasher(SLASHER);
    }

    // How much

    function test_slash_reverts_for_nothing_and_above_a_tenth_an_epoch() public {
        _expectFraction(0, MOST);
        _expectFraction(MOST + 1, MOST);
        _slash(1, MOST / 4);
        _expectFraction(MOST, MOST - MOST / 4);
        _slash(1, MOST - MOST / 4);
        _expectFraction(1, 0);
        _slash(2, MOST); // another node
        _turn();
        _slash(1, MOST);
    }

    function test_slash_reverts_for_an_unknown_node() public {
        vm.expectRevert(abi.encodeWithSelector(IRegistry.UnknownNode.selector, 9));
        vm.prank(SLASHER);
        staking.slash(9, MOST, EVIDENCE, address(0), 0);
    }

    // What it reaches

    function test_slash_burns_a_part_of_the_stake() public {
        uint256 supply = token.totalSupply();
        vm.expectEmit();
        emit IStaking.Slashed(1, MOST, STAKE / 10, EVIDENCE, 3);
        vm.assertEq(_slash(1, MOST), STAKE / 10);
        vm.assertEq(staking.stakeOn(1), STAKE - STAKE / 10);
        vm.assertEq(staking.stakeOf(1, address(this)), STAKE - STAKE / 10);
        vm.assertEq(staking.stakeOn(2), STAKE);
        vm.assertEq(token.balanceOf(GOVERNOR), 0);
        vm.assertEq(token.balanceOf(address(staking)), 4 * STAKE - STAKE / 10);
        vm.assertEq(token.totalSupply(), supply - STAKE / 10);
    }

    function test_slash_reaches_every_staker_by_the_same_part() public {
        _fund(STAKER, STAKE);
        vm.prank(STAKER);
        staking.stake(1, STAKE / 4);
        _turn();
        _slash(1, MOST);
        vm.assertEq(staking.stakeOf(1, address(this)), STAKE - STAKE / 10);
        vm.assertEq(staking.stakeOf(1, STAKER), STAKE / 4 - STAKE / 40);
    }

    function test_slash_spares_what_has_not_joined() public {
        _fund(STAKER, STAKE);
        vm.prank(STAKER);
        staking.stake(1, STAKE); // with 3: it stood for nothing yet
        vm.assertEq(_slash(1, MOST), STAKE / 10);
        vm.assertEq(staking.stakeOf(1, STAKER), STAKE);
        _turn();
        vm.assertLe(STAKE - 2, staking.stakeOf(1, STAKER));
    }

    function test_slash_reaches_what_serves_and_what_can_be_judged_and_not_what_is_unlocked() public {
        staking.unstake(1, 100 ether); // serves epoch 2
        _turn();
        staking.unstake(1, 200 ether); // serves epoch 3
        _passEvidenceWindow(); // what served epoch 2 is unlocked
        vm.assertEq(_slash(1, MOST), 90 ether); // of the 900 that serve epoch 3
        _turn();
        vm.assertEq(_slash(1, MOST), 81 ether); // of 630 that serve epoch 4 and 180 that did epoch 3
        vm.assertEq(staking.withdraw(1, 3), 100 ether);
        _passEvidenceWindow();
        vm.assertEq(staking.withdraw(1, 4), 162 ether);
        vm.assertEq(staking.stakeOf(1, address(this)), 567 ether);
    }

    function test_slash_reverts_for_a_node_that_is_not_settled() public {
        // Else what is unlocked, and waits in the pool for its rate, would be reached.
        staking.unstake(1, 100 ether);
        _nextEpoch();
        vm.expectRevert(abi.encodeWithSelector(IStaking.NotSettled.selector, 1, 2, 3));
        vm.prank(SLASHER);
        staking.slash(1, MOST, EVIDENCE, address(0), 0);
    }

    function test_slash_leaves_what_is_unbonding_from_other_nodes() public {
        staking.unstake(2, STAKE / 2);
        _slash(1, MOST);
        vm.assertEq(staking.unbondingsOf(2, address(this), 0)[0].amount, STAKE / 2);
    }

    function test_slash_reaches_a_node_that_left_and_has_only_unbonding_stake() public {
        _leave(1);
        staking.unstake(1, STAKE);
        _turn();
        vm.assertEq(_slash(1, MOST), STAKE / 10);
        vm.assertEq(staking.unbondingsOf(1, address(this), 0)[0].amount, STAKE - STAKE / 10);
    }

    function test_what_did_not_stand_for_64_epochs_is_unlocked_however_long_the_evidence_window() public {
        // A deployment with epochs far shorter than its window: the slashing's loop stays short.
        staking.unstake(1, STAKE / 2); // from 3 on
        _nextEpoch();
        vm.warp(1); // as if no time had passed since
        vm.assertFalse(staking.isUnlocked(3));
        vm.mockCall(address(committee), abi.encodeCall(committee.period, ()), abi.encode(uint32(66)));
        vm.assertFalse(staking.isUnlocked(3));
        vm.mockCall(address(committee), abi.encodeCall(committee.period, ()), abi.encode(uint32(67)));
        vm.assertTrue(staking.isUnlocked(3));
        vm.clearMockedCalls();
    }

    function test_stake_joins_a_slashed_pool_at_its_worth() public {
        staking.unstake(1, STAKE / 2);
        _turn();
        _slash(1, MOST);
        _fund(STAKER, STAKE);
        vm.prank(STAKER);
        staking.stake(1, 90 ether);
        _turn();
        uint256 shares = staking.sharesOf(1, STAKER);
        vm.assertEq(shares, 100 ether);
        vm.prank(STAKER);
        staking.unstake(1, shares);
        vm.assertEq(staking.unbondingsOf(1, STAKER, 0)[0].amount, 90 ether);
    }

    function test_cancelUnstaking_after_a_slash_brings_back_what_is_left() public {
        staking.unstake(1, STAKE / 2);
        _slash(1, MOST);
        staking.cancelUnstaking(1, 3, STAKE / 2);
        vm.assertEq(staking.sharesOf(1, address(this)), STAKE);
        vm.assertEq(staking.stakeOf(1, address(this)), STAKE - STAKE / 10);
    }

    // Rounding

    function test_slash_rounds_down() public {
        uint32 nodeId = _addNode(UNIT + 1);
        _turn();
        vm.assertEq(_slash(nodeId, MOST / 2), UNIT / 20);
        vm.assertEq(_slash(nodeId, 1), 0);
        vm.assertEq(staking.stakeOn(nodeId), UNIT - UNIT / 20 + 1);
    }

    function test_slashes_conserve_tokens(uint256 staked, uint256 unstaked, uint256 fraction, uint256 again) public {
        staked = _between(staked, 2 * UNIT, STAKE / 4); // so much that few shards move
        unstaked = _between(unstaked, 1, staked - UNIT);
        _fund(STAKER, staked);
        vm.prank(STAKER);
        staking.stake(1, staked);
        _turn();
        uint256 shares = staking.sharesOf(1, STAKER);
        vm.prank(STAKER);
        staking.unstake(1, unstaked);
        uint256 supply = token.totalSupply();
        uint256 taken = _slash(1, _between(fraction, 1, MOST / 2));
        _turn();
        taken += _slash(1, _between(again, 1, MOST));
        uint256 left = staking.stakeOf(1, STAKER) + staking.stakeOf(1, address(this));
        vm.assertLe(left, staking.stakeOn(1));
        vm.assertLe(staking.stakeOn(1), left + 1);
        vm.assertEq(shares, staked);
        uint256 unbonding = staking.unbondingsOf(1, STAKER, 0)[0].amount;
        vm.assertEq(token.totalSupply(), supply - taken);
        vm.assertEq(STAKE + staked, staking.stakeOn(1) + unbonding + taken);
    }

    // Nothing stops a withdrawal

    function test_withdraw_after_slashes_in_a_paused_standstill() public {
        staking.unstake(1, STAKE / 2);
        _slash(1, MOST);
        _pauseAll();
        vm.warp(block.timestamp + 100 * EPOCH_S);
        _payOutAll();
        vm.assertEq(staking.withdraw(1, 3), STAKE / 2 - STAKE / 20);
        staking.unstake(1, STAKE / 2);
        vm.assertEq(staking.withdraw(1, 3), STAKE / 2 - STAKE / 20);
    }

    function test_withdraw_while_everything_is_paused() public {
        _pauseAll();
        staking.unstake(1, STAKE);
        _turn();
        _passEvidenceWindow();
        vm.assertEq(staking.withdraw(1, 3), STAKE);
    }

    /// @dev The next epoch, and all settled.
    function _turn() private {
        _nextEpoch();
        _payOutAll();
    }

    function _slash(uint32 nodeId, uint256 fraction) private returns (uint256) {
        vm.prank(SLASHER);
        return staking.slash(nodeId, fraction, EVIDENCE, address(0), 0);
    }

    function _expectNotSlasher(address account) private {
        vm.expectRevert(abi.encodeWithSelector(IStaking.NotSlasher.selector, account));
        vm.prank(account);
        staking.slash(1, MOST, EVIDENCE, address(0), 0);
    }

    function _expectFraction(uint256 fraction, uint256 most) private {
        vm.expectRevert(abi.encodeWithSelector(IStaking.InvalidFraction.selector, fraction, most));
        vm.prank(SLASHER);
        staking.slash(1, fraction, EVIDENCE, address(0), 0);
    }

    function _pauseAll() private {
        vm.startPrank(GUARDIAN);
        registry.pause(registry.registerNode.selector);
        registry.pause(registry.changePublicKey.selector);
        registry.pause(registry.becomeCandidate.selector);
        staking.pause(staking.stake.selector);
        committee.pause(committee.eject.selector);
        vm.stopPrank();
    }
}
