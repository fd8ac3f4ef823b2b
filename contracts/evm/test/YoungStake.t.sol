// SPDX-License-Identifier: Apache-2.0
pragma solidity ^0.8.30;

import {ICommittee} from "src/interfaces/ICommittee.sol";
import {IRegistry} from "src/interfaces/IRegistry.sol";
import {Assignment} from "src/lib/Assignment.sol";
import {StakeBase} from "test/StakeBase.t.sol";

/// @notice When periods have come to a standstill, stake that is younger than a period elects nobody.
contract YoungStakeTest is StakeBase {
    uint256 private constant BORROWED = 1e6 * STAKE;

    uint32 private newcomer;

    function setUp() public override {
        super.setUp();
        _addNodes(5);
        _nextEpoch();
        _payOutAll();
        newcomer = _addNode(0);
        _fund(STAKER, 3 * BORROWED);
    }

    function test_a_flash_election_at_a_standstill_elects_nobody_new() public {
        _stall();
        _stakeOnNewcomer(BORROWED);
        vm.assertEq(staking.stakeOn(newcomer), 0);
        committee.select();
        ICommittee.CommitteeView memory elected = committee.committeeOf(2);
        vm.assertEq(elected.members.length, 5);
        vm.assertEq(_shardsIn(elected, newcomer).length, 0);
    }

    function test_a_flash_election_reverts_when_all_who_stood_have_left() public {
        _stall();
        for (uint32 nodeId = 1; nodeId <= 5; ++nodeId) {
            staking.withdraw(nodeId, staking.unstake(nodeId, STAKE));
        }
        _stakeOnNewcomer(BORROWED);
        vm.expectRevert(Assignment.NoStake.selector);
        committee.select();
    }

    function test_stake_counts_once_it_has_stood_for_two_periods() public {
        _stall();
        _stakeOnNewcomer(STAKE);
        vm.warp(block.timestamp + 2 * EPOCH_S - 1);
        vm.assertEq(staking.stakeOn(newcomer), 0);
        vm.warp(block.timestamp + 1);
        vm.assertEq(staking.stakeOn(newcomer), STAKE);
        committee.select();
        vm.assertEq(committee.committeeOf(2).members.length, 6);
    }

    function test_stake_from_before_the_standstill_counts() public {
        vm.warp(block.timestamp + 2 * EPOCH_S);
        _stakeOnNewcomer(STAKE); // late already, and not stalled
        vm.assertEq(staking.stakeOn(newcomer), STAKE);
        _stall();
        vm.assertEq(staking.stakeOn(newcomer), STAKE);
    }

    function test_stake_counts_at_once_while_periods_go_on() public {
        _stakeOnNewcomer(STAKE);
        vm.assertEq(staking.stakeOn(newcomer), STAKE);
        _select();
        vm.assertEq(committee.committeeOf(2).members.length, 6);
    }

    function test_stake_counts_at_once_before_the_first_period() public {
        _deploy(100, 500);
        vm.warp(block.timestamp + 5 * (EPOCH_S + DEADLINE_S));
        vm.assertTrue(committee.isStalled());
        _addNodes(4);
        vm.assertEq(staking.stakeOn(1), STAKE);
        committee.select();
    }

    function test_nobody_can_keep_anothers_stake_young() public {
        _stall();
        _stakeOnNewcomer(STAKE);
        for (uint256 i; i < 30; ++i) {
            vm.warp(block.timestamp + EPOCH_S / 10);
            staking.stake(newcomer, 1e9);
        }
        vm.assertGe(staking.stakeOn(newcomer), STAKE);
    }

    function test_young_stake_does_not_hide_what_stood_before() public {
        _stall();
        vm.startPrank(STAKER);
        staking.stake(1, BORROWED);
        vm.assertEq(staking.stakeOn(1), STAKE);
        vm.stopPrank();
    }

    function test_what_comes_and_goes_hides_nothing() public {
        _stall();
        vm.startPrank(STAKER);
        for (uint256 i; i < 3; ++i) {
            staking.stake(1, BORROWED);
            staking.withdraw(1, staking.unstake(1, staking.sharesOf(1, STAKER)));
            vm.assertEq(staking.stakeOn(1), STAKE);
        }
        vm.stopPrank();
    }

    function test_what_is_cancelled_hides_nothing() public {
        vm.warp(block.timestamp + 4 * (EPOCH_S + DEADLINE_S) + 1); // and period 1 is not settled
        vm.startPrank(STAKER);
        staking.stake(2, BORROWED);
        vm.assertEq(staking.stakeOn(2), STAKE);
        staking.cancelStaking(2, 2);
        vm.assertEq(staking.stakeOn(2), STAKE);
        vm.stopPrank();
    }

    function test_unstaking_and_taking_it_back_makes_no_stake_older() public {
        _stall();
        vm.prank(STAKER);
        staking.stake(1, STAKE);
        for (uint256 i; i < 3; ++i) {
            uint32 unlockPeriod = staking.unstake(1, STAKE);
            (, uint256 shares) = staking.unbondingPoolOf(1, unlockPeriod);
            staking.cancelUnstaking(1, unlockPeriod, shares);
            vm.assertLe(staking.stakeOn(1), STAKE);
        }
    }

    function test_unstaking_from_a_node_that_is_not_settled_and_taking_it_back_makes_no_stake_older() public {
        vm.warp(block.timestamp + 4 * (EPOCH_S + DEADLINE_S) + 1);
        vm.prank(STAKER);
        staking.stake(1, STAKE);
        for (uint256 i; i < 3; ++i) {
            uint32 unlockPeriod = staking.unstake(1, STAKE);
            vm.assertLe(staking.stakeOn(1), STAKE);
            staking.cancelUnstaking(1, unlockPeriod, STAKE);
            vm.assertLe(staking.stakeOn(1), STAKE);
        }
    }

    function test_unstaking_and_taking_it_back_hides_no_more_than_itself() public {
        vm.prank(STAKER);
        staking.stake(1, STAKE);
        _nextEpoch();
        _payOutAll();
        vm.warp(block.timestamp + 4 * (EPOCH_S + DEADLINE_S) + 1);
        for (uint256 i; i < 3; ++i) {
            staking.cancelUnstaking(1, staking.unstake(1, STAKE), STAKE);
        }
        vm.assertGe(staking.stakeOn(1), STAKE);
        _payOutAll();
        for (uint256 i; i < 3; ++i) {
            uint32 unlockPeriod = staking.unstake(1, STAKE);
            (, uint256 shares) = staking.unbondingPoolOf(1, unlockPeriod);
            staking.cancelUnstaking(1, unlockPeriod, shares);
        }
        vm.assertGe(staking.stakeOn(1), STAKE);
    }

    function test_unstaking_sooner_makes_no_stake_older() public {
        _select();
        uint32 unlockPeriod = staking.unstake(1, STAKE / 2); // with 3
        _eject(5, 5); // which drops the selection
        _stall();
        vm.prank(STAKER);
        staking.stake(1, STAKE);
        vm.assertEq(staking.stakeOn(1), STAKE);
        staking.unstakeSooner(1, unlockPeriod, STAKE / 2);
        vm.assertLe(staking.stakeOn(1), STAKE); // what goes is young first
    }

    function test_unstaking_behind_a_selection_that_is_dropped_makes_no_stake_older() public {
        _stall();
        vm.startPrank(STAKER);
        staking.stake(1, BORROWED);
        committee.select();
        uint32 unlockPeriod = staking.unstake(1, BORROWED); // with 3
        _eject(5, 5); // which drops the selection
        vm.assertEq(staking.stakeOn(1), STAKE);
        committee.select();
        vm.assertEq(_shardsIn(committee.committeeOf(2), 1).length, 25);
        staking.cancelUnstaking(1, unlockPeriod, BORROWED);
        vm.assertEq(staking.stakeOn(1), STAKE);
        vm.stopPrank();
    }

    function test_what_joins_behind_a_selection_that_is_dropped_hides_nothing() public {
        _stall();
        committee.select();
        vm.startPrank(STAKER);
        for (uint32 nodeId = 2; nodeId <= 4; ++nodeId) {
            staking.stake(nodeId, STAKE); // with 3
        }
        vm.stopPrank();
        _eject(5, 5);
        for (uint32 nodeId = 1; nodeId <= 4; ++nodeId) {
            vm.assertEq(staking.stakeOn(nodeId), STAKE);
        }
        committee.select();
        vm.assertEq(_shardsIn(committee.committeeOf(2), 1).length, 25);
        for (uint32 nodeId = 1; nodeId <= 4; ++nodeId) {
            vm.assertEq(staking.stakeOn(nodeId), STAKE);
        }
    }

    function test_what_comes_and_goes_behind_a_selection_hides_nothing() public {
        _stall();
        vm.prank(STAKER);
        staking.stake(1, BORROWED);
        committee.select();
        vm.startPrank(STAKER);
        staking.unstake(1, BORROWED);
        vm.assertEq(staking.stakeOn(1), STAKE);
        staking.stake(2, BORROWED);
        vm.assertEq(staking.stakeOn(2), STAKE);
        staking.cancelStaking(2, 3);
        vm.assertEq(staking.stakeOn(2), STAKE);
        vm.stopPrank();
    }

    function test_young_stake_takes_no_candidates_place_at_a_standstill() public {
        _addNodes(94);
        uint32 late = _addNode(0);
        vm.assertEq(late, 101);
        _stall();
        staking.stake(newcomer, STAKE); // as young
        vm.prank(STAKER);
        staking.stake(late, BORROWED);
        vm.expectRevert(abi.encodeWithSelector(IRegistry.CandidatesFull.selector, 0));
        vm.prank(_operator(late));
        registry.becomeCandidate(late);
        vm.warp(block.timestamp + 2 * EPOCH_S);
        vm.prank(_operator(late));
        registry.becomeCandidate(late);
        vm.assertTrue(registry.node(late).candidate);
    }

    function _stakeOnNewcomer(uint256 amount) private {
        vm.prank(STAKER);
        staking.stake(newcomer, amount);
    }

    function _stall() private {
        vm.warp(block.timestamp + 4 * (EPOCH_S + DEADLINE_S) + 1);
        _payOutAll(); // the period that runs counts as over: stake joins and leaves at once
        vm.assertTrue(committee.isStalled());
    }
}
