// SPDX-License-Identifier: Apache-2.0
pragma solidity ^0.8.30;

import {Ownable} from "@openzeppelin/contracts/access/Ownable.sol";
import {IERC20Errors} from "@openzeppelin/contracts/interfaces/draft-IERC6093.sol";
import {Governed} from "src/Governed.sol";
import {IRegistry} from "src/interfaces/IRegistry.sol";
import {IStaking} from "src/interfaces/IStaking.sol";
import {StakeBase} from "test/StakeBase.t.sol";

/// @notice Staking, and what counts at a selection.
contract StakingTest is StakeBase {
    function test_stake_counts_at_the_next_selection_and_joins_with_its_epoch() public {
        _addNode(0);
        vm.expectEmit();
        emit IStaking.Staked(1, address(this), 12 * UNIT, 1);
        vm.assertEq(staking.stake(1, 12 * UNIT), 1);
        staking.stake(1, 8);
        vm.assertEq(registry.node(1).stake, 12 * UNIT + 8);
        vm.assertEq(staking.stakeOn(1), 12 * UNIT + 8);
        vm.assertEq(staking.stakeOf(1, address(this)), 12 * UNIT + 8);
        vm.assertEq(token.balanceOf(address(staking)), 12 * UNIT + 8);
        (, uint256[] memory stakes) = registry.candidates();
        vm.assertEq(stakes[0], 12 * UNIT + 8);
        _checkJoining(1, 12 * UNIT + 8);
        vm.assertEq(staking.sharesOf(1, address(this)), 0);
        _nextEpoch();
        vm.assertEq(staking.sharesOf(1, address(this)), 0); // not settled
        _payOutAll();
        vm.assertEq(staking.settledPeriod(1), 1);
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
        IStaking.Joining[] memory joinings = staking.joiningsOf(1, address(this));
        vm.assertEq(joinings.length, 2);
        vm.assertEq(joinings[0].period, 2);
        vm.assertEq(joinings[0].amount, UNIT);
        vm.assertEq(joinings[1].period, 3);
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
        vm.expectRevert(abi.encodeWithSelector(IStaking.NotSettled.selector, 1, 0, 1));
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
        vm.assertEq(staking.settledPeriod(1), 3);
        staking.stake(1, UNIT);
        vm.assertEq(staking.settledPeriod(1), 3);
        _nextEpoch();
        _payOut(1, ALL);
        vm.assertEq(staking.sharesOf(1, address(this)), UNIT);
    }

    function test_stake_reverts_for_an_unknown_node() public {
        vm.expectRevert(abi.encodeWithSelector(IRegistry.UnknownNode.selector, 1));
        staking.stake(1, UNIT);
    }

    function test_stake_reverts_for_nothing() public {
        _addNode(0);
        vm.expectRevert(IStaking.ZeroAmount.selector);
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
        vm.expectRevert(abi.encodeWithSelector(IStaking.StakeTooLarge.selector, 1 << 128));
        staking.stake(1, 1 << 128);
        token.mint(address(this), 1 << 128);
        staking.stake(1, type(uint128).max);
        vm.expectRevert(abi.encodeWithSelector(IStaking.StakeTooLarge.selector, 1 << 128));
        staking.stake(1, 1);
        _nextEpoch();
        _payOutAll();
        vm.expectRevert(abi.encodeWithSelector(IStaking.StakeTooLarge.selector, 1 << 128));
        staking.stake(1, 1);
    }

    function test_stake_reverts_below_the_least_shares() public {
        _addNode(0);
        vm.expectRevert(abi.encodeWithSelector(IStaking.StakeTooSmall.selector, UNIT - 1, UNIT));
        staking.stake(1, UNIT - 1);
        staking.stake(1, UNIT);
        staking.stake(1, 1); // on top of the least, anything
        _addNode(STAKE);
        _nextEpoch();
        _payOutAll();
        staking.stake(1, 1);
    }

    function test_stake_during_a_standstill_joins_at_the_rate_at_which_the_epoch_was_settled() public {
        _addNodes(4);
        _nextEpoch();
        vm.warp(block.timestamp + 4 * (EPOCH_S + DEADLINE_S) + 1);
        _payOutAll();
        vm.assertEq(staking.stake(1, UNIT), 2);
        vm.assertEq(staking.sharesOf(1, address(this)), STAKE + UNIT);
        vm.assertEq(staking.stakeOn(1), STAKE); // as young it elects nobody
        vm.warp(block.timestamp + 2 * EPOCH_S);
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

    function test_mint_reverts_for_anyone_but_the_owner() public {
        vm.expectRevert(abi.encodeWithSelector(Ownable.OwnableUnauthorizedAccount.selector, STAKER));
        vm.prank(STAKER);
        token.mint(STAKER, 1);
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
        vm.assertEq(_shardsIn(committee.committeeOf(2), 1).length, 25);
        vm.assertEq(_shardsIn(committee.committeeOf(2), 2).length, 25);
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

    function test_constructor_reverts_for_an_evidence_window_above_ninety_days() public {
        vm.expectRevert(abi.encodeWithSelector(Governed.InvalidParameter.selector, "evidenceWindow"));
        this.create(90 days + 1);
        this.create(90 days);
    }

    /// @dev Deploys and reverts with the constructor's reason.
    function create(uint256 evidenceWindow) external {
        bytes memory arguments =
            abi.encode(token, registry, address(committee), address(blobs), proofs, evidenceWindow, GOVERNOR, GUARDIAN);
        _create("artifacts/Staking.json", arguments);
    }

    function _checkJoining(uint32 epoch, uint256 amount) private view {
        IStaking.Joining[] memory joinings = staking.joiningsOf(1, address(this));
        vm.assertEq(joinings.length, 1);
        vm.assertEq(joinings[0].period, epoch);
        vm.assertEq(joinings[0].amount, amount);
    }
}
