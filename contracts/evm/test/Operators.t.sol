// SPDX-License-Identifier: Apache-2.0
pragma solidity ^0.8.30;

import {Base} from "test/Base.t.sol";

/// @notice Owners and operators of nodes, in any order: an account operates the node that names it, and one at most.
contract OperatorsTest is Base {
    uint32 private constant NODES = 5;
    uint256 private constant ACCOUNTS = 6; // five own a node to begin with

    function setUp() public override {
        super.setUp();
        for (uint256 i; i < NODES; ++i) {
            _addNode(0);
        }
    }

    /// forge-config: default.fuzz.runs = 32
    function test_an_account_operates_the_node_that_names_it(uint256 seed) public {
        for (uint256 step; step < 40; ++step) {
            seed = uint256(keccak256(abi.encode(seed)));
            uint32 nodeId = uint32(1 + (seed >> 8) % NODES);
            (address sender, address other) = (_account(seed >> 16), _account(seed >> 24));
            if (seed % 4 == 0) {
                _changeOperator(nodeId, seed >> 40 & 3 == 0 ? sender : registry.node(nodeId).owner, other);
            }
            if (seed % 4 == 1) _resign(sender);
            if (seed % 4 == 2) _offer(nodeId, sender, other);
            if (seed % 4 == 3) _accept(nodeId, sender);
            _check();
        }
    }

    /// @dev An owner takes its own account back from a node that is another's; any other account has to be free.
    function _changeOperator(uint32 nodeId, address sender, address operator) private {
        uint32 operated = registry.nodeOf(operator);
        bool isFree =
            operated == 0 || operated == nodeId || (operator == sender && registry.node(operated).owner != operator);
        if (sender != registry.node(nodeId).owner || !isFree) vm.expectRevert();
        vm.prank(sender);
        registry.changeOperator(nodeId, operator);
    }

    function _resign(address sender) private {
        if (registry.nodeOf(sender) == 0) vm.expectRevert();
        vm.prank(sender);
        registry.resignOperator();
    }

    function _offer(uint32 nodeId, address sender, address nextOwner) private {
        if (sender != registry.node(nodeId).owner) vm.expectRevert();
        vm.prank(sender);
        registry.offerNode(nodeId, nextOwner);
    }

    function _accept(uint32 nodeId, address sender) private {
        if (sender != registry.node(nodeId).nextOwner) vm.expectRevert();
        vm.prank(sender);
        registry.acceptNode(nodeId);
    }

    function _check() private view {
        for (uint32 nodeId = 1; nodeId <= NODES; ++nodeId) {
            address operator = registry.node(nodeId).operator;
            vm.assertTrue(operator == address(0) || registry.nodeOf(operator) == nodeId);
        }
        vm.assertEq(registry.nodeOf(address(0)), 0);
        for (uint256 i; i < ACCOUNTS; ++i) {
            uint32 nodeId = registry.nodeOf(_account(i));
            vm.assertTrue(nodeId == 0 || registry.node(nodeId).operator == _account(i));
        }
    }

    function _account(uint256 seed) private pure returns (address) {
        return _operator(uint32(1 + seed % ACCOUNTS));
    }
}
