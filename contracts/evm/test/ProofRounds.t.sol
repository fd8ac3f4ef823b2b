// SPDX-License-Identifier: Apache-2.0
pragma solidity ^0.8.30;

import {ICommittee} from "src/interfaces/ICommittee.sol";
import {IProofs} from "src/interfaces/IProofs.sol";
import {IStaking} from "src/interfaces/IStaking.sol";
import {Blake2b} from "src/lib/Blake2b.sol";
import {Bls} from "src/lib/Bls.sol";
import {Messages} from "src/lib/Messages.sol";
import {ProofBase} from "test/ProofBase.sol";

/// @notice The rounds of the storage proofs: beginning, commitments, the draw, certificates, misses, punishments.
contract ProofRoundsTest is ProofBase {
    address private constant HISTORY = 0x0000F90827F1C53a10cb7A02335B175320002935; // EIP-2935

    // Deployment

    function test_constructor_reverts_for_windows_above_a_sixth_of_a_period() public {
        uint32 sixth = EPOCH_S / 6;
        this.create(IProofs.Windows(sixth - 2, 1, 1, sixth), BOND);
        _expectRefused("windows", IProofs.Windows(sixth - 1, 1, 1, 1), BOND);
        _expectRefused("windows", IProofs.Windows(1, sixth - 1, 1, 1), BOND);
        _expectRefused("windows", IProofs.Windows(1, 1, sixth - 1, 1), BOND);
        _expectRefused("demand", IProofs.Windows(1, 1, 1, sixth + 1), BOND);
    }

    function test_constructor_reverts_for_windows_and_a_bond_of_nothing() public {
        _expectRefused("windows", IProofs.Windows(0, 1, 1, 1), BOND);
        _expectRefused("windows", IProofs.Windows(1, 1, 0, 1), BOND);
        _expectRefused("demand", IProofs.Windows(1, 1, 1, 0), BOND);
        _expectRefused("bond", IProofs.Windows(1, 1, 1, 1), 0);
    }

    function test_constructor_reverts_for_a_stake_that_names_another_contract() public {
        vm.expectRevert(abi.encodeWithSelector(IProofs.InvalidParameter.selector, "committee"));
        this.createAt(IProofs.Windows(1, 1, 1, 1), BOND);
    }

    function test_constructor_reverts_for_other_blobs() public {
        vm.mockCall(address(staking), abi.encodeCall(staking.payer, ()), abi.encode(ASKER));
        _expectRefused("blobs", IProofs.Windows(1, 1, 1, 1), BOND);
    }

    // Begin

    function test_begin_keeps_what_a_quorum_certified_and_the_hash_of_the_start() public {
        bytes32 startHash = blockhash(committee.state().startedAtBlock);
        (bytes memory bitmap, bytes memory signature) = _inventoryCertificate(1);
        vm.expectEmit();
        emit IProofs.RoundBegun(1, inventory, 3, weight, startHash, block.timestamp + 100);
        proofs.begin(inventory, 3, weight, bitmap, signature);
        IProofs.Round memory round = proofs.roundOf(1);
        vm.assertTrue(round.inventory == inventory && round.startHash == startHash && startHash != 0);
        vm.assertTrue(round.count == 3 && round.weight == weight && round.commitBy == block.timestamp + 100);
        vm.assertTrue(round.draw == 0 && round.answerBy == 0 && round.drawBlock == 0);
    }

    function test_begin_while_the_handover_is_under_way() public {
        _leave(1);
        _addNode(STAKE);
        _nextEpoch();
        vm.assertTrue(committee.missingShards(2).length != 0);
        vm.roll(block.number + 1);
        _begin();
        vm.assertEq(proofs.roundOf(2).count, 3);
    }

    function test_begin_reads_the_hash_of_an_older_block_from_the_history() public {
        vm.roll(block.number + 300);
        vm.mockCall(HISTORY, abi.encode(committee.state().startedAtBlock), abi.encode(keccak256("start")));
        _begin();
        vm.assertEq(proofs.roundOf(1).startHash, keccak256("start"));
    }

    function test_begin_reverts_when_the_chain_does_not_tell_the_hash_of_the_start() public {
        vm.roll(block.number + 300);
        (bytes memory bitmap, bytes memory signature) = _inventoryCertificate(1);
        uint256 started = committee.state().startedAtBlock;
        vm.expectRevert(abi.encodeWithSelector(IProofs.StartTooOld.selector, started));
        proofs.begin(inventory, 3, weight, bitmap, signature);
    }

    function test_begin_reverts_a_second_time() public {
        _begin();
        (bytes memory bitmap, bytes memory signature) = _inventoryCertificate(1);
        vm.expectRevert(abi.encodeWithSelector(IProofs.AlreadyBegun.selector, 1));
        proofs.begin(inventory, 3, weight, bitmap, signature);
    }

    function test_begin_reverts_without_blobs() public {
        vm.expectRevert(IProofs.EmptyInventory.selector);
        proofs.begin(inventory, 0, weight, "", "");
        vm.expectRevert(IProofs.EmptyInventory.selector);
        proofs.begin(inventory, 3, 0, "", "");
    }

    function test_begin_reverts_for_another_root_count_or_weight_than_was_signed() public {
        (bytes memory bitmap, bytes memory signature) = _inventoryCertificate(1);
        vm.expectRevert(ICommittee.BadSignature.selector);
        proofs.begin(keccak256("other"), 3, weight, bitmap, signature);
        vm.expectRevert(ICommittee.BadSignature.selector);
        proofs.begin(inventory, 4, weight, bitmap, signature);
        vm.expectRevert(ICommittee.BadSignature.selector);
        proofs.begin(inventory, 3, weight + 1, bitmap, signature);
    }

    function test_begin_reverts_without_a_quorum() public {
        bytes memory message = _message(Messages.INVENTORY, 1, Messages.inventory(inventory, 3, weight));
        (bytes memory bitmap, bytes memory signature) = _certificate(NODES, 0x3, message); // six of ten shards
        vm.expectRevert(abi.encodeWithSelector(ICommittee.NotEnoughWeight.selector, 6, 7));
        proofs.begin(inventory, 3, weight, bitmap, signature);
    }

    function test_begin_reverts_for_a_certificate_of_the_epoch_before() public {
        (bytes memory bitmap, bytes memory signature) = _inventoryCertificate(1);
        _turn();
        vm.expectRevert(ICommittee.BadSignature.selector);
        proofs.begin(inventory, 3, weight, bitmap, signature);
    }

    // Commit

    function test_commit_counts_the_last_one() public {
        _begin();
        _commitTo(1, keccak256("first"));
        vm.expectEmit();
        emit IProofs.Committed(1, 1, keccak256("second"));
        _commitTo(1, keccak256("second"));
        vm.assertTrue(proofs.proofOf(1, 1).commitment == bytes24(keccak256("second")));
        vm.assertTrue(proofs.proofOf(1, 2).commitment == 0);
    }

    function test_commit_reverts_from_its_deadline_on() public {
        _begin();
        uint256 deadline = proofs.roundOf(1).commitBy;
        vm.warp(deadline - 1);
        _commitTo(1, keccak256("in time"));
        vm.warp(deadline);
        vm.expectRevert(abi.encodeWithSelector(IProofs.TooLate.selector, deadline));
        vm.prank(_operator(1));
        proofs.commit(1, keccak256("late"));
    }

    function test_commit_reverts_before_the_round() public {
        vm.expectRevert(abi.encodeWithSelector(IProofs.RoundNotBegun.selector, 1));
        vm.prank(_operator(1));
        proofs.commit(1, keccak256("early"));
    }

    function test_commit_reverts_for_an_account_without_a_node() public {
        _begin();
        vm.expectRevert(abi.encodeWithSelector(IProofs.NotAnOperator.selector, ASKER));
        vm.prank(ASKER);
        proofs.commit(1, keccak256("root"));
    }

    function test_the_salt_is_of_epoch_node_key_and_the_block_that_started() public {
        _begin();
        bytes memory key = Bls.compress(_publicKey(_secret(3)));
        bytes32 startHash = blockhash(committee.state().startedAtBlock);
        bytes memory salted = abi.encodePacked(hex"0100000003000000", key, startHash);
        vm.assertEq(salted.length, 88);
        vm.assertEq(proofs.saltOf(3), Blake2b.hash(salted));
    }

    // Draw

    function test_draw_is_the_hash_of_a_block_that_nobody_knew_at_the_deadline() public {
        _begin();
        vm.warp(proofs.roundOf(1).commitBy);
        uint256 drawBlock = block.number + 4;
        vm.expectEmit();
        emit IProofs.DrawFixed(1, drawBlock);
        proofs.draw();
        vm.roll(drawBlock + 1);
        vm.warp(block.timestamp + 7);
        vm.expectEmit();
        emit IProofs.Drawn(1, blockhash(drawBlock), block.timestamp + 25, block.timestamp + 65);
        proofs.draw();
        vm.assertEq(proofs.roundOf(1).draw, blockhash(drawBlock));
        vm.assertEq(proofs.roundOf(1).answerBy, block.timestamp + 65);
    }

    function test_draw_reverts_before_the_deadline_of_commitments() public {
        _begin();
        uint256 deadline = proofs.roundOf(1).commitBy;
        vm.warp(deadline - 1);
        vm.expectRevert(abi.encodeWithSelector(IProofs.TooEarly.selector, deadline));
        proofs.draw();
    }

    function test_draw_reverts_until_its_block_is_past() public {
        _begin();
        vm.warp(proofs.roundOf(1).commitBy);
        proofs.draw();
        uint256 drawBlock = block.number + 4;
        vm.expectRevert(abi.encodeWithSelector(IProofs.DrawPending.selector, drawBlock));
        proofs.draw();
        vm.roll(drawBlock);
        vm.expectRevert(abi.encodeWithSelector(IProofs.DrawPending.selector, drawBlock));
        proofs.draw();
    }

    function test_draw_of_a_block_that_the_chain_does_not_tell_any_more_is_fixed_anew() public {
        _begin();
        vm.warp(proofs.roundOf(1).commitBy);
        proofs.draw();
        vm.roll(block.number + 300);
        proofs.draw();
        vm.assertEq(proofs.roundOf(1).drawBlock, block.number + 4);
        vm.assertEq(proofs.roundOf(1).answerBy, 0);
        vm.roll(block.number + 5);
        proofs.draw();
        vm.assertEq(proofs.roundOf(1).draw, blockhash(block.number - 1));
    }

    function test_draw_reads_the_hash_of_an_older_block_from_the_history() public {
        _begin();
        vm.warp(proofs.roundOf(1).commitBy);
        proofs.draw();
        vm.mockCall(HISTORY, abi.encode(block.number + 4), abi.encode(keccak256("draw")));
        vm.roll(block.number + 300);
        proofs.draw();
        vm.assertEq(proofs.roundOf(1).draw, keccak256("draw"));
    }

    function test_draw_reverts_a_second_time_and_before_the_round() public {
        vm.expectRevert(abi.encodeWithSelector(IProofs.RoundNotBegun.selector, 1));
        proofs.draw();
        _begin();
        _draw();
        vm.expectRevert(abi.encodeWithSelector(IProofs.AlreadyDrawn.selector, 1));
        proofs.draw();
    }

    function test_positions_are_drawn_by_node_and_place() public {
        _begin();
        vm.expectRevert(abi.encodeWithSelector(IProofs.DrawNotMade.selector, 1));
        proofs.positionOf(1, 0);
        _draw();
        bytes memory ticket = abi.encodePacked("haulout proof", proofs.roundOf(1).draw, hex"02000000", hex"0301");
        vm.assertEq(ticket.length, 51);
        vm.assertEq(proofs.positionOf(2, 259), uint256(Blake2b.hash(ticket)) % (2 * U * weight));
        vm.expectRevert(abi.encodeWithSelector(IProofs.NotAMember.selector, 9, 1));
        proofs.positionOf(9, 0);
    }

    // Prove

    function test_prove_ends_the_round_for_a_member() public {
        _beginAndDraw();
        (bytes memory bitmap, bytes memory signature) = _proofCertificate(2);
        vm.expectEmit();
        emit IProofs.Proven(1, 2);
        proofs.prove(2, bitmap, signature);
        vm.assertTrue(proofs.proofOf(1, 2).isProven);
        _passAnswers();
        vm.expectRevert(abi.encodeWithSelector(IProofs.AlreadyProven.selector, 2, 1));
        proofs.judge(2);
    }

    function test_prove_without_a_commitment_is_the_fellows_word() public {
        _begin();
        _draw();
        _prove(2);
        vm.assertTrue(proofs.proofOf(1, 2).isProven);
    }

    function test_prove_reverts_for_another_member_or_draw_than_was_signed() public {
        _beginAndDraw();
        (bytes memory bitmap, bytes memory signature) = _proofCertificate(2);
        vm.expectRevert(ICommittee.BadSignature.selector);
        proofs.prove(3, bitmap, signature);
        bytes memory message = _message(Messages.PROOF, 1, Messages.proof(2, keccak256("draw")));
        (bitmap, signature) = _signedIn(1, 2, message);
        vm.expectRevert(ICommittee.BadSignature.selector);
        proofs.prove(2, bitmap, signature);
    }

    function test_prove_reverts_without_a_quorum() public {
        _beginAndDraw();
        bytes memory message = _message(Messages.PROOF, 1, Messages.proof(2, proofs.roundOf(1).draw));
        (bytes memory bitmap, bytes memory signature) = _certificate(NODES, 0x3, message);
        vm.expectRevert(abi.encodeWithSelector(ICommittee.NotEnoughWeight.selector, 6, 7));
        proofs.prove(2, bitmap, signature);
    }

    function test_prove_reverts_before_the_draw_and_behind_the_last_second() public {
        _begin();
        vm.expectRevert(abi.encodeWithSelector(IProofs.DrawNotMade.selector, 1));
        proofs.prove(2, "", "");
        _draw();
        (bytes memory bitmap, bytes memory signature) = _proofCertificate(2);
        uint256 answerBy = proofs.roundOf(1).answerBy;
        vm.warp(answerBy + 1);
        vm.expectRevert(abi.encodeWithSelector(IProofs.TooLate.selector, answerBy));
        proofs.prove(2, bitmap, signature);
        vm.warp(answerBy);
        proofs.prove(2, bitmap, signature);
    }

    function test_prove_reverts_a_second_time() public {
        _beginAndDraw();
        (bytes memory bitmap, bytes memory signature) = _proofCertificate(2);
        proofs.prove(2, bitmap, signature);
        vm.expectRevert(abi.encodeWithSelector(IProofs.AlreadyProven.selector, 2, 1));
        proofs.prove(2, bitmap, signature);
    }

    function test_prove_reverts_when_the_epoch_is_over() public {
        _beginAndDraw();
        (bytes memory bitmap, bytes memory signature) = _proofCertificate(2);
        _turn();
        vm.expectRevert(abi.encodeWithSelector(IProofs.RoundNotBegun.selector, 2));
        proofs.prove(2, bitmap, signature);
    }

    // Judge

    function test_a_first_miss_costs_the_pay_of_the_epoch_and_no_more() public {
        uint256 supply = token.totalSupply();
        _round(3);
        vm.assertTrue(committee.earnings(1, 3) != 0);
        vm.expectEmit();
        emit IProofs.Missed(1, 3, 1);
        proofs.judge(3);
        vm.assertEq(committee.earnings(1, 3), 0);
        vm.assertTrue(committee.earnings(1, 2) != 0);
        vm.assertEq(committee.earned(1), 4 * committee.earnings(1, 2));
        vm.assertEq(staking.stakeOn(3), STAKE);
        vm.assertEq(token.totalSupply(), supply);
        vm.assertTrue(registry.node(3).candidate && !committee.isEjected(1, 3));
        vm.assertEq(proofs.misses(3), 1);
    }

    function test_a_second_miss_in_a_row_costs_a_hundredth_of_the_stake_and_the_place() public {
        _round(3);
        proofs.judge(3);
        _turn();
        _round(3);
        uint256 supply = token.totalSupply();
        vm.expectEmit();
        emit IProofs.Punished(2, 3, 2, STAKE / 100);
        vm.expectEmit();
        emit ICommittee.MemberEjected(2, 3, 2);
        proofs.judge(3);
        vm.assertEq(staking.stakeOn(3), STAKE - STAKE / 100);
        vm.assertEq(token.totalSupply(), supply - STAKE / 100); // burnt, all of it
        vm.assertFalse(registry.node(3).candidate);
        vm.assertEq(registry.node(3).barredUntil, 3);
        vm.assertTrue(committee.isEjected(2, 3));
        vm.assertEq(committee.earnings(2, 3), 0);
        vm.assertEq(proofs.punishedShards(2), 2);
        committee.replace();
        vm.warp(block.timestamp + NOTICE_S);
        committee.start();
        vm.assertEq(_shards(3).length, 0);
    }

    function test_the_fine_reaches_what_is_unbonding() public {
        _round(3);
        proofs.judge(3);
        _turn();
        _round(3);
        staking.unstake(3, STAKE / 2); // serves epoch 2
        proofs.judge(3);
        vm.assertEq(staking.unbondingsOf(3, address(this), 0)[0].amount, STAKE / 2 - STAKE / 200);
        vm.assertEq(staking.stakeOf(3, address(this)), STAKE / 2 - STAKE / 200);
    }

    function test_a_proof_between_two_misses_forgives_the_first() public {
        _round(3);
        proofs.judge(3);
        _turn();
        _round(0);
        vm.assertEq(proofs.misses(3), 0);
        _turn();
        _round(3);
        proofs.judge(3);
        vm.assertEq(proofs.misses(3), 1);
        vm.assertFalse(proofs.proofOf(3, 3).isPunished);
    }

    function test_an_epoch_without_a_round_forgives_nothing() public {
        _round(3);
        proofs.judge(3);
        _turn();
        _turn();
        _round(3);
        proofs.judge(3);
        vm.assertTrue(proofs.proofOf(3, 3).isPunished);
    }

    function test_a_miss_of_many_punishes_no_more_than_may_be_faulty() public {
        // Three of ten shards may be faulty: one member of two.
        _round(2);
        proofs.judge(2);
        _turn();
        _begin();
        _draw();
        _passAnswers();
        proofs.judge(1);
        proofs.judge(2);
        vm.assertTrue(proofs.proofOf(2, 2).isPunished);
        _turn();
        _begin();
        _draw();
        _passAnswers();
        uint32[] memory nodeIds = _members();
        for (uint256 i; i < nodeIds.length; ++i) {
            proofs.judge(nodeIds[i]);
            vm.assertEq(committee.earnings(3, nodeIds[i]), 0);
        }
        vm.assertTrue(proofs.punishedShards(3) <= 3);
        vm.assertEq(committee.earned(3), 0);
        vm.assertTrue(proofs.misses(1) == 2);
    }

    function test_those_beyond_the_limit_are_punished_with_the_next_miss() public {
        _missAll();
        _turn();
        _missAll();
        vm.assertTrue(proofs.proofOf(2, 1).isPunished);
        vm.assertFalse(proofs.proofOf(2, 2).isPunished);
        vm.assertEq(proofs.misses(2), 2);
        vm.assertEq(staking.stakeOn(2), STAKE);
        vm.assertTrue(registry.node(2).candidate);
    }

    function test_judge_reverts_until_the_last_second_for_answers_is_past() public {
        _begin();
        vm.expectRevert(abi.encodeWithSelector(IProofs.DrawNotMade.selector, 1));
        proofs.judge(3);
        _draw();
        uint256 answerBy = proofs.roundOf(1).answerBy;
        vm.warp(answerBy);
        vm.expectRevert(abi.encodeWithSelector(IProofs.TooEarly.selector, answerBy + 1));
        proofs.judge(3);
    }

    function test_judge_reverts_a_second_time() public {
        _round(3);
        proofs.judge(3);
        vm.expectRevert(abi.encodeWithSelector(IProofs.AlreadyJudged.selector, 3, 1));
        proofs.judge(3);
    }

    function test_judge_reverts_for_a_node_that_is_no_member() public {
        uint32 nodeId = _addNode(STAKE);
        _round(0);
        vm.expectRevert(abi.encodeWithSelector(IProofs.NotAMember.selector, nodeId, 1));
        proofs.judge(nodeId);
    }

    function test_judge_reverts_when_the_next_epoch_has_begun() public {
        _round(3);
        _turn();
        vm.expectRevert(abi.encodeWithSelector(IProofs.RoundNotBegun.selector, 2));
        proofs.judge(3);
        _begin();
        vm.expectRevert(abi.encodeWithSelector(IProofs.DrawNotMade.selector, 2));
        proofs.judge(3);
        vm.assertEq(proofs.misses(3), 0);
    }

    function test_a_replacement_cuts_a_round_short_without_a_miss() public {
        _round(3);
        proofs.judge(3);
        _turn();
        _round(3);
        _replace(5);
        vm.expectRevert(abi.encodeWithSelector(IProofs.RoundNotBegun.selector, 3));
        proofs.judge(3);
        vm.assertEq(proofs.misses(3), 1);
        vm.assertEq(staking.stakeOn(3), STAKE);
    }

    function test_judge_reverts_for_a_second_miss_of_a_node_that_is_not_settled() public {
        _round(3);
        proofs.judge(3);
        _turnUnpaid();
        _round(3);
        vm.expectRevert(abi.encodeWithSelector(IStaking.NotSettled.selector, 3, 1, 2));
        proofs.judge(3);
        _payOutAll();
        proofs.judge(3);
        vm.assertTrue(proofs.proofOf(2, 3).isPunished);
    }

    function test_the_fine_is_what_the_period_leaves_over() public {
        vm.prank(GOVERNOR);
        staking.setSlasher(ASKER);
        _round(3);
        proofs.judge(3);
        _turn();
        _round(3);
        vm.mockCall(address(staking), abi.encodeCall(staking.mostSlashable, (3)), abi.encode(1e15));
        proofs.judge(3);
        vm.assertEq(staking.stakeOn(3), STAKE - STAKE / 1000);
    }

    function test_a_member_that_was_ejected_before_is_fined_all_the_same() public {
        _round(3);
        proofs.judge(3);
        _turn();
        _round(3);
        _eject(3);
        proofs.judge(3);
        vm.assertEq(staking.stakeOn(3), STAKE - STAKE / 100);
        vm.assertTrue(proofs.proofOf(2, 3).isPunished);
    }

    function test_a_punished_member_is_taken_out_of_a_selection() public {
        _round(3);
        proofs.judge(3);
        _turn();
        _round(3);
        vm.warp(uint256(committee.state().regularHandoverDone) + EPOCH_S / 2);
        committee.select();
        vm.expectEmit();
        emit ICommittee.SelectionDropped(3);
        proofs.judge(3);
        vm.assertEq(committee.state().selectedEpoch, 0);
    }

    function test_misses_are_judged_while_everything_is_paused() public {
        _round(3);
        vm.startPrank(GUARDIAN);
        committee.pause(committee.eject.selector);
        staking.pause(staking.stake.selector);
        vm.stopPrank();
        proofs.judge(3);
        _turn();
        _round(3);
        vm.prank(GOVERNOR);
        committee.pause(committee.eject.selector);
        proofs.judge(3);
        vm.assertTrue(committee.isEjected(2, 3));
    }

    // What the committee contract and the stake let nobody else do

    function test_forfeit_and_remove_revert_for_anyone_but_the_proofs() public {
        address[3] memory accounts = [GOVERNOR, GUARDIAN, _operator(1)];
        for (uint256 i; i < accounts.length; ++i) {
            vm.expectRevert(abi.encodeWithSelector(ICommittee.NotProofs.selector, accounts[i]));
            vm.prank(accounts[i]);
            committee.forfeit(3);
            vm.expectRevert(abi.encodeWithSelector(ICommittee.NotProofs.selector, accounts[i]));
            vm.prank(accounts[i]);
            committee.remove(3, 2);
        }
    }

    function test_remove_reverts_for_a_node_ejected_already_or_no_member() public {
        _eject(3);
        vm.expectRevert(abi.encodeWithSelector(ICommittee.AlreadyEjected.selector, 3, 1));
        vm.prank(address(proofs));
        committee.remove(3, 2);
        vm.expectRevert(abi.encodeWithSelector(ICommittee.NotAMember.selector, 9, 1));
        vm.prank(address(proofs));
        committee.remove(9, 2);
    }

    function test_forfeiting_twice_takes_a_pay_once() public {
        _replaceMembers(2);
        uint16[] memory gained = _gained(6);
        _attest(6, gained);
        uint256 others = committee.earned(2) - committee.earnings(2, 6);
        vm.startPrank(address(proofs));
        committee.forfeit(6);
        committee.forfeit(6);
        vm.stopPrank();
        _eject(6);
        vm.assertEq(committee.earned(2), others);
        vm.assertEq(committee.earnings(2, 6), 0);
    }

    function test_slash_pays_a_tenth_to_the_account_that_found_why() public {
        uint256 supply = token.totalSupply();
        vm.expectEmit();
        emit IStaking.BountyPaid(3, address(0xf1), STAKE / 1000);
        vm.prank(address(proofs));
        vm.assertEq(staking.slash(3, 1e16, 0, address(0xf1), type(uint256).max), STAKE / 100);
        vm.assertEq(token.balanceOf(address(0xf1)), STAKE / 1000);
        vm.assertEq(token.totalSupply(), supply - STAKE / 100 + STAKE / 1000);
        vm.assertEq(staking.stakeOn(3), STAKE - STAKE / 100);
        vm.assertEq(staking.mostSlashable(3), 9e16);
        vm.prank(address(proofs));
        staking.slash(3, 1e16, 0, address(0xf1), 7);
        vm.assertEq(token.balanceOf(address(0xf1)), STAKE / 1000 + 7);
    }

    function test_memberOf_tells_key_and_shards() public view {
        (bytes memory key, bytes memory shards) = committee.memberOf(1, 3);
        vm.assertEq(key, _publicKey(_secret(3)));
        uint16[] memory own = _shards(3);
        vm.assertEq(shards, _packed(own));
        (key, shards) = committee.memberOf(1, 9);
        vm.assertEq(key.length + shards.length, 0);
    }

    function test_heldSince_tells_kept_attested_and_missing_shards() public {
        _replaceMembers(2);
        uint16[] memory gained = _gained(6);
        (uint64 since, bool isAttested, bytes32 digest) = committee.heldSince(gained[0]);
        vm.assertTrue(since == 0 && !isAttested && digest == 0);
        vm.warp(block.timestamp + 33);
        _attest(6, _part(gained, 0, 1));
        (since, isAttested, digest) = committee.heldSince(gained[0]);
        vm.assertTrue(since == block.timestamp && isAttested && digest == keccak256(abi.encode(gained[0])));
        (since,,) = committee.heldSince(gained[1]);
        vm.assertEq(since, 0);
        (since, isAttested, digest) = committee.heldSince(_shards(5)[0]);
        vm.assertTrue(since == committee.state().startedAt && !isAttested && digest == 0);
    }

    function test_heldSince_takes_what_was_attested_in_the_epoch_before_for_kept() public {
        _replaceMembers(2);
        uint16[] memory gained = _gained(6);
        _attest(6, gained);
        _attest(7, _gained(7));
        _turn();
        (uint64 since, bool isAttested, bytes32 digest) = committee.heldSince(gained[0]);
        vm.assertTrue(since == committee.state().startedAt && !isAttested && digest == 0);
    }

    /// @dev Deploys and reverts with the constructor's reason.
    function create(IProofs.Windows memory windows, uint256 bond) external {
        address here = vm.computeCreateAddress(address(this), vm.getNonce(address(this)));
        vm.mockCall(address(staking), abi.encodeCall(staking.proofs, ()), abi.encode(here));
        _create("artifacts/Proofs.json", abi.encode(committee, blobs, windows, bond));
    }

    function createAt(IProofs.Windows memory windows, uint256 bond) external {
        _create("artifacts/Proofs.json", abi.encode(committee, blobs, windows, bond));
    }

    function _expectRefused(string memory name, IProofs.Windows memory windows, uint256 bond) private {
        vm.expectRevert(abi.encodeWithSelector(IProofs.InvalidParameter.selector, name));
        this.create(windows, bond);
    }

    function _missAll() private {
        _begin();
        _draw();
        _passAnswers();
        uint32[] memory nodeIds = _members();
        for (uint256 i; i < nodeIds.length; ++i) {
            proofs.judge(nodeIds[i]);
        }
    }

    function _turnUnpaid() private {
        vm.warp(uint256(committee.state().regularHandoverDone) + EPOCH_S / 2);
        committee.select();
        vm.warp(uint256(committee.state().regularHandoverDone) + EPOCH_S + NOTICE_S);
        committee.start();
        vm.roll(block.number + 1);
    }

    function _packed(uint16[] memory shards) private pure returns (bytes memory packed) {
        for (uint256 i; i < shards.length; ++i) {
            packed = bytes.concat(packed, bytes2(shards[i]));
        }
    }
}
