// SPDX-License-Identifier: Apache-2.0
pragma solidity ^0.8.30;

import {Blobs} from "src/Blobs.sol";
import {IBlobs} from "src/interfaces/IBlobs.sol";
import {ICommittee} from "src/interfaces/ICommittee.sol";
import {ISpace} from "src/interfaces/ISpace.sol";
import {Messages} from "src/lib/Messages.sol";
import {BlobBase} from "test/BlobBase.t.sol";

/// @notice Certifying blobs one by one.
contract CertifyTest is BlobBase {
    // Certifying

    function test_certify_a_permanent_blob() public {
        _register(false);
        (bytes memory bitmap, bytes memory signature) = _signed(1, Messages.permanentBlob(ID), 0);
        vm.expectEmit();
        emit IBlobs.BlobCertified(1, blobId, 1, 6, false, false);
        vm.prank(STRANGER);
        blobs.certify(1, 1, bitmap, signature);
        vm.assertEq(blobs.blob(1).certifiedEpoch, 1);
        vm.assertTrue(blobs.blob(1).status == IBlobs.Status.Certified);
    }

    function test_certify_a_deletable_blob() public {
        _register(true);
        (bytes memory bitmap, bytes memory signature) = _signed(1, Messages.deletableBlob(ID, 1), 0);
        vm.expectEmit();
        emit IBlobs.BlobCertified(1, blobId, 1, 6, true, false);
        blobs.certify(1, 1, bitmap, signature);
    }

    function test_certify_exactly_at_the_quorum() public {
        _register(false);
        (bytes memory bitmap, bytes memory signature) = _signed(1, Messages.permanentBlob(ID), 0x7);
        blobs.certify(1, 1, bitmap, signature); // 70 of 100
    }

    function test_certify_by_two_thirds_of_the_shards_and_one() public {
        this.certifyAlone(SHARDS, 67, false);
        vm.assertTrue(blobs.blob(1).status == IBlobs.Status.Certified);
        this.certifyAlone(SHARDS, 67, true);
        vm.assertTrue(blobs.blob(1).status == IBlobs.Status.Certified);
    }

    function test_certify_reverts_just_below_the_quorum() public {
        vm.expectRevert(abi.encodeWithSelector(ICommittee.NotEnoughWeight.selector, 66, 67));
        this.certifyAlone(SHARDS, 66, false);
        vm.expectRevert(abi.encodeWithSelector(ICommittee.NotEnoughWeight.selector, 66, 67));
        this.certifyAlone(SHARDS, 66, true);
    }

    function test_certify_reverts_at_exactly_two_thirds() public {
        vm.expectRevert(abi.encodeWithSelector(ICommittee.NotEnoughWeight.selector, 8, 9));
        this.certifyAlone(12, 8, false);
        vm.expectRevert(abi.encodeWithSelector(ICommittee.NotEnoughWeight.selector, 8, 9));
        this.certifyAlone(12, 8, true);
        this.certifyAlone(12, 9, false);
        this.certifyAlone(12, 9, true);
    }

    function test_certify_by_the_last_committee_until_the_handover_is_done() public {
        _register(false);
        (bytes memory bitmap, bytes memory signature) = _signed(1, Messages.permanentBlob(ID), 0);
        _startHandover();
        vm.expectEmit();
        emit IBlobs.BlobCertified(1, blobId, 1, 6, false, false);
        blobs.certify(1, 1, bitmap, signature);
    }

    function test_certify_reverts_by_the_last_committee_after_the_handover() public {
        _register(false);
        (bytes memory bitmap, bytes memory signature) = _signed(1, Messages.permanentBlob(ID), 0);
        _nextEpoch();
        vm.warp(block.timestamp + GRACE_S);
        vm.expectRevert(abi.encodeWithSelector(ICommittee.WrongEpoch.selector, 1, 2));
        blobs.certify(1, 1, bitmap, signature);
    }

    function test_certify_takes_a_certificate_that_is_on_its_way_during_an_ordinary_start() public {
        _register(false);
        (bytes memory bitmap, bytes memory signature) = _signed(1, Messages.permanentBlob(ID), 0);
        _replaceMembers(1); // a tenth moves: the handover is done at once
        vm.assertTrue(committee.state().handoverDone);
        blobs.certify(1, 1, bitmap, signature);
        vm.assertTrue(blobs.blob(1).status == IBlobs.Status.Certified);
    }

    function test_certify_reverts_for_a_certificate_older_than_the_object() public {
        (bytes memory bitmap, bytes memory signature) = _signed(1, Messages.permanentBlob(ID), 0);
        _startHandover();
        _register(false);
        vm.expectRevert(abi.encodeWithSelector(IBlobs.CertificateTooOld.selector, 1, 2));
        blobs.certify(1, 1, bitmap, signature);
    }

    function test_certify_reverts_a_second_time() public {
        _certified(false);
        vm.expectRevert(abi.encodeWithSelector(IBlobs.AlreadyCertified.selector, 1, 1));
        blobs.certify(1, 1, "", "");
    }

    function test_certify_reverts_for_an_expired_blob() public {
        blobs.reserveAndRegister(ROOT, LENGTH, 1, 1, false, ANY, ANY);
        _nextEpoch();
        vm.expectRevert(abi.encodeWithSelector(ISpace.Expired.selector, 2));
        blobs.certify(1, 2, "", "");
    }

    function test_certify_reverts_for_an_unknown_object() public {
        vm.expectRevert(abi.encodeWithSelector(IBlobs.UnknownObject.selector, 1));
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
        vm.expectRevert(abi.encodeWithSelector(IBlobs.InvalidBlob.selector, blobId));
        blobs.certify(1, 1, "", "");
        vm.assertTrue(blobs.blob(1).status == IBlobs.Status.Invalid);
    }

    /// @dev Member 1, with `weight` of the shards, certifies a blob without the other one.
    function certifyAlone(uint16 shards, uint256 weight, bool isMany) external {
        _twoMembers(shards, weight);
        _register(false);
        bytes memory signature = _sign(_secret(1), _message(Messages.BLOB, 1, Messages.permanentBlob(ID)));
        uint256[] memory objectIds = new uint256[](1);
        objectIds[0] = 1;
        if (isMany) blobs.certifyMany(objectIds, 1, hex"01", signature);
        else blobs.certify(1, 1, hex"01", signature);
    }

    function _expectBadSignature(bytes memory body, uint8 intent) private {
        (bytes memory bitmap, bytes memory signature) = _certificate(NODES, 0, _message(intent, 1, body));
        vm.expectRevert(ICommittee.BadSignature.selector);
        blobs.certify(1, 1, bitmap, signature);
    }
}
