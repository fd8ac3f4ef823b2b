// SPDX-License-Identifier: Apache-2.0
pragma solidity ^0.8.30;

import {IBlobs} from "src/interfaces/IBlobs.sol";
import {ISpace} from "src/interfaces/ISpace.sol";
import {BlobBase} from "test/BlobBase.t.sol";

/// @notice Blobs that change their owner, and blobs that others than their owners extend.
contract TransfersTest is BlobBase {
    address private constant FRIEND = address(0xf1);
    uint64 private constant WHOLE = 6 << 20; // what the blob takes, of which SIZE is used

    // Transferring

    function test_transferBlob_makes_another_account_the_owner() public {
        _certified(true);
        vm.expectEmit();
        emit IBlobs.BlobTransferred(1, address(this), FRIEND);
        blobs.transferBlob(1, FRIEND);
        vm.assertEq(blobs.blob(1).owner, FRIEND);
        vm.assertEq(blobs.blob(1).endPeriod, 6);
        vm.assertEq(blobs.blob(1).certifiedEpoch, 1);
        vm.expectRevert(abi.encodeWithSelector(ISpace.NotOwner.selector, FRIEND));
        blobs.remove(1);
        vm.prank(FRIEND);
        uint256 resourceId = blobs.remove(1);
        (address owner,,,) = blobs.reservations(resourceId);
        vm.assertEq(owner, FRIEND);
    }

    function test_transferBlob_gives_the_refund_too() public {
        _certified(false);
        blobs.transferBlob(1, FRIEND);
        vm.warp(block.timestamp + 4 * (EPOCH_S + DEADLINE_S) + 1);
        vm.prank(FRIEND);
        blobs.refundBlob(1);
        vm.assertEq(token.balanceOf(FRIEND), 4 * COST);
    }

    function test_transferBlob_reverts_for_a_stranger() public {
        _register(true);
        vm.expectRevert(abi.encodeWithSelector(ISpace.NotOwner.selector, address(this)));
        vm.prank(STRANGER);
        blobs.transferBlob(1, STRANGER);
    }

    function test_transferBlob_reverts_for_nobody() public {
        _register(true);
        vm.expectRevert(ISpace.InvalidOwner.selector);
        blobs.transferBlob(1, address(0));
    }

    function test_transferBlob_reverts_for_an_expired_blob() public {
        blobs.reserveAndRegister(ROOT, LENGTH, 1, 1, true, ANY, ANY);
        _nextEpoch();
        vm.expectRevert(abi.encodeWithSelector(ISpace.Expired.selector, 2));
        blobs.transferBlob(1, FRIEND);
    }

    function test_transferBlob_reverts_for_a_deleted_blob() public {
        _register(true);
        blobs.remove(1);
        vm.expectRevert(abi.encodeWithSelector(IBlobs.UnknownObject.selector, 1));
        blobs.transferBlob(1, FRIEND);
    }

    // Extending what is another's

    function test_extend_by_a_stranger_is_paid_by_the_stranger_and_the_owners() public {
        _certified(true);
        _fund(STRANGER, 3 * COST);
        vm.prank(STRANGER);
        blobs.extend(1, 3, 6, ANY);
        vm.assertEq(token.balanceOf(STRANGER), 0);
        vm.assertEq(blobs.blob(1).endPeriod, 9);
        vm.assertEq(blobs.blob(1).owner, address(this));
        (address owner,,, uint32 endPeriod) = blobs.reservations(blobs.remove(1));
        vm.assertEq(owner, address(this));
        vm.assertEq(endPeriod, 9);
    }

    // Extending with a reservation

    function test_extendWith_takes_what_follows_the_blobs_end_and_leaves_the_rest() public {
        _certified(false); // until 6
        uint256 resourceId = blobs.reserve(SIZE, 8, ANY); // until 9
        uint256 balance = token.balanceOf(address(blobs));
        vm.expectEmit();
        emit ISpace.ReservationChanged(resourceId, address(this), WHOLE, 1, 6);
        vm.expectEmit();
        emit IBlobs.BlobCertified(1, blobId, 1, 9, false, true);
        blobs.extendWith(1, resourceId);
        vm.assertEq(blobs.blob(1).endPeriod, 9);
        vm.assertEq(token.balanceOf(address(blobs)), balance);
        _assertReserved(1, 12);
        _assertReserved(5, 12);
        _assertReserved(6, 6);
        _assertReserved(8, 6);
        _assertReserved(9, 0);
        vm.assertEq(blobs.register(resourceId, ROOT, LENGTH, 1, false, ANY, ANY), 2);
        vm.assertEq(blobs.blob(2).endPeriod, 6);
    }

    function test_extendWith_uses_a_reservation_up_that_begins_where_the_blob_ends() public {
        _certified(false);
        uint256 resourceId = blobs.splitByPeriod(blobs.reserve(SIZE, 8, ANY), 6);
        vm.expectEmit();
        emit ISpace.ReservationUsed(resourceId, 1);
        blobs.extendWith(1, resourceId);
        vm.assertEq(blobs.blob(1).endPeriod, 9);
        vm.expectRevert(abi.encodeWithSelector(ISpace.UnknownReservation.selector, resourceId));
        blobs.extendWith(1, resourceId);
    }

    function test_extendWith_by_a_stranger_takes_the_strangers_reservation() public {
        _certified(false);
        uint256 resourceId = blobs.reserve(SIZE, 8, ANY);
        blobs.transferReservation(resourceId, STRANGER);
        vm.expectRevert(abi.encodeWithSelector(ISpace.NotOwner.selector, STRANGER));
        blobs.extendWith(1, resourceId);
        vm.prank(STRANGER);
        blobs.extendWith(1, resourceId);
        vm.assertEq(blobs.blob(1).endPeriod, 9);
        vm.assertEq(blobs.blob(1).owner, address(this));
    }

    function test_extendWith_reverts_for_another_size() public {
        _certified(false);
        _expectNotAdjoining(blobs.reserve(WHOLE + 1, 8, ANY));
        _expectNotAdjoining(blobs.reserve(WHOLE - (1 << 20), 8, ANY));
    }

    function test_extendWith_reverts_for_a_reservation_that_ends_no_later() public {
        _certified(false);
        _expectNotAdjoining(blobs.reserve(SIZE, 5, ANY));
    }

    function test_extendWith_reverts_for_a_reservation_that_begins_later() public {
        _certified(false);
        _expectNotAdjoining(blobs.splitByPeriod(blobs.reserve(SIZE, 8, ANY), 7));
    }

    function test_extendWith_reverts_for_an_uncertified_blob() public {
        _register(false);
        uint256 resourceId = blobs.reserve(SIZE, 8, ANY);
        vm.expectRevert(abi.encodeWithSelector(IBlobs.NotCertified.selector, 1));
        blobs.extendWith(1, resourceId);
    }

    function test_extendWith_reverts_for_an_expired_blob() public {
        _certified(false);
        uint256 resourceId = blobs.reserve(SIZE, 8, ANY);
        for (uint256 i; i < 5; ++i) {
            _nextEpoch();
        }
        vm.expectRevert(abi.encodeWithSelector(ISpace.Expired.selector, 6));
        blobs.extendWith(1, resourceId);
    }

    function test_extendWith_reverts_for_an_invalid_blob() public {
        _certified(false);
        uint256 resourceId = blobs.reserve(SIZE, 8, ANY);
        _invalidate();
        vm.expectRevert(abi.encodeWithSelector(IBlobs.InvalidBlob.selector, blobId));
        blobs.extendWith(1, resourceId);
    }

    function test_extendWith_reverts_at_a_standstill() public {
        _certified(false);
        uint256 resourceId = blobs.reserve(SIZE, 8, ANY);
        vm.warp(block.timestamp + 4 * (EPOCH_S + DEADLINE_S) + 1);
        vm.expectRevert(ISpace.Stalled.selector);
        blobs.extendWith(1, resourceId);
    }

    function _expectNotAdjoining(uint256 resourceId) private {
        vm.expectRevert(abi.encodeWithSelector(ISpace.NotAdjoining.selector, resourceId));
        blobs.extendWith(1, resourceId);
    }

    function _assertReserved(uint32 period, uint256 mebibytes) private view {
        (uint64 reserved,) = blobs.accounts(period);
        vm.assertEq(reserved, mebibytes);
    }
}
