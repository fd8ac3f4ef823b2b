// SPDX-License-Identifier: Apache-2.0
pragma solidity ^0.8.30;

import {Blobs} from "src/Blobs.sol";
import {IBlobs} from "src/interfaces/IBlobs.sol";
import {ICommittee} from "src/interfaces/ICommittee.sol";
import {ISpace} from "src/interfaces/ISpace.sol";
import {BlobId} from "src/lib/BlobId.sol";
import {Messages} from "src/lib/Messages.sol";
import {BlobBase} from "test/BlobBase.t.sol";

/// @notice Extending, deleting and invalidating blobs, and what is shown of them.
contract BlobsTest is BlobBase {
    // Extending

    function test_extend_pays_for_the_added_epochs() public {
        _certified(false);
        vm.expectEmit();
        emit IBlobs.BlobCertified(1, blobId, 1, 9, false, true);
        blobs.extend(1, 3, 6, ANY);
        vm.assertEq(blobs.blob(1).endPeriod, 9);
        vm.assertEq(token.balanceOf(address(blobs)), 8 * COST + FEE);
        (uint64 reserved,) = blobs.accounts(8);
        vm.assertEq(reserved, 6);
        (reserved,) = blobs.accounts(5);
        vm.assertEq(reserved, 6);
    }

    function test_extend_reverts_beyond_the_longest_period() public {
        _certified(false);
        vm.expectRevert(abi.encodeWithSelector(ISpace.InvalidPeriod.selector, 49, 48));
        blobs.extend(1, 49, 6, ANY);
        blobs.extend(1, 48, 6, ANY);
    }

    function test_extend_reverts_for_no_epoch() public {
        _certified(false);
        vm.expectRevert(abi.encodeWithSelector(ISpace.InvalidPeriod.selector, 0, 48));
        blobs.extend(1, 0, 6, ANY);
    }

    function test_extend_reverts_for_a_period_that_overflows() public {
        _certified(false);
        vm.expectRevert(abi.encodeWithSelector(ISpace.InvalidPeriod.selector, type(uint32).max, 48));
        blobs.extend(1, type(uint32).max, 6, ANY);
    }

    function test_extend_reverts_for_an_uncertified_blob() public {
        _register(false);
        vm.expectRevert(abi.encodeWithSelector(IBlobs.NotCertified.selector, 1));
        blobs.extend(1, 1, 6, ANY);
    }

    function test_extend_reverts_for_an_expired_blob() public {
        _certified(false);
        for (uint256 i; i < 5; ++i) {
            _nextEpoch();
        }
        vm.expectRevert(abi.encodeWithSelector(ISpace.Expired.selector, 6));
        blobs.extend(1, 1, 6, ANY);
        vm.assertTrue(blobs.blob(1).status == IBlobs.Status.Expired);
    }

    function test_extend_reverts_for_an_invalid_blob() public {
        _certified(false);
        _invalidate();
        vm.expectRevert(abi.encodeWithSelector(IBlobs.InvalidBlob.selector, blobId));
        blobs.extend(1, 1, 6, ANY);
    }

    // Deleting

    function test_remove_gives_the_space_back_as_a_reservation() public {
        _certified(true);
        _nextEpoch();
        vm.expectEmit();
        emit IBlobs.BlobDeleted(1, blobId, 2);
        vm.expectEmit();
        emit ISpace.ReservationChanged(1, address(this), 6 << 20, 2, 6);
        uint256 resourceId = blobs.remove(1);
        vm.assertTrue(blobs.blob(1).status == IBlobs.Status.Deleted);
        vm.assertEq(blobs.blob(1).objectId, 1);
        vm.assertEq(blobs.register(resourceId, ROOT, LENGTH, 1, true, ANY, ANY), 2);
        vm.assertEq(blobs.blob(2).endPeriod, 6);
        vm.assertEq(token.balanceOf(address(blobs)), 5 * COST + 2 * FEE);
    }

    function test_remove_reverts_for_a_permanent_blob() public {
        _register(false);
        vm.expectRevert(abi.encodeWithSelector(IBlobs.NotDeletable.selector, 1));
        blobs.remove(1);
    }

    function test_remove_reverts_for_a_stranger() public {
        _register(true);
        vm.expectRevert(abi.encodeWithSelector(ISpace.NotOwner.selector, address(this)));
        vm.prank(STRANGER);
        blobs.remove(1);
    }

    function test_remove_reverts_for_an_expired_blob() public {
        blobs.reserveAndRegister(ROOT, LENGTH, 1, 1, true, ANY, ANY);
        _nextEpoch();
        vm.expectRevert(abi.encodeWithSelector(ISpace.Expired.selector, 2));
        blobs.remove(1);
    }

    function test_remove_reverts_the_second_time() public {
        _register(true);
        blobs.remove(1);
        vm.expectRevert(abi.encodeWithSelector(IBlobs.UnknownObject.selector, 1));
        blobs.remove(1);
    }

    // Invalidating

    function test_invalidate_needs_one_correct_node() public {
        (bytes memory bitmap, bytes memory signature) = _invalidity(0x3f); // 40 of 100
        vm.expectEmit();
        emit IBlobs.BlobInvalidated(blobId, 1);
        blobs.invalidate(blobId, 1, bitmap, signature);
        vm.assertTrue(blobs.isInvalid(blobId));
    }

    function test_invalidate_reverts_without_one_correct_node() public {
        (bytes memory bitmap, bytes memory signature) = _invalidity(0x7f); // 30 of 100
        vm.expectRevert(abi.encodeWithSelector(ICommittee.NotEnoughWeight.selector, 30, 34));
        blobs.invalidate(blobId, 1, bitmap, signature);
    }

    function test_invalidate_by_a_third_of_the_shards_and_one() public {
        this.invalidateAlone(SHARDS, 34);
        vm.assertTrue(blobs.isInvalid(blobId));
    }

    function test_invalidate_reverts_just_below_one_correct_node() public {
        vm.expectRevert(abi.encodeWithSelector(ICommittee.NotEnoughWeight.selector, 33, 34));
        this.invalidateAlone(SHARDS, 33);
    }

    function test_invalidate_reverts_at_exactly_a_third() public {
        vm.expectRevert(abi.encodeWithSelector(ICommittee.NotEnoughWeight.selector, 4, 5));
        this.invalidateAlone(12, 4);
        this.invalidateAlone(12, 5);
    }

    function test_invalidate_reverts_for_the_certificate_of_another_blob() public {
        (bytes memory bitmap, bytes memory signature) = _invalidity(0);
        vm.expectRevert(ICommittee.BadSignature.selector);
        blobs.invalidate(uint256(ID), 1, bitmap, signature);
    }

    function test_invalidate_reverts_the_second_time() public {
        _invalidate();
        vm.expectRevert(abi.encodeWithSelector(IBlobs.InvalidBlob.selector, blobId));
        blobs.invalidate(blobId, 1, "", "");
    }

    // Views

    function test_blobs_come_in_pages() public {
        for (uint256 i; i < 5; ++i) {
            blobs.reserveAndRegister(bytes32(i), LENGTH, 1, 1, true, ANY, ANY);
        }
        blobs.remove(2);
        (IBlobs.BlobView[] memory page, uint256 next) = blobs.blobs(0, 3);
        vm.assertEq(page.length, 3);
        vm.assertEq(page[0].root, bytes32(uint256(0)));
        vm.assertTrue(page[1].status == IBlobs.Status.Deleted);
        vm.assertEq(page[2].objectId, 3);
        vm.assertEq(next, 4);
        (page, next) = blobs.blobs(next, 2);
        vm.assertEq(page.length, 2);
        vm.assertEq(next, 0);
        (page, next) = blobs.blobs(5, type(uint256).max);
        vm.assertEq(page.length, 1);
        vm.assertEq(next, 0);
        (page, next) = blobs.blobs(6, 1);
        vm.assertEq(page.length, 0);
        vm.assertEq(next, 0);
    }

    function test_newestWith_finds_objects_of_a_root_newest_first() public {
        _assertNewest(0, 9, 0, 0);
        for (uint256 i; i < 8; ++i) {
            blobs.reserveAndRegister(bytes32(i % 3), LENGTH, 1, 1, true, ANY, ANY); // root 0 has the ids 1, 4, 7
        }
        _assertNewest(0, 9, 7, 7);
        _assertNewest(7, 9, 4, 4);
        _assertNewest(4, 9, 1, 0);
        _assertNewest(1, 9, 0, 0);
        _assertNewest(99, type(uint256).max, 7, 7);
        _assertNewest(0, 1, 0, 8);
        _assertNewest(8, 1, 7, 7);
        _assertNewest(7, 2, 0, 5);
        _assertNewest(3, 2, 1, 0);
        _assertNewest(5, 0, 0, 5);
    }

    function test_newestWith_leaves_out_deleted_objects() public {
        for (uint256 i; i < 3; ++i) {
            blobs.reserveAndRegister(0, LENGTH, 1, 1, true, ANY, ANY);
        }
        blobs.remove(3);
        blobs.remove(1);
        _assertNewest(0, 9, 2, 2);
        _assertNewest(2, 9, 0, 0);
    }

    function _assertNewest(uint256 before, uint256 count, uint256 objectId, uint256 next) private view {
        (uint256 found, uint256 following) = blobs.newestWith(0, before, count);
        vm.assertEq(found, objectId);
        vm.assertEq(following, next);
    }

    function test_blob_reverts_for_an_id_that_has_never_been() public {
        vm.expectRevert(abi.encodeWithSelector(IBlobs.UnknownObject.selector, 0));
        blobs.blob(0);
        vm.expectRevert(abi.encodeWithSelector(IBlobs.UnknownObject.selector, 1));
        blobs.blob(1);
    }

    function test_payments_add_up(uint64 length, uint256 epochs, uint256 more) public {
        length = uint64(_between(length, 0, 1 << 20));
        epochs = _between(epochs, 1, 53);
        more = _between(more, 0, 53 - epochs);
        blobs.reserveAndRegister(ROOT, length, 1, uint32(epochs), false, ANY, ANY);
        bytes32 id = BlobId.fromInteger(blobs.blob(1).blobId);
        (bytes memory bitmap, bytes memory signature) = _signed(1, Messages.permanentBlob(id), 0);
        blobs.certify(1, 1, bitmap, signature);
        if (more > 0) blobs.extend(1, uint32(more), uint32(1 + epochs), ANY);
        uint256 paid;
        for (uint32 epoch; epoch < 60; ++epoch) {
            (, uint128 payment) = blobs.accounts(epoch);
            paid += payment;
        }
        (, uint256 cost) = blobs.quote(length, uint32(epochs + more));
        vm.assertEq(paid, cost);
        vm.assertEq(token.balanceOf(address(blobs)), cost);
    }

    /// @dev Member 1, with `weight` of the shards, invalidates a blob without the other one.
    function invalidateAlone(uint16 shards, uint256 weight) external {
        _twoMembers(shards, weight);
        bytes memory signature = _sign(_secret(1), _message(Messages.INVALID_BLOB, 1, Messages.invalidBlob(ID)));
        blobs.invalidate(blobId, 1, hex"01", signature);
    }
}
