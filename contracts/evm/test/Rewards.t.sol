// SPDX-License-Identifier: Apache-2.0
pragma solidity ^0.8.30;

import {IStaking} from "src/interfaces/IStaking.sol";
import {Base} from "test/Base.t.sol";

/// @notice Settling: what a node's pay does to its pool's exchange rate, whose the commission is, at which rate stake
/// comes and goes, and that nobody can move a rate or gain by rounding.
contract RewardsTest is Base {
    address private constant RECEIVER = address(0xa0001); // of node 1
    address private constant STAKER = address(0xbeef);
    address private constant ATTACKER = address(0xbad);
    uint256 private constant UNIT = 1e9; // the least stake

    // What comes in

    function test_settle_is_the_stakers_but_for_the_commission() public {
        _served(1);
        uint256[] memory amounts = new uint256[](1);
        amounts[0] = 200 ether;
        token.mint(address(blobs), 200 ether);
        vm.expectEmit();
        emit IStaking.Rewarded(1, 1, RECEIVER, 200 ether, 20 ether);
        vm.expectEmit();
        emit IStaking.Settled(1, 2, STAKE + 180 ether, STAKE, 0, 0);
        vm.prank(address(blobs));
        staking.settle(1, amounts);
        vm.assertEq(staking.stakeOf(1, address(this)), STAKE + 180 ether);
        vm.assertEq(staking.sharesOf(1, address(this)), STAKE);
        vm.assertEq(staking.stakeOn(1), STAKE + 180 ether);
        vm.assertEq(staking.earningsOf(RECEIVER), 20 ether);
        vm.assertEq(token.balanceOf(address(staking)), STAKE + 200 ether);
        vm.assertEq(staking.settledPeriod(1), 2);
    }

    function test_settle_is_by_what_each_has_staked() public {
        _addNode(STAKE);
        _staked(STAKER, STAKE / 4);
        _nextEpoch();
        _payOutAll();
        _nextEpoch();
        _reward(1, 1000 ether);
        vm.assertEq(staking.stakeOf(1, address(this)), STAKE + 720 ether);
        vm.assertEq(staking.stakeOf(1, STAKER), STAKE / 4 + 180 ether);
    }

    function test_settle_of_several_epochs_at_once_is_settling_each() public {
        _served(2);
        uint256[] memory amounts = new uint256[](2);
        (amounts[0], amounts[1]) = (100 ether, 50 ether);
        token.mint(address(blobs), 150 ether);
        vm.prank(address(blobs));
        staking.settle(1, amounts);
        vm.assertEq(staking.settledPeriod(1), 3);
        vm.assertEq(staking.stakeOf(1, address(this)), STAKE + 135 ether);
        vm.assertEq(staking.earningsOf(RECEIVER), 15 ether);
    }

    function test_settle_takes_the_commission_of_its_epoch_after_a_later_change() public {
        _addNode(STAKE);
        _nextEpoch();
        _payOutAll();
        vm.prank(RECEIVER);
        registry.changeCommission(1, 3_000); // from epoch 2 on
        _nextEpoch();
        _nextEpoch();
        _reward(1, 100 ether);
        vm.assertEq(staking.earningsOf(RECEIVER), 10 ether);
        _reward(1, 100 ether);
        vm.assertEq(staking.earningsOf(RECEIVER), 40 ether);
    }

    function test_settle_rounds_the_commission_down() public {
        _served(1);
        _reward(1, 9);
        vm.assertEq(staking.earningsOf(RECEIVER), 0);
        vm.assertEq(staking.stakeOn(1), STAKE + 9);
    }

    function test_settle_reverts_for_anyone_but_the_payer() public {
        _served(1);
        address[3] memory others = [address(this), GOVERNOR, RECEIVER];
        for (uint256 i; i < others.length; ++i) {
            vm.expectRevert(abi.encodeWithSelector(IStaking.NotPayer.selector, others[i]));
            vm.prank(others[i]);
            staking.settle(1, new uint256[](1));
        }
    }

    // At which rate stake comes and goes

    function test_stake_joins_at_the_rate_of_its_epoch_and_earns_nothing_before() public {
        _served(1); // epoch 2 runs
        _fund(STAKER, STAKE);
        vm.prank(STAKER);
        staking.stake(1, STAKE); // with 3
        _reward(1, 1000 ether); // of epoch 1: a share is worth 1.9
        vm.assertEq(staking.stakeOf(1, STAKER), STAKE);
        _nextEpoch();
        _reward(1, 1900 ether); // of epoch 2
        uint256 worth = STAKE + 900 ether + 1710 ether;
        vm.assertLe(staking.stakeOf(1, address(this)), worth + 1); // what rounding the other's shares has left
        vm.assertLe(worth, staking.stakeOf(1, address(this)));
        vm.assertEq(staking.sharesOf(1, STAKER), STAKE * STAKE / worth);
        _nearly(staking.stakeOf(1, STAKER), STAKE);
        _nextEpoch();
        _reward(1, 400 ether); // of epoch 3, less the commission: shared by both, by what each has
        _nearly(staking.stakeOf(1, STAKER), STAKE + 360 ether * STAKE / (worth + STAKE));
    }

    function test_shares_leave_with_the_pay_of_their_last_epoch_and_no_later_one() public {
        _served(1); // epoch 2 runs
        _reward(1, 0);
        staking.unstake(1, STAKE / 2); // stands for 2, the last time
        _fund(STAKER, STAKE);
        vm.prank(STAKER);
        staking.stake(1, STAKE);
        vm.assertEq(staking.unbondingsOf(1, address(this), 0)[0].amount, STAKE / 2);
        _nextEpoch();
        _reward(1, 1000 ether); // of epoch 2: 450 for each half
        vm.assertEq(staking.unbondingsOf(1, address(this), 0)[0].amount, STAKE / 2 + 450 ether);
        _nextEpoch();
        _reward(1, 1000 ether); // of epoch 3
        vm.assertEq(staking.unbondingsOf(1, address(this), 0)[0].amount, STAKE / 2 + 450 ether);
        vm.assertEq(staking.withdraw(1, 3), STAKE / 2 + 450 ether);
    }

    function test_whenever_a_node_is_settled_everybody_gets_the_same(uint256 seed) public {
        _addNode(STAKE);
        _addNode(STAKE);
        uint256[4] memory pay = [uint256(0), 111 ether, 7, 31 ether];
        for (uint32 epoch; epoch < 3; ++epoch) {
            _nextEpoch();
            // Node 1 is settled at once, node 2 when the seed says so. The same happens on both.
            _reward(1, pay[epoch]);
            if (seed >> epoch & 1 == 1) {
                for (uint32 behind = staking.settledPeriod(2); behind <= epoch; ++behind) {
                    _reward(2, pay[behind]);
                }
            }
            if (epoch == 1) _both(STAKER, 5 ether);
        }
        _nextEpoch();
        for (uint32 nodeId = 1; nodeId <= 2; ++nodeId) {
            for (uint32 behind = staking.settledPeriod(nodeId); behind <= 3; ++behind) {
                _reward(nodeId, pay[behind]);
            }
        }
        vm.assertEq(staking.stakeOf(1, STAKER), staking.stakeOf(2, STAKER));
        vm.assertEq(staking.stakeOf(1, address(this)), staking.stakeOf(2, address(this)));
        vm.assertTrue(staking.stakeOf(1, STAKER) > 5 ether - 2);
    }

    // Commissions

    function test_withdrawEarnings_pays_the_receiver_once() public {
        _served(1);
        _reward(1, 100 ether);
        vm.expectEmit();
        emit IStaking.EarningsWithdrawn(RECEIVER, 10 ether);
        vm.startPrank(RECEIVER);
        vm.assertEq(staking.withdrawEarnings(), 10 ether);
        vm.assertEq(token.balanceOf(RECEIVER), 10 ether);
        vm.expectRevert(abi.encodeWithSelector(IStaking.NothingEarned.selector, RECEIVER));
        staking.withdrawEarnings();
    }

    function test_withdrawEarnings_reverts_for_a_stranger() public {
        vm.expectRevert(abi.encodeWithSelector(IStaking.NothingEarned.selector, STAKER));
        vm.prank(STAKER);
        staking.withdrawEarnings();
    }

    // Rounding

    function test_joining_a_pool_with_dear_shares_loses_next_to_nothing(uint256 earned, uint256 staked) public {
        // The node's only stake is as little as possible; what it earned has raised the worth of its shares.
        _addNode(STAKE);
        _addNode(0);
        _fund(ATTACKER, UNIT);
        vm.prank(ATTACKER);
        staking.stake(2, UNIT);
        _nextEpoch();
        _payOutAll();
        _nextEpoch();
        earned = _between(earned, 1, 1e6 ether);
        staked = _between(staked, 1 ether, 1e6 ether);
        _reward(2, earned);
        _fund(STAKER, staked);
        uint256 shares = staking.sharesFor(2, staked);
        if (shares < UNIT) {
            // So few shares that rounding could matter: refused, not taken.
            vm.expectRevert(abi.encodeWithSelector(IStaking.StakeTooSmall.selector, shares, UNIT));
            vm.prank(STAKER);
            staking.stake(2, staked);
            return;
        }
        vm.prank(STAKER);
        staking.stake(2, staked);
        _nextEpoch();
        _reward(2, 0);
        // The staker loses at most a part in 10^9, and all that the other gains is that loss.
        vm.assertLe(staked - staking.stakeOf(2, STAKER), staked / UNIT + 1);
        vm.assertLe(staking.stakeOf(2, ATTACKER), UNIT + earned - earned / 10 + staked / UNIT + 1);
    }

    function test_stake_reverts_for_an_amount_that_is_worth_no_share() public {
        _served(1);
        _reward(1, STAKE);
        _fund(STAKER, 1);
        vm.expectRevert(abi.encodeWithSelector(IStaking.StakeTooSmall.selector, 0, UNIT));
        vm.prank(STAKER);
        staking.stake(1, 1);
    }

    function test_coming_and_going_never_gains(uint256 earned, uint256 staked, uint256 part) public {
        _served(1);
        earned = _between(earned, 1, 1e6 ether);
        staked = _between(staked, 1e6 * UNIT, 1e6 ether);
        _reward(1, earned);
        uint256 worth = staking.stakeOf(1, address(this));
        _staked(STAKER, staked); // with 3
        _nextEpoch();
        _reward(1, 0);
        uint256 shares = staking.sharesOf(1, STAKER);
        part = _between(part, 1, shares - UNIT);
        vm.startPrank(STAKER);
        staking.unstake(1, part);
        staking.unstake(1, shares - part);
        vm.stopPrank();
        vm.warp(block.timestamp + SHRINK_S); // nearly all of the stake may have gone
        _nextEpoch();
        _reward(1, 0);
        _passEvidenceWindow();
        vm.prank(STAKER);
        vm.assertLe(staking.withdraw(1, 4), staked);
        vm.assertLe(worth, staking.stakeOf(1, address(this)));
    }

    /// @dev Node 1 has served so many epochs, for which it is not settled; the next one runs.
    function _served(uint256 epochs) private {
        _addNode(STAKE);
        _nextEpoch();
        _payOutAll();
        for (uint256 i; i < epochs; ++i) {
            _nextEpoch();
        }
    }

    function _staked(address account, uint256 amount) private {
        _fund(account, amount);
        vm.prank(account);
        staking.stake(1, amount);
    }

    function _both(address account, uint256 amount) private {
        _fund(account, 2 * amount);
        vm.startPrank(account);
        staking.stake(1, amount);
        staking.stake(2, amount);
        vm.stopPrank();
    }

    /// @dev At most two units less than expected.
    function _nearly(uint256 amount, uint256 expected) private pure {
        vm.assertLe(amount, expected);
        vm.assertLe(expected, amount + 2);
    }
}
