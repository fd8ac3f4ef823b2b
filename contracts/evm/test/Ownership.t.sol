// SPDX-License-Identifier: Apache-2.0
pragma solidity ^0.8.30;

import {IRegistry} from "src/interfaces/IRegistry.sol";
import {Base} from "test/Base.t.sol";

/// @notice A node that goes over to another owner, who accepts it.
contract OwnershipTest is Base {
    address private constant OWNER = address(0xa0001); // of node 1, and its operator and receiver
    address private constant NEXT = address(0xbeef);
    address private constant STRANGER = address(0xcafe);

    function setUp() public override {
        super.setUp();
        _addNode(STAKE);
    }

    function test_offerNode_changes_nothing_until_it_is_accepted() public {
        vm.expectEmit();
        emit IRegistry.NodeOffered(1, NEXT);
        _offer(NEXT);
        vm.assertEq(registry.node(1).owner, OWNER);
        vm.assertEq(registry.node(1).nextOwner, NEXT);
        vm.expectRevert(abi.encodeWithSelector(IRegistry.NotNodeOwner.selector, NEXT, 1));
        vm.prank(NEXT);
        registry.changeReceiver(1, NEXT);
        vm.prank(OWNER);
        registry.changeCommission(1, 5);
    }

    function test_acceptNode_makes_the_sender_the_owner() public {
        _offer(NEXT);
        vm.expectEmit();
        emit IRegistry.OwnerChanged(1, NEXT);
        _accept(NEXT);
        IRegistry.NodeView memory shown = registry.node(1);
        vm.assertEq(shown.owner, NEXT);
        vm.assertEq(shown.nextOwner, address(0));
        // All else is as it was, until the new owner changes it.
        vm.assertEq(shown.operator, OWNER);
        vm.assertEq(shown.receiver, OWNER);
        vm.assertEq(shown.stake, STAKE);
        vm.assertTrue(shown.candidate);
        vm.expectRevert(abi.encodeWithSelector(IRegistry.NotNodeOwner.selector, OWNER, 1));
        vm.prank(OWNER);
        registry.changeReceiver(1, OWNER);
        vm.prank(NEXT);
        registry.changeReceiver(1, NEXT);
    }

    function test_changePublicKey_takes_a_proof_for_the_new_owner_alone() public {
        _offer(NEXT);
        _accept(NEXT);
        bytes memory key = _publicKey(_secret(7));
        bytes memory proof = _possession(_secret(7), OWNER);
        vm.startPrank(NEXT);
        vm.expectRevert(abi.encodeWithSelector(IRegistry.InvalidProofOfPossession.selector));
        registry.changePublicKey(1, key, proof);
        registry.changePublicKey(1, key, _possession(_secret(7), NEXT));
        vm.stopPrank();
    }

    function test_acceptNode_reverts_for_who_it_is_not_offered_to() public {
        _expectNotOffered(NEXT);
        _offer(NEXT);
        _expectNotOffered(STRANGER);
        _expectNotOffered(OWNER);
        _accept(NEXT);
        _expectNotOffered(NEXT); // once
    }

    function test_acceptNode_reverts_when_the_offer_is_withdrawn_or_replaced() public {
        _offer(NEXT);
        _offer(STRANGER);
        _expectNotOffered(NEXT);
        vm.expectEmit();
        emit IRegistry.NodeOffered(1, address(0));
        _offer(address(0));
        _expectNotOffered(STRANGER);
    }

    function test_offerNode_reverts_for_anybody_but_the_owner() public {
        vm.prank(OWNER);
        registry.changeOperator(1, STRANGER);
        address[2] memory others = [STRANGER, NEXT]; // the operator is none
        for (uint256 i; i < others.length; ++i) {
            vm.expectRevert(abi.encodeWithSelector(IRegistry.NotNodeOwner.selector, others[i], 1));
            vm.prank(others[i]);
            registry.offerNode(1, others[i]);
        }
        _offer(NEXT);
        _accept(NEXT);
        vm.expectRevert(abi.encodeWithSelector(IRegistry.NotNodeOwner.selector, OWNER, 1));
        _offer(OWNER);
    }

    function test_offerNode_and_acceptNode_revert_for_an_unknown_node() public {
        vm.expectRevert(abi.encodeWithSelector(IRegistry.UnknownNode.selector, 9));
        registry.offerNode(9, NEXT);
        vm.expectRevert(abi.encodeWithSelector(IRegistry.UnknownNode.selector, 9));
        registry.acceptNode(9);
    }

    function _offer(address account) private {
        vm.prank(OWNER);
        registry.offerNode(1, account);
    }

    function _accept(address account) private {
        vm.prank(account);
        registry.acceptNode(1);
    }

    function _expectNotOffered(address account) private {
        vm.expectRevert(abi.encodeWithSelector(IRegistry.NotOffered.selector, account, 1));
        _accept(account);
    }
}
