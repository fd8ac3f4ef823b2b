// SPDX-License-Identifier: Apache-2.0
pragma solidity ^0.8.30;

import {BLS} from "solady/utils/ext/ithaca/BLS.sol";
import {Blobs} from "src/Blobs.sol";
import {IBlobs} from "src/interfaces/IBlobs.sol";
import {ICommittee} from "src/interfaces/ICommittee.sol";
import {ISpace} from "src/interfaces/ISpace.sol";
import {BlobId} from "src/lib/BlobId.sol";
import {Messages} from "src/lib/Messages.sol";
import {Rolls} from "src/lib/Rolls.sol";
import {BlobBase} from "test/BlobBase.t.sol";

/// @notice Certifying several blobs with one aggregate signature: as good as one by one, and as hard to trick.
contract CertifyManyTest is BlobBase {
    uint256 private constant COUNT = 10;

    uint256[] private objectIds;
    bytes[] private messages; // of the objects, by committee 1

    function setUp() public override {
        super.setUp();
        for (uint256 i; i < COUNT; ++i) {
            bool deletable = i % 3 == 2;
            uint256 objectId = blobs.reserveAndRegister(bytes32(i), LENGTH, 1, 5, deletable, ANY, ANY);
            bytes32 id = BlobId.fromInteger(blobs.blob(objectId).blobId);
            objectIds.push(objectId);
            messages.push(_encoded(deletable ? Messages.deletableBlob(id, objectId) : Messages.permanentBlob(id)));
        }
    }

    // What is certified

    function test_certifyMany_certifies_ten_permanent_and_deletable_blobs() public {
        for (uint256 i; i < COUNT; ++i) {
            IBlobs.BlobView memory blob = blobs.blob(objectIds[i]);
            vm.expectEmit();
            emit IBlobs.BlobCertified(objectIds[i], blob.blobId, 1, 6, i % 3 == 2, false);
        }
        (bytes memory bitmap, bytes memory signature) = _all(0);
        vm.prank(STRANGER);
        blobs.certifyMany(objectIds, 1, bitmap, signature);
        for (uint256 i; i < COUNT; ++i) {
            vm.assertTrue(blobs.blob(objectIds[i]).status == IBlobs.Status.Certified);
        }
    }

    function test_certifyMany_of_one_takes_the_signature_of_one() public {
        (bytes memory bitmap, bytes memory signature) = _certificate(NODES, 0, messages[4]);
        blobs.certifyMany(_one(objectIds[4]), 1, bitmap, signature);
        vm.assertTrue(blobs.blob(objectIds[4]).status == IBlobs.Status.Certified);
    }

    function test_certifyMany_exactly_at_the_quorum() public {
        (bytes memory bitmap, bytes memory signature) = _all(0x7); // 70 of 100
        blobs.certifyMany(objectIds, 1, bitmap, signature);
        vm.assertTrue(blobs.blob(objectIds[9]).status == IBlobs.Status.Certified);
    }

    function test_certifyMany_of_two_objects_with_one_blob() public {
        // The same message twice: each signer's signature counts twice in the aggregate.
        uint256 second = blobs.reserveAndRegister(bytes32(0), LENGTH, 1, 5, false, ANY, ANY);
        (bytes memory bitmap, bytes memory one) = _certificate(NODES, 0, messages[0]);
        bytes memory twice = _sum(one, one);
        vm.expectRevert(ICommittee.BadSignature.selector);
        blobs.certifyMany(_two(objectIds[0], second), 1, bitmap, one);
        blobs.certifyMany(_two(objectIds[0], second), 1, bitmap, twice);
        vm.assertTrue(blobs.blob(second).status == IBlobs.Status.Certified);
    }

    function test_certifyMany_by_the_last_committee_until_the_handover_is_done() public {
        (bytes memory bitmap, bytes memory signature) = _all(0);
        _startHandover();
        blobs.certifyMany(objectIds, 1, bitmap, signature);
        vm.assertEq(blobs.blob(objectIds[0]).certifiedEpoch, 1);
    }

    // What is refused, and then leaves nothing certified

    function test_certifyMany_reverts_below_the_quorum() public {
        (bytes memory bitmap, bytes memory signature) = _all(0xf);
        _expectRefused(bitmap, signature, abi.encodeWithSelector(ICommittee.NotEnoughWeight.selector, 60, 67));
    }

    function test_certifyMany_reverts_for_an_empty_list() public {
        (bytes memory bitmap,) = _all(0);
        vm.expectRevert(ICommittee.BadSignature.selector);
        blobs.certifyMany(new uint256[](0), 1, bitmap, new bytes(256));
    }

    function test_certifyMany_takes_a_repeated_object_once() public {
        (bytes memory bitmap, bytes memory one) = _certificate(NODES, 0, messages[0]);
        uint256[] memory twice = _two(objectIds[0], objectIds[0]);
        vm.expectRevert(ICommittee.BadSignature.selector);
        blobs.certifyMany(twice, 1, bitmap, one);
        blobs.certifyMany(twice, 1, bitmap, _sum(one, one));
        vm.assertEq(blobs.blob(objectIds[0]).certifiedEpoch, 1);
    }

    function test_certifyMany_is_not_stopped_by_anyone_who_certifies_one_first() public {
        (bytes memory bitmap, bytes memory signature) = _certificate(NODES, 0, messages[3]);
        vm.prank(STRANGER);
        blobs.certify(objectIds[3], 1, bitmap, signature);
        _startHandover();
        (bitmap, signature) = _all(0);
        blobs.certifyMany(objectIds, 1, bitmap, signature);
        for (uint256 i; i < COUNT; ++i) {
            vm.assertEq(blobs.blob(objectIds[i]).certifiedEpoch, 1);
        }
    }

    function test_certifyMany_keeps_the_epoch_of_one_certified_already() public {
        objectIds[3] = blobs.reserveAndRegister(bytes32(uint256(3)), LENGTH, 1, 5, false, ANY, ANY);
        bytes memory bitmap;
        bytes memory signature;
        (bitmap, signature) = _certificate(NODES, 0, messages[3]);
        blobs.certify(objectIds[3], 1, bitmap, signature);
        _nextEpoch();
        _encodeAgain(Messages.BLOB, 2, committee.domain());
        (bitmap, signature) = _all(0);
        blobs.certifyMany(objectIds, 2, bitmap, signature);
        vm.assertEq(blobs.blob(objectIds[3]).certifiedEpoch, 1);
        vm.assertEq(blobs.blob(objectIds[4]).certifiedEpoch, 2);
    }

    function test_certifyMany_reverts_for_one_message_swapped(uint256 position) public {
        messages[_between(position, 0, COUNT - 1)] = _encoded(Messages.permanentBlob("other"));
        _expectBadSignature();
    }

    function test_certifyMany_reverts_for_a_permanent_message_of_a_deletable_blob() public {
        messages[2] = _encoded(Messages.permanentBlob(BlobId.fromInteger(blobs.blob(objectIds[2]).blobId)));
        _expectBadSignature();
    }

    function test_certifyMany_reverts_when_one_message_was_not_signed() public {
        messages.pop();
        _expectBadSignature();
    }

    function test_certifyMany_reverts_for_one_message_too_many() public {
        (bytes memory bitmap, bytes memory signature) = _all(0);
        objectIds.pop();
        _expectRefused(bitmap, signature, abi.encodeWithSelector(ICommittee.BadSignature.selector));
    }

    function test_certifyMany_reverts_for_the_signature_of_another_set() public {
        (bytes memory bitmap,) = _all(0x1);
        (, bytes memory signature) = _all(0);
        _expectRefused(bitmap, signature, abi.encodeWithSelector(ICommittee.BadSignature.selector));
    }

    function test_certifyMany_reverts_for_a_swapped_signer() public {
        (bytes memory bitmap,) = _all(1 << 9);
        (, bytes memory signature) = _all(1);
        _expectRefused(bitmap, signature, abi.encodeWithSelector(ICommittee.BadSignature.selector));
    }

    function test_certifyMany_reverts_for_signers_that_differ_between_messages() public {
        // Member 0 signed the first five, member 9 the others: no set signed all of them.
        (bytes memory bitmap, bytes memory signature) = _signedBy(1, 0, 5);
        (, bytes memory others) = _signedBy(1 << 9, 5, COUNT);
        _expectRefused(bitmap, _sum(signature, others), abi.encodeWithSelector(ICommittee.BadSignature.selector));
    }

    function test_certifyMany_reverts_for_a_stretched_bitmap() public {
        (bytes memory bitmap, bytes memory signature) = _all(0);
        bytes memory reason = abi.encodeWithSelector(Rolls.BadBitmap.selector, NODES);
        _expectRefused(abi.encodePacked(bitmap, uint8(0)), signature, reason);
    }

    function test_certifyMany_reverts_for_unused_bits() public {
        (bytes memory bitmap, bytes memory signature) = _all(0);
        bitmap[1] |= 0x04;
        _expectRefused(bitmap, signature, abi.encodeWithSelector(Rolls.BadBitmap.selector, NODES));
    }

    function test_certifyMany_reverts_for_the_identity_signature() public {
        (bytes memory bitmap,) = _all(0);
        _expectRefused(bitmap, new bytes(256), abi.encodeWithSelector(ICommittee.BadSignature.selector));
        _expectRefused("", new bytes(256), abi.encodeWithSelector(ICommittee.NotEnoughWeight.selector, 0, 67));
    }

    function test_certifyMany_reverts_for_a_signature_outside_the_subgroup() public {
        (bytes memory bitmap,) = _all(0);
        _expectRefused(bitmap, OUTSIDE_G2, abi.encodeWithSelector(ICommittee.BadSignature.selector));
    }

    function test_certifyMany_reverts_on_another_chain() public {
        (bytes memory bitmap, bytes memory signature) = _all(0);
        vm.chainId(5);
        _expectRefused(bitmap, signature, abi.encodeWithSelector(ICommittee.BadSignature.selector));
    }

    function test_certifyMany_reverts_for_another_contracts_messages() public {
        bytes memory before = messages[3];
        _encodeAgain(Messages.BLOB, 1, committee.domain());
        vm.assertEq(messages[3], before);
        _encodeAgain(Messages.BLOB, 1, Messages.domainOf(address(blobs)));
        _expectBadSignature();
    }

    function test_certifyMany_reverts_for_another_intents_messages() public {
        _encodeAgain(Messages.INVALID_BLOB, 1, committee.domain());
        _expectBadSignature();
    }

    function test_certifyMany_reverts_for_another_epochs_messages() public {
        _encodeAgain(Messages.BLOB, 2, committee.domain());
        _expectBadSignature();
    }

    function test_certifyMany_reverts_for_a_replay_as_of_the_next_epoch() public {
        (bytes memory bitmap, bytes memory signature) = _all(0);
        _nextEpoch();
        vm.expectRevert(ICommittee.BadSignature.selector);
        blobs.certifyMany(objectIds, 2, bitmap, signature);
    }

    function test_certifyMany_reverts_by_the_last_committee_after_the_handover() public {
        (bytes memory bitmap, bytes memory signature) = _all(0);
        _nextEpoch();
        vm.warp(block.timestamp + GRACE_S);
        _expectRefused(bitmap, signature, abi.encodeWithSelector(ICommittee.WrongEpoch.selector, 1, 2));
    }

    function test_certifyMany_reverts_for_one_object_younger_than_the_certificate() public {
        (bytes memory bitmap, bytes memory signature) = _all(0);
        _startHandover();
        objectIds[9] = blobs.reserveAndRegister(bytes32(uint256(9)), LENGTH, 1, 5, false, ANY, ANY);
        _expectRefused(bitmap, signature, abi.encodeWithSelector(IBlobs.CertificateTooOld.selector, 1, 2));
    }

    function test_certifyMany_reverts_for_one_expired() public {
        (bytes memory bitmap, bytes memory signature) = _all(0);
        objectIds[5] = blobs.reserveAndRegister(bytes32(uint256(5)), LENGTH, 1, 1, true, ANY, ANY);
        _startHandover();
        _expectRefused(bitmap, signature, abi.encodeWithSelector(ISpace.Expired.selector, 2));
    }

    function test_certifyMany_reverts_for_one_unknown() public {
        (bytes memory bitmap, bytes memory signature) = _all(0);
        objectIds[5] = 99;
        _expectRefused(bitmap, signature, abi.encodeWithSelector(IBlobs.UnknownObject.selector, 99));
    }

    function test_certifyMany_reverts_for_one_invalid() public {
        uint256 id = blobs.blob(objectIds[7]).blobId;
        bytes memory message = _message(Messages.INVALID_BLOB, 1, Messages.invalidBlob(BlobId.fromInteger(id)));
        (bytes memory bitmap, bytes memory signature) = _certificate(NODES, 0, message);
        blobs.invalidate(id, 1, bitmap, signature);
        (bitmap, signature) = _all(0);
        _expectRefused(bitmap, signature, abi.encodeWithSelector(IBlobs.InvalidBlob.selector, id));
    }

    function _encoded(bytes memory body) private view returns (bytes memory) {
        return _message(Messages.BLOB, 1, body);
    }

    /// @dev All messages again, with the same bodies behind another head.
    function _encodeAgain(uint8 intent, uint32 epoch, bytes32 domain) private {
        for (uint256 i; i < COUNT; ++i) {
            bytes memory body = messages[i];
            assembly {
                // the head has 39 bytes
                let length := sub(mload(body), 39)
                body := add(body, 39)
                mstore(body, length)
            }
            messages[i] = Messages.encode(intent, epoch, domain, body);
        }
    }

    function _all(uint256 absent) private view returns (bytes memory bitmap, bytes memory signature) {
        return _signedBy(absent, 0, messages.length);
    }

    /// @dev All members but the `absent` sign the messages from `first` to before `end`.
    function _signedBy(uint256 absent, uint256 first, uint256 end)
        private
        view
        returns (bytes memory bitmap, bytes memory signature)
    {
        (bitmap, signature) = _certificate(NODES, absent, messages[first]);
        for (uint256 i = first + 1; i < end; ++i) {
            (, bytes memory more) = _certificate(NODES, absent, messages[i]);
            signature = _sum(signature, more);
        }
    }

    function _sum(bytes memory left, bytes memory right) private view returns (bytes memory) {
        return abi.encode(BLS.add(abi.decode(left, (BLS.G2Point)), abi.decode(right, (BLS.G2Point))));
    }

    function _expectBadSignature() private {
        (bytes memory bitmap, bytes memory signature) = _all(0);
        _expectRefused(bitmap, signature, abi.encodeWithSelector(ICommittee.BadSignature.selector));
    }

    function _expectRefused(bytes memory bitmap, bytes memory signature, bytes memory reason) private {
        vm.expectRevert(reason);
        blobs.certifyMany(objectIds, 1, bitmap, signature);
        vm.assertEq(blobs.blob(objectIds[0]).certifiedEpoch, 0);
    }

    function _one(uint256 a) private pure returns (uint256[] memory list) {
        list = new uint256[](1);
        list[0] = a;
    }

    function _two(uint256 a, uint256 b) private pure returns (uint256[] memory list) {
        list = new uint256[](2);
        (list[0], list[1]) = (a, b);
    }
}
