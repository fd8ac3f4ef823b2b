// SPDX-License-Identifier: Apache-2.0
pragma solidity ^0.8.30;

import {ICommittee} from "src/interfaces/ICommittee.sol";
import {IRegistry} from "src/interfaces/IRegistry.sol";
import {Bls} from "src/lib/Bls.sol";
import {Messages} from "src/lib/Messages.sol";
import {Base} from "test/Base.t.sol";

/// @notice Keys and commissions that are changed: they count from the next committee on that is not elected yet.
contract PendingTest is Base {
    uint256 private constant NODES = 4; // 25 shards each; three are a quorum
    uint256 private constant OTHER = 4711; // secrets of later keys
    uint256 private constant THIRD = 4712;
    bytes private constant BODY = "anything";

    bytes private first = Bls.compress(_publicKey(_secret(1)));

    function setUp() public override {
        super.setUp();
        _addNodes(NODES);
    }

    // Keys

    function test_changePublicKey_counts_at_once_before_the_first_selection_only() public {
        _changeKey(OTHER);
        _checkKeys(first, OTHER, 1);
        _select();
        vm.assertEq(_elected(1), Bls.compress(_publicKey(OTHER)));
    }

    function test_changePublicKey_counts_from_the_next_epoch() public {
        _nextEpoch();
        vm.expectEmit();
        emit IRegistry.PublicKeyChanged(1, Bls.compress(_publicKey(OTHER)), 2);
        _changeKey(OTHER);
        _checkKeys(first, OTHER, 2);
        vm.assertEq(_elected(1), first);
        _nextEpoch();
        vm.assertEq(_elected(2), Bls.compress(_publicKey(OTHER)));
        vm.assertEq(registry.node(1).publicKey, Bls.compress(_publicKey(OTHER)));
        vm.assertEq(_elected(1), first);
    }

    function test_changePublicKey_after_a_selection_counts_from_the_epoch_after_that() public {
        _nextEpoch();
        _select();
        _changeKey(OTHER);
        _checkKeys(first, OTHER, 3);
        _start();
        vm.assertEq(_elected(2), first);
        _nextEpoch();
        vm.assertEq(_elected(3), Bls.compress(_publicKey(OTHER)));
    }

    function test_changePublicKey_leaves_the_elected_committees_key_and_its_certificates() public {
        _nextEpoch();
        _select();
        _changeKey(OTHER);
        _start();
        (bytes memory bitmap, bytes memory signature) = _certificate(NODES, 0, _message(Messages.BLOB, 2, BODY));
        vm.assertEq(committee.verify(2, Messages.BLOB, BODY, bitmap, signature), SHARDS);
        signature = _signedWith(OTHER, 2);
        vm.expectRevert(ICommittee.BadSignature.selector);
        committee.verify(2, Messages.BLOB, BODY, bitmap, signature);
    }

    function test_changePublicKey_refuses_the_old_key_in_the_new_committee() public {
        _nextEpoch();
        _changeKey(OTHER);
        _nextEpoch();
        (bytes memory bitmap, bytes memory signature) = _certificate(NODES, 0, _message(Messages.BLOB, 2, BODY));
        vm.expectRevert(ICommittee.BadSignature.selector);
        committee.verify(2, Messages.BLOB, BODY, bitmap, signature);
        vm.assertEq(committee.verify(2, Messages.BLOB, BODY, bitmap, _signedWith(OTHER, 2)), SHARDS);
    }

    function test_changePublicKey_twice_before_an_election_lets_the_last_count() public {
        _nextEpoch();
        _changeKey(OTHER);
        _changeKey(THIRD);
        _checkKeys(first, THIRD, 2);
        _nextEpoch();
        vm.assertEq(_elected(2), Bls.compress(_publicKey(THIRD)));
    }

    function test_changePublicKey_is_not_brought_forward_by_a_dropped_selection() public {
        _nextEpoch();
        _select();
        _changeKey(OTHER); // from epoch 3 on
        _drop();
        _changeKey(THIRD);
        _checkKeys(first, THIRD, 3);
        committee.select();
        vm.assertEq(_elected(2), first);
        _start();
        _nextEpoch();
        vm.assertEq(_elected(3), Bls.compress(_publicKey(THIRD)));
    }

    function test_changePublicKey_after_a_dropped_selection_counts_in_the_next_one() public {
        _nextEpoch();
        _select();
        _drop();
        _changeKey(OTHER);
        _checkKeys(first, OTHER, 2);
        committee.select();
        vm.assertEq(_elected(2), Bls.compress(_publicKey(OTHER)));
    }

    function test_changePublicKey_reverts_for_the_operator() public {
        vm.prank(_operator(1));
        registry.changeOperator(1, address(0x0b));
        (bytes memory key, bytes memory proof) = (_publicKey(OTHER), _possession(OTHER, address(0x0b)));
        vm.expectRevert(abi.encodeWithSelector(IRegistry.NotNodeOwner.selector, address(0x0b), 1));
        vm.prank(address(0x0b));
        registry.changePublicKey(1, key, proof);
    }

    function test_changePublicKey_reverts_for_a_key_the_node_had() public {
        _changeKey(OTHER);
        bytes memory proof = _possession(_secret(1), _operator(1));
        _expectKeyRefused(_publicKey(_secret(1)), proof, abi.encodeWithSelector(IRegistry.KeyInUse.selector, 1));
    }

    function test_changePublicKey_reverts_for_anothers_key() public {
        bytes memory proof = _possession(_secret(2), _operator(1));
        _expectKeyRefused(_publicKey(_secret(2)), proof, abi.encodeWithSelector(IRegistry.KeyInUse.selector, 2));
    }

    function test_changePublicKey_reverts_for_the_identity() public {
        _expectKeyRefused(new bytes(128), new bytes(256), abi.encodeWithSelector(IRegistry.InvalidKey.selector));
    }

    function test_changePublicKey_reverts_for_a_key_outside_the_subgroup() public {
        _expectKeyRefused(OUTSIDE_G1, new bytes(256), abi.encodeWithSelector(IRegistry.InvalidKey.selector));
    }

    function test_changePublicKey_reverts_for_a_rogue_key_without_proof() public {
        bytes memory rogue = _publicKey(ORDER - _secret(2));
        bytes memory proof = _possession(_secret(2), _operator(1));
        _expectKeyRefused(rogue, proof, abi.encodeWithSelector(IRegistry.InvalidProofOfPossession.selector));
    }

    function test_changePublicKey_reverts_for_a_proof_for_another_owner() public {
        bytes memory proof = _possession(OTHER, _operator(2));
        bytes memory reason = abi.encodeWithSelector(IRegistry.InvalidProofOfPossession.selector);
        _expectKeyRefused(_publicKey(OTHER), proof, reason);
    }

    // Commissions

    function test_changeCommission_counts_from_the_next_epoch() public {
        _nextEpoch();
        vm.expectEmit();
        emit IRegistry.CommissionChanged(1, 3_000, 2);
        vm.prank(_operator(1));
        registry.changeCommission(1, 3_000);
        _checkCommissions(COMMISSION, 3_000, 2);
        _nextEpoch();
        _checkCommissions(3_000, 3_000, 2);
        vm.assertEq(registry.commissionIn(1, 1), COMMISSION);
        vm.assertEq(registry.commissionIn(1, 2), 3_000);
    }

    function test_changeCommission_after_a_selection_counts_from_the_epoch_after_that() public {
        _nextEpoch();
        _select();
        _changeCommission(0);
        _checkCommissions(COMMISSION, 0, 3);
        _start();
        _checkCommissions(COMMISSION, 0, 3);
        _nextEpoch();
        _checkCommissions(0, 0, 3);
    }

    function test_changeCommission_is_not_brought_forward_by_a_dropped_selection() public {
        _nextEpoch();
        _select();
        _changeCommission(2_000);
        _drop();
        _changeCommission(3_000);
        _checkCommissions(COMMISSION, 3_000, 3);
    }

    function test_changeCommission_reverts_above_the_cap() public {
        vm.expectRevert(abi.encodeWithSelector(IRegistry.CommissionTooHigh.selector, 3_001, 3_000));
        _changeCommission(3_001);
        _changeCommission(3_000);
    }

    function test_changeCommission_reverts_for_the_operator() public {
        vm.prank(_operator(1));
        registry.changeOperator(1, address(0x0b));
        vm.expectRevert(abi.encodeWithSelector(IRegistry.NotNodeOwner.selector, address(0x0b), 1));
        vm.prank(address(0x0b));
        registry.changeCommission(1, 0);
    }

    function test_changeCommission_reverts_for_an_unknown_node() public {
        vm.expectRevert(abi.encodeWithSelector(IRegistry.UnknownNode.selector, 9));
        registry.changeCommission(9, 0);
    }

    function _changeKey(uint256 secret) private {
        (bytes memory key, bytes memory proof) = (_publicKey(secret), _possession(secret, _operator(1)));
        vm.prank(_operator(1));
        registry.changePublicKey(1, key, proof);
    }

    function _changeCommission(uint16 commission) private {
        vm.prank(_operator(1));
        registry.changeCommission(1, commission);
    }

    function _expectKeyRefused(bytes memory key, bytes memory proof, bytes memory reason) private {
        vm.expectRevert(reason);
        vm.prank(_operator(1));
        registry.changePublicKey(1, key, proof);
    }

    /// @dev Node 4 is ejected from the selected second committee.
    function _drop() private {
        uint64 deadline = uint64(block.timestamp);
        (bytes memory bitmap, bytes memory signature) = _ejection(NODES, 4, deadline);
        vm.expectEmit();
        emit ICommittee.SelectionDropped(2);
        committee.eject(4, 1, deadline, bitmap, signature);
    }

    /// @dev By all four members, the first with another key.
    function _signedWith(uint256 secret, uint32 epoch) private view returns (bytes memory) {
        for (uint32 i = 2; i <= NODES; ++i) {
            secret = addmod(secret, _secret(i), ORDER);
        }
        return _sign(secret, _message(Messages.BLOB, epoch, BODY));
    }

    function _elected(uint32 epoch) private view returns (bytes memory) {
        return committee.committeeOf(epoch).members[0].publicKey;
    }

    function _checkKeys(bytes memory current, uint256 pending, uint32 from) private view {
        IRegistry.NodeView memory node = registry.node(1);
        vm.assertEq(node.publicKey, current);
        vm.assertEq(node.pendingPublicKey, Bls.compress(_publicKey(pending)));
        vm.assertEq(node.publicKeyFrom, from);
    }

    function _checkCommissions(uint16 current, uint16 pending, uint32 from) private view {
        IRegistry.NodeView memory node = registry.node(1);
        vm.assertEq(node.commission, current);
        vm.assertEq(node.pendingCommission, pending);
        vm.assertEq(node.commissionFrom, from);
    }
}
