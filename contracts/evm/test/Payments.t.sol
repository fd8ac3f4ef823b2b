// SPDX-License-Identifier: Apache-2.0
pragma solidity ^0.8.30;

import {Blobs} from "src/Blobs.sol";
import {Committee} from "src/Committee.sol";
import {Epochs} from "src/Epochs.sol";
import {Space} from "src/Space.sol";
import {Staking} from "src/Staking.sol";
import {Base} from "test/Base.t.sol";

/// @notice What was paid for an epoch goes to its members by the shards that they kept or attested.
contract PaymentsTest is Base {
    uint256 private constant NODES = 5; // 20 shards each
    uint64 private constant MEBIBYTE = 1 << 20;
    uint64 private constant SPACE = 1000 * MEBIBYTE;
    uint256 private constant COST = 1000 * uint256(PRICE); // of SPACE, per epoch: 5000

    function setUp() public override {
        super.setUp();
        _addNodes(NODES);
        _nextEpoch();
    }

    function test_payOut_shares_an_epoch_out_by_shards() public {
        blobs.reserve(SPACE, 3);
        _nextEpoch();
        vm.expectEmit();
        emit Staking.Rewarded(1, 1, _operator(1), 1000, 100);
        vm.assertEq(blobs.payOut(1, 1), 1000);
        vm.assertTrue(blobs.isPaid(1, 1));
        vm.assertEq(staking.stakeOn(1), STAKE + 900);
        vm.assertEq(staking.earningsOf(_operator(1)), 100);
        for (uint32 nodeId = 2; nodeId <= NODES; ++nodeId) {
            vm.expectEmit();
            emit Space.PaidOut(1, nodeId, 1000);
            blobs.payOut(1, nodeId);
        }
        vm.assertEq(token.balanceOf(address(blobs)), 2 * COST); // of epochs 2 and 3
        vm.assertEq(token.balanceOf(address(staking)), NODES * STAKE + COST);
    }

    function test_payOut_by_anyone_much_later() public {
        blobs.reserve(SPACE, 1);
        for (uint256 i; i < 5; ++i) {
            _nextEpoch();
        }
        vm.prank(address(0xbeef));
        vm.assertEq(blobs.payOut(1, 1), 1000);
    }

    function test_payOut_reverts_the_second_time() public {
        blobs.reserve(SPACE, 1);
        _nextEpoch();
        blobs.payOut(1, 1);
        _expectNothing(1, 1);
    }

    function test_payOut_reverts_for_the_current_epoch() public {
        blobs.reserve(SPACE, 1);
        vm.expectRevert(abi.encodeWithSelector(Epochs.WrongEpoch.selector, 1, 1));
        blobs.payOut(1, 1);
        _select();
        vm.expectRevert(abi.encodeWithSelector(Epochs.WrongEpoch.selector, 1, 1));
        blobs.payOut(1, 1);
    }

    function test_payOut_reverts_for_a_coming_epoch() public {
        blobs.reserve(SPACE, 3);
        vm.expectRevert(abi.encodeWithSelector(Epochs.WrongEpoch.selector, 2, 1));
        blobs.payOut(2, 1);
    }

    function test_payOut_reverts_for_epoch_zero() public {
        vm.expectRevert(abi.encodeWithSelector(Epochs.WrongEpoch.selector, 0, 1));
        blobs.payOut(0, 1);
    }

    function test_payOut_reverts_for_no_member() public {
        blobs.reserve(SPACE, 1);
        _addNode(STAKE);
        _nextEpoch();
        _expectNothing(1, 6);
        _expectNothing(1, 99);
    }

    function test_payOut_reverts_for_an_epoch_without_payment() public {
        _nextEpoch();
        _expectNothing(1, 1);
    }

    function test_payOut_of_a_node_that_everybody_left_is_the_receivers() public {
        blobs.reserve(SPACE, 1);
        staking.unstake(1, STAKE);
        _nextEpoch();
        blobs.payOut(1, 1);
        vm.assertEq(staking.earningsOf(_operator(1)), 1000);
        vm.assertEq(staking.stakeOn(1), 0);
    }

    function test_payOut_takes_the_commission_of_its_epoch() public {
        blobs.reserve(SPACE, 2);
        vm.prank(_operator(1));
        staking.changeCommission(1, 0); // from epoch 2 on
        _nextEpoch();
        _nextEpoch();
        blobs.payOut(1, 1);
        vm.assertEq(staking.earningsOf(_operator(1)), 100);
        blobs.payOut(2, 1);
        vm.assertEq(staking.earningsOf(_operator(1)), 100);
    }

    function test_payOut_works_while_everything_is_paused() public {
        blobs.reserve(SPACE, 1);
        _nextEpoch();
        vm.startPrank(GUARDIAN);
        blobs.pause(blobs.reserve.selector);
        blobs.pause(blobs.certify.selector);
        staking.pause(staking.stake.selector);
        vm.stopPrank();
        vm.assertEq(blobs.payOut(1, 1), 1000);
    }

    // Epoch 2: nodes 1 to 3 left, 6 to 8 came, and gained 60 of the 100 shards; 7 attests 10 of its 20, 8 none

    function test_payOut_gives_nothing_for_missing_shards_and_shares_out_the_rest() public {
        _missInEpoch2();
        // 70 shards were kept or attested: 20 each of nodes 4, 5 and 6, and 10 of node 7.
        vm.assertEq(blobs.payOut(2, 4), COST * 20 / 70);
        vm.assertEq(blobs.payOut(2, 5), COST * 20 / 70);
        vm.assertEq(blobs.payOut(2, 6), COST * 20 / 70);
        vm.assertEq(blobs.payOut(2, 7), COST * 10 / 70);
        _expectNothing(2, 8);
        vm.assertLe(token.balanceOf(address(blobs)), COST + 3); // what rounding left over, and epoch 3's
    }

    function test_earnings_counts_what_was_kept_or_attested() public {
        _missInEpoch2();
        _checkEarnings(1, 1, 20, 100);
        _checkEarnings(1, 8, 0, 100);
        _checkEarnings(2, 1, 0, 70);
        _checkEarnings(2, 4, 20, 70);
        _checkEarnings(2, 7, 10, 70);
        _checkEarnings(2, 8, 0, 70);
    }

    function test_missing_shards_have_to_be_attested_in_the_next_epoch() public {
        _missInEpoch2();
        uint16[] memory missing = committee.missingShards(2);
        vm.assertEq(missing.length, 30);
        vm.assertEq(keccak256(abi.encode(missing)), keccak256(abi.encode(committee.missingShards(3))));
        vm.assertEq(committee.missingShards(1).length, 0);
        // Node 8 kept its shards from epoch 2 to 3, and has not shown that it has them.
        uint16[] memory shards = _shardsIn(committee.committee(3), 8);
        vm.assertEq(_gained(8).length, 0);
        _attest(8, shards);
        vm.assertEq(committee.missingShards(3).length, 10);
        vm.assertEq(committee.missingShards(2).length, 30);
        (bool done,,) = committee.attestation(shards[0]);
        vm.assertTrue(done);
    }

    function test_what_was_attested_counts_as_kept_in_the_next_epoch() public {
        _missInEpoch2();
        uint16[] memory shards = _shardsIn(committee.committee(3), 6);
        _expectAttestReverts(6, shards[0], abi.encodeWithSelector(Committee.ShardIsKept.selector, shards[0]));
        shards = _shardsIn(committee.committee(3), 7);
        _attest(7, _part(shards, 10, 20)); // what it had not attested
        _expectAttestReverts(7, shards[9], abi.encodeWithSelector(Committee.ShardIsKept.selector, shards[9]));
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
        _attest(7, _part(_shardsIn(committee.committee(3), 7), 0, 7));
        vm.assertTrue(committee.state().handoverDone);
    }

    function test_missing_shards_taken_over_by_another_node_are_gained_by_it() public {
        _missInEpoch2();
        _leave(8);
        _addNode(STAKE); // node 9
        _nextEpoch();
        uint16[] memory shards = _shardsIn(committee.committee(4), 9);
        vm.assertEq(shards.length, 20);
        _attest(9, shards);
    }

    function test_missingShards_reverts_for_a_coming_epoch() public {
        vm.expectRevert(abi.encodeWithSelector(Epochs.WrongEpoch.selector, 2, 1));
        committee.missingShards(2);
    }

    function test_payouts_never_exceed_a_payment(uint256 mebibytes, uint256 attested) public {
        _replaceMembers(3);
        uint256 paid = _between(mebibytes, 1, 1000);
        blobs.reserve(uint64(paid) * MEBIBYTE, 1);
        paid *= PRICE;
        attested = _between(attested, 7, 20);
        _attest(6, _gained(6));
        _attest(7, _part(_gained(7), 0, attested));
        _nextEpoch();
        uint256 sum;
        for (uint32 nodeId = 4; nodeId <= 8; ++nodeId) {
            (uint256 earning, uint256 all) = committee.earnings(2, nodeId);
            if (earning * paid / all == 0) _expectNothing(2, nodeId);
            else sum += blobs.payOut(2, nodeId);
        }
        vm.assertLe(sum, paid);
        vm.assertLe(paid, sum + 4);
        vm.assertEq(token.balanceOf(address(blobs)), paid - sum);
    }

    /// @dev Epoch 3 runs, with the committee of epoch 2.
    function _missInEpoch2() private {
        _replaceMembers(3);
        blobs.reserve(SPACE, 2);
        _attest(6, _gained(6));
        _attest(7, _part(_gained(7), 0, 10));
        vm.assertTrue(committee.state().handoverDone);
        vm.assertEq(committee.missingShards(2).length, 30);
        _nextEpoch();
    }

    function _expectNothing(uint32 epoch, uint32 nodeId) private {
        vm.expectRevert(abi.encodeWithSelector(Space.NothingToPay.selector, epoch, nodeId));
        blobs.payOut(epoch, nodeId);
    }

    function _checkEarnings(uint32 epoch, uint32 nodeId, uint256 expected, uint256 shared) private view {
        (uint256 earning, uint256 all) = committee.earnings(epoch, nodeId);
        vm.assertEq(earning, expected);
        vm.assertEq(all, shared);
    }
}
