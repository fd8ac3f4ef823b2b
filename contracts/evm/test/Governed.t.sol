// SPDX-License-Identifier: Apache-2.0
pragma solidity ^0.8.30;

import {TimelockController} from "@openzeppelin/contracts/governance/TimelockController.sol";
import {Governed} from "src/Governed.sol";
import {Timelock} from "src/Timelock.sol";
import {ICommittee} from "src/interfaces/ICommittee.sol";
import {IRegistry} from "src/interfaces/IRegistry.sol";
import {ISpace} from "src/interfaces/ISpace.sol";
import {Base} from "test/Base.t.sol";

/// @notice Parameters behind the timelock, and functions behind the guardian's switch.
contract GovernedTest is Base {
    uint256 private constant DELAY_S = 2 days;
    address private constant PROPOSER = address(0x9a);
    address private constant STRANGER = address(0xbeef);

    Timelock private timelock;

    /// @dev The timelock is the governor.
    function _governor() internal override returns (address) {
        address[] memory proposers = new address[](1);
        proposers[0] = PROPOSER;
        bytes memory arguments = abi.encode(DELAY_S, proposers, new address[](1)); // executed by anybody
        timelock = Timelock(payable(vm.deployCode("artifacts/Timelock.json", arguments)));
        return address(timelock);
    }

    // Through the timelock

    function test_terms_change_after_the_delay_and_not_before() public {
        ISpace.Terms memory terms = ISpace.Terms(50, 30, 1 << 41);
        bytes memory data = abi.encodeCall(blobs.setTerms, (terms));
        _schedule(address(blobs), data);
        _expectTooEarly(address(blobs), data);
        vm.warp(block.timestamp + DELAY_S - 1);
        _expectTooEarly(address(blobs), data);
        vm.warp(block.timestamp + 1);
        vm.expectEmit();
        emit ISpace.TermsChanged(50, 30, 1 << 41);
        _execute(address(blobs), data);
        (uint80 price, uint80 writePrice, uint64 capacity) = blobs.terms();
        vm.assertEq(price, 50);
        vm.assertEq(writePrice, 30);
        vm.assertEq(capacity, 1 << 41);
        (, uint256 cost) = blobs.quote(LENGTH, 5);
        vm.assertEq(cost, 6 * (5 * 50 + 30));
    }

    function test_parameters_change_after_the_delay_with_the_next_start() public {
        _addNodes(4);
        _nextEpoch();
        ICommittee.Parameters memory given = ICommittee.Parameters(2 * EPOCH_S, 151, 30, 200, 400, 2 * SHRINK_S, 0);
        bytes memory data = abi.encodeCall(committee.setParameters, (given));
        _schedule(address(committee), data);
        vm.warp(block.timestamp + DELAY_S);
        vm.expectEmit();
        emit ICommittee.ParametersChanged(2, given);
        _execute(address(committee), data);
        vm.assertEq(_inForce(), abi.encode(_parameters(500)));
        _nextEpoch();
        vm.assertEq(_inForce(), abi.encode(given));
    }

    function test_slasher_is_named_after_the_delay() public {
        bytes memory data = abi.encodeCall(staking.setSlasher, (STRANGER));
        _schedule(address(staking), data);
        _expectTooEarly(address(staking), data);
        vm.warp(block.timestamp + DELAY_S);
        _execute(address(staking), data);
        vm.assertEq(staking.nextSlasher(), STRANGER); // and counts when all who want to can have left (Slashing.t.sol)
        vm.assertEq(staking.slasher(), address(0));
    }

    function test_guardian_is_replaced_and_has_no_say_any_more() public {
        bytes memory data = abi.encodeCall(staking.setGuardian, (STRANGER));
        _schedule(address(staking), data);
        vm.warp(block.timestamp + DELAY_S);
        vm.expectEmit();
        emit Governed.GuardianChanged(STRANGER);
        _execute(address(staking), data);
        vm.expectRevert(abi.encodeWithSelector(Governed.NotGuardian.selector, GUARDIAN));
        vm.prank(GUARDIAN);
        staking.pause(staking.stake.selector);
        vm.prank(STRANGER);
        staking.pause(staking.stake.selector);
        vm.assertTrue(staking.isPaused(staking.stake.selector));
    }

    function test_schedule_reverts_for_anyone_but_a_proposer() public {
        bytes memory data = abi.encodeCall(blobs.setTerms, (ISpace.Terms(0, 0, 0)));
        vm.expectRevert();
        vm.prank(STRANGER);
        timelock.schedule(address(blobs), 0, data, 0, 0, DELAY_S);
    }

    function test_schedule_reverts_for_a_shorter_delay() public {
        bytes memory data = abi.encodeCall(blobs.setTerms, (ISpace.Terms(0, 0, 0)));
        vm.expectRevert(
            abi.encodeWithSelector(TimelockController.TimelockInsufficientDelay.selector, DELAY_S - 1, DELAY_S)
        );
        vm.prank(PROPOSER);
        timelock.schedule(address(blobs), 0, data, 0, 0, DELAY_S - 1);
    }

    function test_execute_reverts_for_what_was_never_announced() public {
        _expectTooEarly(address(blobs), abi.encodeCall(blobs.setTerms, (ISpace.Terms(0, 0, 0))));
    }

    function test_nobody_can_shorten_the_delay_at_once() public {
        vm.expectRevert(abi.encodeWithSelector(TimelockController.TimelockUnauthorizedCaller.selector, PROPOSER));
        vm.prank(PROPOSER);
        timelock.updateDelay(0);
    }

    // Governor only

    function test_setTerms_reverts_for_anyone_but_the_governor() public {
        _expectGovernorOnly();
        blobs.setTerms(ISpace.Terms(0, 0, 0));
    }

    function test_setParameters_reverts_for_anyone_but_the_governor() public {
        _expectGovernorOnly();
        committee.setParameters(_parameters(0));
    }

    function test_setSlasher_reverts_for_anyone_but_the_governor() public {
        _expectGovernorOnly();
        staking.setSlasher(GUARDIAN);
    }

    function test_setGuardian_reverts_for_the_guardian() public {
        _expectGovernorOnly();
        staking.setGuardian(STRANGER);
        _expectGovernorOnly();
        registry.setGuardian(STRANGER);
        _expectGovernorOnly();
        committee.setGuardian(STRANGER);
        _expectGovernorOnly();
        blobs.setGuardian(STRANGER);
    }

    function test_setParameters_reverts_beyond_half_and_twice_what_was_deployed() public {
        ICommittee.Parameters memory given = _parameters(500);
        given.periodDuration = EPOCH_S / 2 - 1;
        _expectParametersRefused("periodDuration", given);
        (given.periodDuration, given.shrinkDuration) = (2 * EPOCH_S + 1, 2 * SHRINK_S);
        _expectParametersRefused("periodDuration", given);
        given = _parameters(500);
        given.handoverDeadline = DEADLINE_S / 2 - 1;
        _expectParametersRefused("handoverDeadline", given);
        given.handoverDeadline = 2 * DEADLINE_S + 1;
        _expectParametersRefused("handoverDeadline", given);
        given = _parameters(500);
        given.patience = PATIENCE_S / 2 - 1;
        _expectParametersRefused("patience", given);
        given = _parameters(500);
        given.certificateGrace = 2 * GRACE_S + 1;
        _expectParametersRefused("certificateGrace", given);
        given = _parameters(500);
        given.notice = NOTICE_S / 2 - 1;
        _expectParametersRefused("notice", given);
        given = _parameters(500);
        given.shrinkDuration = SHRINK_S / 2 - 1;
        _expectParametersRefused("shrinkDuration", given);
    }

    function test_setParameters_reverts_twice_as_far_in_two_steps() public {
        ICommittee.Parameters memory given = _parameters(500);
        given.handoverDeadline = 2 * DEADLINE_S;
        vm.prank(address(timelock));
        committee.setParameters(given);
        given.handoverDeadline = 3 * DEADLINE_S;
        _expectParametersRefused("handoverDeadline", given);
    }

    // Pauses

    function test_pause_by_the_guardian_ends_by_itself() public {
        _addNodes(1);
        bytes4 selector = staking.stake.selector;
        vm.expectEmit();
        emit Governed.PauseChanged(selector, block.timestamp + 4 days);
        _pause(staking, selector);
        vm.warp(block.timestamp + 4 days - 1);
        vm.expectRevert(abi.encodeWithSelector(Governed.Paused.selector, selector));
        staking.stake(1, STAKE);
        vm.warp(block.timestamp + 1);
        vm.assertFalse(staking.isPaused(selector));
        staking.stake(1, STAKE);
    }

    function test_pause_is_not_renewed_by_the_guardian() public {
        bytes4 selector = staking.stake.selector;
        _pause(staking, selector);
        bytes memory reason = abi.encodeWithSelector(Governed.PauseUsedUp.selector, selector);
        vm.expectRevert(reason);
        _pause(staking, selector);
        vm.prank(GUARDIAN);
        staking.unpause(selector);
        vm.warp(block.timestamp + 100 days);
        vm.expectRevert(reason);
        _pause(staking, selector);
        _pause(registry, registry.becomeCandidate.selector); // another one
    }

    function test_pause_is_renewed_by_the_governor_before_it_ends() public {
        bytes4 selector = staking.stake.selector;
        _pause(staking, selector);
        bytes memory data = abi.encodeCall(staking.pause, (selector));
        _schedule(address(staking), data);
        vm.warp(block.timestamp + DELAY_S);
        _execute(address(staking), data);
        vm.warp(block.timestamp + 4 days - 1);
        vm.assertTrue(staking.isPaused(selector));
        vm.warp(block.timestamp + 1);
        vm.assertFalse(staking.isPaused(selector));
        vm.expectRevert(abi.encodeWithSelector(Governed.PauseUsedUp.selector, selector));
        _pause(staking, selector);
    }

    function test_unpause_by_guardian_and_governor() public {
        _addNodes(1);
        bytes4 selector = staking.stake.selector;
        _pause(staking, selector);
        vm.expectEmit();
        emit Governed.PauseChanged(selector, 0);
        vm.prank(GUARDIAN);
        staking.unpause(selector);
        staking.stake(1, STAKE);
        vm.prank(address(timelock));
        staking.unpause(selector);
        _pause(staking, selector); // which the governor allowed
        vm.assertTrue(staking.isPaused(selector));
    }

    function test_pause_and_unpause_revert_for_a_stranger() public {
        vm.startPrank(STRANGER);
        vm.expectRevert(abi.encodeWithSelector(Governed.NotGuardian.selector, STRANGER));
        staking.pause(staking.stake.selector);
        vm.expectRevert(abi.encodeWithSelector(Governed.NotGuardian.selector, STRANGER));
        staking.unpause(staking.stake.selector);
        vm.stopPrank();
    }

    function test_pause_stops_one_function_and_no_other() public {
        _addNodes(1);
        _pause(registry, registry.becomeCandidate.selector);
        staking.stake(1, STAKE);
        _leave(1);
        vm.expectRevert(abi.encodeWithSelector(Governed.Paused.selector, registry.becomeCandidate.selector));
        vm.prank(_operator(1));
        registry.becomeCandidate(1);
    }

    function test_each_pausable_function_of_the_registry_stops() public {
        IRegistry.Registration memory given;
        _checkPause(registry, abi.encodeCall(registry.registerNode, (given)));
        _checkPause(registry, abi.encodeCall(registry.changePublicKey, (1, "", "")));
        _checkPause(registry, abi.encodeCall(registry.becomeCandidate, (1)));
        _checkPause(staking, abi.encodeCall(staking.stake, (1, 1)));
    }

    function test_each_pausable_function_of_the_epochs_stops() public {
        _checkPause(committee, abi.encodeCall(committee.eject, (1, 1, type(uint64).max, "", "")));
    }

    function test_each_pausable_function_of_the_blobs_stops() public {
        _checkPause(blobs, abi.encodeCall(blobs.reserve, (1, 1, ANY)));
        _checkPause(blobs, abi.encodeCall(blobs.register, (1, 0, 1, 1, false, ANY, ANY)));
        _checkPause(blobs, abi.encodeCall(blobs.reserveAndRegister, (0, 1, 1, 1, false, ANY, ANY)));
        _checkPause(blobs, abi.encodeCall(blobs.certify, (1, 1, "", "")));
        _checkPause(blobs, abi.encodeCall(blobs.certifyMany, (new uint256[](1), 1, "", "")));
    }

    function test_pause_reverts_for_what_lets_tokens_out() public {
        _expectUnpausable(staking, staking.unstake.selector);
        _expectUnpausable(staking, staking.withdraw.selector);
        _expectUnpausable(staking, staking.withdrawEarnings.selector);
        _expectUnpausable(staking, staking.cancelUnstaking.selector);
        _expectUnpausable(staking, staking.unstakeSooner.selector);
        _expectUnpausable(staking, staking.settle.selector);
        _expectUnpausable(blobs, blobs.payOut.selector);
        _expectUnpausable(blobs, blobs.refund.selector);
        _expectUnpausable(blobs, blobs.refundBlob.selector);
        _expectUnpausable(blobs, blobs.remove.selector);
        _expectUnpausable(blobs, blobs.extend.selector);
        _expectUnpausable(blobs, blobs.extendWith.selector);
    }

    function test_pause_reverts_for_what_lets_epochs_go_on() public {
        _expectUnpausable(committee, committee.select.selector);
        _expectUnpausable(committee, committee.replace.selector);
        _expectUnpausable(committee, committee.start.selector);
        _expectUnpausable(committee, committee.attest.selector);
        _expectUnpausable(committee, committee.close.selector);
        _expectUnpausable(blobs, blobs.invalidate.selector); // it excuses members in storage proofs
        _expectUnpausable(registry, registry.removeCandidate.selector);
        _expectUnpausable(registry, registry.leaveCandidates.selector);
        _expectUnpausable(registry, registry.changeOperator.selector);
        _expectUnpausable(staking, staking.pause.selector);
        _expectUnpausable(staking, bytes4(0));
    }

    // Deploying

    function test_constructor_shows_governor_and_guardian() public view {
        vm.assertEq(staking.governor(), address(timelock));
        vm.assertEq(registry.governor(), address(timelock));
        vm.assertEq(committee.governor(), address(timelock));
        vm.assertEq(blobs.governor(), address(timelock));
        vm.assertEq(staking.guardian(), GUARDIAN);
        vm.assertEq(registry.guardian(), GUARDIAN);
        vm.assertEq(committee.guardian(), GUARDIAN);
        vm.assertEq(blobs.guardian(), GUARDIAN);
    }

    function _inForce() private view returns (bytes memory answer) {
        (, answer) = address(committee).staticcall(abi.encodeWithSignature("parameters()"));
    }

    function _schedule(address target, bytes memory data) private {
        vm.prank(PROPOSER);
        timelock.schedule(target, 0, data, 0, 0, DELAY_S);
    }

    function _execute(address target, bytes memory data) private {
        vm.prank(STRANGER);
        timelock.execute(target, 0, data, 0, 0);
    }

    function _expectTooEarly(address target, bytes memory data) private {
        bytes32 id = timelock.hashOperation(target, 0, data, 0, 0);
        bytes32 ready = bytes32(1 << uint8(TimelockController.OperationState.Ready));
        vm.expectRevert(abi.encodeWithSelector(TimelockController.TimelockUnexpectedOperationState.selector, id, ready));
        _execute(target, data);
    }

    function _expectGovernorOnly() private {
        vm.expectRevert(abi.encodeWithSelector(Governed.NotGovernor.selector, GUARDIAN));
        vm.prank(GUARDIAN);
    }

    function _expectParametersRefused(string memory name, ICommittee.Parameters memory given) private {
        vm.expectRevert(abi.encodeWithSelector(Governed.InvalidParameter.selector, name));
        vm.prank(address(timelock));
        committee.setParameters(given);
    }

    function _pause(Governed target, bytes4 selector) private {
        vm.prank(GUARDIAN);
        target.pause(selector);
    }

    /// @dev Not paused the call fails for a reason of its own, paused for the pause.
    function _checkPause(Governed target, bytes memory data) private {
        bytes4 selector = bytes4(data);
        vm.assertTrue(target.isPausable(selector));
        bytes memory reason = abi.encodeWithSelector(Governed.Paused.selector, selector);
        (bool success, bytes memory answer) = address(target).call(data);
        vm.assertFalse(success);
        vm.assertTrue(keccak256(answer) != keccak256(reason));
        _pause(target, selector);
        (success, answer) = address(target).call(data);
        vm.assertFalse(success);
        vm.assertEq(answer, reason);
    }

    function _expectUnpausable(Governed target, bytes4 selector) private {
        vm.expectRevert(abi.encodeWithSelector(Governed.NotPausable.selector, selector));
        vm.prank(GUARDIAN);
        target.pause(selector);
    }
}
