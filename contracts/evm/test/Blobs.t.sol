// SPDX-License-Identifier: Apache-2.0
pragma solidity ^0.8.30;

import {IERC20Errors} from "@openzeppelin/contracts/interfaces/draft-IERC6093.sol";
import {Blobs} from "src/Blobs.sol";
import {Committee} from "src/Committee.sol";
import {BlobId} from "src/lib/BlobId.sol";
import {Messages} from "src/lib/Messages.sol";
import {RedStuff} from "src/lib/RedStuff.sol";
import {Base} from "test/Base.t.sol";

contract BlobsTest is Base {
    uint256 private constant NODES = 10; // ten shards each; seven are a quorum, four have one correct among them
    address private constant STRANGER = address(0xbeef);

    // A blob that the real Walrus encoder encoded for 100 shards.
    uint64 private constant LENGTH = 1048576;
    bytes32 private constant ROOT = 0xb7a320a26c9e5db9cf2a96bd743141f8e96d3980ff7c75015d3d84eedc8d1788;
    bytes32 private constant ID = 0x47ad94b8a397d2b4d18bad6710b6acbca668edb087dfc11bd8cc226f09ed081c;
    uint64 private constant SIZE = 100 * ((34 + 67) * 462 + 64 * 100 + 32); // 5 309 400: six mebibytes
    uint256 private constant COST = 6 * PRICE;

    uint256 private blobId = BlobId.toInteger(ID);

    function setUp() public override {
        super.setUp();
        _addNodes(NODES);
        _nextEpoch();
    }

    // Reserving

    function test_quote_is_per_mebibyte_and_epoch() public view {
        (uint64 size, uint256 cost) = blobs.quote(LENGTH, 5);
        vm.assertEq(size, SIZE);
        vm.assertEq(cost, 5 * COST);
    }

    function test_reserve_takes_capacity_and_payment() public {
        uint256 before = token.balanceOf(address(this));
        vm.expectEmit();
        emit Blobs.SpaceReserved(1, address(this), SIZE, 4);
        vm.assertEq(blobs.reserve(SIZE, 3), 1);
        vm.assertEq(before - token.balanceOf(address(this)), 3 * COST);
        vm.assertEq(token.balanceOf(address(blobs)), 3 * COST);
        for (uint32 epoch = 1; epoch <= 4; ++epoch) {
            (uint64 reserved, uint128 payment) = blobs.accounts(epoch);
            vm.assertEq(reserved, epoch < 4 ? SIZE : 0);
            vm.assertEq(payment, epoch < 4 ? COST : 0);
        }
    }

    function test_reserve_takes_the_longest_period() public {
        blobs.reserve(SIZE, 53);
        (uint64 reserved,) = blobs.accounts(53);
        vm.assertEq(reserved, SIZE);
    }

    function test_reserve_reverts_beyond_the_longest_period() public {
        vm.expectRevert(abi.encodeWithSelector(Blobs.InvalidPeriod.selector, 54, 53));
        blobs.reserve(SIZE, 54);
    }

    function test_reserve_reverts_for_no_epoch() public {
        vm.expectRevert(abi.encodeWithSelector(Blobs.InvalidPeriod.selector, 0, 53));
        blobs.reserve(SIZE, 0);
    }

    function test_reserve_reverts_for_no_space() public {
        vm.expectRevert(Blobs.InvalidSize.selector);
        blobs.reserve(0, 1);
    }

    function test_reserve_reverts_beyond_the_capacity_of_any_epoch() public {
        blobs.reserve(CAPACITY - SIZE, 2);
        blobs.reserve(SIZE, 2);
        vm.expectRevert(abi.encodeWithSelector(Blobs.NoCapacity.selector, 1, 0, 1));
        blobs.reserve(1, 5);
        _nextEpoch();
        _nextEpoch();
        blobs.reserve(CAPACITY, 1);
    }

    function test_reserve_reverts_before_the_first_epoch() public {
        _deploy(SHARDS, 500);
        vm.expectRevert(Blobs.NoEpochYet.selector);
        blobs.reserve(SIZE, 1);
    }

    function test_reserve_reverts_without_allowance() public {
        vm.expectRevert(
            abi.encodeWithSelector(IERC20Errors.ERC20InsufficientAllowance.selector, address(blobs), 0, COST)
        );
        vm.prank(STRANGER);
        blobs.reserve(SIZE, 1);
    }

    // Registering

    function test_reserveAndRegister_recomputes_the_id() public {
        vm.expectEmit();
        emit Blobs.BlobRegistered(1, blobId, address(this), 1, ROOT, LENGTH, 1, 6, true);
        vm.assertEq(blobs.reserveAndRegister(ROOT, LENGTH, 1, 5, true), 1);
        Blobs.BlobView memory blob = blobs.blob(1);
        vm.assertEq(blob.objectId, 1);
        vm.assertEq(blob.blobId, blobId);
        vm.assertEq(blob.root, ROOT);
        vm.assertEq(blob.length, LENGTH);
        vm.assertEq(blob.encodingType, 1);
        vm.assertEq(blob.owner, address(this));
        vm.assertEq(blob.registeredEpoch, 1);
        vm.assertEq(blob.certifiedEpoch, 0);
        vm.assertEq(blob.endEpoch, 6);
        vm.assertTrue(blob.deletable);
        vm.assertTrue(blob.status == Blobs.Status.Registered);
        vm.assertEq(token.balanceOf(address(blobs)), 5 * COST);
        (uint64 reserved,) = blobs.accounts(5);
        vm.assertEq(reserved, SIZE);
        vm.assertEq(blobs.reservationCount(), 0);
    }

    function test_register_uses_a_reservation_up() public {
        uint256 resourceId = blobs.reserve(SIZE + 7, 3);
        _nextEpoch();
        blobs.register(resourceId, ROOT, LENGTH, 1, false);
        vm.assertEq(blobs.blob(1).endEpoch, 4);
        vm.assertEq(blobs.blob(1).registeredEpoch, 2);
        vm.expectRevert(abi.encodeWithSelector(Blobs.UnknownReservation.selector, resourceId));
        blobs.register(resourceId, ROOT, LENGTH, 1, false);
    }

    function test_register_reverts_for_anothers_reservation() public {
        uint256 resourceId = blobs.reserve(SIZE, 3);
        vm.expectRevert(abi.encodeWithSelector(Blobs.NotOwner.selector, address(this)));
        vm.prank(STRANGER);
        blobs.register(resourceId, ROOT, LENGTH, 1, false);
    }

    function test_register_reverts_for_a_reservation_too_small() public {
        uint256 resourceId = blobs.reserve(SIZE - 1, 3);
        vm.expectRevert(abi.encodeWithSelector(Blobs.ReservationTooSmall.selector, SIZE - 1, SIZE));
        blobs.register(resourceId, ROOT, LENGTH, 1, false);
    }

    function test_register_reverts_for_an_expired_reservation() public {
        uint256 resourceId = blobs.reserve(SIZE, 1);
        _nextEpoch();
        vm.expectRevert(abi.encodeWithSelector(Blobs.Expired.selector, 2));
        blobs.register(resourceId, ROOT, LENGTH, 1, false);
    }

    function test_reserveAndRegister_reverts_for_an_unknown_encoding() public {
        vm.expectRevert(abi.encodeWithSelector(Blobs.UnknownEncoding.selector, 0));
        blobs.reserveAndRegister(ROOT, LENGTH, 0, 1, false);
    }

    function test_reserveAndRegister_reverts_for_a_blob_too_long() public {
        uint64 largest = 34 * 67 * 65534;
        vm.expectRevert(abi.encodeWithSelector(RedStuff.BlobTooLong.selector, largest + 1, largest));
        blobs.reserveAndRegister(ROOT, largest + 1, 1, 1, false);
    }

    function test_reserveAndRegister_reverts_for_an_invalid_blob() public {
        _invalidate();
        vm.expectRevert(abi.encodeWithSelector(Blobs.InvalidBlob.selector, blobId));
        blobs.reserveAndRegister(ROOT, LENGTH, 1, 1, false);
    }

    // Certifying

    function test_certify_a_permanent_blob() public {
        _register(false);
        (bytes memory bitmap, bytes memory signature) = _signed(1, Messages.permanentBlob(ID), 0);
        vm.expectEmit();
        emit Blobs.BlobCertified(1, blobId, 1, 6, false, false);
        vm.prank(STRANGER);
        blobs.certify(1, 1, bitmap, signature);
        vm.assertEq(blobs.blob(1).certifiedEpoch, 1);
        vm.assertTrue(blobs.blob(1).status == Blobs.Status.Certified);
    }

    function test_certify_a_deletable_blob() public {
        _register(true);
        (bytes memory bitmap, bytes memory signature) = _signed(1, Messages.deletableBlob(ID, 1), 0);
        vm.expectEmit();
        emit Blobs.BlobCertified(1, blobId, 1, 6, true, false);
        blobs.certify(1, 1, bitmap, signature);
    }

    function test_certify_exactly_at_the_quorum() public {
        _register(false);
        (bytes memory bitmap, bytes memory signature) = _signed(1, Messages.permanentBlob(ID), 0x7);
        blobs.certify(1, 1, bitmap, signature); // 70 of 100
    }

    function test_certify_by_two_thirds_of_the_shards_and_one() public {
        _certifyAlone(67);
        vm.assertTrue(blobs.blob(1).status == Blobs.Status.Certified);
    }

    function test_certify_reverts_just_below_the_quorum() public {
        vm.expectRevert(abi.encodeWithSelector(Blobs.NotEnoughWeight.selector, 66, SHARDS));
        this.certifyAlone(66);
    }

    function test_certify_by_the_last_committee_until_the_handover_is_done() public {
        _register(false);
        (bytes memory bitmap, bytes memory signature) = _signed(1, Messages.permanentBlob(ID), 0);
        _startHandover();
        vm.expectEmit();
        emit Blobs.BlobCertified(1, blobId, 1, 6, false, false);
        blobs.certify(1, 1, bitmap, signature);
    }

    function test_certify_reverts_by_the_last_committee_after_the_handover() public {
        _register(false);
        (bytes memory bitmap, bytes memory signature) = _signed(1, Messages.permanentBlob(ID), 0);
        _nextEpoch();
        vm.expectRevert(abi.encodeWithSelector(Committee.WrongEpoch.selector, 1, 2));
        blobs.certify(1, 1, bitmap, signature);
    }

    function test_certify_reverts_for_a_certificate_older_than_the_object() public {
        (bytes memory bitmap, bytes memory signature) = _signed(1, Messages.permanentBlob(ID), 0);
        _startHandover();
        _register(false);
        vm.expectRevert(abi.encodeWithSelector(Blobs.CertificateTooOld.selector, 1, 2));
        blobs.certify(1, 1, bitmap, signature);
    }

    function test_certify_reverts_a_second_time() public {
        _certified(false);
        vm.expectRevert(abi.encodeWithSelector(Blobs.AlreadyCertified.selector, 1, 1));
        blobs.certify(1, 1, "", "");
    }

    function test_certify_reverts_for_an_expired_blob() public {
        blobs.reserveAndRegister(ROOT, LENGTH, 1, 1, false);
        _nextEpoch();
        vm.expectRevert(abi.encodeWithSelector(Blobs.Expired.selector, 2));
        blobs.certify(1, 2, "", "");
    }

    function test_certify_reverts_for_an_unknown_object() public {
        vm.expectRevert(abi.encodeWithSelector(Blobs.UnknownObject.selector, 1));
        blobs.certify(1, 1, "", "");
    }

    function test_certify_reverts_for_a_permanent_certificate_of_a_deletable_blob() public {
        _register(true);
        _expectBadSignature(Messages.permanentBlob(ID), Messages.BLOB);
    }

    function test_certify_reverts_for_a_deletable_certificate_of_a_permanent_blob() public {
        _register(false);
        _expectBadSignature(Messages.deletableBlob(ID, 1), Messages.BLOB);
    }

    function test_certify_reverts_for_the_certificate_of_another_deletable_object() public {
        _register(true);
        _expectBadSignature(Messages.deletableBlob(ID, 2), Messages.BLOB);
    }

    function test_certify_reverts_for_the_certificate_of_another_blob() public {
        _register(false);
        _expectBadSignature(Messages.permanentBlob(bytes32(blobId)), Messages.BLOB);
    }

    function test_certify_reverts_for_a_certificate_of_another_intent() public {
        _register(false);
        _expectBadSignature(Messages.permanentBlob(ID), Messages.INVALID_BLOB);
    }

    function test_certify_reverts_for_an_invalid_blob() public {
        _register(false);
        _invalidate();
        vm.expectRevert(abi.encodeWithSelector(Blobs.InvalidBlob.selector, blobId));
        blobs.certify(1, 1, "", "");
        vm.assertTrue(blobs.blob(1).status == Blobs.Status.Invalid);
    }

    // Extending

    function test_extend_pays_for_the_added_epochs() public {
        _certified(false);
        vm.expectEmit();
        emit Blobs.BlobCertified(1, blobId, 1, 9, false, true);
        blobs.extend(1, 3);
        vm.assertEq(blobs.blob(1).endEpoch, 9);
        vm.assertEq(token.balanceOf(address(blobs)), 8 * COST);
        (uint64 reserved,) = blobs.accounts(8);
        vm.assertEq(reserved, SIZE);
        (reserved,) = blobs.accounts(5);
        vm.assertEq(reserved, SIZE);
    }

    function test_extend_reverts_beyond_the_longest_period() public {
        _certified(false);
        vm.expectRevert(abi.encodeWithSelector(Blobs.InvalidPeriod.selector, 49, 48));
        blobs.extend(1, 49);
        blobs.extend(1, 48);
    }

    function test_extend_reverts_for_no_epoch() public {
        _certified(false);
        vm.expectRevert(abi.encodeWithSelector(Blobs.InvalidPeriod.selector, 0, 48));
        blobs.extend(1, 0);
    }

    function test_extend_reverts_for_a_period_that_overflows() public {
        _certified(false);
        vm.expectRevert(abi.encodeWithSelector(Blobs.InvalidPeriod.selector, type(uint32).max, 48));
        blobs.extend(1, type(uint32).max);
    }

    function test_extend_reverts_for_an_uncertified_blob() public {
        _register(false);
        vm.expectRevert(abi.encodeWithSelector(Blobs.NotCertified.selector, 1));
        blobs.extend(1, 1);
    }

    function test_extend_reverts_for_an_expired_blob() public {
        _certified(false);
        for (uint256 i; i < 5; ++i) {
            _nextEpoch();
        }
        vm.expectRevert(abi.encodeWithSelector(Blobs.Expired.selector, 6));
        blobs.extend(1, 1);
        vm.assertTrue(blobs.blob(1).status == Blobs.Status.Expired);
    }

    function test_extend_reverts_for_a_stranger() public {
        _certified(false);
        vm.expectRevert(abi.encodeWithSelector(Blobs.NotOwner.selector, address(this)));
        vm.prank(STRANGER);
        blobs.extend(1, 1);
    }

    function test_extend_reverts_for_an_invalid_blob() public {
        _certified(false);
        _invalidate();
        vm.expectRevert(abi.encodeWithSelector(Blobs.InvalidBlob.selector, blobId));
        blobs.extend(1, 1);
    }

    // Deleting

    function test_remove_gives_the_space_back_as_a_reservation() public {
        _certified(true);
        _nextEpoch();
        vm.expectEmit();
        emit Blobs.BlobDeleted(1, blobId, 2);
        vm.expectEmit();
        emit Blobs.SpaceReserved(1, address(this), SIZE, 6);
        uint256 resourceId = blobs.remove(1);
        vm.assertTrue(blobs.blob(1).status == Blobs.Status.Deleted);
        vm.assertEq(blobs.blob(1).objectId, 1);
        vm.assertEq(blobs.register(resourceId, ROOT, LENGTH, 1, true), 2);
        vm.assertEq(blobs.blob(2).endEpoch, 6);
        vm.assertEq(token.balanceOf(address(blobs)), 5 * COST);
    }

    function test_remove_reverts_for_a_permanent_blob() public {
        _register(false);
        vm.expectRevert(abi.encodeWithSelector(Blobs.NotDeletable.selector, 1));
        blobs.remove(1);
    }

    function test_remove_reverts_for_a_stranger() public {
        _register(true);
        vm.expectRevert(abi.encodeWithSelector(Blobs.NotOwner.selector, address(this)));
        vm.prank(STRANGER);
        blobs.remove(1);
    }

    function test_remove_reverts_for_an_expired_blob() public {
        blobs.reserveAndRegister(ROOT, LENGTH, 1, 1, true);
        _nextEpoch();
        vm.expectRevert(abi.encodeWithSelector(Blobs.Expired.selector, 2));
        blobs.remove(1);
    }

    function test_remove_reverts_the_second_time() public {
        _register(true);
        blobs.remove(1);
        vm.expectRevert(abi.encodeWithSelector(Blobs.UnknownObject.selector, 1));
        blobs.remove(1);
    }

    // Invalidating

    function test_invalidate_needs_one_correct_node() public {
        (bytes memory bitmap, bytes memory signature) = _invalidity(0x3f); // 40 of 100
        vm.expectEmit();
        emit Blobs.BlobInvalidated(blobId, 1);
        blobs.invalidate(blobId, 1, bitmap, signature);
        vm.assertTrue(blobs.isInvalid(blobId));
    }

    function test_invalidate_reverts_without_one_correct_node() public {
        (bytes memory bitmap, bytes memory signature) = _invalidity(0x7f); // 30 of 100
        vm.expectRevert(abi.encodeWithSelector(Blobs.NotEnoughWeight.selector, 30, SHARDS));
        blobs.invalidate(blobId, 1, bitmap, signature);
    }

    function test_invalidate_by_a_third_of_the_shards_and_one() public {
        _invalidateAlone(34);
        vm.assertTrue(blobs.isInvalid(blobId));
    }

    function test_invalidate_reverts_just_below_one_correct_node() public {
        vm.expectRevert(abi.encodeWithSelector(Blobs.NotEnoughWeight.selector, 33, SHARDS));
        this.invalidateAlone(33);
    }

    function test_invalidate_reverts_for_the_certificate_of_another_blob() public {
        (bytes memory bitmap, bytes memory signature) = _invalidity(0);
        vm.expectRevert(Committee.BadSignature.selector);
        blobs.invalidate(uint256(ID), 1, bitmap, signature);
    }

    function test_invalidate_reverts_the_second_time() public {
        _invalidate();
        vm.expectRevert(abi.encodeWithSelector(Blobs.InvalidBlob.selector, blobId));
        blobs.invalidate(blobId, 1, "", "");
    }

    // Views

    function test_blobs_come_in_pages() public {
        for (uint256 i; i < 5; ++i) {
            blobs.reserveAndRegister(bytes32(i), LENGTH, 1, 1, true);
        }
        blobs.remove(2);
        (Blobs.BlobView[] memory page, uint256 next) = blobs.blobs(0, 3);
        vm.assertEq(page.length, 3);
        vm.assertEq(page[0].root, bytes32(uint256(0)));
        vm.assertTrue(page[1].status == Blobs.Status.Deleted);
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

    function test_blob_reverts_for_an_id_that_has_never_been() public {
        vm.expectRevert(abi.encodeWithSelector(Blobs.UnknownObject.selector, 0));
        blobs.blob(0);
        vm.expectRevert(abi.encodeWithSelector(Blobs.UnknownObject.selector, 1));
        blobs.blob(1);
    }

    function test_payments_add_up(uint64 length, uint256 epochs, uint256 more) public {
        length = uint64(_between(length, 0, 1 << 20));
        epochs = _between(epochs, 1, 53);
        more = _between(more, 0, 53 - epochs);
        blobs.reserveAndRegister(ROOT, length, 1, uint32(epochs), false);
        bytes32 id = BlobId.fromInteger(blobs.blob(1).blobId);
        (bytes memory bitmap, bytes memory signature) = _signed(1, Messages.permanentBlob(id), 0);
        blobs.certify(1, 1, bitmap, signature);
        if (more > 0) blobs.extend(1, uint32(more));
        uint256 paid;
        for (uint32 epoch; epoch < 60; ++epoch) {
            (, uint128 payment) = blobs.accounts(epoch);
            paid += payment;
        }
        (, uint256 cost) = blobs.quote(length, uint32(epochs + more));
        vm.assertEq(paid, cost);
        vm.assertEq(token.balanceOf(address(blobs)), cost);
    }

    function certifyAlone(uint256 weight) external {
        _certifyAlone(weight);
    }

    function invalidateAlone(uint256 weight) external {
        _invalidateAlone(weight);
    }

    /// @dev Member 1, with `weight` of the 100 shards, certifies a blob without the other one.
    function _certifyAlone(uint256 weight) private {
        _twoMembers(weight);
        _register(false);
        bytes memory signature = _sign(_secret(1), _message(Messages.BLOB, 1, Messages.permanentBlob(ID)));
        blobs.certify(1, 1, hex"01", signature);
    }

    function _invalidateAlone(uint256 weight) private {
        _twoMembers(weight);
        bytes memory signature = _sign(_secret(1), _message(Messages.INVALID_BLOB, 1, Messages.invalidBlob(ID)));
        blobs.invalidate(blobId, 1, hex"01", signature);
    }

    function _twoMembers(uint256 weight) private {
        _deploy(SHARDS, 500);
        _addNode(weight * 1 ether);
        _addNode((SHARDS - weight) * 1 ether);
        _nextEpoch();
        vm.assertEq(committee.committee(1).members[0].shards.length, weight);
    }

    function _register(bool deletable) private {
        blobs.reserveAndRegister(ROOT, LENGTH, 1, 5, deletable);
    }

    function _certified(bool deletable) private {
        _register(deletable);
        bytes memory body = deletable ? Messages.deletableBlob(ID, 1) : Messages.permanentBlob(ID);
        (bytes memory bitmap, bytes memory signature) = _signed(1, body, 0);
        blobs.certify(1, 1, bitmap, signature);
    }

    function _invalidate() private {
        (bytes memory bitmap, bytes memory signature) = _invalidity(0);
        blobs.invalidate(blobId, 1, bitmap, signature);
    }

    function _invalidity(uint256 absent) private view returns (bytes memory, bytes memory) {
        return _certificate(NODES, absent, _message(Messages.INVALID_BLOB, 1, Messages.invalidBlob(ID)));
    }

    function _signed(uint32 epoch, bytes memory body, uint256 absent)
        private
        view
        returns (bytes memory, bytes memory)
    {
        return _certificate(NODES, absent, _message(Messages.BLOB, epoch, body));
    }

    function _expectBadSignature(bytes memory body, uint8 intent) private {
        (bytes memory bitmap, bytes memory signature) = _certificate(NODES, 0, _message(intent, 1, body));
        vm.expectRevert(Committee.BadSignature.selector);
        blobs.certify(1, 1, bitmap, signature);
    }

    /// @dev Epoch 2 with half of the members new: its handover is not done.
    function _startHandover() private {
        for (uint32 i = 1; i <= 5; ++i) {
            vm.prank(_operator(i));
            staking.leaveCandidates();
        }
        _addNodes(5);
        _nextEpoch();
        vm.assertFalse(committee.state().handoverDone);
    }
}
