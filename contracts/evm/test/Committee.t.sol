// SPDX-License-Identifier: Apache-2.0
pragma solidity ^0.8.30;

import {ICommittee} from "src/interfaces/ICommittee.sol";
import {Assignment} from "src/lib/Assignment.sol";
import {Bls} from "src/lib/Bls.sol";
import {Base} from "test/Base.t.sol";

/// @notice Selecting, starting, attesting and closing.
contract CommitteeTest is Base {
    uint256 private constant NODES = 5; // 20 shards each; any four are a quorum

    function setUp() public override {
        super.setUp();
        _addNodes(NODES);
    }

    // Selecting

    function test_select_before_the_first_epoch_at_once() public {
        address election = vm.computeCreateAddress(address(committee), 2);
        address members = vm.computeCreateAddress(election, 1);
        address shards = vm.computeCreateAddress(election, 2);
        bytes memory entries;
        bytes memory list;
        for (uint16 i; i < NODES; ++i) {
            entries = abi.encodePacked(entries, uint32(i + 1), 20 * (i + 1));
        }
        for (uint16 i; i < SHARDS; ++i) {
            list = abi.encodePacked(list, i);
        }
        vm.expectEmit();
        emit ICommittee.CommitteeSelected(1, 1, NODES * STAKE, entries, list);
        committee.select();
        vm.assertEq(members.code.length, 1 + 128 + NODES * (6 + 128)); // as Roll in lib/Rolls.sol has it
        vm.assertEq(shards.code.length, 1 + 2 * SHARDS);
        ICommittee.CommitteeView memory next = committee.committeeOf(1);
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
        ICommittee.State memory state = committee.state();
        vm.assertEq(state.epoch, 0);
        vm.assertEq(state.selectedEpoch, 1);
        vm.assertTrue(state.handoverDone);
    }

    function test_select_reverts_without_stake() public {
        for (uint32 i = 1; i <= NODES; ++i) {
            _leave(i);
        }
        _addNode(0);
        vm.expectRevert(Assignment.NoStake.selector);
        committee.select();
    }

    function test_select_reverts_a_second_time() public {
        committee.select();
        vm.expectRevert(abi.encodeWithSelector(ICommittee.AlreadySelected.selector, 1));
        committee.select();
    }

    function test_select_reverts_in_the_first_half_of_an_epoch() public {
        _nextEpoch();
        uint256 availableAt = block.timestamp + EPOCH_S / 2;
        vm.warp(availableAt - 1);
        vm.expectRevert(abi.encodeWithSelector(ICommittee.TooEarly.selector, availableAt));
        committee.select();
        vm.warp(availableAt);
        committee.select();
    }

    function test_select_reverts_while_the_handover_is_not_done() public {
        _startHandover();
        vm.warp(block.timestamp + 10 * EPOCH_S);
        vm.expectRevert(abi.encodeWithSelector(ICommittee.HandoverNotDone.selector, 2));
        committee.select();
    }

    // Starting

    function test_start_of_the_first_epoch_has_nothing_to_hand_over() public {
        committee.select();
        vm.roll(77);
        vm.expectEmit();
        emit ICommittee.EpochStarted(1, 1);
        vm.expectEmit();
        emit ICommittee.HandoverDone(1);
        committee.start();
        ICommittee.State memory state = committee.state();
        vm.assertEq(state.epoch, 1);
        vm.assertEq(state.startedAt, block.timestamp);
        vm.assertEq(state.startedAtBlock, 77);
        vm.assertEq(state.lastHandoverDone, block.timestamp);
        vm.assertEq(state.selectedEpoch, 0);
        vm.assertTrue(state.handoverDone);
    }

    function test_start_finishes_a_handover_in_which_a_quorum_is_kept() public {
        _nextEpoch();
        staking.stake(1, STAKE / 2);
        _select();
        vm.warp(block.timestamp + EPOCH_S / 2);
        vm.expectEmit();
        emit ICommittee.HandoverDone(2);
        committee.start();
        vm.assertTrue(_gained(1).length > 0);
        vm.assertEq(committee.attestedShards().length, 0);
    }

    function test_start_reverts_without_a_selection() public {
        vm.expectRevert(abi.encodeWithSelector(ICommittee.NotSelected.selector, 1));
        committee.start();
    }

    function test_start_reverts_before_a_full_epoch() public {
        _nextEpoch();
        uint256 availableAt = block.timestamp + EPOCH_S;
        _select();
        vm.warp(availableAt - 1);
        vm.expectRevert(abi.encodeWithSelector(ICommittee.TooEarly.selector, availableAt));
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
        emit ICommittee.ShardsAttested(2, 6, shards, digests, counts);
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
        _attest(7, _part(_gained(7), 0, 6));
        vm.assertFalse(committee.state().handoverDone);
        vm.warp(block.timestamp + 5);
        uint16[] memory last = _part(_gained(7), 6, 7);
        vm.expectEmit();
        emit ICommittee.HandoverDone(2);
        _attest(7, last);
        vm.assertTrue(committee.state().handoverDone);
        vm.assertEq(committee.state().lastHandoverDone, block.timestamp);
    }

    function test_attest_does_not_finish_the_handover_at_exactly_two_thirds() public {
        _deploy(12, 500);
        _addNodes(3); // four shards each
        _nextEpoch();
        _replaceMembers(2);
        _attest(4, _gained(4));
        vm.assertFalse(committee.state().handoverDone);
        _attest(5, _part(_gained(5), 0, 1));
        vm.assertTrue(committee.state().handoverDone);
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
        _expectAttestReverts(4, 60, abi.encodeWithSelector(ICommittee.ShardIsKept.selector, 60));
    }

    function test_attest_reverts_for_the_first_epochs_shards() public {
        _nextEpoch();
        _expectAttestReverts(4, 60, abi.encodeWithSelector(ICommittee.ShardIsKept.selector, 60));
    }

    function test_attest_reverts_for_anothers_shard() public {
        _startHandover();
        uint16 shard = _gained(7)[0];
        _expectAttestReverts(6, shard, abi.encodeWithSelector(ICommittee.NotYourShard.selector, shard));
    }

    function test_attest_reverts_for_a_shard_that_does_not_exist() public {
        _startHandover();
        _expectAttestReverts(6, 100, abi.encodeWithSelector(ICommittee.NotYourShard.selector, 100));
        _expectAttestReverts(6, 65535, abi.encodeWithSelector(ICommittee.NotYourShard.selector, 65535));
    }

    function test_attest_reverts_for_a_shard_attested_already() public {
        _startHandover();
        uint16 shard = _gained(6)[3];
        _attest(6, _gained(6));
        _expectAttestReverts(6, shard, abi.encodeWithSelector(ICommittee.AlreadyAttested.selector, shard));
    }

    function test_attest_reverts_for_a_shard_named_twice() public {
        _startHandover();
        uint16[] memory shards = new uint16[](2);
        (shards[0], shards[1]) = (_gained(6)[3], _gained(6)[3]);
        vm.expectRevert(abi.encodeWithSelector(ICommittee.AlreadyAttested.selector, shards[0]));
        vm.prank(_operator(6));
        committee.attest(2, shards, new bytes32[](2), new uint32[](2));
    }

    function test_attest_reverts_for_a_departed_member() public {
        _startHandover();
        _expectAttestReverts(1, 0, abi.encodeWithSelector(ICommittee.NotAMember.selector, 1, 2));
    }

    function test_attest_reverts_for_a_stranger() public {
        _startHandover();
        vm.expectRevert(abi.encodeWithSelector(ICommittee.NotAMember.selector, 0, 2));
        committee.attest(2, new uint16[](0), new bytes32[](0), new uint32[](0));
    }

    function test_attest_reverts_for_another_epoch() public {
        _startHandover();
        vm.expectRevert(abi.encodeWithSelector(ICommittee.WrongEpoch.selector, 1, 2));
        vm.prank(_operator(6));
        committee.attest(1, new uint16[](0), new bytes32[](0), new uint32[](0));
    }

    function test_attest_reverts_before_the_first_epoch() public {
        vm.expectRevert(abi.encodeWithSelector(ICommittee.WrongEpoch.selector, 0, 0));
        committee.attest(0, new uint16[](0), new bytes32[](0), new uint32[](0));
    }

    function test_attest_reverts_for_lists_of_different_lengths() public {
        _startHandover();
        vm.startPrank(_operator(6));
        vm.expectRevert(ICommittee.LengthMismatch.selector);
        committee.attest(2, new uint16[](1), new bytes32[](0), new uint32[](1));
        vm.expectRevert(ICommittee.LengthMismatch.selector);
        committee.attest(2, new uint16[](1), new bytes32[](1), new uint32[](2));
    }

    // Closing

    function test_close_ends_the_handover_and_no_candidacy() public {
        _startHandover();
        _attest(6, _gained(6));
        _attest(7, _part(_gained(7), 1, 5));
        vm.warp(block.timestamp + DEADLINE_S);
        vm.expectEmit();
        emit ICommittee.HandoverClosed(2);
        vm.expectEmit();
        emit ICommittee.HandoverDone(2);
        committee.close();
        vm.assertTrue(committee.state().handoverDone);
        vm.assertEq(committee.state().lastHandoverDone, block.timestamp);
        vm.assertTrue(registry.node(7).candidate);
        vm.assertTrue(registry.node(8).candidate);
    }

    function test_close_is_never_the_end_though_everybody_is_late() public {
        _startHandover();
        vm.warp(block.timestamp + DEADLINE_S);
        committee.close();
        _nextEpoch();
        vm.assertEq(committee.epoch(), 3);
        vm.assertEq(committee.committeeOf(3).members.length, NODES);
    }

    function test_close_reverts_before_the_deadline() public {
        _startHandover();
        uint256 deadline = block.timestamp + DEADLINE_S;
        vm.warp(deadline - 1);
        vm.expectRevert(abi.encodeWithSelector(ICommittee.TooEarly.selector, deadline));
        committee.close();
    }

    function test_close_reverts_after_the_handover() public {
        _nextEpoch();
        vm.warp(block.timestamp + DEADLINE_S);
        vm.expectRevert(abi.encodeWithSelector(ICommittee.HandoverIsDone.selector, 1));
        committee.close();
    }

    function test_close_reverts_before_the_first_epoch() public {
        vm.expectRevert(abi.encodeWithSelector(ICommittee.HandoverIsDone.selector, 0));
        committee.close();
    }

    /// @dev Epoch 2: nodes 1 to 3 left, 6 to 8 came.
    function _startHandover() private {
        _nextEpoch();
        _replaceMembers(3);
        vm.assertFalse(committee.state().handoverDone);
        vm.assertEq(_gained(6).length, 20);
    }
}
