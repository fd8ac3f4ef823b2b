// SPDX-License-Identifier: Apache-2.0
pragma solidity ^0.8.30;

import {Committee} from "src/Committee.sol";
import {Epochs} from "src/Epochs.sol";
import {Messages} from "src/lib/Messages.sol";
import {Base} from "test/Base.t.sol";

/// @notice Ejecting a member that does not answer.
contract EjectionTest is Base {
    uint256 private constant NODES = 5; // 20 shards each; any four are a quorum

    function setUp() public override {
        super.setUp();
        _addNodes(NODES);
    }

    function test_eject_ends_the_candidacy() public {
        _nextEpoch();
        (bytes memory bitmap, bytes memory signature) = _ejection(3, 1);
        vm.expectEmit();
        emit Committee.MemberEjected(1, 3, 1);
        committee.eject(3, 1, bitmap, signature);
        vm.assertFalse(staking.node(3).candidate);
        vm.assertEq(staking.node(3).stake, STAKE);
        _nextEpoch();
        vm.assertEq(_shardsIn(committee.committee(2), 3).length, 0);
        vm.prank(_operator(3));
        staking.becomeCandidate(3);
    }

    function test_eject_drops_a_selection_with_the_member() public {
        _nextEpoch();
        _select();
        (bytes memory bitmap, bytes memory signature) = _ejection(3, 1);
        vm.expectEmit();
        emit Committee.SelectionDropped(2);
        committee.eject(3, 1, bitmap, signature);
        vm.assertEq(committee.state().selectedEpoch, 0);
        vm.expectRevert(abi.encodeWithSelector(Epochs.WrongEpoch.selector, 2, 1));
        committee.committee(2);
        vm.expectRevert(abi.encodeWithSelector(Committee.NotSelected.selector, 2));
        committee.start();
        committee.select();
        vm.assertEq(_shardsIn(committee.committee(2), 3).length, 0);
    }

    function test_eject_leaves_a_selection_without_the_member() public {
        _nextEpoch();
        _leave(3);
        _select();
        (bytes memory bitmap, bytes memory signature) = _ejection(3, 1);
        committee.eject(3, 1, bitmap, signature);
        vm.assertEq(committee.state().selectedEpoch, 2);
    }

    function test_eject_reaches_who_is_only_selected() public {
        _nextEpoch();
        _addNode(STAKE);
        _select();
        (bytes memory bitmap, bytes memory signature) = _ejection(6, 1);
        committee.eject(6, 1, bitmap, signature);
        vm.assertEq(committee.state().selectedEpoch, 0);
        vm.assertFalse(staking.node(6).candidate);
    }

    function test_eject_reverts_for_a_replay_in_the_same_epoch() public {
        _nextEpoch();
        (bytes memory bitmap, bytes memory signature) = _ejection(3, 1);
        committee.eject(3, 1, bitmap, signature);
        vm.prank(_operator(3));
        staking.becomeCandidate(3);
        vm.expectRevert(abi.encodeWithSelector(Committee.AlreadyEjected.selector, 3, 1));
        committee.eject(3, 1, bitmap, signature);
    }

    function test_eject_reverts_for_a_replay_in_the_next_epoch() public {
        _nextEpoch();
        (bytes memory bitmap, bytes memory signature) = _ejection(3, 1);
        _nextEpoch();
        vm.expectRevert(Epochs.BadSignature.selector);
        committee.eject(3, 1, bitmap, signature);
    }

    function test_eject_reverts_for_another_member() public {
        _nextEpoch();
        (bytes memory bitmap, bytes memory signature) = _ejection(3, 1);
        vm.expectRevert(Epochs.BadSignature.selector);
        committee.eject(2, 1, bitmap, signature);
    }

    function test_eject_reverts_for_another_reason() public {
        _nextEpoch();
        (bytes memory bitmap, bytes memory signature) = _ejection(3, 1);
        vm.expectRevert(Epochs.BadSignature.selector);
        committee.eject(3, 2, bitmap, signature);
    }

    function test_eject_reverts_below_the_quorum() public {
        _nextEpoch();
        bytes memory message = _message(Messages.EJECT, 1, Messages.ejection(3, 1));
        (bytes memory bitmap, bytes memory signature) = _certificate(NODES, 1 << 2 | 1, message);
        vm.expectRevert(abi.encodeWithSelector(Epochs.NotEnoughWeight.selector, 60, SHARDS));
        committee.eject(3, 1, bitmap, signature);
    }

    function test_eject_reverts_at_exactly_two_thirds() public {
        _deploy(12, 500);
        _addNodes(3); // four shards each
        _nextEpoch();
        bytes memory message = _message(Messages.EJECT, 1, Messages.ejection(3, 1));
        (bytes memory bitmap, bytes memory signature) = _certificate(3, 4, message);
        vm.expectRevert(abi.encodeWithSelector(Epochs.NotEnoughWeight.selector, 8, 12));
        committee.eject(3, 1, bitmap, signature);
    }

    function test_eject_reverts_for_no_member() public {
        _nextEpoch();
        _addNode(STAKE);
        (bytes memory bitmap, bytes memory signature) = _ejection(6, 1);
        vm.expectRevert(abi.encodeWithSelector(Committee.NotAMember.selector, 6, 1));
        committee.eject(6, 1, bitmap, signature);
    }

    function test_eject_reverts_before_the_first_epoch() public {
        vm.expectRevert(abi.encodeWithSelector(Epochs.WrongEpoch.selector, 0, 0));
        committee.eject(3, 1, "", "");
    }

    /// @dev By all members but the ejected one, in the first epoch.
    function _ejection(uint32 nodeId, uint8 reason) private view returns (bytes memory, bytes memory) {
        bytes memory message = _message(Messages.EJECT, 1, Messages.ejection(nodeId, reason));
        return _certificate(NODES, 1 << (nodeId - 1), message);
    }
}
