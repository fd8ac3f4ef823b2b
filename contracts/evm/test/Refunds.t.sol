// SPDX-License-Identifier: Apache-2.0
pragma solidity ^0.8.30;

import {Blobs} from "src/Blobs.sol";
import {IBlobs} from "src/interfaces/IBlobs.sol";
import {ISpace} from "src/interfaces/ISpace.sol";
import {BlobBase} from "test/BlobBase.t.sol";

/// @notice When epochs have come to a standstill nothing is sold, and users get back what was not served.
contract RefundsTest is BlobBase {
    uint64 private constant MEBIBYTE = 1 << 20;

    function test_refund_of_a_reservation_gives_back_all_but_the_epoch_that_runs() public {
        uint256 resourceId = blobs.reserve(SIZE, 5, ANY);
        _stall();
        uint256 before = token.balanceOf(address(this));
        vm.expectEmit();
        emit ISpace.Refunded(address(this), 2, 6, 6, 4 * COST);
        vm.assertEq(blobs.refund(resourceId), 4 * COST);
        vm.assertEq(token.balanceOf(address(this)), before + 4 * COST);
        (,,, uint32 endPeriod) = blobs.reservations(resourceId);
        vm.assertEq(endPeriod, 2);
        (uint64 reserved, uint128 payment) = blobs.accounts(5);
        vm.assertEq(reserved + payment, 0);
        vm.expectRevert(ISpace.NothingToRefund.selector);
        blobs.refund(resourceId);
        vm.assertEq(_payOutAll(), COST); // the members served the epoch that runs
        vm.assertEq(token.balanceOf(address(blobs)), 0);
    }

    function test_refundBlob_ends_a_certified_blob_with_the_epoch_that_runs() public {
        _certified(false);
        _stall();
        vm.expectEmit();
        emit IBlobs.BlobCertified(1, blobId, 1, 2, false, true);
        vm.assertEq(blobs.refundBlob(1), 4 * COST); // the write fee was paid for the epoch that runs
        vm.assertEq(blobs.blob(1).endPeriod, 2);
        vm.assertTrue(blobs.blob(1).status == IBlobs.Status.Certified);
        vm.expectRevert(ISpace.NothingToRefund.selector);
        blobs.refundBlob(1);
        committee.select();
        vm.warp(block.timestamp + NOTICE_S);
        committee.start();
        vm.assertTrue(blobs.blob(1).status == IBlobs.Status.Expired);
    }

    function test_refundBlob_deletes_a_blob_that_is_not_certified() public {
        _register(false);
        _stall();
        vm.expectEmit();
        emit IBlobs.BlobDeleted(1, blobId, 1);
        vm.assertEq(blobs.refundBlob(1), 4 * COST);
        vm.assertTrue(blobs.blob(1).status == IBlobs.Status.Deleted);
        vm.expectRevert(abi.encodeWithSelector(IBlobs.UnknownObject.selector, 1));
        blobs.refundBlob(1);
    }

    function test_space_of_a_deleted_blob_is_refunded_as_a_reservation() public {
        _certified(true);
        uint256 resourceId = blobs.remove(1);
        _stall();
        vm.assertEq(blobs.refund(resourceId), 4 * COST);
    }

    function test_refund_reverts_while_epochs_go_on_and_once_they_do_again() public {
        uint256 resourceId = blobs.reserve(SIZE, 5, ANY);
        _register(false);
        vm.warp(block.timestamp + 4 * (EPOCH_S + DEADLINE_S));
        vm.expectRevert(ISpace.NotStalled.selector);
        blobs.refund(resourceId);
        vm.expectRevert(ISpace.NotStalled.selector);
        blobs.refundBlob(1);
        vm.warp(block.timestamp + 1);
        committee.select();
        vm.warp(block.timestamp + NOTICE_S);
        committee.start();
        vm.expectRevert(ISpace.NotStalled.selector);
        blobs.refund(resourceId);
    }

    function test_refund_reverts_for_anyone_but_the_owner() public {
        uint256 resourceId = blobs.reserve(SIZE, 5, ANY);
        _register(false);
        _stall();
        vm.startPrank(STRANGER);
        vm.expectRevert(abi.encodeWithSelector(ISpace.NotOwner.selector, address(this)));
        blobs.refund(resourceId);
        vm.expectRevert(abi.encodeWithSelector(ISpace.NotOwner.selector, address(this)));
        blobs.refundBlob(1);
        vm.expectRevert(abi.encodeWithSelector(ISpace.UnknownReservation.selector, 9));
        blobs.refund(9);
        vm.stopPrank();
    }

    function test_refund_reverts_for_what_ends_with_the_epoch_that_runs() public {
        uint256 resourceId = blobs.reserve(SIZE, 1, ANY);
        _stall();
        vm.expectRevert(ISpace.NothingToRefund.selector);
        blobs.refund(resourceId);
    }

    /// @dev Else each owner would have to have the nodes paid out first, and what it gets would depend on who did when.
    function test_a_refund_is_what_was_paid_for_the_coming_periods_whatever_rolled_on() public {
        _startHandover(); // epoch 2: half of the shards are attested by nobody
        uint256 one = blobs.reserve(SIZE, 2, ANY);
        uint256 other = blobs.reserve(SIZE, 3, ANY);
        _stall();
        vm.assertEq(blobs.refund(one), COST);
        vm.assertEq(_payOutAll(), COST);
        vm.assertEq(blobs.unearned(), COST);
        vm.assertEq(blobs.refund(other), 2 * COST);
        vm.assertEq(token.balanceOf(address(blobs)), COST);
    }

    function test_refunds_are_all_that_was_paid_to_the_wei_whatever_the_prices(
        uint256 first,
        uint256 second,
        uint256 sizes
    ) public {
        token.mint(address(this), 1e30);
        _setPrice(_between(first, 1, 1e24));
        uint256 one = blobs.reserve(uint64(_between(sizes, 1, 1 << 30)), 3, ANY);
        _setPrice(_between(second, 1, 1e24));
        uint256 other = blobs.reserve(uint64(_between(sizes >> 64, 1, 1 << 30)), 4, ANY);
        blobs.reserveAndRegister(ROOT, LENGTH, 1, 3, false, ANY, ANY);
        uint256 paid = token.balanceOf(address(blobs));
        (, uint128 current) = blobs.accounts(1);
        _stall();
        uint256 refunded = blobs.refund(other) + blobs.refundBlob(1) + blobs.refund(one);
        vm.assertEq(refunded, paid - current);
        vm.assertEq(token.balanceOf(address(blobs)), current);
        _payOutAll();
        uint128 rest = blobs.unearned();
        vm.assertEq(token.balanceOf(address(blobs)), rest);
        vm.assertLe(rest, uint256(SHARDS) * 10_000); // less than a unit for each part
    }

    /// @dev Nine tenths of the space, bought at an eighth of the price before sales stop, take 79 % of the first user's refund.
    function test_a_refund_is_the_average_also_for_a_buyer_that_paid_less() public {
        _setPrice(8e12);
        uint256 dear = blobs.reserve(100 * MEBIBYTE, 53, ANY);
        _setPrice(1e12);
        vm.warp(committee.state().regularHandoverDone + 2 * (EPOCH_S + DEADLINE_S)); // the last second of sales
        uint256 cheap = blobs.reserve(900 * MEBIBYTE, 53, ANY);
        _stall();
        vm.assertEq(blobs.refund(dear), 52 * 170e12); // of 52 * 800e12
        vm.assertEq(blobs.refund(cheap), 52 * 1530e12); // of 52 * 900e12
    }

    // Nothing is sold

    function test_every_payment_reverts_at_a_standstill() public {
        _certified(false);
        uint256 resourceId = blobs.reserve(SIZE, 5, ANY);
        _stall();
        _expectNothingSold(resourceId);
    }

    function test_every_payment_reverts_while_the_epoch_that_runs_is_closed() public {
        _certified(false);
        uint256 resourceId = blobs.reserve(SIZE, 5, ANY);
        _nextEpoch();
        _leave(1);
        _leave(2);
        _leave(3);
        _leave(4);
        _addNodes(4);
        _nextEpoch(); // 3: its handover is not done
        vm.assertFalse(committee.state().handoverDone);
        _stall();
        _payOutAll();
        vm.assertEq(blobs.openPeriod(), 4);
        committee.close(); // now epochs may go on
        vm.assertFalse(committee.isStalled());
        _expectNothingSold(resourceId);
        _addNodes(4);
        _nextEpoch();
        blobs.register(resourceId, ROOT, LENGTH, 1, false, ANY, ANY);
        if (!committee.state().handoverDone) {
            vm.warp(block.timestamp + DEADLINE_S);
            committee.close();
        }
        _nextEpoch();
        _payOutAll();
        (, uint128 payment) = blobs.accounts(5);
        vm.assertEq(token.balanceOf(address(blobs)), payment + blobs.unearned());
    }

    /// @dev The second of a standstill is known, and what is bought before it comes back with the others' money.
    function test_nothing_is_sold_from_half_of_the_time_to_a_standstill_on() public {
        _certified(false);
        uint256 resourceId = blobs.reserve(SIZE, 8, ANY);
        vm.warp(block.timestamp + 2 * (EPOCH_S + DEADLINE_S));
        blobs.reserve(SIZE, 8, ANY);
        vm.warp(block.timestamp + 1);
        vm.assertFalse(committee.isStalled());
        vm.expectRevert(ISpace.Stalled.selector);
        blobs.reserve(SIZE, 1, ANY);
        vm.expectRevert(ISpace.Stalled.selector);
        blobs.reserveAndRegister(ROOT, LENGTH, 1, 1, false, ANY, ANY);
        vm.expectRevert(ISpace.Stalled.selector);
        blobs.extend(1, 1, 6, ANY);
        blobs.register(resourceId, ROOT, LENGTH, 1, false, ANY, ANY); // what is paid for can be used
    }

    function _expectNothingSold(uint256 resourceId) private {
        vm.expectRevert(ISpace.Stalled.selector);
        blobs.reserve(SIZE, 1, ANY);
        vm.expectRevert(ISpace.Stalled.selector);
        blobs.register(resourceId, ROOT, LENGTH, 1, false, ANY, ANY);
        vm.expectRevert(ISpace.Stalled.selector);
        blobs.reserveAndRegister(ROOT, LENGTH, 1, 1, false, ANY, ANY);
        vm.expectRevert(ISpace.Stalled.selector);
        blobs.extend(1, 1, 6, ANY);
    }

    function _stall() private {
        vm.warp(block.timestamp + 4 * (EPOCH_S + DEADLINE_S) + 1);
        vm.assertTrue(committee.isStalled());
    }

    function _setPrice(uint256 price) private {
        vm.prank(GOVERNOR);
        blobs.setTerms(ISpace.Terms(uint80(price), WRITE_PRICE, CAPACITY));
    }
}
