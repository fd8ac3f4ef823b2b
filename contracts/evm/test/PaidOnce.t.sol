// SPDX-License-Identifier: Apache-2.0
pragma solidity ^0.8.30;

import {IBlobs} from "src/interfaces/IBlobs.sol";
import {BlobBase} from "test/BlobBase.t.sol";

/// @notice Senders that saw an old block pay for nothing that they have paid for since.
contract PaidOnceTest is BlobBase {
    bytes32 private constant OTHER_ROOT = bytes32(uint256(7));

    function test_reserveAndRegister_reverts_for_a_blob_registered_since_the_look() public {
        _registerAfter(0, ROOT, false);
        _registerAfter(1, OTHER_ROOT, false);
        uint256 paid = token.balanceOf(address(blobs));
        _expectRegistered(1);
        _registerAfter(0, ROOT, false);
        vm.assertEq(token.balanceOf(address(blobs)), paid);
        vm.assertEq(blobs.blobCount(), 2);
    }

    function test_register_reverts_for_a_blob_registered_since_the_look() public {
        uint256 resourceId = blobs.reserve(SIZE, 5, ANY);
        _registerAfter(0, ROOT, true);
        _expectRegistered(1);
        blobs.register(resourceId, ROOT, LENGTH, 1, true, 0, ANY);
        vm.assertEq(blobs.register(resourceId, ROOT, LENGTH, 1, true, 1, ANY), 2);
    }

    function test_the_newest_of_several_is_named() public {
        _registerAfter(ANY, ROOT, false);
        _registerAfter(ANY, ROOT, false);
        _registerAfter(ANY, OTHER_ROOT, false);
        _expectRegistered(2);
        _registerAfter(1, ROOT, false);
    }

    function test_what_the_sender_knows_of_is_registered_anew() public {
        _registerAfter(0, ROOT, false);
        _registerAfter(1, ROOT, false);
        _registerAfter(ANY, ROOT, false);
        vm.assertEq(blobs.blobCount(), 3);
    }

    function test_another_length_kind_or_owner_is_another_blob() public {
        _registerAfter(0, ROOT, false);
        _registerAfter(0, ROOT, true);
        blobs.reserveAndRegister(ROOT, LENGTH + 1, 1, 5, false, 0, ANY);
        _fund(STRANGER, 5 * COST + FEE);
        vm.prank(STRANGER);
        _registerAfter(0, ROOT, false);
        vm.assertEq(blobs.blobCount(), 4);
    }

    function test_an_object_that_lives_no_more_keeps_none_from_registering() public {
        _registerAfter(0, ROOT, true);
        blobs.remove(1);
        blobs.reserveAndRegister(ROOT, LENGTH, 1, 1, true, 0, ANY);
        _nextEpoch();
        _registerAfter(0, ROOT, true);
        _expectRegistered(3);
        _registerAfter(0, ROOT, true);
    }

    function test_multicall_registers_nothing_twice() public {
        bytes[] memory calls = new bytes[](2);
        calls[0] = abi.encodeCall(IBlobs.reserveAndRegister, (ROOT, LENGTH, 1, 5, false, 0, ANY));
        calls[1] = calls[0];
        _expectRegistered(1);
        blobs.multicall(calls);
    }

    function test_extend_reverts_when_the_end_moved_since_the_look() public {
        _certified(false);
        blobs.extend(1, 3, 6, ANY);
        uint256 paid = token.balanceOf(address(blobs));
        vm.expectRevert(abi.encodeWithSelector(IBlobs.EndMoved.selector, 9));
        blobs.extend(1, 3, 6, ANY);
        vm.expectRevert(abi.encodeWithSelector(IBlobs.EndMoved.selector, 9));
        blobs.extend(1, 3, 10, ANY);
        vm.assertEq(token.balanceOf(address(blobs)), paid);
        blobs.extend(1, 3, 9, ANY);
        vm.assertEq(blobs.blob(1).endPeriod, 12);
    }

    function test_multicall_extends_nothing_twice() public {
        _certified(false);
        bytes[] memory calls = new bytes[](2);
        calls[0] = abi.encodeCall(IBlobs.extend, (1, 3, 6, ANY));
        calls[1] = calls[0];
        vm.expectRevert(abi.encodeWithSelector(IBlobs.EndMoved.selector, 9));
        blobs.multicall(calls);
    }

    function _registerAfter(uint256 knownUpTo, bytes32 root, bool deletable) private {
        blobs.reserveAndRegister(root, LENGTH, 1, 5, deletable, knownUpTo, ANY);
    }

    function _expectRegistered(uint256 objectId) private {
        vm.expectRevert(abi.encodeWithSelector(IBlobs.RegisteredMeanwhile.selector, objectId));
    }
}
