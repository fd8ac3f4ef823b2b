// SPDX-License-Identifier: Apache-2.0
pragma solidity ^0.8.30;

import {ICommittee} from "src/interfaces/ICommittee.sol";
import {ISpace} from "src/interfaces/ISpace.sol";
import {IStaking} from "src/interfaces/IStaking.sol";
import {Messages} from "src/lib/Messages.sol";
import {Base} from "test/Base.t.sol";

/// @notice What was paid for an epoch goes to its members by the parts they earned, and the rest to the next epoch's.
contract PaymentsTest is Base {
    uint256 private constant NODES = 5; // 20 shards each
    uint64 private constant MEBIBYTE = 1 << 20;
    uint64 private constant SPACE = 1000 * MEBIBYTE;
    uint256 private constant COST = 1000 * uint256(PRICE); // of SPACE, per epoch
    uint256 private constant PARTS = 10_000; // a shard's

    function setUp() public override {
        super.setUp();
        _addNodes(NODES);
        _nextEpoch();
        _payOutAll();
    }

    function test_payOut_shares_an_epoch_out_by_shards() public {
        blobs.reserve(SPACE, 3, ANY);
        _nextEpoch();
        vm.assertEq(blobs.owed(1, 1), COST / 5);
        vm.expectEmit();
        emit ISpace.PeriodClosed(1, COST, COST / (100 * PARTS), 0);
        vm.expectEmit();
        emit ISpace.PaidOut(1, 1, COST / 5);
        vm.expectEmit();
        emit IStaking.Rewarded(1, 1, _operator(1), COST / 5, COST / 50);
        vm.assertEq(_payOut(1, 2), COST / 5);
        vm.assertEq(blobs.owed(1, 1), 0);
        vm.assertEq(blobs.owed(1, 2), COST / 5);
        vm.assertEq(staking.settledPeriod(1), 2);
        vm.assertEq(staking.stakeOn(1), STAKE + COST / 5 - COST / 50);
        vm.assertEq(staking.earningsOf(_operator(1)), COST / 50);
        vm.assertEq(_payOutAll(), COST * 4 / 5);
        vm.assertEq(token.balanceOf(address(blobs)), 2 * COST); // of epochs 2 and 3
        vm.assertEq(token.balanceOf(address(staking)), NODES * STAKE + COST);
    }

    function test_payOut_of_many_epochs_and_nodes_by_anyone_much_later() public {
        blobs.reserve(SPACE, 2, ANY);
        for (uint256 i; i < 5; ++i) {
            _nextEpoch();
        }
        vm.prank(address(0xbeef));
        vm.assertEq(_payOutAll(), 2 * COST);
        vm.assertEq(staking.settledPeriod(1), 6);
        vm.assertEq(staking.settledPeriod(5), 6);
        vm.assertEq(token.balanceOf(address(blobs)), 0);
    }

    function test_payOut_ends_where_it_is_told_to() public {
        blobs.reserve(SPACE, 3, ANY);
        _nextEpoch();
        _nextEpoch();
        vm.assertEq(_payOut(1, 1), 0);
        vm.assertEq(blobs.openPeriod(), 1);
        vm.assertEq(_payOut(1, 2), COST / 5);
        vm.assertEq(blobs.openPeriod(), 2);
        vm.assertEq(staking.settledPeriod(1), 2);
        vm.assertEq(_payOut(1, 3), COST / 5);
    }

    function test_payOut_skips_what_is_done() public {
        blobs.reserve(SPACE, 1, ANY);
        _nextEpoch();
        uint32[] memory twice = new uint32[](2);
        (twice[0], twice[1]) = (1, 1);
        vm.assertEq(blobs.payOut(twice, ALL), COST / 5);
        vm.assertEq(blobs.payOut(twice, ALL), 0);
    }

    function test_payOut_leaves_the_current_epoch() public {
        blobs.reserve(SPACE, 1, ANY);
        vm.assertEq(_payOutAll(), 0);
        _select();
        vm.assertEq(_payOutAll(), 0);
        vm.assertEq(blobs.openPeriod(), 1);
        vm.assertEq(staking.settledPeriod(1), 1);
        vm.expectRevert(abi.encodeWithSelector(ISpace.NotOver.selector, 1));
        blobs.owed(1, 1);
        vm.expectRevert(abi.encodeWithSelector(ICommittee.WrongPeriod.selector, 0, 1));
        blobs.owed(0, 1);
    }

    function test_payOut_of_no_member_is_nothing() public {
        blobs.reserve(SPACE, 1, ANY);
        _addNode(STAKE); // 6
        _nextEpoch();
        vm.assertEq(blobs.owed(1, 6), 0);
        vm.assertEq(_payOut(6, ALL), 0);
        vm.assertEq(_payOut(99, ALL), 0);
        vm.assertEq(staking.sharesOf(6, address(this)), STAKE);
    }

    function test_unpaid_names_the_nodes_with_stake_that_are_not_settled() public {
        _addNode(0); // 6, without stake
        _addNode(STAKE); // 7
        uint32[] memory nodeIds = new uint32[](5);
        for (uint32 i; i < 5; ++i) {
            nodeIds[i] = 3 + i;
        }
        vm.assertEq(blobs.unpaid(1, nodeIds).length, 0); // the epoch runs
        _nextEpoch();
        _payOut(5, ALL);
        uint32[] memory found = blobs.unpaid(1, nodeIds);
        vm.assertEq(found.length, 3);
        vm.assertEq(found[0], 3);
        vm.assertEq(found[1], 4);
        vm.assertEq(found[2], 7);
        _payOutAll();
        vm.assertEq(blobs.unpaid(1, nodeIds).length, 0);
    }

    function test_payOut_takes_the_commission_of_its_epoch() public {
        blobs.reserve(SPACE, 2, ANY);
        vm.prank(_operator(1));
        registry.changeCommission(1, 0); // from epoch 2 on
        _nextEpoch();
        _nextEpoch();
        _payOut(1, ALL);
        vm.assertEq(staking.earningsOf(_operator(1)), COST / 50);
    }

    function test_payOut_works_while_everything_is_paused() public {
        blobs.reserve(SPACE, 1, ANY);
        _nextEpoch();
        vm.startPrank(GUARDIAN);
        blobs.pause(blobs.reserve.selector);
        blobs.pause(blobs.certify.selector);
        staking.pause(staking.stake.selector);
        vm.stopPrank();
        vm.assertEq(_payOut(1, ALL), COST / 5);
    }

    function test_owed_knows_what_epochs_before_left_over_before_they_are_closed() public {
        _missInEpoch2();
        _nextEpoch();
        vm.assertEq(blobs.openPeriod(), 1);
        uint256 owed = blobs.owed(3, 4);
        vm.assertTrue(owed > COST / 5);
        uint256 second = blobs.owed(2, 4);
        vm.assertEq(_payOut(4, ALL), owed + second);
    }

    // Time: epoch 2 begins with 20 shards that node 6 gained from node 1

    function test_a_shard_earns_from_its_attestation_on() public {
        _gainInEpoch2();
        vm.warp(block.timestamp + EPOCH_S / 4);
        _attest(6, _part(_gained(6), 0, 8));
        vm.warp(block.timestamp + EPOCH_S / 2);
        _attest(6, _part(_gained(6), 8, 20));
        _nextEpoch();
        uint256 parts = 8 * PARTS * 3 / 4 + 12 * PARTS / 4;
        vm.assertEq(committee.earnings(2, 6), parts);
        vm.assertEq(committee.earnings(2, 2), 20 * PARTS);
        vm.assertEq(committee.earned(2), 80 * PARTS + parts);
        vm.assertEq(blobs.owed(2, 6), COST * parts / (100 * PARTS));
        _checkRollsOn(2, COST * (80 * PARTS + parts) / (100 * PARTS));
    }

    function test_a_shard_attested_after_the_epochs_duration_earns_nothing_however_late_the_next_start() public {
        _gainInEpoch2();
        vm.warp(block.timestamp + EPOCH_S);
        _attest(6, _gained(6));
        vm.warp(block.timestamp + 3 * EPOCH_S);
        committee.select();
        vm.warp(block.timestamp + NOTICE_S);
        committee.start();
        vm.assertEq(committee.earnings(2, 6), 0);
        _checkRollsOn(2, COST * 4 / 5);
    }

    function test_what_is_attested_at_once_earns_the_whole_epoch() public {
        _gainInEpoch2();
        _attest(6, _gained(6));
        _nextEpoch();
        vm.assertEq(committee.earnings(2, 6), 20 * PARTS);
        _checkRollsOn(2, COST);
    }

    // Ejection

    function test_an_ejected_member_earns_nothing_for_its_epoch_and_nobody_else_more() public {
        blobs.reserve(SPACE, 2, ANY);
        vm.warp(block.timestamp + EPOCH_S / 4);
        _eject(5, 3);
        _nextEpoch();
        vm.assertEq(committee.earnings(1, 3), 0);
        vm.assertEq(committee.earned(1), 80 * PARTS);
        vm.assertEq(blobs.owed(1, 3), 0);
        vm.assertEq(blobs.owed(1, 2), COST / 5);
        vm.assertEq(_payOutAll(), COST * 4 / 5);
    }

    function test_what_an_ejected_member_attests_earns_nothing() public {
        _leave(1);
        _nextEpoch(); // without node 1: the others gain 5 shards each
        blobs.reserve(SPACE, 1, ANY);
        vm.warp(block.timestamp + EPOCH_S / 4);
        _attest(3, _part(_gained(3), 0, 2));
        _ejectIn2();
        _attest(3, _part(_gained(3), 2, 4));
        _nextEpoch();
        vm.assertEq(committee.earnings(2, 3), 0);
        vm.assertEq(committee.earned(2), 60 * PARTS);
    }

    function test_an_ejection_after_the_epoch_may_have_been_paid_as_stalled_takes_no_pay() public {
        _gainInEpoch2();
        vm.warp(block.timestamp + 4 * (EPOCH_S + DEADLINE_S) + 1);
        vm.assertEq(_payOut(2, ALL), COST / 5); // the handover was done at the start: it has stalled
        _select();
        _ejectIn2();
        vm.assertEq(committee.earnings(2, 3), 20 * PARTS);
        committee.select();
        vm.warp(block.timestamp + NOTICE_S);
        committee.start();
        vm.assertEq(_payOutAll(), COST * 3 / 5);
    }

    // Epoch 2: nodes 1 to 3 left, 6 to 8 came, and gained 60 of the 100 shards; 7 attests 10 of its 20, 8 none

    function test_missing_shards_earn_nothing_and_nobody_else_more() public {
        _missInEpoch2();
        vm.assertEq(blobs.owed(2, 4), COST / 5);
        vm.assertEq(blobs.owed(2, 5), COST / 5);
        vm.assertEq(blobs.owed(2, 6), COST / 5);
        vm.assertEq(blobs.owed(2, 7), COST / 10);
        vm.assertEq(blobs.owed(2, 8), 0);
        vm.assertEq(committee.earned(2), 70 * PARTS);
        _checkRollsOn(2, COST * 7 / 10);
    }

    function test_an_epoch_that_nobody_served_is_paid_for_the_next() public {
        _replaceMembers(5);
        blobs.reserve(SPACE, 1, ANY);
        vm.warp(block.timestamp + DEADLINE_S);
        committee.close();
        _addNodes(5);
        _nextEpoch();
        vm.assertEq(committee.earned(2), 0);
        vm.assertEq(_payOutAll(), 0);
        vm.assertEq(blobs.unearned(), COST);
        for (uint32 nodeId = 6; nodeId <= 15; ++nodeId) {
            _attest(nodeId, _shardsIn(committee.committeeOf(3), nodeId));
        }
        _nextEpoch();
        vm.assertEq(_payOutAll(), COST);
        vm.assertEq(token.balanceOf(address(blobs)), 0);
    }

    function test_missing_shards_have_to_be_attested_in_the_next_epoch() public {
        _missInEpoch2();
        uint16[] memory missing = committee.missingShards(2);
        vm.assertEq(missing.length, 30);
        vm.assertEq(keccak256(abi.encode(missing)), keccak256(abi.encode(committee.missingShards(3))));
        vm.assertEq(committee.missingShards(1).length, 0);
        // Node 8 kept its shards from epoch 2 to 3, and has not shown that it has them.
        uint16[] memory shards = _shardsIn(committee.committeeOf(3), 8);
        vm.assertEq(_gained(8).length, 0);
        _attest(8, shards);
        vm.assertEq(committee.missingShards(3).length, 10);
        vm.assertEq(committee.missingShards(2).length, 30);
        (bool done,,) = committee.attestation(shards[0]);
        vm.assertTrue(done);
    }

    function test_what_was_attested_counts_as_kept_in_the_next_epoch() public {
        _missInEpoch2();
        uint16[] memory shards = _shardsIn(committee.committeeOf(3), 6);
        _expectAttestReverts(6, shards[0], abi.encodeWithSelector(ICommittee.ShardIsKept.selector, shards[0]));
        shards = _shardsIn(committee.committeeOf(3), 7);
        _attest(7, _part(shards, 10, 20)); // what it had not attested
        _expectAttestReverts(7, shards[9], abi.encodeWithSelector(ICommittee.ShardIsKept.selector, shards[9]));
    }

    function test_missing_shards_count_as_not_held_at_the_next_start() public {
        _replaceMembers(3);
        _attest(6, _gained(6));
        vm.warp(block.timestamp + DEADLINE_S);
        committee.close(); // 40 shards are missing, more than a third
        _nextEpoch();
        // Nobody gained anything, and still this is no handover that is done.
        vm.assertEq(_gained(7).length + _gained(8).length, 0);
        vm.assertFalse(committee.state().handoverDone);
        _attest(7, _part(_shardsIn(committee.committeeOf(3), 7), 0, 7));
        vm.assertTrue(committee.state().handoverDone);
    }

    function test_missing_shards_taken_over_by_another_node_are_gained_by_it() public {
        _missInEpoch2();
        _leave(8);
        _addNode(STAKE); // node 9
        _nextEpoch();
        uint16[] memory shards = _shardsIn(committee.committeeOf(4), 9);
        vm.assertEq(shards.length, 20);
        _attest(9, shards);
    }

    function test_missingShards_reverts_for_a_coming_epoch() public {
        vm.expectRevert(abi.encodeWithSelector(ICommittee.WrongEpoch.selector, 2, 1));
        committee.missingShards(2);
    }

    function test_payouts_and_what_rolls_on_are_a_payment_to_the_wei(uint256 paid, uint256 attested, uint256 time)
        public
    {
        _replaceMembers(3);
        vm.prank(GOVERNOR);
        blobs.setTerms(ISpace.Terms(uint80(_between(paid, 1, type(uint80).max)), 0, CAPACITY));
        token.mint(address(this), type(uint80).max);
        blobs.reserve(1, 1, ANY);
        paid = token.balanceOf(address(blobs));
        _attest(6, _gained(6));
        vm.warp(block.timestamp + _between(time, 0, EPOCH_S));
        _attest(7, _part(_gained(7), 0, _between(attested, 7, 20)));
        _nextEpoch();
        uint256 owed;
        for (uint32 nodeId = 4; nodeId <= 8; ++nodeId) {
            owed += blobs.owed(2, nodeId);
        }
        vm.assertEq(_payOutAll(), owed);
        vm.assertEq(paid, owed + blobs.unearned());
        vm.assertEq(token.balanceOf(address(blobs)), blobs.unearned());
    }

    /// @dev Epoch 3 runs, with the committee of epoch 2.
    function _missInEpoch2() private {
        _replaceMembers(3);
        blobs.reserve(SPACE, 2, ANY);
        _attest(6, _gained(6));
        _attest(7, _part(_gained(7), 0, 10));
        vm.assertTrue(committee.state().handoverDone);
        vm.assertEq(committee.missingShards(2).length, 30);
        _nextEpoch();
    }

    /// @dev Epoch 2 has begun, is paid for, and node 6 is to attest 20 shards.
    function _gainInEpoch2() private {
        _replaceMembers(1);
        vm.assertTrue(committee.state().handoverDone);
        blobs.reserve(SPACE, 1, ANY);
        vm.assertEq(_gained(6).length, 20);
    }

    /// @dev Node 3 in epoch 2, whose first members are nodes 2 to 5; by these.
    function _ejectIn2() private {
        uint256 secret;
        for (uint32 nodeId = 2; nodeId <= 5; ++nodeId) {
            secret = addmod(secret, _secret(nodeId), ORDER);
        }
        uint64 deadline = uint64(block.timestamp);
        bytes memory message = _message(Messages.EJECT, 2, Messages.ejection(3, 1, deadline));
        committee.eject(3, 1, deadline, hex"0f", _sign(secret, message));
    }

    /// @dev All are paid what they earned in an epoch, and the rest waits for the next, apart from what is paid for it.
    function _checkRollsOn(uint32 epoch, uint256 earned) private {
        (, uint128 payment) = blobs.accounts(epoch);
        (, uint128 before) = blobs.accounts(epoch + 1);
        vm.assertEq(_payOutAll(), earned);
        (, uint128 next) = blobs.accounts(epoch + 1);
        vm.assertEq(next, before);
        vm.assertEq(blobs.unearned(), payment - earned);
    }
}
