// SPDX-License-Identifier: Apache-2.0
pragma solidity ^0.8.30;

import {ISpace} from "src/interfaces/ISpace.sol";
import {BlobBase} from "test/BlobBase.t.sol";

/// @notice Reservations given on, split and joined: no space and no payment comes of it or goes.
contract ReservationsTest is BlobBase {
    uint64 private constant MEBIBYTE = 1 << 20;
    address private constant FRIEND = address(0xf1);

    uint256 private id; // 10 mebibytes, periods 1 to 5

    function setUp() public override {
        super.setUp();
        id = blobs.reserve(10 * MEBIBYTE - 5, 5, ANY);
    }

    function test_a_reservation_is_the_whole_mebibytes_that_are_paid() public view {
        _assertIs(id, address(this), 10, 1, 6);
    }

    // Transferring

    function test_transferReservation_makes_another_account_the_owner() public {
        vm.expectEmit();
        emit ISpace.ReservationChanged(id, FRIEND, 10 * MEBIBYTE, 1, 6);
        blobs.transferReservation(id, FRIEND);
        _assertIs(id, FRIEND, 10, 1, 6);
        _expectNotOwner(FRIEND);
        blobs.register(id, ROOT, LENGTH, 1, false, ANY, ANY);
        _fund(FRIEND, FEE);
        vm.prank(FRIEND);
        blobs.register(id, ROOT, LENGTH, 1, false, ANY, ANY);
        vm.assertEq(blobs.blob(1).owner, FRIEND);
    }

    function test_transferReservation_reverts_for_a_stranger() public {
        vm.prank(STRANGER);
        vm.expectRevert(abi.encodeWithSelector(ISpace.NotOwner.selector, address(this)));
        blobs.transferReservation(id, STRANGER);
    }

    function test_transferReservation_reverts_for_nobody() public {
        vm.expectRevert(ISpace.InvalidOwner.selector);
        blobs.transferReservation(id, address(0));
    }

    function test_transferReservation_reverts_for_an_unknown_one() public {
        vm.expectRevert(abi.encodeWithSelector(ISpace.UnknownReservation.selector, 9));
        blobs.transferReservation(9, FRIEND);
    }

    function test_transferReservation_reverts_for_an_expired_one() public {
        _pass(5);
        vm.expectRevert(abi.encodeWithSelector(ISpace.Expired.selector, 6));
        blobs.transferReservation(id, FRIEND);
    }

    // Splitting

    function test_splitBySize_keeps_the_size_and_makes_one_of_the_rest() public {
        vm.expectEmit();
        emit ISpace.ReservationChanged(2, address(this), 7 * MEBIBYTE, 1, 6);
        vm.expectEmit();
        emit ISpace.ReservationChanged(id, address(this), 3 * MEBIBYTE, 1, 6);
        vm.assertEq(blobs.splitBySize(id, 3 * MEBIBYTE), 2);
        _assertIs(id, address(this), 3, 1, 6);
        _assertIs(2, address(this), 7, 1, 6);
        blobs.register(2, ROOT, LENGTH, 1, false, ANY, ANY);
        _assertBooked(10, 10, 10);
    }

    function test_splitBySize_reverts_for_nothing_and_for_everything() public {
        _expectInvalidSize(0);
        _expectInvalidSize(10 * MEBIBYTE);
        _expectInvalidSize(type(uint64).max - MEBIBYTE + 1);
    }

    function test_splitBySize_reverts_within_a_mebibyte() public {
        _expectInvalidSize(3 * MEBIBYTE + 1);
        _expectInvalidSize(3 * MEBIBYTE - 1);
    }

    function test_splitBySize_reverts_for_a_stranger() public {
        vm.prank(STRANGER);
        _expectNotOwner(address(this));
        blobs.splitBySize(id, MEBIBYTE);
    }

    function test_splitByPeriod_makes_one_of_the_later_periods() public {
        vm.assertEq(blobs.splitByPeriod(id, 3), 2);
        _assertIs(id, address(this), 10, 1, 3);
        _assertIs(2, address(this), 10, 3, 6);
        _assertBooked(10, 10, 10);
        vm.expectRevert(abi.encodeWithSelector(ISpace.NotBegun.selector, 3));
        blobs.register(2, ROOT, LENGTH, 1, false, ANY, ANY);
        _pass(2);
        vm.expectRevert(abi.encodeWithSelector(ISpace.Expired.selector, 3));
        blobs.register(id, ROOT, LENGTH, 1, false, ANY, ANY);
        blobs.register(2, ROOT, LENGTH, 1, false, ANY, ANY);
        vm.assertEq(blobs.blob(1).endPeriod, 6);
    }

    function test_splitByPeriod_reverts_at_both_ends() public {
        _expectNotWithin(1, 1);
        _expectNotWithin(6, 1);
        _expectNotWithin(0, 1);
        _expectNotWithin(7, 1);
    }

    function test_splitByPeriod_reverts_for_a_period_that_has_begun() public {
        _pass(2);
        _expectNotWithin(2, 3);
        _expectNotWithin(3, 3);
        blobs.splitByPeriod(id, 4);
        _assertIs(id, address(this), 10, 3, 4);
    }

    function test_splitByPeriod_reverts_for_a_stranger() public {
        vm.prank(STRANGER);
        _expectNotOwner(address(this));
        blobs.splitByPeriod(id, 3);
    }

    // Merging

    function test_merge_adds_sizes_for_the_same_periods() public {
        uint256 other = blobs.reserve(4 * MEBIBYTE, 5, ANY);
        vm.expectEmit();
        emit ISpace.ReservationMerged(other, id);
        vm.expectEmit();
        emit ISpace.ReservationChanged(id, address(this), 14 * MEBIBYTE, 1, 6);
        blobs.merge(id, other);
        _assertIs(id, address(this), 14, 1, 6);
        _assertGone(other);
        _assertBooked(14, 14, 14);
    }

    function test_merge_joins_periods_of_the_same_size_in_either_order() public {
        uint256 other = blobs.splitByPeriod(id, 3);
        blobs.merge(id, other);
        _assertIs(id, address(this), 10, 1, 6);
        _assertGone(other);
        other = blobs.splitByPeriod(id, 3);
        blobs.merge(other, id);
        _assertIs(other, address(this), 10, 1, 6);
        _assertGone(id);
        _assertBooked(10, 10, 10);
    }

    function test_merge_leaves_out_what_is_past() public {
        _pass(2);
        uint256 other = blobs.reserve(MEBIBYTE, 3, ANY); // also until 6
        blobs.merge(id, other);
        _assertIs(id, address(this), 11, 3, 6);
    }

    function test_merge_reverts_for_other_periods() public {
        _expectNotAdjoining(blobs.reserve(10 * MEBIBYTE, 4, ANY));
        _expectNotAdjoining(blobs.reserve(10 * MEBIBYTE, 6, ANY));
        uint256 later = blobs.splitByPeriod(id, 3);
        uint256 last = blobs.splitByPeriod(later, 4);
        _expectNotAdjoining(last); // a gap between
    }

    function test_merge_reverts_for_adjoining_periods_of_other_sizes() public {
        uint256 later = blobs.splitByPeriod(id, 3);
        blobs.splitBySize(later, MEBIBYTE);
        _expectNotAdjoining(later);
    }

    function test_merge_reverts_with_itself() public {
        _expectNotAdjoining(id);
    }

    function test_merge_reverts_with_anothers() public {
        uint256 other = blobs.reserve(4 * MEBIBYTE, 5, ANY);
        blobs.transferReservation(other, FRIEND);
        _expectNotOwner(FRIEND);
        blobs.merge(id, other);
        _expectNotOwner(FRIEND);
        blobs.merge(other, id);
    }

    function test_merge_reverts_with_an_expired_one() public {
        uint256 later = blobs.splitByPeriod(id, 3);
        _pass(2);
        vm.expectRevert(abi.encodeWithSelector(ISpace.Expired.selector, 3));
        blobs.merge(later, id);
    }

    function test_merge_reverts_with_one_that_a_blob_uses() public {
        uint256 other = blobs.reserve(SIZE, 5, ANY);
        blobs.register(other, ROOT, LENGTH, 1, false, ANY, ANY);
        vm.expectRevert(abi.encodeWithSelector(ISpace.UnknownReservation.selector, other));
        blobs.merge(id, other);
    }

    // Listing

    function test_reservationsOf_lists_those_of_an_owner_that_have_not_ended() public {
        uint256 second = blobs.reserve(MEBIBYTE, 1, ANY);
        uint256 third = blobs.reserve(MEBIBYTE, 3, ANY);
        blobs.transferReservation(blobs.reserve(MEBIBYTE, 3, ANY), FRIEND);
        (ISpace.ReservationView[] memory page, uint256 next) = blobs.reservationsOf(address(this), 0, 2);
        vm.assertEq(page.length, 2);
        vm.assertEq(page[0].resourceId, id);
        vm.assertEq(page[1].resourceId, second);
        vm.assertEq(next, 3);
        (page, next) = blobs.reservationsOf(address(this), next, ANY);
        vm.assertEq(page.length, 1);
        vm.assertEq(page[0].resourceId, third);
        vm.assertEq(page[0].size, MEBIBYTE);
        vm.assertEq(page[0].endPeriod, 4);
        vm.assertEq(next, 0);
        _pass(1);
        (page,) = blobs.reservationsOf(address(this), 0, ANY);
        vm.assertEq(page.length, 2);
        (page,) = blobs.reservationsOf(FRIEND, 0, ANY);
        vm.assertEq(page.length, 1);
        (page,) = blobs.reservationsOf(address(0), 0, ANY);
        vm.assertEq(page.length, 0);
    }

    // At a standstill

    function test_refund_of_a_reservation_that_has_not_begun_takes_it_away() public {
        uint256 later = blobs.splitByPeriod(id, 3);
        _stall();
        vm.expectEmit();
        emit ISpace.Refunded(address(this), 3, 6, 10, 3 * 10 * uint256(PRICE));
        vm.assertEq(blobs.refund(later), 3 * 10 * uint256(PRICE));
        _assertGone(later);
        vm.assertEq(blobs.refund(id), 10 * uint256(PRICE));
        _assertIs(id, address(this), 10, 1, 2);
    }

    function test_splitting_changes_no_refund_by_more_than_rounding(uint256 price, uint256 size, uint256 cut) public {
        size = _between(size, 2, 100);
        vm.prank(GOVERNOR);
        blobs.setTerms(ISpace.Terms(uint80(_between(price, 1, 1e24)), WRITE_PRICE, CAPACITY));
        token.mint(address(this), 1e30);
        uint256 one = blobs.reserve(uint64(size * MEBIBYTE), 5, ANY);
        uint256 whole;
        for (uint32 period = 2; period < 6; ++period) {
            (uint64 reserved, uint128 payment) = blobs.accounts(period);
            whole += payment * size / reserved;
        }
        uint256 other = blobs.splitBySize(one, uint64(_between(cut, 1, size - 1) * MEBIBYTE));
        uint256 later = blobs.splitByPeriod(other, 4);
        _stall();
        uint256 amount = blobs.refund(one) + blobs.refund(later) + blobs.refund(other);
        vm.assertLe(amount, whole);
        vm.assertLe(whole, amount + 4); // a unit for each period
    }

    function test_what_is_split_and_joined_books_what_was_booked(uint256 sizes, uint256 seed) public {
        uint256[4] memory parts = [id, blobs.splitBySize(id, uint64(_between(sizes, 1, 9) * MEBIBYTE)), 0, 0];
        uint32 cut = uint32(_between(seed, 2, 5));
        parts[2] = blobs.splitByPeriod(parts[0], cut);
        parts[3] = blobs.splitByPeriod(parts[1], cut);
        _assertBooked(10, 10, 10);
        blobs.merge(parts[2], parts[3]);
        blobs.merge(parts[1], parts[0]);
        blobs.merge(parts[1], parts[2]);
        _assertIs(parts[1], address(this), 10, 1, 6);
        _assertBooked(10, 10, 10);
    }

    function _stall() private {
        vm.warp(block.timestamp + 4 * (EPOCH_S + DEADLINE_S) + 1);
    }

    function _pass(uint256 periods) private {
        for (uint256 i; i < periods; ++i) {
            _nextEpoch();
        }
    }

    function _expectNotOwner(address owner) private {
        vm.expectRevert(abi.encodeWithSelector(ISpace.NotOwner.selector, owner));
    }

    function _expectInvalidSize(uint64 size) private {
        vm.expectRevert(ISpace.InvalidSize.selector);
        blobs.splitBySize(id, size);
    }

    function _expectNotWithin(uint32 period, uint32 start) private {
        vm.expectRevert(abi.encodeWithSelector(ISpace.NotWithin.selector, period, start, 6));
        blobs.splitByPeriod(id, period);
    }

    function _expectNotAdjoining(uint256 other) private {
        vm.expectRevert(abi.encodeWithSelector(ISpace.NotAdjoining.selector, other));
        blobs.merge(id, other);
    }

    function _assertIs(uint256 resourceId, address owner, uint64 mebibytes, uint32 start, uint32 end) private view {
        (address owner_, uint64 size, uint32 startPeriod, uint32 endPeriod) = blobs.reservations(resourceId);
        vm.assertEq(owner_, owner);
        vm.assertEq(size, mebibytes * MEBIBYTE);
        vm.assertEq(startPeriod, start);
        vm.assertEq(endPeriod, end);
    }

    function _assertGone(uint256 resourceId) private view {
        _assertIs(resourceId, address(0), 0, 0, 0);
    }

    /// @dev Mebibytes in periods 1, 3 and 5.
    function _assertBooked(uint256 first, uint256 third, uint256 fifth) private view {
        (uint64 reserved,) = blobs.accounts(1);
        vm.assertEq(reserved, first);
        (reserved,) = blobs.accounts(3);
        vm.assertEq(reserved, third);
        (reserved,) = blobs.accounts(5);
        vm.assertEq(reserved, fifth);
    }
}
