// SPDX-License-Identifier: Apache-2.0
pragma solidity ^0.8.30;

import {ICommittee} from "src/interfaces/ICommittee.sol";
import {IRegistry} from "src/interfaces/IRegistry.sol";
import {Messages} from "src/lib/Messages.sol";
import {Base} from "test/Base.t.sol";

/// @notice Ejecting a member that does not answer.
contract EjectionTest is Base {
    uint256 private constant NODES = 5; // 20 shards each; any four are a quorum

    uint64 private deadline;

    function setUp() public override {
        super.setUp();
        _addNodes(NODES);
        deadline = uint64(block.timestamp) + 2 * EPOCH_S;
    }

    function test_eject_ends_the_candidacy() public {
        _nextEpoch();
        (bytes memory bitmap, bytes memory signature) = _ejection(NODES, 3, deadline);
        vm.expectEmit();
        emit ICommittee.MemberEjected(1, 3, 1);
        committee.eject(3, 1, deadline, bitmap, signature);
        vm.assertFalse(registry.node(3).candidate);
        vm.assertEq(registry.node(3).stake, STAKE);
        vm.assertTrue(committee.isEjected(1, 3));
        _nextEpoch();
        vm.assertEq(_shardsIn(committee.committeeOf(2), 3).length, 0);
        vm.assertFalse(committee.isEjected(2, 3));
    }

    function test_the_ejected_stands_again_when_the_next_epoch_has_begun() public {
        _nextEpoch();
        _eject(NODES, 3);
        vm.assertEq(registry.node(3).barredUntil, 2);
        _select();
        bytes memory reason = abi.encodeWithSelector(IRegistry.Barred.selector, 3, 2);
        vm.expectRevert(reason);
        vm.prank(_operator(3));
        registry.becomeCandidate(3);
        _start();
        vm.prank(_operator(3));
        registry.becomeCandidate(3);
        _nextEpoch();
        vm.assertEq(_shardsIn(committee.committeeOf(3), 3).length, 20);
    }

    function test_the_ejected_stands_again_when_no_epoch_begins_any_more() public {
        _nextEpoch();
        _eject(NODES, 3);
        vm.warp(block.timestamp + 4 * (EPOCH_S + DEADLINE_S));
        vm.expectRevert(abi.encodeWithSelector(IRegistry.Barred.selector, 3, 2));
        vm.prank(_operator(3));
        registry.becomeCandidate(3);
        vm.warp(block.timestamp + 1);
        vm.prank(_operator(3));
        registry.becomeCandidate(3);
    }

    function test_an_ejection_certificate_that_was_kept_back_counts_no_more() public {
        _nextEpoch();
        deadline = uint64(block.timestamp) + 60;
        (bytes memory bitmap, bytes memory signature) = _ejection(NODES, 3, deadline);
        _select();
        vm.expectRevert(abi.encodeWithSelector(ICommittee.EjectionTooLate.selector, deadline));
        committee.eject(3, 1, deadline, bitmap, signature);
        vm.expectRevert(ICommittee.BadSignature.selector);
        committee.eject(3, 1, uint64(block.timestamp), bitmap, signature);
    }

    function test_eject_at_its_deadline() public {
        _nextEpoch();
        (bytes memory bitmap, bytes memory signature) = _ejection(NODES, 3, uint64(block.timestamp));
        committee.eject(3, 1, uint64(block.timestamp), bitmap, signature);
    }

    function test_ejection_selection_and_start_are_not_one_step() public {
        // At the very end of an epoch: the new owners still have the notice to prefetch in.
        _nextEpoch();
        _select();
        vm.warp(block.timestamp + EPOCH_S - EPOCH_S / 2);
        _eject(NODES, 3);
        committee.select();
        uint256 availableAt = block.timestamp + NOTICE_S;
        vm.expectRevert(abi.encodeWithSelector(ICommittee.TooEarly.selector, availableAt));
        committee.start();
        vm.warp(availableAt);
        committee.start();
        vm.assertEq(_shardsIn(committee.committeeOf(2), 3).length, 0);
    }

    function test_eject_drops_a_selection_with_the_member() public {
        _nextEpoch();
        _select();
        (bytes memory bitmap, bytes memory signature) = _ejection(NODES, 3, deadline);
        vm.expectEmit();
        emit ICommittee.SelectionDropped(2);
        committee.eject(3, 1, deadline, bitmap, signature);
        vm.assertEq(committee.state().selectedEpoch, 0);
        vm.expectRevert(abi.encodeWithSelector(ICommittee.WrongEpoch.selector, 2, 1));
        committee.committeeOf(2);
        vm.expectRevert(abi.encodeWithSelector(ICommittee.NotSelected.selector, 2));
        committee.start();
        committee.select();
        vm.assertEq(_shardsIn(committee.committeeOf(2), 3).length, 0);
    }

    function test_eject_leaves_a_selection_without_the_member() public {
        _nextEpoch();
        _leave(3);
        _select();
        (bytes memory bitmap, bytes memory signature) = _ejection(NODES, 3, deadline);
        committee.eject(3, 1, deadline, bitmap, signature);
        vm.assertEq(committee.state().selectedEpoch, 2);
    }

    function test_eject_reaches_who_is_only_selected() public {
        _nextEpoch();
        _addNode(STAKE);
        _select();
        (bytes memory bitmap, bytes memory signature) = _ejection(NODES, 6, deadline);
        committee.eject(6, 1, deadline, bitmap, signature);
        vm.assertEq(committee.state().selectedEpoch, 0);
        vm.assertFalse(registry.node(6).candidate);
    }

    function test_eject_reverts_for_a_replay_in_the_same_epoch() public {
        _nextEpoch();
        (bytes memory bitmap, bytes memory signature) = _ejection(NODES, 3, deadline);
        committee.eject(3, 1, deadline, bitmap, signature);
        vm.expectRevert(abi.encodeWithSelector(ICommittee.AlreadyEjected.selector, 3, 1));
        committee.eject(3, 1, deadline, bitmap, signature);
    }

    function test_eject_reverts_for_a_replay_in_the_next_epoch() public {
        _nextEpoch();
        (bytes memory bitmap, bytes memory signature) = _ejection(NODES, 3, deadline);
        _nextEpoch();
        vm.expectRevert(ICommittee.BadSignature.selector);
        committee.eject(3, 1, deadline, bitmap, signature);
    }

    function test_eject_reverts_for_another_member() public {
        _nextEpoch();
        (bytes memory bitmap, bytes memory signature) = _ejection(NODES, 3, deadline);
        vm.expectRevert(ICommittee.BadSignature.selector);
        committee.eject(2, 1, deadline, bitmap, signature);
    }

    function test_eject_reverts_for_another_reason() public {
        _nextEpoch();
        (bytes memory bitmap, bytes memory signature) = _ejection(NODES, 3, deadline);
        vm.expectRevert(ICommittee.BadSignature.selector);
        committee.eject(3, 2, deadline, bitmap, signature);
    }

    function test_eject_reverts_below_the_quorum() public {
        _nextEpoch();
        bytes memory message = _message(Messages.EJECT, 1, Messages.ejection(3, 1, deadline));
        (bytes memory bitmap, bytes memory signature) = _certificate(NODES, 1 << 2 | 1, message);
        vm.expectRevert(abi.encodeWithSelector(ICommittee.NotEnoughWeight.selector, 60, 67));
        committee.eject(3, 1, deadline, bitmap, signature);
    }

    function test_eject_reverts_at_exactly_two_thirds() public {
        _deploy(12, 500);
        _addNodes(3); // four shards each
        _nextEpoch();
        bytes memory message = _message(Messages.EJECT, 1, Messages.ejection(3, 1, deadline));
        (bytes memory bitmap, bytes memory signature) = _certificate(3, 4, message);
        vm.expectRevert(abi.encodeWithSelector(ICommittee.NotEnoughWeight.selector, 8, 9));
        committee.eject(3, 1, deadline, bitmap, signature);
    }

    function test_eject_reverts_for_no_member() public {
        _nextEpoch();
        _addNode(STAKE);
        (bytes memory bitmap, bytes memory signature) = _ejection(NODES, 6, deadline);
        vm.expectRevert(abi.encodeWithSelector(ICommittee.NotAMember.selector, 6, 1));
        committee.eject(6, 1, deadline, bitmap, signature);
    }

    function test_eject_reverts_before_the_first_epoch() public {
        vm.expectRevert(abi.encodeWithSelector(ICommittee.WrongEpoch.selector, 0, 0));
        committee.eject(3, 1, deadline, "", "");
    }
}
