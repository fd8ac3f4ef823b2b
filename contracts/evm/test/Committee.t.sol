// SPDX-License-Identifier: Apache-2.0
pragma solidity ^0.8.30;

import {Committee} from "src/Committee.sol";
import {Staking} from "src/Staking.sol";
import {Assignment} from "src/lib/Assignment.sol";
import {Bls} from "src/lib/Bls.sol";
import {Messages} from "src/lib/Messages.sol";
import {Base} from "test/Base.t.sol";

contract CommitteeTest is Base {
    uint256 private constant NODES = 5; // 20 shards each; any four are a quorum

    function setUp() public override {
        super.setUp();
        _addNodes(NODES);
    }

    // Selecting

    function test_select_before_the_first_epoch_at_once() public {
        vm.expectEmit();
        emit Committee.CommitteeSelected(1);
        committee.select();
        Committee.CommitteeView memory next = committee.committee(1);
        vm.assertEq(next.epoch, 1);
        vm.assertEq(next.members.length, NODES);
        for (uint32 i; i < NODES; ++i) {
            vm.assertEq(next.members[i].nodeId, i + 1);
            vm.assertEq(next.members[i].name, "node");
            vm.assertEq(next.members[i].networkAddress, "http://node");
            vm.assertEq(next.members[i].publicKey, Bls.compress(_publicKey(_secret(i + 1))));
            vm.assertEq(next.members[i].shards.length, 20);
            vm.assertEq(next.members[i].shards[19], 20 * i + 19);
        }
        Committee.State memory state = committee.state();
        vm.assertEq(state.epoch, 0);
        vm.assertEq(state.selectedEpoch, 1);
        vm.assertTrue(state.handoverDone);
    }

    function test_select_reverts_without_stake() public {
        for (uint32 i = 1; i <= NODES; ++i) {
            staking.unstake(i, STAKE);
        }
        vm.expectRevert(Assignment.NoStake.selector);
        committee.select();
    }

    function test_select_reverts_a_second_time() public {
        committee.select();
        vm.expectRevert(abi.encodeWithSelector(Committee.AlreadySelected.selector, 1));
        committee.select();
    }

    function test_select_reverts_in_the_first_half_of_an_epoch() public {
        _nextEpoch();
        uint256 availableAt = block.timestamp + EPOCH_S / 2;
        vm.warp(availableAt - 1);
        vm.expectRevert(abi.encodeWithSelector(Committee.TooEarly.selector, availableAt));
        committee.select();
        vm.warp(availableAt);
        committee.select();
    }

    function test_select_reverts_while_the_handover_is_not_done() public {
        _startHandover();
        vm.warp(block.timestamp + 10 * EPOCH_S);
        vm.expectRevert(abi.encodeWithSelector(Committee.HandoverNotDone.selector, 2));
        committee.select();
    }

    // Starting

    function test_start_of_the_first_epoch_has_nothing_to_hand_over() public {
        committee.select();
        vm.roll(77);
        vm.expectEmit();
        emit Committee.EpochStarted(1);
        vm.expectEmit();
        emit Committee.HandoverDone(1);
        committee.start();
        Committee.State memory state = committee.state();
        vm.assertEq(state.epoch, 1);
        vm.assertEq(state.startedAt, block.timestamp);
        vm.assertEq(state.startedAtBlock, 77);
        vm.assertEq(state.lastHandoverDone, block.timestamp);
        vm.assertEq(state.selectedEpoch, 0);
        vm.assertTrue(state.handoverDone);
    }

    function test_start_finishes_a_handover_in_which_a_quorum_is_kept() public {
        _nextEpoch();
        staking.stake(1, STAKE / 2, 0);
        _select();
        vm.warp(block.timestamp + EPOCH_S / 2);
        vm.expectEmit();
        emit Committee.HandoverDone(2);
        committee.start();
        vm.assertTrue(_gained(1).length > 0);
        vm.assertEq(committee.attestedShards().length, 0);
    }

    function test_start_reverts_without_a_selection() public {
        vm.expectRevert(abi.encodeWithSelector(Committee.NotSelected.selector, 1));
        committee.start();
    }

    function test_start_reverts_before_a_full_epoch() public {
        _nextEpoch();
        uint256 availableAt = block.timestamp + EPOCH_S;
        _select();
        vm.warp(availableAt - 1);
        vm.expectRevert(abi.encodeWithSelector(Committee.TooEarly.selector, availableAt));
        committee.start();
        vm.warp(availableAt);
        committee.start();
    }

    // Attesting: nodes 1 to 3 leave, 6 to 8 join, who gain 60 of the 100 shards

    function test_attest_shows_what_was_attested() public {
        _startHandover();
        uint16[] memory shards = _gained(6);
        bytes32[] memory digests = new bytes32[](shards.length);
        uint32[] memory counts = new uint32[](shards.length);
        (digests[1], counts[1]) = (keccak256("bytes"), 9);
        vm.expectEmit();
        emit Committee.ShardsAttested(2, 6, shards, digests, counts);
        vm.prank(_operator(6));
        committee.attest(2, shards, digests, counts);
        (bool done, bytes32 digest, uint32 count) = committee.attestation(shards[1]);
        vm.assertTrue(done);
        vm.assertEq(digest, keccak256("bytes"));
        vm.assertEq(count, 9);
        vm.assertEq(committee.attestedShards().length, 20);
        (done,,) = committee.attestation(_gained(7)[0]);
        vm.assertFalse(done);
    }

    function test_attest_finishes_the_handover_exactly_at_the_quorum() public {
        _startHandover();
        // 40 are kept; 27 more are 67 of 100 shards, the least with 3w >= 2n + 1.
        _attest(6, _gained(6));
        _attest(7, _slice(_gained(7), 0, 6));
        vm.assertFalse(committee.state().handoverDone);
        vm.warp(block.timestamp + 5);
        uint16[] memory last = _slice(_gained(7), 6, 7);
        vm.expectEmit();
        emit Committee.HandoverDone(2);
        _attest(7, last);
        vm.assertTrue(committee.state().handoverDone);
        vm.assertEq(committee.state().lastHandoverDone, block.timestamp);
    }

    function test_attest_goes_on_after_the_handover() public {
        _startHandover();
        _attest(6, _gained(6));
        _attest(7, _gained(7));
        uint64 doneAt = committee.state().lastHandoverDone;
        vm.warp(block.timestamp + 5);
        _attest(8, _gained(8));
        vm.assertEq(committee.attestedShards().length, 60);
        vm.assertEq(committee.state().lastHandoverDone, doneAt);
    }

    function test_attest_starts_anew_in_every_epoch() public {
        _startHandover();
        uint16 shard = _gained(6)[0];
        _attest(6, _gained(6));
        _attest(7, _gained(7));
        _nextEpoch();
        (bool done,,) = committee.attestation(shard);
        vm.assertFalse(done);
        vm.assertEq(committee.attestedShards().length, 0);
    }

    function test_attest_reverts_for_a_kept_shard() public {
        _startHandover();
        _expectAttestReverts(4, 60, abi.encodeWithSelector(Committee.ShardIsKept.selector, 60));
    }

    function test_attest_reverts_for_the_first_epochs_shards() public {
        _nextEpoch();
        _expectAttestReverts(4, 60, abi.encodeWithSelector(Committee.ShardIsKept.selector, 60));
    }

    function test_attest_reverts_for_anothers_shard() public {
        _startHandover();
        uint16 shard = _gained(7)[0];
        _expectAttestReverts(6, shard, abi.encodeWithSelector(Committee.NotYourShard.selector, shard));
    }

    function test_attest_reverts_for_a_shard_that_does_not_exist() public {
        _startHandover();
        _expectAttestReverts(6, 100, abi.encodeWithSelector(Committee.NotYourShard.selector, 100));
        _expectAttestReverts(6, 65535, abi.encodeWithSelector(Committee.NotYourShard.selector, 65535));
    }

    function test_attest_reverts_for_a_shard_attested_already() public {
        _startHandover();
        uint16 shard = _gained(6)[3];
        _attest(6, _gained(6));
        _expectAttestReverts(6, shard, abi.encodeWithSelector(Committee.AlreadyAttested.selector, shard));
    }

    function test_attest_reverts_for_a_shard_named_twice() public {
        _startHandover();
        uint16[] memory shards = new uint16[](2);
        (shards[0], shards[1]) = (_gained(6)[3], _gained(6)[3]);
        vm.expectRevert(abi.encodeWithSelector(Committee.AlreadyAttested.selector, shards[0]));
        vm.prank(_operator(6));
        committee.attest(2, shards, new bytes32[](2), new uint32[](2));
    }

    function test_attest_reverts_for_a_departed_member() public {
        _startHandover();
        _expectAttestReverts(1, 0, abi.encodeWithSelector(Committee.NotAMember.selector, 1, 2));
    }

    function test_attest_reverts_for_a_stranger() public {
        _startHandover();
        vm.expectRevert(abi.encodeWithSelector(Committee.NotAMember.selector, 0, 2));
        committee.attest(2, new uint16[](0), new bytes32[](0), new uint32[](0));
    }

    function test_attest_reverts_for_another_epoch() public {
        _startHandover();
        vm.expectRevert(abi.encodeWithSelector(Committee.WrongEpoch.selector, 1, 2));
        vm.prank(_operator(6));
        committee.attest(1, new uint16[](0), new bytes32[](0), new uint32[](0));
    }

    function test_attest_reverts_before_the_first_epoch() public {
        vm.expectRevert(abi.encodeWithSelector(Committee.WrongEpoch.selector, 0, 0));
        committee.attest(0, new uint16[](0), new bytes32[](0), new uint32[](0));
    }

    function test_attest_reverts_for_lists_of_different_lengths() public {
        _startHandover();
        vm.startPrank(_operator(6));
        vm.expectRevert(Committee.LengthMismatch.selector);
        committee.attest(2, new uint16[](1), new bytes32[](0), new uint32[](1));
        vm.expectRevert(Committee.LengthMismatch.selector);
        committee.attest(2, new uint16[](1), new bytes32[](1), new uint32[](2));
    }

    // Closing

    function test_close_bars_who_has_not_attested_everything() public {
        _startHandover();
        _attest(6, _gained(6));
        _attest(7, _slice(_gained(7), 1, 5));
        vm.warp(block.timestamp + DEADLINE_S);
        uint32[] memory late = new uint32[](2);
        (late[0], late[1]) = (7, 8);
        vm.expectEmit();
        emit Committee.HandoverClosed(2, late);
        vm.expectEmit();
        emit Committee.HandoverDone(2);
        committee.close();
        vm.assertTrue(committee.state().handoverDone);
        vm.assertEq(committee.state().lastHandoverDone, block.timestamp);
        vm.assertTrue(staking.node(6).candidate);
        vm.assertFalse(staking.node(7).candidate);
        vm.assertFalse(staking.node(8).candidate);
    }

    function test_close_leaves_the_late_out_of_the_next_selection_only() public {
        _startHandover();
        _attest(6, _gained(6));
        vm.warp(block.timestamp + DEADLINE_S);
        committee.close();
        uint256 until = block.timestamp + EPOCH_S;
        _select();
        vm.assertEq(_shardsIn(committee.committee(3), 7).length, 0);
        vm.warp(until - 1);
        vm.expectRevert(abi.encodeWithSelector(Staking.Barred.selector, 7, until));
        vm.prank(_operator(7));
        staking.becomeCandidate();
        vm.warp(until);
        vm.prank(_operator(7));
        staking.becomeCandidate();
        committee.start();
    }

    function test_close_is_never_the_end_though_everybody_is_late() public {
        _nextEpoch();
        for (uint32 i = 1; i <= NODES; ++i) {
            vm.prank(_operator(i));
            staking.leaveCandidates();
        }
        _addNodes(2);
        _nextEpoch();
        vm.warp(block.timestamp + DEADLINE_S);
        committee.close();
        vm.warp(block.timestamp + EPOCH_S);
        vm.expectRevert(Assignment.NoStake.selector);
        committee.select();
        vm.prank(_operator(6));
        staking.becomeCandidate();
        committee.select();
        committee.start();
        vm.assertEq(committee.epoch(), 3);
    }

    function test_close_reverts_before_the_deadline() public {
        _startHandover();
        uint256 deadline = block.timestamp + DEADLINE_S;
        vm.warp(deadline - 1);
        vm.expectRevert(abi.encodeWithSelector(Committee.TooEarly.selector, deadline));
        committee.close();
    }

    function test_close_reverts_after_the_handover() public {
        _nextEpoch();
        vm.warp(block.timestamp + DEADLINE_S);
        vm.expectRevert(abi.encodeWithSelector(Committee.HandoverIsDone.selector, 1));
        committee.close();
    }

    function test_close_reverts_before_the_first_epoch() public {
        vm.expectRevert(abi.encodeWithSelector(Committee.HandoverIsDone.selector, 0));
        committee.close();
    }

    // Ejecting

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
        staking.becomeCandidate();
    }

    function test_eject_drops_a_selection_with_the_member() public {
        _nextEpoch();
        _select();
        (bytes memory bitmap, bytes memory signature) = _ejection(3, 1);
        vm.expectEmit();
        emit Committee.SelectionDropped(2);
        committee.eject(3, 1, bitmap, signature);
        vm.assertEq(committee.state().selectedEpoch, 0);
        committee.select();
        vm.assertEq(_shardsIn(committee.committee(2), 3).length, 0);
    }

    function test_eject_leaves_a_selection_without_the_member() public {
        _nextEpoch();
        vm.prank(_operator(3));
        staking.leaveCandidates();
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
        staking.becomeCandidate();
        vm.expectRevert(abi.encodeWithSelector(Committee.AlreadyEjected.selector, 3, 1));
        committee.eject(3, 1, bitmap, signature);
    }

    function test_eject_reverts_for_a_replay_in_the_next_epoch() public {
        _nextEpoch();
        (bytes memory bitmap, bytes memory signature) = _ejection(3, 1);
        _nextEpoch();
        vm.expectRevert(Committee.BadSignature.selector);
        committee.eject(3, 1, bitmap, signature);
    }

    function test_eject_reverts_for_another_member() public {
        _nextEpoch();
        (bytes memory bitmap, bytes memory signature) = _ejection(3, 1);
        vm.expectRevert(Committee.BadSignature.selector);
        committee.eject(2, 1, bitmap, signature);
    }

    function test_eject_reverts_for_another_reason() public {
        _nextEpoch();
        (bytes memory bitmap, bytes memory signature) = _ejection(3, 1);
        vm.expectRevert(Committee.BadSignature.selector);
        committee.eject(3, 2, bitmap, signature);
    }

    function test_eject_reverts_below_the_quorum() public {
        _nextEpoch();
        bytes memory message = _message(Messages.EJECT, 1, Messages.ejection(3, 1));
        (bytes memory bitmap, bytes memory signature) = _certificate(NODES, 1 << 2 | 1, message);
        vm.expectRevert(abi.encodeWithSelector(Committee.NotEnoughWeight.selector, 60, SHARDS));
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
        vm.expectRevert(abi.encodeWithSelector(Committee.WrongEpoch.selector, 0, 0));
        committee.eject(3, 1, "", "");
    }

    // Views

    function test_committees_shows_what_there_is() public {
        (Committee.CommitteeView memory previous, Committee.CommitteeView memory current,) = committee.committees();
        vm.assertEq(previous.epoch + current.epoch, 0);
        _startHandover();
        _attest(6, _gained(6));
        _attest(7, _gained(7));
        _select();
        Committee.CommitteeView memory next;
        (previous, current, next) = committee.committees();
        vm.assertEq(previous.epoch, 1);
        vm.assertEq(current.epoch, 2);
        vm.assertEq(next.epoch, 3);
        vm.assertEq(previous.members[0].nodeId, 1);
        vm.assertEq(current.members[0].nodeId, 4);
        vm.assertEq(next.members.length, NODES);
    }

    function test_committee_reverts_for_an_epoch_long_gone() public {
        for (uint256 i; i < 3; ++i) {
            _nextEpoch();
        }
        committee.committee(2);
        vm.expectRevert(abi.encodeWithSelector(Committee.WrongEpoch.selector, 1, 3));
        committee.committee(1);
        vm.expectRevert(abi.encodeWithSelector(Committee.WrongEpoch.selector, 4, 3));
        committee.committee(4);
        vm.expectRevert(abi.encodeWithSelector(Committee.WrongEpoch.selector, 0, 3));
        committee.committee(0);
    }

    function test_domain_names_the_chain_and_the_contract() public {
        vm.assertEq(committee.domain(), keccak256(abi.encode(block.chainid, address(committee))));
        vm.chainId(99);
        vm.assertEq(committee.domain(), keccak256(abi.encode(99, address(committee))));
    }

    // Deploying

    function test_constructor_reverts_for_a_registry_of_another_committee() public {
        _expectConstructorReverts("staking", 100, 1, 1);
    }

    function test_constructor_reverts_for_bad_parameters() public {
        _predict();
        _expectConstructorReverts("nShards", 3, 1, 1);
        _predict();
        _expectConstructorReverts("nShards", 1001, 1, 1);
        _predict();
        _expectConstructorReverts("epochDuration", 100, 0, 1);
        _predict();
        _expectConstructorReverts("epochDuration", 100, 3651 days, 1);
        _predict();
        _expectConstructorReverts("handoverDeadline", 100, 1, 0);
        _predict();
        _expectConstructorReverts("handoverDeadline", 100, 1, 3651 days);
    }

    function test_constructor_reverts_without_the_precompiles() public {
        vm.mockCall(address(0x0b), "", "");
        vm.expectRevert(Bls.PrecompileMissing.selector);
        this.create(100, 1, 1);
    }

    /// @dev Deploys and reverts with the constructor's reason.
    function create(uint16 shards, uint64 epochS, uint64 deadlineS) external {
        bytes memory arguments = abi.encode(staking, shards, epochS, deadlineS, uint32(1), uint32(1));
        bytes memory code = abi.encodePacked(vm.getCode("artifacts/Committee.json"), arguments);
        assembly {
            if iszero(create(0, add(code, 0x20), mload(code))) {
                returndatacopy(0, 0, returndatasize())
                revert(0, returndatasize())
            }
        }
    }

    function _predict() private {
        address expected = vm.computeCreateAddress(address(this), vm.getNonce(address(this)) + 1);
        staking = Staking(vm.deployCode("artifacts/Staking.json", abi.encode(token, expected)));
    }

    function _expectConstructorReverts(string memory name, uint16 shards, uint64 epochS, uint64 deadlineS) private {
        vm.expectRevert(abi.encodeWithSelector(Committee.InvalidParameter.selector, name));
        this.create(shards, epochS, deadlineS);
    }

    function _startHandover() private {
        _nextEpoch();
        for (uint32 i = 1; i <= 3; ++i) {
            vm.prank(_operator(i));
            staking.leaveCandidates();
        }
        _addNodes(3);
        _nextEpoch();
        vm.assertFalse(committee.state().handoverDone);
        vm.assertEq(_gained(6).length, 20);
    }

    function _expectAttestReverts(uint32 nodeId, uint16 shard, bytes memory reason) private {
        uint16[] memory shards = new uint16[](1);
        shards[0] = shard;
        uint32 epoch = committee.epoch();
        vm.expectRevert(reason);
        vm.prank(_operator(nodeId));
        committee.attest(epoch, shards, new bytes32[](1), new uint32[](1));
    }

    /// @dev By all members but the ejected one, in the first epoch.
    function _ejection(uint32 nodeId, uint8 reason) private view returns (bytes memory, bytes memory) {
        bytes memory message = _message(Messages.EJECT, 1, Messages.ejection(nodeId, reason));
        return _certificate(NODES, 1 << (nodeId - 1), message);
    }

    function _slice(uint16[] memory list, uint256 first, uint256 end) private pure returns (uint16[] memory part) {
        part = new uint16[](end - first);
        for (uint256 i; i < part.length; ++i) {
            part[i] = list[first + i];
        }
    }
}
