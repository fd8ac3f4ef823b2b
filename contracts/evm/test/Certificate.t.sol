// SPDX-License-Identifier: Apache-2.0
pragma solidity ^0.8.30;

import {ICommittee} from "src/interfaces/ICommittee.sol";
import {Messages} from "src/lib/Messages.sol";
import {Rolls} from "src/lib/Rolls.sol";
import {Base} from "test/Base.t.sol";

/// @notice Certificates by a committee of ten members with ten shards each, and the known tricks.
contract CertificateTest is Base {
    uint256 private constant NODES = 10;
    bytes private constant BODY = "anything";

    function setUp() public override {
        super.setUp();
        _addNodes(NODES);
        _nextEpoch();
    }

    function test_verify_weighs_all_signers() public view {
        (bytes memory bitmap, bytes memory signature) = _signed(0);
        vm.assertEq(_verify(bitmap, signature), 100);
    }

    function test_verify_weighs_any_signers(uint256 absent) public {
        absent = _between(absent, 0, (1 << NODES) - 2);
        (bytes memory bitmap, bytes memory signature) = _signed(absent);
        uint256 weight;
        for (uint256 i; i < NODES; ++i) {
            if (absent >> i & 1 == 0) weight += 10;
        }
        if (weight < 67) vm.expectRevert(abi.encodeWithSelector(ICommittee.NotEnoughWeight.selector, weight, 67));
        uint256 weighed = _verify(bitmap, signature);
        if (weight >= 67) vm.assertEq(weighed, weight);
    }

    function test_verify_wants_of_an_invalid_blob_one_correct_member() public {
        bytes memory message = _message(Messages.INVALID_BLOB, 1, BODY);
        (bytes memory bitmap, bytes memory signature) = _certificate(NODES, 0x3f, message);
        vm.assertEq(committee.verify(1, Messages.INVALID_BLOB, BODY, bitmap, signature), 40);
        (bitmap, signature) = _certificate(NODES, 0x7f, message);
        vm.expectRevert(abi.encodeWithSelector(ICommittee.NotEnoughWeight.selector, 30, 34));
        committee.verify(1, Messages.INVALID_BLOB, BODY, bitmap, signature);
    }

    function test_verify_takes_missing_bytes_of_the_bitmap_for_zero() public view {
        (bytes memory bitmap, bytes memory signature) = _signed(0x300);
        bytes memory short = new bytes(1);
        short[0] = bitmap[0];
        vm.assertEq(_verify(bitmap, signature), 80);
        vm.assertEq(_verify(short, signature), 80);
    }

    function test_verify_reverts_for_a_stretched_bitmap() public {
        (bytes memory bitmap, bytes memory signature) = _signed(0);
        vm.expectRevert(abi.encodeWithSelector(Rolls.BadBitmap.selector, NODES));
        _verify(abi.encodePacked(bitmap, uint8(0)), signature);
    }

    function test_verify_reverts_for_unused_bits(uint256 bit) public {
        (bytes memory bitmap, bytes memory signature) = _signed(0);
        bitmap[1] |= bytes1(uint8(1 << _between(bit, 2, 7)));
        vm.expectRevert(abi.encodeWithSelector(Rolls.BadBitmap.selector, NODES));
        _verify(bitmap, signature);
    }

    function test_verify_reverts_for_nobody_with_the_identity_signature() public {
        vm.expectRevert(abi.encodeWithSelector(ICommittee.NotEnoughWeight.selector, 0, 67));
        _verify("", new bytes(256));
    }

    function test_verify_reverts_for_everybody_with_the_identity_signature() public {
        (bytes memory bitmap,) = _signed(0);
        vm.expectRevert(ICommittee.BadSignature.selector);
        _verify(bitmap, new bytes(256));
    }

    function test_verify_reverts_for_a_signature_outside_the_subgroup() public {
        (bytes memory bitmap,) = _signed(0);
        vm.expectRevert(ICommittee.BadSignature.selector);
        _verify(bitmap, OUTSIDE_G2);
    }

    function test_verify_reverts_for_a_short_signature() public {
        (bytes memory bitmap,) = _signed(0);
        vm.expectRevert(ICommittee.BadSignature.selector);
        _verify(bitmap, "");
    }

    function test_verify_reverts_for_a_flipped_bit_of_the_bitmap(uint256 bit) public {
        (bytes memory bitmap, bytes memory signature) = _signed(3);
        bit = _between(bit, 0, NODES - 1);
        bitmap[bit / 8] ^= bytes1(uint8(1 << (bit % 8)));
        vm.expectRevert(ICommittee.BadSignature.selector); // seven are a quorum still
        _verify(bitmap, signature);
    }

    function test_verify_reverts_for_a_swapped_signer() public {
        // Signed by all but member 0, claimed by all but member 9: the same weight.
        (, bytes memory signature) = _signed(1);
        (bytes memory bitmap,) = _signed(1 << 9);
        vm.expectRevert(ICommittee.BadSignature.selector);
        _verify(bitmap, signature);
    }

    function test_verify_reverts_for_a_signer_counted_twice() public {
        // Member 0 signs for the missing member 1, too.
        bytes memory message = _message(Messages.BLOB, 1, BODY);
        uint256 secret = _secret(1);
        for (uint32 i = 1; i <= NODES; ++i) {
            if (i != 2) secret = addmod(secret, _secret(i), ORDER);
        }
        (bytes memory bitmap,) = _signed(0);
        bytes memory signature = _sign(secret, message);
        vm.expectRevert(ICommittee.BadSignature.selector);
        _verify(bitmap, signature);
    }

    function test_verify_reverts_for_another_body() public {
        (bytes memory bitmap, bytes memory signature) = _signed(0);
        vm.expectRevert(ICommittee.BadSignature.selector);
        committee.verify(1, Messages.BLOB, "anythinG", bitmap, signature);
    }

    function test_verify_reverts_for_another_intent() public {
        (bytes memory bitmap, bytes memory signature) = _signed(0);
        vm.expectRevert(ICommittee.BadSignature.selector);
        committee.verify(1, Messages.INVALID_BLOB, BODY, bitmap, signature);
    }

    function test_verify_reverts_for_another_chain() public {
        (bytes memory bitmap, bytes memory signature) = _signed(0);
        vm.chainId(5);
        vm.expectRevert(ICommittee.BadSignature.selector);
        _verify(bitmap, signature);
    }

    function test_verify_reverts_for_another_deployment() public {
        bytes memory message = Messages.encode(Messages.BLOB, 1, Messages.domainOf(address(this)), BODY);
        (bytes memory bitmap, bytes memory signature) = _certificate(NODES, 0, message);
        vm.expectRevert(ICommittee.BadSignature.selector);
        _verify(bitmap, signature);
    }

    function test_verify_reverts_for_a_message_without_domain() public {
        bytes memory message = abi.encodePacked(hex"010003", hex"01000000", BODY); // version 0
        (bytes memory bitmap, bytes memory signature) = _certificate(NODES, 0, message);
        vm.expectRevert(ICommittee.BadSignature.selector);
        _verify(bitmap, signature);
    }

    function test_verify_reverts_for_a_replay_as_of_this_epoch() public {
        (bytes memory bitmap, bytes memory signature) = _signed(0);
        _nextEpoch();
        vm.expectRevert(ICommittee.BadSignature.selector);
        committee.verify(2, Messages.BLOB, BODY, bitmap, signature);
    }

    function test_verify_accepts_the_last_epoch_in_its_grace_after_a_handover_done_at_once() public {
        (bytes memory bitmap, bytes memory signature) = _signed(0);
        _nextEpoch(); // everybody keeps everything
        vm.assertTrue(committee.state().handoverDone);
        vm.warp(block.timestamp + GRACE_S - 1);
        vm.assertTrue(committee.accepts(1));
        vm.assertEq(_verify(bitmap, signature), 100);
        vm.warp(block.timestamp + 1);
        vm.assertFalse(committee.accepts(1));
        vm.expectRevert(abi.encodeWithSelector(ICommittee.WrongEpoch.selector, 1, 2));
        _verify(bitmap, signature);
    }

    function test_verify_reverts_for_the_epoch_before_the_last_in_a_grace() public {
        (bytes memory bitmap, bytes memory signature) = _signed(0);
        _nextEpoch();
        _nextEpoch();
        vm.expectRevert(abi.encodeWithSelector(ICommittee.WrongEpoch.selector, 1, 3));
        _verify(bitmap, signature);
    }

    function test_verify_reverts_for_the_last_epoch_after_the_handover() public {
        (bytes memory bitmap, bytes memory signature) = _signed(0);
        _nextEpoch(); // everybody keeps everything: done at once
        vm.warp(block.timestamp + GRACE_S);
        vm.expectRevert(abi.encodeWithSelector(ICommittee.WrongEpoch.selector, 1, 2));
        _verify(bitmap, signature);
    }

    function test_verify_accepts_the_last_epoch_until_the_handover_is_done() public {
        (bytes memory bitmap, bytes memory signature) = _signed(4);
        _replaceMembers(5);
        vm.assertEq(_verify(bitmap, signature), 90); // against the committee of epoch 1
        vm.warp(block.timestamp + DEADLINE_S);
        committee.close();
        vm.expectRevert(abi.encodeWithSelector(ICommittee.WrongEpoch.selector, 1, 2));
        _verify(bitmap, signature);
    }

    function test_verify_reverts_for_the_selected_epoch() public {
        _select();
        (bytes memory bitmap, bytes memory signature) = _certificate(NODES, 0, _message(Messages.BLOB, 2, BODY));
        vm.expectRevert(abi.encodeWithSelector(ICommittee.WrongEpoch.selector, 2, 1));
        committee.verify(2, Messages.BLOB, BODY, bitmap, signature);
    }

    function test_verify_reverts_for_epoch_zero() public {
        vm.expectRevert(abi.encodeWithSelector(ICommittee.WrongEpoch.selector, 0, 1));
        committee.verify(0, Messages.BLOB, BODY, "", "");
    }

    function test_verify_reverts_for_keys_that_cancel() public {
        // Two members with the secrets s and -s: their aggregate key, the identity, would verify for any message.
        _deploy(10, 500);
        _addWithSecret(77);
        _addWithSecret(ORDER - 77);
        _addNode(STAKE);
        _nextEpoch();
        vm.expectRevert(ICommittee.BadSignature.selector);
        _verify(hex"03", new bytes(256));
        bytes memory signature = _sign(_secret(3), _message(Messages.BLOB, 1, BODY));
        vm.assertEq(_verify(hex"07", signature), 10);
    }

    function test_verify_reverts_for_an_epoch_that_overflows() public {
        vm.expectRevert(abi.encodeWithSelector(ICommittee.WrongEpoch.selector, type(uint32).max, 1));
        committee.verify(type(uint32).max, Messages.BLOB, BODY, "", "");
    }

    function _addWithSecret(uint256 secret) private {
        uint32 nodeId = registry.nodeCount() + 1;
        bytes memory proof = _possession(secret, _operator(nodeId));
        bytes memory key = _publicKey(secret);
        vm.prank(_operator(nodeId));
        registry.registerNode(_registration(_operator(nodeId), key, proof));
        staking.stake(nodeId, STAKE);
    }

    function _signed(uint256 absent) private view returns (bytes memory bitmap, bytes memory signature) {
        return _certificate(NODES, absent, _message(Messages.BLOB, 1, BODY));
    }

    function _verify(bytes memory bitmap, bytes memory signature) private view returns (uint256) {
        return committee.verify(1, Messages.BLOB, BODY, bitmap, signature);
    }
}
