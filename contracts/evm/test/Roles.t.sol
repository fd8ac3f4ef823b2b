// SPDX-License-Identifier: Apache-2.0
pragma solidity ^0.8.30;

import {IRegistry} from "src/interfaces/IRegistry.sol";
import {Base} from "test/Base.t.sol";

/// @notice Owner, operator and receiver of a node: who may change what of it at once.
contract RolesTest is Base {
    address private constant OWNER = address(0xa0001); // of node 1, and with `_addNode` its operator and receiver
    address private constant OPERATOR = address(0x0b);
    address private constant RECEIVER = address(0x0c);
    address private constant STRANGER = address(0xbeef);
    uint256 private constant OTHER = 4711; // a secret for a second key

    // Network address

    function test_updateNetworkAddress_changes_it_at_once() public {
        _addNode(0);
        vm.expectEmit();
        emit IRegistry.NetworkAddressChanged(1, "https://elsewhere", keccak256("new tls"));
        vm.prank(OWNER);
        registry.updateNetworkAddress(1, "https://elsewhere", keccak256("new tls"));
        vm.assertEq(registry.node(1).networkAddress, "https://elsewhere");
        vm.assertEq(registry.node(1).tlsKey, keccak256("new tls"));
    }

    function test_updateNetworkAddress_shows_in_the_committee_that_runs() public {
        _addNode(STAKE);
        _nextEpoch();
        vm.prank(OWNER);
        registry.updateNetworkAddress(1, "https://elsewhere", 0);
        vm.assertEq(committee.committeeOf(1).members[0].networkAddress, "https://elsewhere");
    }

    function test_updateNetworkAddress_by_the_operator() public {
        _withOperator();
        vm.prank(OPERATOR);
        registry.updateNetworkAddress(1, "https://elsewhere", 0);
        vm.assertEq(registry.node(1).networkAddress, "https://elsewhere");
    }

    function test_updateNetworkAddress_reverts_for_a_stranger() public {
        _addNode(0);
        vm.expectRevert(abi.encodeWithSelector(IRegistry.NotAnOperator.selector, STRANGER, 1));
        vm.prank(STRANGER);
        registry.updateNetworkAddress(1, "http://elsewhere", 0);
    }

    function test_updateNetworkAddress_reverts_for_the_receiver() public {
        _withOperator();
        vm.expectRevert(abi.encodeWithSelector(IRegistry.NotAnOperator.selector, RECEIVER, 1));
        vm.prank(RECEIVER);
        registry.updateNetworkAddress(1, "http://elsewhere", 0);
    }

    function test_updateNetworkAddress_reverts_for_an_empty_address() public {
        _addNode(0);
        _expectAddressRefused("");
    }

    function test_updateNetworkAddress_reverts_for_an_address_with_a_user() public {
        _expectAddressRefused("http://user@elsewhere");
    }

    function test_updateNetworkAddress_reverts_for_an_address_that_is_not_utf8() public {
        _expectAddressRefused(string(abi.encodePacked("http://", hex"ff")));
    }

    function test_updateNetworkAddress_reverts_for_an_unknown_node() public {
        vm.expectRevert(abi.encodeWithSelector(IRegistry.UnknownNode.selector, 1));
        registry.updateNetworkAddress(1, "http://elsewhere", 0);
    }

    // Owner, operator, receiver

    function test_changeOperator_hands_the_node_to_another_account() public {
        _addNode(0);
        vm.expectEmit();
        emit IRegistry.OperatorChanged(1, OPERATOR);
        vm.prank(OWNER);
        registry.changeOperator(1, OPERATOR);
        vm.assertEq(registry.node(1).operator, OPERATOR);
        vm.assertEq(registry.nodeOf(OPERATOR), 1);
        vm.assertEq(registry.nodeOf(OWNER), 0);
    }

    function test_changeOperator_to_the_same_account_changes_nothing() public {
        _withOperator();
        vm.prank(OWNER);
        registry.changeOperator(1, OPERATOR);
        vm.assertEq(registry.nodeOf(OPERATOR), 1);
    }

    function test_changeOperator_takes_the_rights_of_the_old_one() public {
        _withOperator();
        vm.prank(OWNER);
        registry.changeOperator(1, STRANGER);
        vm.expectRevert(abi.encodeWithSelector(IRegistry.NotAnOperator.selector, OPERATOR, 1));
        vm.prank(OPERATOR);
        registry.leaveCandidates(1);
    }

    function test_changeOperator_reverts_for_an_account_with_a_node() public {
        _addNode(0);
        _addNode(0);
        vm.expectRevert(abi.encodeWithSelector(IRegistry.AccountHasNode.selector, _operator(2), 2));
        vm.prank(OWNER);
        registry.changeOperator(1, _operator(2));
    }

    function test_changeOperator_reverts_for_the_zero_address() public {
        _addNode(0);
        vm.expectRevert(IRegistry.ZeroAddress.selector);
        vm.prank(OWNER);
        registry.changeOperator(1, address(0));
    }

    function test_changeOperator_reverts_for_the_operator() public {
        _withOperator();
        vm.expectRevert(abi.encodeWithSelector(IRegistry.NotNodeOwner.selector, OPERATOR, 1));
        vm.prank(OPERATOR);
        registry.changeOperator(1, STRANGER);
    }

    function test_resignOperator_frees_an_account_that_was_never_asked() public {
        _addNode(0);
        vm.prank(OWNER);
        registry.changeOperator(1, STRANGER);
        vm.expectEmit();
        emit IRegistry.OperatorChanged(1, address(0));
        vm.prank(STRANGER);
        registry.resignOperator();
        vm.assertEq(registry.nodeOf(STRANGER), 0);
        vm.assertEq(registry.node(1).operator, address(0));
        vm.expectRevert(abi.encodeWithSelector(IRegistry.NotAnOperator.selector, STRANGER, 1));
        vm.prank(STRANGER);
        registry.leaveCandidates(1);
        vm.startPrank(OWNER);
        registry.leaveCandidates(1);
        registry.changeOperator(1, OPERATOR);
        vm.assertEq(registry.nodeOf(OPERATOR), 1);
    }

    function test_registerNode_takes_an_account_back_that_another_owner_named() public {
        _addNode(0);
        vm.prank(OWNER);
        registry.changeOperator(1, STRANGER);
        bytes memory proof = _possession(OTHER, STRANGER);
        IRegistry.Registration memory given = _registration(STRANGER, _publicKey(OTHER), proof);
        vm.expectEmit();
        emit IRegistry.OperatorChanged(1, address(0));
        vm.prank(STRANGER);
        vm.assertEq(registry.registerNode(given), 2);
        vm.assertEq(registry.nodeOf(STRANGER), 2);
        vm.assertEq(registry.node(1).operator, address(0));
        vm.expectRevert(abi.encodeWithSelector(IRegistry.AccountHasNode.selector, STRANGER, 2));
        vm.prank(OWNER);
        registry.changeOperator(1, STRANGER);
    }

    function test_changeOperator_takes_the_owners_account_back_that_another_named() public {
        _addNode(0);
        bytes memory proof = _possession(OTHER, STRANGER);
        IRegistry.Registration memory given = _registration(OPERATOR, _publicKey(OTHER), proof);
        vm.prank(STRANGER);
        registry.registerNode(given);
        vm.prank(OWNER);
        registry.changeOperator(1, STRANGER);
        vm.prank(STRANGER);
        registry.changeOperator(2, STRANGER);
        vm.assertEq(registry.nodeOf(STRANGER), 2);
        vm.assertEq(registry.node(1).operator, address(0));
    }

    function test_resignOperator_reverts_for_who_operates_none() public {
        vm.expectRevert(abi.encodeWithSelector(IRegistry.NotAnOperator.selector, STRANGER, 0));
        vm.prank(STRANGER);
        registry.resignOperator();
    }

    function test_changeReceiver_sends_the_next_commission_elsewhere() public {
        _addNode(STAKE);
        _nextEpoch();
        _reward(1, 0);
        _nextEpoch();
        _reward(1, 100 ether);
        vm.expectEmit();
        emit IRegistry.ReceiverChanged(1, RECEIVER);
        vm.prank(OWNER);
        registry.changeReceiver(1, RECEIVER);
        _nextEpoch();
        _reward(1, 50 ether);
        vm.assertEq(staking.earningsOf(OWNER), 10 ether);
        vm.assertEq(staking.earningsOf(RECEIVER), 5 ether);
    }

    function test_changeReceiver_reverts_for_the_operator() public {
        _withOperator();
        vm.expectRevert(abi.encodeWithSelector(IRegistry.NotNodeOwner.selector, OPERATOR, 1));
        vm.prank(OPERATOR);
        registry.changeReceiver(1, OPERATOR);
    }

    function test_changeReceiver_reverts_for_the_receiver() public {
        _withOperator();
        vm.expectRevert(abi.encodeWithSelector(IRegistry.NotNodeOwner.selector, RECEIVER, 1));
        vm.prank(RECEIVER);
        registry.changeReceiver(1, STRANGER);
    }

    function test_changeReceiver_reverts_for_the_zero_address() public {
        _addNode(0);
        vm.expectRevert(IRegistry.ZeroAddress.selector);
        vm.prank(OWNER);
        registry.changeReceiver(1, address(0));
    }

    function _withOperator() private {
        _addNode(0);
        vm.startPrank(OWNER);
        registry.changeOperator(1, OPERATOR);
        registry.changeReceiver(1, RECEIVER);
        vm.stopPrank();
    }

    function _expectAddressRefused(string memory networkAddress) private {
        _addNode(0);
        vm.expectRevert(IRegistry.InvalidNetworkAddress.selector);
        vm.prank(OWNER);
        registry.updateNetworkAddress(1, networkAddress, 0);
    }
}
