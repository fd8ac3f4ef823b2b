// SPDX-License-Identifier: Apache-2.0
pragma solidity ^0.8.30;

import {Governed} from "src/Governed.sol";
import {ISpace} from "src/interfaces/ISpace.sol";
import {ICommittee} from "src/interfaces/ICommittee.sol";
import {IStaking} from "src/interfaces/IStaking.sol";
import {Messages} from "src/lib/Messages.sol";
import {Base} from "test/Base.t.sol";

/// @notice Attacks on the money that an audit found to work, each of which has to fail.
contract LootingTest is Base {
    address private constant ATTACKER = address(0xbad);
    address private constant STAKER = address(0xbeef);
    uint64 private constant SPACE = 1000 << 20;
    uint256 private constant COST = 1000 ether; // of SPACE, an epoch: 200 for each of five members, 180 for its stakers

    function setUp() public override {
        super.setUp();
        _addNodes(5);
        _nextEpoch();
        _payOutAll();
        vm.prank(GOVERNOR);
        blobs.setTerms(ISpace.Terms(1 ether, 0, CAPACITY));
    }

    // Pay for stake that did not serve

    function test_just_in_time_stake_takes_nothing_of_past_epochs() public {
        blobs.reserve(SPACE, 3, ANY);
        _nextEpoch();
        _nextEpoch();
        _nextEpoch(); // epoch 4: three epochs are over and unpaid
        _fund(ATTACKER, 9 * STAKE);
        vm.startPrank(ATTACKER);
        vm.assertEq(staking.stake(1, 9 * STAKE), 5);
        _payOut(1, ALL);
        vm.expectRevert(abi.encodeWithSelector(IStaking.NotEnoughShares.selector, 0, 1));
        staking.unstake(1, 1); // and cannot go at once
        vm.stopPrank();
        vm.assertEq(staking.stakeOf(1, ATTACKER), 9 * STAKE);
        vm.assertEq(staking.stakeOf(1, address(this)), STAKE + 3 * 180 ether);
    }

    function test_stake_that_is_unbonding_earns_what_dust_beside_it_does() public {
        _select();
        staking.unstake(1, STAKE - 1e9); // stands for epoch 2, for which it is elected
        vm.warp(block.timestamp + EPOCH_S - EPOCH_S / 2);
        committee.start();
        blobs.reserve(SPACE, 1, ANY); // for epoch 2
        _nextEpoch();
        _payOutAll();
        uint256 dust = staking.stakeOf(1, address(this));
        vm.assertLe(dust, 1e9 + 1e9 * 180 / 1000);
        uint256 unbonding = staking.unbondingsOf(1, address(this), 0)[0].amount;
        vm.assertEq(dust + unbonding, STAKE + 180 ether);
    }

    /// @dev Pay that comes before stake joins makes a share dearer, so that the stake may become fewer shares than one has
    /// to stake with; it is worth what was staked, but for less than one of them, and can be taken off.
    function testFuzz_pay_before_stake_joins_takes_less_than_a_share_of_it(uint256 amount, uint256 pay) public {
        amount = _between(amount, 1e9, 1e24);
        pay = _between(pay, 0, 1e30);
        _fund(STAKER, amount);
        vm.prank(STAKER);
        staking.stake(1, amount);
        _nextEpoch();
        _reward(1, pay);
        (uint256 tokens, uint256 shares) = staking.poolOf(1);
        uint256 joined = staking.stakeOf(1, STAKER);
        vm.assertLe(joined, amount);
        vm.assertLe(amount - joined, tokens / shares + 1);
        uint256 held = staking.sharesOf(1, STAKER);
        if (held == 0) return;
        vm.prank(STAKER);
        staking.unstake(1, held);
    }

    function test_dust_takes_nothing_of_stakers_that_left() public {
        blobs.reserve(SPACE, 1, ANY);
        _nextEpoch(); // epoch 1 is over: its stakers have earned 180
        staking.unstake(1, STAKE);
        _fund(ATTACKER, 1e9);
        vm.startPrank(ATTACKER);
        staking.stake(1, 1e9);
        _payOut(1, ALL);
        vm.stopPrank();
        vm.assertEq(staking.stakeOf(1, ATTACKER), 1e9);
        _nextEpoch();
        _payOut(1, ALL);
        vm.assertEq(staking.stakeOf(1, ATTACKER), 1e9);
        vm.assertEq(staking.unbondingsOf(1, address(this), 0)[0].amount, STAKE + 180 ether);
    }

    function test_the_last_stakers_leaving_gives_nothing_to_the_next() public {
        blobs.reserve(SPACE, 2, ANY);
        staking.unstake(1, STAKE); // serves epoch 1
        _fund(ATTACKER, 1e9);
        vm.prank(ATTACKER);
        staking.stake(1, 1e9); // from epoch 2 on, for which the node is worth no shard
        _nextEpoch();
        _nextEpoch();
        _payOutAll();
        vm.assertLe(staking.stakeOf(1, ATTACKER), 1e9 + COST / 100); // at most a shard's pay
        vm.assertEq(staking.unbondingsOf(1, address(this), 0)[0].amount, STAKE + 180 ether);
    }

    function test_nobody_can_make_the_least_position_on_anothers_node_dear() public {
        uint32 nodeId = _addNode(0); // a newcomer
        _fund(ATTACKER, 10_001 ether);
        vm.startPrank(ATTACKER);
        staking.stake(nodeId, 1e9);
        uint256[] memory amounts = new uint256[](1);
        amounts[0] = 10_000 ether;
        vm.expectRevert(abi.encodeWithSelector(IStaking.NotPayer.selector, ATTACKER));
        staking.settle(nodeId, amounts);
        vm.stopPrank();
        _nextEpoch();
        _payOutAll();
        vm.assertEq(staking.sharesFor(nodeId, 1e9), 1e9);
        _fund(STAKER, 1e9);
        vm.prank(STAKER);
        staking.stake(nodeId, 1e9);
    }

    function test_nobody_can_make_shares_of_what_is_unbonding_dear_at_a_standstill() public {
        _fund(STAKER, 100 ether);
        vm.prank(STAKER);
        staking.stake(1, 100 ether);
        _nextEpoch();
        _payOutAll();
        uint32 unlockPeriod = staking.unstake(1, 10); // by the attacker, as all from here on
        vm.warp(block.timestamp + 4 * (EPOCH_S + DEADLINE_S) + 1);
        _reward(1, 1000 ether); // a share is worth 1.8 units, and a bit
        staking.cancelUnstaking(1, unlockPeriod, 9);
        for (uint256 i; i < 70; ++i) {
            (uint256 tokens, uint256 shares) = staking.unbondingPoolOf(1, unlockPeriod);
            uint256 tooLittle = staking.sharesFor(1, tokens / shares - 1); // for a share; without a limit, this doubles it
            staking.unstake(1, tooLittle == 0 ? 1 : tooLittle);
        }
        uint256 worth = staking.stakeOf(1, STAKER);
        vm.startPrank(STAKER);
        staking.unstake(1, staking.sharesOf(1, STAKER));
        vm.assertLe(worth - staking.withdraw(1, unlockPeriod), 10);
    }

    // Pay without service

    function test_attesting_in_the_last_second_earns_next_to_nothing() public {
        _replaceMembers(1); // node 6 for node 1: 20 shards to rebuild; 80 kept, so the handover is done
        blobs.reserve(SPACE, 1, ANY);
        _select();
        vm.warp(block.timestamp + EPOCH_S - EPOCH_S / 2 - 1);
        _attest(6, _gained(6));
        vm.warp(block.timestamp + 1);
        committee.start();
        vm.assertEq(blobs.owed(2, 6), 200 ether / EPOCH_S);
    }

    function test_missing_shards_pay_nobody_else() public {
        _replaceMembers(1);
        blobs.reserve(SPACE, 1, ANY);
        _nextEpoch(); // node 6 attested none of its 20
        vm.assertEq(blobs.owed(2, 2), 200 ether);
        _payOutAll();
        vm.assertEq(blobs.unearned(), 200 ether);
    }

    function test_a_silent_node_is_not_paid() public {
        blobs.reserve(SPACE, 1, ANY);
        _eject(5, 3);
        _nextEpoch();
        vm.assertEq(blobs.owed(1, 3), 0);
        vm.assertEq(_payOutAll(), 800 ether);
    }

    function test_a_payment_nobody_earned_is_paid_for_the_next_epoch() public {
        _replaceMembers(5);
        blobs.reserve(SPACE, 1, ANY);
        vm.warp(block.timestamp + DEADLINE_S);
        committee.close(); // nobody attested anything
        _addNodes(5);
        _nextEpoch();
        vm.assertEq(_payOutAll(), 0);
        vm.assertEq(blobs.unearned(), COST);
    }

    // Stake that is gone before it can be slashed

    function test_stake_can_be_slashed_after_the_epoch_it_stood_for() public {
        vm.prank(GOVERNOR);
        staking.setSlasher(address(this));
        for (uint256 i; i < 3; ++i) {
            _nextEpoch();
        }
        _passEvidenceWindow();
        _select();
        uint32 unlockPeriod = staking.unstake(1, STAKE / 2); // elected for epoch 5
        vm.warp(block.timestamp + EPOCH_S);
        committee.start();
        _nextEpoch(); // 6
        vm.expectRevert(abi.encodeWithSelector(IStaking.StillBonded.selector, unlockPeriod));
        staking.withdraw(1, unlockPeriod);
        _payOutAll();
        vm.assertEq(staking.slash(1, 1e17, "false attestation in epoch 5", address(0), 0), STAKE / 10);
        _passEvidenceWindow();
        vm.assertEq(staking.withdraw(1, unlockPeriod), STAKE / 2 - STAKE / 20);
    }

    function test_stake_stays_while_certificates_of_its_epoch_count() public {
        _select();
        uint32 unlockPeriod;
        // All that were elected for epoch 2.
        for (uint32 i = 1; i <= 5; ++i) {
            unlockPeriod = staking.unstake(i, STAKE);
        }
        vm.warp(block.timestamp + EPOCH_S - EPOCH_S / 2);
        committee.start();
        blobs.reserveAndRegister(ROOT, LENGTH, 1, 5, false, ANY, ANY);
        (bytes memory bitmap, bytes memory signature) =
            _certificate(5, 0, _message(Messages.BLOB, 2, Messages.permanentBlob(ID)));
        for (uint32 i = 1; i <= 5; ++i) {
            _leave(i);
        }
        _addNodes(5);
        _nextEpoch(); // 3, all others: its handover is not done
        _passEvidenceWindow();
        _payOutAll();
        vm.expectRevert(abi.encodeWithSelector(IStaking.StillBonded.selector, unlockPeriod));
        staking.withdraw(1, unlockPeriod);
        blobs.certify(1, 2, bitmap, signature);
    }

    function test_a_network_cannot_be_captured_with_tokens_that_are_borrowed_for_a_transaction() public {
        // Even when epochs have come to a standstill and withdrawals wait for none.
        vm.warp(block.timestamp + 4 * (EPOCH_S + DEADLINE_S) + 1);
        _payOutAll();
        _fund(ATTACKER, 1e6 * STAKE);
        vm.startPrank(ATTACKER);
        staking.stake(1, 1e6 * STAKE);
        uint256 shares = staking.sharesOf(1, ATTACKER);
        committee.select();
        uint32 unlockPeriod = staking.unstake(1, shares);
        vm.expectRevert(abi.encodeWithSelector(IStaking.StillBonded.selector, unlockPeriod));
        staking.withdraw(1, unlockPeriod);
        vm.warp(block.timestamp + NOTICE_S);
        committee.start();
        vm.expectRevert(abi.encodeWithSelector(IStaking.StillBonded.selector, unlockPeriod));
        staking.withdraw(1, unlockPeriod);
        vm.stopPrank();
        vm.assertEq(unlockPeriod, committee.epoch() + 1);
    }

    /// @dev By parameters half as long the period that runs would have stalled: it is judged by those it began with.
    function test_shortening_periods_opens_no_unbonding() public {
        vm.warp(committee.state().regularHandoverDone + 2 * (EPOCH_S + DEADLINE_S) + 1);
        ICommittee.Parameters memory given = _parameters(500);
        (given.periodDuration, given.handoverDeadline) = (EPOCH_S / 2, DEADLINE_S / 2);
        vm.prank(GOVERNOR);
        committee.setParameters(given);
        vm.assertFalse(committee.isStalled());
        _payOutAll();
        uint32 unlockPeriod = staking.unstake(1, STAKE);
        vm.expectRevert(abi.encodeWithSelector(IStaking.StillBonded.selector, unlockPeriod));
        staking.withdraw(1, unlockPeriod);
    }

    function test_the_governor_takes_no_stake() public {
        staking.unstake(1, STAKE); // the moment it is announced
        vm.prank(GOVERNOR);
        staking.setSlasher(GOVERNOR);
        vm.expectRevert(abi.encodeWithSelector(IStaking.NotSlasher.selector, GOVERNOR));
        vm.prank(GOVERNOR);
        staking.slash(2, 1e17, 0, address(0), 0);
        _nextEpoch();
        _passEvidenceWindow();
        _payOutAll();
        vm.assertEq(staking.withdraw(1, 2), STAKE); // who wants to leave has left
        _nextEpoch();
        _nextEpoch();
        _passEvidenceWindow();
        _payOutAll();
        vm.startPrank(GOVERNOR);
        vm.assertEq(staking.slash(2, 1e17, 0, address(0), 0), STAKE / 10); // of the others a tenth an epoch, and it is burnt
        vm.expectRevert(abi.encodeWithSelector(IStaking.InvalidFraction.selector, 1, 0));
        staking.slash(2, 1, 0, address(0), 0);
        vm.stopPrank();
        vm.assertEq(token.balanceOf(GOVERNOR), 0);
    }

    // Free space

    function test_space_is_never_free() public {
        vm.expectRevert(abi.encodeWithSelector(Governed.InvalidParameter.selector, "price"));
        vm.prank(GOVERNOR);
        blobs.setTerms(ISpace.Terms(0, 0, CAPACITY));
    }
}
