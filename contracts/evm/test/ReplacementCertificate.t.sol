// SPDX-License-Identifier: Apache-2.0
pragma solidity ^0.8.30;

import {IBlobs} from "src/interfaces/IBlobs.sol";
import {ICommittee} from "src/interfaces/ICommittee.sol";
import {Messages} from "src/lib/Messages.sol";
import {ReplacementBase} from "test/ReplacementBase.sol";

/// @notice Certificates, and the blobs that they certify, outlive the replacement of members.
contract ReplacementCertificateTest is ReplacementBase {
    function test_start_reverts_while_certificates_of_the_epoch_before_count() public {
        ICommittee.Parameters memory given = _parameters(500);
        (given.notice, given.certificateGrace) = (NOTICE_S / 2, 2 * GRACE_S);
        vm.prank(GOVERNOR);
        committee.setParameters(given);
        _nextEpoch();
        uint256 startedAt = block.timestamp;
        _eject(3);
        committee.replace();
        vm.warp(startedAt + NOTICE_S / 2);
        vm.expectRevert(abi.encodeWithSelector(ICommittee.TooEarly.selector, startedAt + 2 * GRACE_S));
        committee.start();
        vm.warp(startedAt + 2 * GRACE_S);
        committee.start();
    }

    function test_a_certificate_counts_for_the_grace_across_quick_replacements() public {
        _deployTen();
        bytes memory message = _message(Messages.BLOB, 1, "any");
        (bytes memory bitmap, bytes memory signature) = _signedIn(1, 0, message);
        _replace(3);
        vm.assertEq(committee.verify(1, Messages.BLOB, "any", bitmap, signature), SHARDS);
        _eject(4);
        committee.replace();
        vm.warp(block.timestamp + GRACE_S - 1);
        vm.assertEq(committee.verify(1, Messages.BLOB, "any", bitmap, signature), SHARDS);
        vm.warp(block.timestamp + NOTICE_S - GRACE_S + 1);
        committee.start();
        vm.assertFalse(committee.accepts(1));
        vm.assertTrue(committee.accepts(2));
        vm.expectRevert(abi.encodeWithSelector(ICommittee.WrongEpoch.selector, 1, 3));
        committee.verify(1, Messages.BLOB, "any", bitmap, signature);
    }

    function test_a_periods_certificates_count_while_its_last_epochs_do() public {
        _replace(3);
        vm.assertTrue(committee.acceptsPeriod(1));
        vm.assertFalse(committee.acceptsPeriod(0));
        vm.assertFalse(committee.acceptsPeriod(2));
        _nextEpoch();
        vm.assertTrue(committee.acceptsPeriod(1)); // for the grace
        vm.warp(block.timestamp + GRACE_S);
        vm.assertFalse(committee.acceptsPeriod(1));
    }

    function test_a_blob_outlives_its_periods_replacements() public {
        _deployTen();
        blobs.reserveAndRegister(ROOT, LENGTH, 1, 1, false, ANY, ANY);
        bytes memory message = _message(Messages.BLOB, 1, Messages.permanentBlob(ID));
        (bytes memory bitmap, bytes memory signature) = _signedIn(1, 0, message);
        blobs.certify(1, 1, bitmap, signature);
        for (uint32 nodeId = 3; nodeId <= 5; ++nodeId) {
            _replace(nodeId);
            vm.assertTrue(blobs.blob(1).status == IBlobs.Status.Certified);
        }
        vm.assertEq(committee.epoch(), 4);
        blobs.extend(1, 52, 2, ANY); // 53 periods from the current one
        _nextEpoch();
        vm.assertEq(blobs.blob(1).endPeriod, 54);
        vm.assertEq(blobs.blob(1).certifiedEpoch, 1);
    }
}
