// SPDX-License-Identifier: Apache-2.0
pragma solidity ^0.8.30;

import {IRegistry} from "src/interfaces/IRegistry.sol";
import {Bls} from "src/lib/Bls.sol";
import {Messages} from "src/lib/Messages.sol";
import {Base} from "test/Base.t.sol";

/// @notice Registering nodes, and what is shown of them.
contract NodesTest is Base {
    address private constant OWNER = address(0xa0001); // of node 1, and with `_addNode` its operator and receiver
    address private constant OPERATOR = address(0x0b);
    address private constant RECEIVER = address(0x0c);
    address private constant STRANGER = address(0xbeef);
    uint256 private constant OTHER = 4711; // a secret for a second key

    // Registration

    function test_registerNode_shows_the_node() public {
        bytes memory key = Bls.compress(_publicKey(_secret(1)));
        IRegistry.Registration memory given = _given();
        (given.operator, given.receiver) = (OPERATOR, RECEIVER);
        vm.expectEmit();
        emit IRegistry.NodeRegistered(
            1, OWNER, OPERATOR, RECEIVER, "anna", "https://anna:9000", keccak256("tls"), key, COMMISSION
        );
        vm.expectEmit();
        emit IRegistry.CandidateJoined(1);
        _register(given);
        IRegistry.NodeView memory node = registry.node(1);
        vm.assertEq(node.nodeId, 1);
        vm.assertEq(node.owner, OWNER);
        vm.assertEq(node.operator, OPERATOR);
        vm.assertEq(node.receiver, RECEIVER);
        vm.assertEq(node.name, "anna");
        vm.assertEq(node.networkAddress, "https://anna:9000");
        vm.assertEq(node.tlsKey, keccak256("tls"));
        vm.assertEq(node.publicKey, key);
        vm.assertEq(node.pendingPublicKey, key);
        vm.assertEq(node.publicKeyFrom, 0);
        vm.assertEq(node.commission, COMMISSION);
        vm.assertEq(node.pendingCommission, COMMISSION);
        vm.assertEq(node.commissionFrom, 0);
        vm.assertEq(node.stake, 0);
        vm.assertTrue(node.candidate);
        vm.assertEq(registry.nodeOf(OPERATOR), 1);
        vm.assertEq(registry.nodeOf(OWNER), 0);
        vm.assertEq(registry.nodeCount(), 1);
    }

    function test_registerNode_lets_an_owner_have_several_nodes_with_an_operator_each() public {
        _register(_given());
        bytes memory proof = _possession(OTHER, OWNER);
        IRegistry.Registration memory given = _registration(OWNER, _publicKey(OTHER), proof);
        given.operator = OPERATOR;
        _register(given);
        vm.assertEq(registry.node(2).owner, OWNER);
        vm.assertEq(registry.nodeOf(OPERATOR), 2);
    }

    function test_registerNode_reverts_for_a_second_node_of_an_account() public {
        _addNode(0);
        vm.expectRevert(abi.encodeWithSelector(IRegistry.AccountHasNode.selector, OWNER, 1));
        _register(_registration(OWNER, "", ""));
    }

    function test_registerNode_reverts_without_an_operator() public {
        IRegistry.Registration memory given = _given();
        given.operator = address(0);
        _expectRefused(given, IRegistry.ZeroAddress.selector);
    }

    function test_registerNode_reverts_without_a_receiver() public {
        IRegistry.Registration memory given = _given();
        given.receiver = address(0);
        _expectRefused(given, IRegistry.ZeroAddress.selector);
    }

    function test_registerNode_reverts_for_a_key_in_use() public {
        _addNode(0);
        bytes memory proof = _possession(_secret(1), STRANGER);
        IRegistry.Registration memory given = _registration(STRANGER, _publicKey(_secret(1)), proof);
        vm.prank(STRANGER);
        vm.expectRevert(abi.encodeWithSelector(IRegistry.KeyInUse.selector, 1));
        registry.registerNode(given);
    }

    function test_registerNode_reverts_for_the_identity_key() public {
        _expectKeyRefused(new bytes(128));
    }

    function test_registerNode_reverts_for_a_key_outside_the_subgroup() public {
        _expectKeyRefused(OUTSIDE_G1);
    }

    function test_registerNode_reverts_for_a_key_off_the_curve() public {
        bytes memory key = _publicKey(5);
        key[127] ^= 0x01;
        _expectKeyRefused(key);
    }

    function test_registerNode_reverts_for_a_stretched_key() public {
        _expectKeyRefused(abi.encodePacked(_publicKey(5), uint8(0)));
    }

    function test_registerNode_reverts_for_a_rogue_key_without_proof() public {
        // The key that would cancel node 1's: nobody needs its secret to write it down, but it can prove nothing.
        _addNode(0);
        bytes memory proof = _possession(_secret(1), STRANGER);
        IRegistry.Registration memory given = _registration(STRANGER, _publicKey(ORDER - _secret(1)), proof);
        vm.prank(STRANGER);
        vm.expectRevert(IRegistry.InvalidProofOfPossession.selector);
        registry.registerNode(given);
    }

    function test_registerNode_reverts_for_a_proof_by_another_account() public {
        _expectProofRefused(_possession(_secret(1), STRANGER));
    }

    function test_registerNode_reverts_for_a_proof_for_the_operator() public {
        IRegistry.Registration memory given = _given();
        given.operator = OPERATOR;
        given.proofOfPossession = _possession(_secret(1), OPERATOR);
        _expectRefused(given, IRegistry.InvalidProofOfPossession.selector);
    }

    function test_registerNode_reverts_for_a_proof_with_another_key() public {
        bytes memory body = Messages.possession(OWNER, Bls.compress(_publicKey(_secret(1))));
        _expectProofRefused(_sign(_secret(2), _message(Messages.POSSESSION, 0, body)));
    }

    function test_registerNode_reverts_for_a_proof_with_another_intent() public {
        bytes memory body = Messages.possession(OWNER, Bls.compress(_publicKey(_secret(1))));
        _expectProofRefused(_sign(_secret(1), _message(Messages.BLOB, 0, body)));
    }

    function test_registerNode_reverts_for_a_proof_of_another_epoch() public {
        bytes memory body = Messages.possession(OWNER, Bls.compress(_publicKey(_secret(1))));
        _expectProofRefused(_sign(_secret(1), _message(Messages.POSSESSION, 1, body)));
    }

    function test_registerNode_reverts_for_a_proof_on_another_chain() public {
        bytes memory proof = _possession(_secret(1), OWNER);
        vm.chainId(5);
        _expectProofRefused(proof);
    }

    function test_registerNode_reverts_for_an_empty_name() public {
        _expectNameRefused("");
    }

    function test_registerNode_reverts_for_a_long_name() public {
        _expectNameRefused("a name of sixty-five characters, which is one more than it may be");
    }

    function test_registerNode_reverts_for_a_name_that_is_not_utf8() public {
        _expectNameRefused(string(abi.encodePacked("baffin", hex"ff")));
    }

    function test_registerNode_reverts_for_a_name_that_moves_the_cursor() public {
        _expectNameRefused(string(hex"1b5b324a"));
    }

    function test_registerNode_reverts_for_an_empty_address() public {
        _expectAddressRefused("");
    }

    function test_registerNode_reverts_for_a_long_address() public {
        bytes memory host = new bytes(250);
        for (uint256 i; i < host.length; ++i) {
            host[i] = "a";
        }
        _expectAddressRefused(string.concat("http://", string(host)));
    }

    function test_registerNode_reverts_for_an_address_that_is_not_utf8() public {
        _expectAddressRefused(string(abi.encodePacked("http://", hex"ff")));
    }

    function test_registerNode_reverts_for_an_address_with_a_path() public {
        _expectAddressRefused("http://node:9000/path");
    }

    function test_registerNode_reverts_for_a_commission_above_the_cap() public {
        IRegistry.Registration memory given = _given();
        given.commission = 3_001;
        vm.expectRevert(abi.encodeWithSelector(IRegistry.CommissionTooHigh.selector, 3_001, 3_000));
        _register(given);
        given.commission = 3_000;
        _register(given);
    }

    // Views

    function test_nodes_come_in_pages() public {
        for (uint256 i; i < 5; ++i) {
            _addNode(STAKE);
        }
        (IRegistry.NodeView[] memory page, uint32 next) = registry.nodes(0, 2);
        vm.assertEq(page.length, 2);
        vm.assertEq(page[0].nodeId, 1);
        vm.assertEq(next, 3);
        (page, next) = registry.nodes(next, 3);
        vm.assertEq(page.length, 3);
        vm.assertEq(page[2].nodeId, 5);
        vm.assertEq(next, 0);
        (page, next) = registry.nodes(5, type(uint32).max);
        vm.assertEq(page.length, 1);
        vm.assertEq(next, 0);
        (page, next) = registry.nodes(6, 1);
        vm.assertEq(page.length, 0);
        vm.assertEq(next, 0);
    }

    function test_node_reverts_for_an_unknown_id() public {
        vm.expectRevert(abi.encodeWithSelector(IRegistry.UnknownNode.selector, 0));
        registry.node(0);
        vm.expectRevert(abi.encodeWithSelector(IRegistry.UnknownNode.selector, 1));
        registry.keysOf(abi.decode(abi.encode(32, 1, 1), (uint32[])), 0);
        vm.expectRevert(abi.encodeWithSelector(IRegistry.UnknownNode.selector, 1));
        registry.contact(1);
        vm.expectRevert(abi.encodeWithSelector(IRegistry.UnknownNode.selector, 1));
        registry.commissionIn(1, 0);
    }

    /// @dev A good registration by the owner of node 1.
    function _given() private view returns (IRegistry.Registration memory given) {
        given = _registration(OWNER, _publicKey(_secret(1)), _possession(_secret(1), OWNER));
        (given.name, given.networkAddress, given.tlsKey) = ("anna", "https://anna:9000", keccak256("tls"));
    }

    function _register(IRegistry.Registration memory given) private {
        vm.prank(OWNER);
        registry.registerNode(given);
    }

    function _expectRefused(IRegistry.Registration memory given, bytes4 reason) private {
        vm.expectRevert(reason);
        _register(given);
    }

    function _expectKeyRefused(bytes memory key) private {
        _expectRefused(_registration(OWNER, key, new bytes(256)), IRegistry.InvalidKey.selector);
    }

    function _expectProofRefused(bytes memory proof) private {
        bytes memory key = _publicKey(_secret(1));
        _expectRefused(_registration(OWNER, key, proof), IRegistry.InvalidProofOfPossession.selector);
    }

    function _expectNameRefused(string memory name) private {
        IRegistry.Registration memory given = _given();
        given.name = name;
        _expectRefused(given, IRegistry.InvalidName.selector);
    }

    function _expectAddressRefused(string memory networkAddress) private {
        IRegistry.Registration memory given = _given();
        given.networkAddress = networkAddress;
        _expectRefused(given, IRegistry.InvalidNetworkAddress.selector);
    }
}
