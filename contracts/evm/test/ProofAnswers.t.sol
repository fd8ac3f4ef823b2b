// SPDX-License-Identifier: Apache-2.0
pragma solidity ^0.8.30;

import {IProofs} from "src/interfaces/IProofs.sol";
import {RedStuff} from "src/lib/RedStuff.sol";
import {Openings} from "src/lib/Openings.sol";
import {Trees} from "src/lib/Trees.sol";
import {ProofBase} from "test/ProofBase.sol";

/// @notice What members answer on chain: which openings hold, what is excused, and what is refused, by rule.
contract ProofAnswersTest is ProofBase {
    uint32 private constant MEMBER = 2;

    // What holds

    function test_a_member_that_has_everything_answers_every_place_and_has_proven() public {
        _beginAndDraw();
        _answerFrom(MEMBER, 1);
        vm.assertFalse(proofs.proofOf(1, MEMBER).isProven);
        vm.assertEq(proofs.proofOf(1, MEMBER).answered, 0xfffe);
        vm.expectEmit();
        emit IProofs.Proven(1, MEMBER);
        this.answerOne(MEMBER, 0);
        vm.assertTrue(proofs.proofOf(1, MEMBER).isProven);
        _passAnswers();
        vm.expectRevert(abi.encodeWithSelector(IProofs.AlreadyProven.selector, MEMBER, 1));
        proofs.judge(MEMBER);
    }

    function test_answers_of_every_member_hold() public {
        _beginAndDraw();
        for (uint32 nodeId = 1; nodeId <= NODES; ++nodeId) {
            _answerAll(nodeId);
            vm.assertTrue(proofs.proofOf(1, nodeId).isProven);
        }
    }

    function test_every_position_can_be_opened(uint256 seed) public {
        // By a demand, which names the position itself: the same rules but for the commitment.
        _begin();
        uint256 position = seed % (2 * U * weight);
        vm.prank(ASKER);
        proofs.demand(MEMBER, position);
        proofs.answerDemand(MEMBER, ASKER, _opening(MEMBER, position));
        vm.assertEq(proofs.demandOf(1, MEMBER, ASKER).answerBy, 0);
    }

    function test_answers_by_a_stranger_until_the_last_second() public {
        _beginAndDraw();
        vm.warp(proofs.roundOf(1).answerBy);
        IProofs.Opening memory opening = _drawn(0);
        vm.expectEmit();
        emit IProofs.Answered(1, MEMBER, 0, false);
        _answer(MEMBER, 0, opening);
    }

    function test_a_whole_answer_forgives_a_miss() public {
        _round(MEMBER);
        proofs.judge(MEMBER);
        _turn();
        _beginAndDraw();
        _answerAll(MEMBER);
        vm.assertEq(proofs.misses(MEMBER), 0);
    }

    function test_answers_while_everything_is_paused() public {
        _beginAndDraw();
        vm.startPrank(GUARDIAN);
        committee.pause(committee.eject.selector);
        blobs.pause(blobs.certify.selector);
        vm.stopPrank();
        _answerAll(MEMBER);
        vm.assertTrue(proofs.proofOf(1, MEMBER).isProven);
    }

    function test_a_place_answered_meanwhile_refuses_no_other() public {
        _beginAndDraw();
        _answer(MEMBER, 3, _drawn(3));
        IProofs.Opening memory nothing;
        _answer(MEMBER, 3, nothing); // is not looked at any more
        _answerAll(MEMBER);
        vm.assertTrue(proofs.proofOf(1, MEMBER).isProven);
    }

    // What is excused

    function test_a_shard_that_is_neither_kept_nor_attested_is_excused() public {
        // Node 6 takes over two shards, which it has attested by no deadline.
        _newcomer();
        _begin();
        _draw();
        IProofs.Opening memory nothing;
        for (uint256 place; place < proofs.PLACES(); ++place) {
            vm.expectEmit();
            emit IProofs.Answered(2, 6, place, true);
            this.answerWith(6, place, nothing);
        }
        vm.assertTrue(proofs.proofOf(2, 6).isProven);
    }

    function test_an_answer_of_excused_places_alone_is_no_miss_and_forgives_none() public {
        _missedByNewcomer();
        _begin();
        _draw();
        _excuseAll(6);
        vm.assertTrue(proofs.proofOf(3, 6).isProven);
        vm.assertFalse(proofs.proofOf(3, 6).hasShown);
        _passAnswers();
        vm.expectRevert(abi.encodeWithSelector(IProofs.AlreadyProven.selector, 6, 3));
        proofs.judge(6);
        vm.assertEq(proofs.misses(6), 1);
        _turn();
        _round(6);
        proofs.judge(6);
        vm.assertEq(proofs.misses(6), 2);
        vm.assertTrue(proofs.proofOf(4, 6).isPunished);
    }

    function test_a_symbol_among_excused_places_forgives_a_miss() public {
        // Symbols come first, in transactions of their own: they count all the same.
        _missedByNewcomer();
        _begin();
        uint16[] memory own = _shards(6);
        _attestWith(6, _part(own, 0, 1), _shardRoot(6, own[0]), 0);
        _commit(6);
        _draw();
        for (uint256 place; place < proofs.PLACES(); ++place) {
            uint256 position = proofs.positionOf(6, place);
            if (position / weight / U == 0) _answer(6, place, _opening(6, position));
        }
        vm.assertTrue(proofs.proofOf(3, 6).hasShown);
        vm.assertEq(proofs.misses(6), 1);
        _excuseAll(6);
        vm.assertTrue(proofs.proofOf(3, 6).isProven);
        vm.assertEq(proofs.misses(6), 0);
    }

    function test_a_shard_attested_at_the_deadline_is_excused_and_before_it_is_not() public {
        _newcomer();
        _begin();
        vm.warp(proofs.roundOf(2).commitBy - 1);
        uint16[] memory gained = _gained(6);
        _attest(6, _part(gained, 0, 1));
        vm.warp(proofs.roundOf(2).commitBy);
        _attest(6, _part(gained, 1, 2));
        _draw();
        IProofs.Opening memory nothing;
        (bool anyExcused, bool anyAsked) = (false, false);
        for (uint256 place; place < proofs.PLACES(); ++place) {
            bool isSecond = proofs.positionOf(6, place) / weight / U == 1;
            (anyExcused, anyAsked) = (anyExcused || isSecond, anyAsked || !isSecond);
            if (!isSecond) vm.expectRevert();
            this.answerWith(6, place, nothing);
        }
        vm.assertTrue(anyExcused && anyAsked);
    }

    function test_an_attested_shard_is_opened_to_what_was_attested() public {
        _newcomer();
        _begin();
        uint16[] memory gained = _gained(6);
        _attestWith(6, gained, _shardRoot(6, gained[0]), _shardRoot(6, gained[1]));
        _commit(6);
        _draw();
        _answerAll(6);
        vm.assertTrue(proofs.proofOf(2, 6).isProven);
    }

    function test_answer_reverts_for_a_shard_that_was_attested_with_another_root() public {
        _newcomer();
        _begin();
        uint16[] memory gained = _gained(6);
        _attestWith(6, gained, keccak256("lie"), keccak256("lie"));
        _commit(6);
        _draw();
        IProofs.Opening memory opening = _opening(6, proofs.positionOf(6, 0));
        vm.expectRevert(Openings.NotAttested.selector);
        _answer(6, 0, opening);
    }

    function test_a_blob_that_is_invalid_now_is_excused() public {
        _beginAndDraw();
        (uint256 place, uint256 index) = (0, _blobAt(proofs.positionOf(MEMBER, 0) % weight));
        IProofs.Opening memory opening = _unopened(index);
        vm.expectRevert(abi.encodeWithSelector(Openings.WrongSymbolSize.selector, 0, stored[index].size));
        _answer(MEMBER, place, opening);
        _invalidate(index);
        vm.expectEmit();
        emit IProofs.Answered(1, MEMBER, place, true);
        _answer(MEMBER, place, opening);
    }

    function test_an_invalid_blob_excuses_no_other() public {
        _beginAndDraw();
        uint256 index = _blobAt(proofs.positionOf(MEMBER, 0) % weight);
        uint256 other = (index + 1) % stored.length;
        _invalidate(other);
        IProofs.Opening memory opening = _unopened(other);
        vm.expectRevert(Openings.NotDrawn.selector);
        _answer(MEMBER, 0, opening);
    }

    function test_a_symbol_of_an_invalid_blob_is_taken_too() public {
        _beginAndDraw();
        IProofs.Opening memory opening = _drawn(0);
        _invalidate(_blobAt(proofs.positionOf(MEMBER, 0) % weight));
        vm.expectEmit();
        emit IProofs.Answered(1, MEMBER, 0, false);
        _answer(MEMBER, 0, opening);
    }

    // What is refused: one opening that holds, changed in one thing each

    function test_answer_reverts_for_another_index() public {
        IProofs.Opening memory opening = _good();
        opening.index = (opening.index + 1) % 3;
        _refuse(Openings.NotInInventory.selector, opening);
    }

    function test_answer_reverts_for_an_index_beyond_the_inventory() public {
        IProofs.Opening memory opening = _good();
        opening.index = 3; // a leaf of zeros fills the tree there
        _refuse(Trees.WrongPath.selector, opening);
    }

    function test_answer_reverts_for_another_offset() public {
        IProofs.Opening memory opening = _good();
        opening.offset += 1;
        _refuse(Openings.NotInInventory.selector, opening);
    }

    function test_answer_reverts_for_an_inventory_path_with_another_node() public {
        IProofs.Opening memory opening = _good();
        opening.inventoryPath[1] = keccak256("other");
        _refuse(Openings.NotInInventory.selector, opening);
    }

    function test_answer_reverts_for_an_inventory_path_of_another_length() public {
        IProofs.Opening memory opening = _good();
        opening.inventoryPath = _longer(opening.inventoryPath);
        _refuse(Trees.WrongPath.selector, opening);
        opening.inventoryPath = new bytes32[](1);
        _refuse(Trees.WrongPath.selector, opening);
    }

    function test_answer_reverts_for_another_root_of_the_blob() public {
        IProofs.Opening memory opening = _good();
        opening.blobRoot = keccak256("other");
        _refuse(Openings.NotInInventory.selector, opening);
    }

    function test_answer_reverts_for_another_length_of_the_blob() public {
        IProofs.Opening memory opening = _good();
        opening.blobLength += 1;
        _refuse(Openings.NotInInventory.selector, opening);
    }

    function test_answer_reverts_for_a_length_that_no_blob_has() public {
        IProofs.Opening memory opening = _good();
        opening.blobLength = type(uint64).max - 1000;
        _refuse(RedStuff.BlobTooLong.selector, opening);
    }

    function test_answer_reverts_for_another_blob_of_the_inventory() public {
        _beginAndDraw();
        uint256 position = proofs.positionOf(MEMBER, 0);
        uint256 drawn = _blobAt(position % weight);
        position -= position % weight;
        for (uint256 i; i < stored.length; ++i) {
            if (i != drawn) _refuse(Openings.NotDrawn.selector, _opening(MEMBER, position + stored[i].offset));
        }
    }

    function test_answer_reverts_for_another_symbol() public {
        IProofs.Opening memory opening = _good();
        opening.symbol[0] = ~opening.symbol[0];
        _refuse(Openings.NotOfTheBlob.selector, opening);
    }

    function test_answer_reverts_for_a_symbol_of_another_size() public {
        IProofs.Opening memory opening = _good();
        opening.symbol = bytes.concat(opening.symbol, bytes1(0));
        _refuse(Openings.WrongSymbolSize.selector, opening);
    }

    function test_answer_reverts_without_a_symbol_of_a_blob_that_is_valid() public {
        IProofs.Opening memory opening = _good();
        opening.symbol = "";
        _refuse(Openings.NotInInventory.selector, opening); // a root where the id is to stand
        opening.blobRoot = stored[opening.index].id;
        _refuse(Openings.WrongSymbolSize.selector, opening);
    }

    function test_answer_reverts_for_another_symbol_of_the_same_blob() public {
        // All of it is true, but it is not what was drawn.
        _beginAndDraw();
        uint256 position = proofs.positionOf(MEMBER, 0);
        uint256 other = (position + weight) % (2 * U * weight);
        _refuse(Openings.NotOfTheBlob.selector, _opening(MEMBER, other));
        other = (position + U * weight) % (2 * U * weight); // of another shard
        _refuse(Openings.NotOfTheBlob.selector, _opening(MEMBER, other));
    }

    function test_answer_reverts_for_another_members_symbol() public {
        _beginAndDraw();
        _refuse(Openings.NotOfTheBlob.selector, _opening(MEMBER + 1, proofs.positionOf(MEMBER, 0)));
    }

    function test_answer_reverts_for_a_sliver_path_with_another_node() public {
        IProofs.Opening memory opening = _good();
        opening.sliverPath[3] = keccak256("other");
        _refuse(Openings.NotOfTheBlob.selector, opening);
    }

    function test_answer_reverts_for_a_sliver_path_of_another_length() public {
        IProofs.Opening memory opening = _good();
        opening.sliverPath = new bytes32[](3);
        _refuse(Trees.WrongPath.selector, opening);
    }

    function test_answer_reverts_for_another_root_of_the_other_sliver() public {
        IProofs.Opening memory opening = _good();
        opening.otherRoot = keccak256("other");
        _refuse(Openings.NotOfTheBlob.selector, opening);
    }

    function test_answer_reverts_for_a_blob_path_with_another_node() public {
        IProofs.Opening memory opening = _good();
        opening.blobPath[0] = keccak256("other");
        _refuse(Openings.NotOfTheBlob.selector, opening);
    }

    function test_answer_reverts_for_a_blob_path_of_another_length() public {
        IProofs.Opening memory opening = _good();
        opening.blobPath = _longer(opening.blobPath);
        _refuse(Trees.WrongPath.selector, opening);
    }

    function test_answer_reverts_for_a_commitment_path_with_another_node() public {
        IProofs.Opening memory opening = _good();
        for (uint256 i; i < opening.commitmentPath.length; ++i) {
            bytes32 right = opening.commitmentPath[i];
            opening.commitmentPath[i] = keccak256("other");
            _refuse(Openings.NotCommitted.selector, opening);
            opening.commitmentPath[i] = right;
        }
        _answer(MEMBER, 0, opening);
    }

    function test_answer_reverts_for_a_commitment_path_of_another_length() public {
        IProofs.Opening memory opening = _good();
        bytes32[] memory path = opening.commitmentPath;
        for (uint256 length; length < path.length; ++length) {
            opening.commitmentPath = new bytes32[](length);
            _refuse(Trees.WrongPath.selector, opening);
        }
        opening.commitmentPath = _longer(path);
        _refuse(Trees.WrongPath.selector, opening);
    }

    function test_answer_reverts_without_a_commitment() public {
        _begin();
        _draw();
        _refuse(Openings.NotCommitted.selector, _drawn(0));
    }

    function test_answer_reverts_for_a_commitment_to_something_else() public {
        _begin();
        _commitTo(MEMBER, keccak256("a member that lacks the bytes"));
        _draw();
        _refuse(Openings.NotCommitted.selector, _drawn(0));
    }

    function test_answer_reverts_for_a_commitment_under_another_members_salt() public {
        // One that has what a fellow computed, and not the bytes.
        _begin();
        _commitTo(MEMBER, _commitmentRoot(MEMBER + 1));
        _draw();
        _refuse(Openings.NotCommitted.selector, _drawn(0));
    }

    function test_answer_reverts_for_a_commitment_under_the_salt_of_the_epoch_before() public {
        _begin();
        bytes32 old = _commitmentRoot(MEMBER);
        _turn();
        _begin();
        vm.assertTrue(old != _commitmentRoot(MEMBER));
        _commitTo(MEMBER, old);
        _draw();
        _refuse(Openings.NotCommitted.selector, _drawn(0));
    }

    // When

    function test_answer_reverts_before_the_draw_and_behind_the_last_second() public {
        _begin();
        _commit(MEMBER);
        IProofs.Opening memory opening;
        vm.expectRevert(abi.encodeWithSelector(IProofs.DrawNotMade.selector, 1));
        _answer(MEMBER, 0, opening);
        _draw();
        opening = _drawn(0);
        uint256 answerBy = proofs.roundOf(1).answerBy;
        vm.warp(answerBy + 1);
        vm.expectRevert(abi.encodeWithSelector(IProofs.TooLate.selector, answerBy));
        _answer(MEMBER, 0, opening);
    }

    function test_answer_reverts_when_the_epoch_is_over() public {
        IProofs.Opening memory opening = _good();
        _turn();
        vm.expectRevert(abi.encodeWithSelector(IProofs.RoundNotBegun.selector, 2));
        _answer(MEMBER, 0, opening);
    }

    function test_answer_reverts_for_a_member_that_has_proven() public {
        IProofs.Opening memory opening = _good();
        _prove(MEMBER);
        vm.expectRevert(abi.encodeWithSelector(IProofs.AlreadyProven.selector, MEMBER, 1));
        _answer(MEMBER, 0, opening);
    }

    function test_answer_reverts_for_a_place_that_there_is_not() public {
        IProofs.Opening memory opening = _good();
        vm.expectRevert(abi.encodeWithSelector(IProofs.NoSuchPlace.selector, 16));
        _answer(MEMBER, 16, opening);
    }

    function test_answer_reverts_for_a_node_that_is_no_member() public {
        IProofs.Opening memory opening = _good();
        vm.expectRevert(abi.encodeWithSelector(IProofs.NotAMember.selector, 9, 1));
        _answer(9, 0, opening);
    }

    function test_answer_reverts_for_lists_of_two_lengths() public {
        _beginAndDraw();
        vm.expectRevert(IProofs.LengthMismatch.selector);
        proofs.answer(MEMBER, new uint256[](1), new IProofs.Opening[](2));
    }

    function answerOne(uint32 nodeId, uint256 place) external {
        _answer(nodeId, place, _opening(nodeId, proofs.positionOf(nodeId, place)));
    }

    function answerWith(uint32 nodeId, uint256 place, IProofs.Opening memory opening) external {
        _answer(nodeId, place, opening);
    }

    /// @dev Epoch 2, in which node 6 has taken node 1's place, and its shards.
    function _newcomer() private {
        _leave(1);
        _addNode(STAKE);
        _turn();
        vm.assertEq(_gained(6).length, 2);
    }

    /// @dev Epoch 3, in which node 6 has attested nothing yet, and has missed the round of epoch 2.
    function _missedByNewcomer() private {
        _newcomer();
        _round(6);
        proofs.judge(6);
        vm.assertEq(proofs.misses(6), 1);
        _turn();
    }

    function _excuseAll(uint32 nodeId) private {
        uint256[] memory places = new uint256[](proofs.PLACES());
        for (uint256 i; i < places.length; ++i) {
            places[i] = i;
        }
        proofs.answer(nodeId, places, new IProofs.Opening[](places.length));
    }

    function _attestWith(uint32 nodeId, uint16[] memory shards, bytes32 first, bytes32 second) private {
        (bytes32[] memory digests, uint32[] memory counts) = (new bytes32[](shards.length), new uint32[](shards.length));
        for (uint256 i; i < shards.length; ++i) {
            (digests[i], counts[i]) = (i == 0 ? first : second, 3);
        }
        uint32 epoch = committee.epoch();
        vm.prank(_operator(nodeId));
        committee.attest(epoch, shards, digests, counts);
    }

    function _drawn(uint256 place) private view returns (IProofs.Opening memory) {
        return _opening(MEMBER, proofs.positionOf(MEMBER, place));
    }

    /// @dev What would hold for place 0.
    function _good() private returns (IProofs.Opening memory) {
        _beginAndDraw();
        return _drawn(0);
    }

    function _refuse(bytes4 rule, IProofs.Opening memory opening) private {
        vm.expectPartialRevert(rule);
        _answer(MEMBER, 0, opening);
    }

    function _longer(bytes32[] memory path) private pure returns (bytes32[] memory longer) {
        longer = new bytes32[](path.length + 1);
        for (uint256 i; i < path.length; ++i) {
            longer[i] = path[i];
        }
    }
}
