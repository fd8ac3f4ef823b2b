// SPDX-License-Identifier: Apache-2.0
pragma solidity ^0.8.30;

import {IRegistry} from "src/interfaces/IRegistry.sol";
import {Base} from "test/Base.t.sol";

/// @notice Who stands for election, in which order, and who is evicted.
contract CandidatesTest is Base {
    address private constant OPERATOR = address(0xa0001); // of node 1
    address private constant STRANGER = address(0xbeef);
    uint256 private constant UNIT = 1e9; // the least stake

    function test_leaveCandidates_keeps_the_order_of_the_others() public {
        _addNodes(4);
        vm.expectEmit();
        emit IRegistry.NodeLeft(2);
        _leave(2);
        _checkCandidates(1, 3, 4);
        vm.assertFalse(registry.node(2).candidate);
    }

    function test_leaveCandidates_reverts_for_no_candidate() public {
        _addNode(0);
        vm.startPrank(OPERATOR);
        registry.leaveCandidates(1);
        vm.expectRevert(abi.encodeWithSelector(IRegistry.NotCandidate.selector, 1));
        registry.leaveCandidates(1);
    }

    function test_leaveCandidates_by_owner_and_operator() public {
        _addNode(0);
        vm.prank(OPERATOR);
        registry.changeOperator(1, STRANGER);
        vm.prank(STRANGER);
        registry.leaveCandidates(1);
        vm.prank(OPERATOR); // still the owner
        registry.becomeCandidate(1);
        vm.assertTrue(registry.node(1).candidate);
    }

    function test_leaveCandidates_reverts_for_a_stranger() public {
        _addNode(0);
        vm.expectRevert(abi.encodeWithSelector(IRegistry.NotAnOperator.selector, STRANGER, 1));
        vm.prank(STRANGER);
        registry.leaveCandidates(1);
    }

    function test_leaveCandidates_reverts_for_another_nodes_operator() public {
        _addNode(0);
        _addNode(0);
        vm.expectRevert(abi.encodeWithSelector(IRegistry.NotAnOperator.selector, _operator(2), 1));
        vm.prank(_operator(2));
        registry.leaveCandidates(1);
    }

    function test_becomeCandidate_stands_behind_the_others() public {
        _addNodes(3);
        vm.startPrank(OPERATOR);
        registry.leaveCandidates(1);
        vm.expectEmit();
        emit IRegistry.CandidateJoined(1);
        registry.becomeCandidate(1);
        _checkCandidates(2, 3, 1);
    }

    function test_becomeCandidate_reverts_for_a_candidate() public {
        _addNode(0);
        vm.expectRevert(abi.encodeWithSelector(IRegistry.AlreadyCandidate.selector, 1));
        vm.prank(OPERATOR);
        registry.becomeCandidate(1);
    }

    function test_becomeCandidate_reverts_for_a_stranger() public {
        _addNode(0);
        _leave(1);
        vm.expectRevert(abi.encodeWithSelector(IRegistry.NotAnOperator.selector, STRANGER, 1));
        vm.prank(STRANGER);
        registry.becomeCandidate(1);
    }

    function test_becomeCandidate_reverts_for_an_unknown_node() public {
        vm.expectRevert(abi.encodeWithSelector(IRegistry.UnknownNode.selector, 1));
        registry.becomeCandidate(1);
    }

    function test_becomeCandidate_takes_the_place_of_the_least_staked() public {
        for (uint256 i; i < 100; ++i) {
            _addNode(i == 30 || i == 60 ? 5 * UNIT : 6 * UNIT);
        }
        _addNode(0);
        vm.assertFalse(registry.node(101).candidate);
        staking.stake(101, 5 * UNIT);
        vm.expectRevert(abi.encodeWithSelector(IRegistry.CandidatesFull.selector, 5 * UNIT));
        vm.prank(_operator(101));
        registry.becomeCandidate(101);
        staking.stake(101, 1);
        vm.expectEmit();
        emit IRegistry.CandidateEvicted(61);
        vm.prank(_operator(101));
        registry.becomeCandidate(101);
        (uint32[] memory nodeIds,) = registry.candidates();
        vm.assertEq(nodeIds.length, 100);
        vm.assertEq(nodeIds[60], 62);
        vm.assertEq(nodeIds[99], 101);
        vm.assertTrue(registry.node(31).candidate);
        vm.assertFalse(registry.node(61).candidate);
    }

    function test_removeCandidate_reverts_for_anyone_but_the_committee() public {
        _addNode(0);
        vm.expectRevert(abi.encodeWithSelector(IRegistry.NotCommittee.selector, address(this)));
        registry.removeCandidate(1, 0);
        vm.expectRevert(abi.encodeWithSelector(IRegistry.NotCommittee.selector, GOVERNOR));
        vm.prank(GOVERNOR);
        registry.removeCandidate(1, 0);
    }

    function test_removeCandidate_tells_of_a_bar_for_who_had_left_already() public {
        _addNode(0);
        _leave(1);
        vm.expectEmit();
        emit IRegistry.CandidateRemoved(1, 7);
        vm.prank(address(committee));
        registry.removeCandidate(1, 7);
        vm.expectRevert(abi.encodeWithSelector(IRegistry.Barred.selector, 1, 7));
        vm.prank(OPERATOR);
        registry.becomeCandidate(1);
    }

    function _checkCandidates(uint32 a, uint32 b, uint32 c) private view {
        (uint32[] memory nodeIds, uint256[] memory stakes) = registry.candidates();
        vm.assertEq(nodeIds.length, 3);
        vm.assertEq(stakes.length, 3);
        vm.assertEq(nodeIds[0], a);
        vm.assertEq(nodeIds[1], b);
        vm.assertEq(nodeIds[2], c);
    }
}
