// SPDX-License-Identifier: Apache-2.0
pragma solidity ^0.8.30;

import {Governed} from "src/Governed.sol";
import {ICommittee} from "src/interfaces/ICommittee.sol";
import {IProofs} from "src/interfaces/IProofs.sol";
import {Openings} from "src/lib/Openings.sol";
import {Trees} from "src/lib/Trees.sol";
import {ProofBase} from "test/ProofBase.sol";

/// @notice Demands of single symbols: who pays for what, and what an unanswered one costs.
contract ProofDemandsTest is ProofBase {
    uint32 private constant MEMBER = 2;
    uint32 private constant NEWCOMER = 6;

    function setUp() public override {
        super.setUp();
        _begin();
    }

    function test_demand_takes_the_bond() public {
        uint256 before = token.balanceOf(ASKER);
        vm.expectEmit();
        emit IProofs.Demanded(1, MEMBER, ASKER, 77, block.timestamp + 50);
        _demand(ASKER, 77);
        vm.assertEq(token.balanceOf(ASKER), before - BOND);
        vm.assertEq(token.balanceOf(address(proofs)), BOND);
        vm.assertEq(proofs.demandOf(1, MEMBER, ASKER).position, 77);
        vm.assertEq(proofs.demandOf(1, MEMBER, ASKER).answerBy, block.timestamp + 50);
        vm.assertEq(proofs.proofOf(1, MEMBER).openDemands, 1);
    }

    function test_an_answered_demand_gives_the_receiver_the_bond() public {
        // Before the commitment, and by a stranger.
        _demand(ASKER, 77);
        vm.warp(proofs.demandOf(1, MEMBER, ASKER).answerBy);
        IProofs.Opening memory opening = _answerOf(77);
        vm.expectEmit();
        emit IProofs.DemandAnswered(1, MEMBER, ASKER, _operator(MEMBER));
        proofs.answerDemand(MEMBER, ASKER, opening);
        vm.assertEq(token.balanceOf(_operator(MEMBER)), BOND);
        vm.assertEq(token.balanceOf(address(proofs)), 0);
        vm.assertEq(proofs.demandOf(1, MEMBER, ASKER).answerBy, 0);
        vm.assertEq(proofs.proofOf(1, MEMBER).openDemands, 0);
    }

    function test_an_unanswered_demand_costs_a_hundredth_of_the_stake_and_the_place() public {
        uint256 balance = token.balanceOf(ASKER);
        _demand(ASKER, 77);
        uint256 supply = token.totalSupply();
        _passDemand();
        vm.expectEmit();
        emit IProofs.Punished(1, MEMBER, 3, STAKE / 100);
        vm.expectEmit();
        emit ICommittee.MemberEjected(1, MEMBER, 3);
        proofs.judgeDemand(MEMBER, ASKER);
        vm.assertEq(token.balanceOf(ASKER), balance + BOND / 10); // the bond, and the bounty
        vm.assertEq(token.totalSupply(), supply - STAKE / 100 + STAKE / 1000);
        vm.assertEq(staking.stakeOn(MEMBER), STAKE - STAKE / 100);
        vm.assertEq(committee.earnings(1, MEMBER), 0);
        vm.assertFalse(registry.node(MEMBER).candidate);
        vm.assertEq(token.balanceOf(address(proofs)), 0);
        vm.assertEq(proofs.misses(MEMBER), 0);
        committee.replace();
    }

    function test_a_second_unanswered_demand_of_the_epoch_gives_the_bond_back_alone() public {
        address other = address(0xa5d);
        _fundAsker(other);
        _demand(ASKER, 77);
        _demand(other, 78);
        _passDemand();
        proofs.judgeDemand(MEMBER, ASKER);
        uint256 balance = token.balanceOf(other);
        proofs.judgeDemand(MEMBER, other);
        vm.assertEq(token.balanceOf(other), balance + BOND);
        vm.assertEq(staking.stakeOn(MEMBER), STAKE - STAKE / 100);
    }

    function test_a_member_is_punished_once_in_an_epoch() public {
        // Ten members of a shard each, of which three may be punished.
        _deployProofs();
        _addNodes(N);
        _nextEpoch();
        _payOutAll();
        vm.roll(block.number + 1);
        _begin();
        address other = address(0xa5d);
        _fundAsker(ASKER);
        _fundAsker(other);
        _demand(ASKER, 7);
        _demand(other, 8);
        _passDemand();
        proofs.judgeDemand(MEMBER, ASKER);
        proofs.judgeDemand(MEMBER, other);
        vm.assertEq(staking.stakeOn(MEMBER), STAKE - STAKE / 100);
        vm.assertEq(token.balanceOf(other), BOND);
        vm.assertEq(proofs.punishedShards(1), 1);
    }

    function test_beyond_the_limit_an_unanswered_demand_costs_the_pay_alone() public {
        uint256 balance = token.balanceOf(ASKER);
        _demand(ASKER, 77);
        vm.prank(ASKER);
        proofs.demand(MEMBER + 1, 77);
        _passDemand();
        proofs.judgeDemand(MEMBER, ASKER);
        proofs.judgeDemand(MEMBER + 1, ASKER);
        vm.assertEq(token.balanceOf(ASKER), balance + STAKE / 1000);
        vm.assertEq(staking.stakeOn(MEMBER + 1), STAKE);
        vm.assertEq(committee.earnings(1, MEMBER + 1), 0);
        vm.assertTrue(registry.node(MEMBER + 1).candidate);
    }

    function test_the_limit_holds_across_a_replacement() public {
        _demand(ASKER, 77);
        _passDemand();
        proofs.judgeDemand(MEMBER, ASKER);
        committee.replace();
        vm.warp(block.timestamp + NOTICE_S);
        committee.start();
        _attestAll();
        vm.roll(block.number + 1);
        _begin();
        uint32 other = 3;
        vm.prank(ASKER);
        proofs.demand(other, 77);
        _passDemand();
        proofs.judgeDemand(other, ASKER);
        vm.assertEq(staking.stakeOn(other), STAKE);
        vm.assertFalse(committee.isEjected(2, other));
        vm.assertEq(proofs.punishedShards(1), 2);
        _turn(); // it still has a committee, and a limit of its own
        _begin();
        vm.prank(ASKER);
        proofs.demand(other, 77);
        _passDemand();
        proofs.judgeDemand(other, ASKER);
        vm.assertEq(staking.stakeOn(other), STAKE - STAKE / 100);
    }

    function test_an_invalid_blob_excuses_while_everything_is_paused() public {
        vm.startPrank(GUARDIAN);
        blobs.pause(blobs.certify.selector);
        blobs.pause(blobs.register.selector);
        committee.pause(committee.eject.selector);
        vm.expectPartialRevert(Governed.NotPausable.selector);
        blobs.pause(blobs.invalidate.selector);
        vm.stopPrank();
        uint256 index = _blobAt(77 % weight);
        _demand(ASKER, 77);
        _invalidate(index);
        proofs.answerDemand(MEMBER, ASKER, _unopened(index));
        vm.assertEq(token.balanceOf(_operator(MEMBER)), BOND);
    }

    function test_a_member_punished_for_a_demand_is_not_for_a_second_miss_of_the_epoch() public {
        _draw();
        _passAnswers();
        proofs.judge(MEMBER);
        _turn();
        _begin();
        _demand(ASKER, 77);
        _passDemand();
        proofs.judgeDemand(MEMBER, ASKER);
        _draw();
        _passAnswers();
        proofs.judge(MEMBER);
        vm.assertEq(staking.stakeOn(MEMBER), STAKE - STAKE / 100);
    }

    function test_an_excused_demand_gives_the_receiver_the_bond() public {
        uint256 index = _blobAt(77 % weight);
        _invalidate(index);
        _demand(ASKER, 77);
        proofs.answerDemand(MEMBER, ASKER, _unopened(index));
        vm.assertEq(token.balanceOf(_operator(MEMBER)), BOND);
    }

    function test_a_shard_attested_behind_the_deadline_is_shown_to_who_demands_it() public {
        _newcomer();
        vm.warp(proofs.roundOf(2).commitBy);
        _attestTruly(NEWCOMER, type(uint256).max); // it earns for them from now on, and no round asks for them
        _demandOf(NEWCOMER, 77);
        IProofs.Opening memory nothing;
        nothing.inventoryPath = new bytes32[](2);
        vm.expectPartialRevert(Openings.NotInInventory.selector);
        proofs.answerDemand(NEWCOMER, ASKER, nothing);
        proofs.answerDemand(NEWCOMER, ASKER, _shownTo(NEWCOMER, 77));
        vm.assertEq(token.balanceOf(_operator(NEWCOMER)), BOND);
    }

    function test_who_attests_behind_the_deadline_what_it_lacks_is_punished_for_a_demand() public {
        // Each single symbol can be had from the fellows: it shows nothing. The way to what was attested does.
        _newcomer();
        vm.warp(proofs.roundOf(2).commitBy);
        _attestLies();
        _demandOf(NEWCOMER, 77);
        IProofs.Opening memory fetched = _shownTo(NEWCOMER, 77);
        vm.expectRevert(Openings.NotAttested.selector);
        proofs.answerDemand(NEWCOMER, ASKER, fetched);
        fetched.commitmentPath = new bytes32[](0);
        vm.expectPartialRevert(Trees.WrongPath.selector);
        proofs.answerDemand(NEWCOMER, ASKER, fetched);
        _passDemand();
        proofs.judgeDemand(NEWCOMER, ASKER);
        vm.assertTrue(committee.isEjected(2, NEWCOMER));
        vm.assertEq(staking.stakeOn(NEWCOMER), STAKE - STAKE / 100);
        vm.assertEq(committee.earnings(2, NEWCOMER), 0);
    }

    function test_every_position_of_a_shard_attested_behind_the_deadline_can_be_shown(uint256 seed) public {
        _newcomer();
        vm.warp(proofs.roundOf(2).commitBy);
        _attestTruly(NEWCOMER, type(uint256).max);
        uint256 position = seed % (2 * U * weight);
        _demandOf(NEWCOMER, position);
        IProofs.Opening memory opening = _opening(NEWCOMER, position); // to a commitment
        vm.expectPartialRevert(Trees.WrongPath.selector);
        proofs.answerDemand(NEWCOMER, ASKER, opening);
        proofs.answerDemand(NEWCOMER, ASKER, _shownTo(NEWCOMER, position));
    }

    function test_an_invalid_blob_of_a_shard_attested_behind_the_deadline_is_excused() public {
        _newcomer();
        vm.warp(proofs.roundOf(2).commitBy);
        _attestLies();
        _demandOf(NEWCOMER, 77);
        _invalidate(_blobAt(77 % weight));
        proofs.answerDemand(NEWCOMER, ASKER, _unopened(_blobAt(77 % weight)));
    }

    function test_a_shard_attested_before_the_deadline_is_shown_without_the_way_to_what_was_attested() public {
        // The round asks for that.
        _newcomer();
        vm.warp(proofs.roundOf(2).commitBy - 1);
        _attestTruly(NEWCOMER, type(uint256).max);
        vm.warp(block.timestamp + 1);
        _demandOf(NEWCOMER, 77);
        vm.assertEq(_shownTo(NEWCOMER, 77).commitmentPath.length, 0);
        proofs.answerDemand(NEWCOMER, ASKER, _shownTo(NEWCOMER, 77));
    }

    function test_a_shard_that_is_not_attested_is_shown_to_nobody() public {
        _leave(1);
        _addNode(STAKE);
        _turn();
        _begin();
        vm.prank(ASKER);
        proofs.demand(6, 77);
        IProofs.Opening memory nothing;
        proofs.answerDemand(6, ASKER, nothing);
        vm.assertEq(token.balanceOf(_operator(6)), BOND);
    }

    function test_reclaim_gives_the_bond_back_when_the_epoch_is_over() public {
        uint256 balance = token.balanceOf(ASKER);
        _demand(ASKER, 77);
        vm.expectRevert(abi.encodeWithSelector(IProofs.EpochNotOver.selector, 1));
        proofs.reclaim(1, MEMBER, ASKER);
        _passDemand();
        _turn();
        _begin();
        _demand(ASKER, 78);
        vm.expectEmit();
        emit IProofs.DemandReclaimed(1, MEMBER, ASKER);
        proofs.reclaim(1, MEMBER, ASKER);
        vm.assertEq(token.balanceOf(ASKER), balance - BOND);
        vm.assertEq(proofs.proofOf(2, MEMBER).openDemands, 1);
        vm.assertEq(staking.stakeOn(MEMBER), STAKE);
        vm.expectRevert(abi.encodeWithSelector(IProofs.NotDemanded.selector, MEMBER, ASKER));
        proofs.reclaim(1, MEMBER, ASKER);
    }

    function test_a_replacement_voids_demands() public {
        _demand(ASKER, 77);
        _passDemand();
        _replace(5);
        vm.expectRevert(abi.encodeWithSelector(IProofs.RoundNotBegun.selector, 2));
        proofs.judgeDemand(MEMBER, ASKER);
        vm.roll(block.number + 1);
        _begin();
        vm.expectRevert(abi.encodeWithSelector(IProofs.NotDemanded.selector, MEMBER, ASKER));
        proofs.judgeDemand(MEMBER, ASKER);
        proofs.reclaim(1, MEMBER, ASKER);
        vm.assertEq(staking.stakeOn(MEMBER), STAKE);
    }

    function test_demand_reverts_for_a_second_one_of_an_account() public {
        _demand(ASKER, 77);
        vm.expectRevert(abi.encodeWithSelector(IProofs.AlreadyDemanded.selector, MEMBER, ASKER));
        _demand(ASKER, 78);
        proofs.answerDemand(MEMBER, ASKER, _answerOf(77));
        _demand(ASKER, 78);
    }

    function test_demand_reverts_while_as_many_are_open_as_can_be() public {
        _takeAllPlaces();
        vm.expectRevert(abi.encodeWithSelector(IProofs.TooManyDemands.selector, MEMBER));
        _demand(ASKER, 77);
        proofs.answerDemand(MEMBER, address(0xb003), _answerOf(77));
        _demand(ASKER, 77);
    }

    function test_fellows_demand_when_all_places_are_taken() public {
        // By the member itself, maybe, which answers and demands anew in one transaction.
        uint256 most = _takeAllPlaces();
        (address first, address second) = (_operator(4), _operator(5));
        _fundAsker(first);
        _fundAsker(second);
        _demand(first, 78);
        _demand(second, 79);
        vm.assertEq(proofs.demandOf(1, MEMBER, first).fellow, 4);
        vm.assertEq(proofs.proofOf(1, MEMBER).openDemands, most);
        proofs.answerDemand(MEMBER, second, _answerOf(79));
        _fundAsker(second);
        _demand(second, 80);
        vm.assertEq(proofs.demandOf(1, MEMBER, second).fellow, 5);
        _passDemand();
        proofs.judgeDemand(MEMBER, first);
        vm.assertTrue(committee.isEjected(1, MEMBER));
        vm.assertEq(proofs.proofOf(1, MEMBER).openDemands, most);
        proofs.judgeDemand(MEMBER, address(0xb003));
        vm.assertEq(proofs.proofOf(1, MEMBER).openDemands, most - 1);
    }

    function test_a_fellow_has_one_place_of_its_own_whoever_operates_it() public {
        _takeAllPlaces();
        _fundAsker(_operator(4));
        _demand(_operator(4), 78);
        vm.prank(_operator(4));
        registry.changeOperator(4, ASKER);
        vm.expectRevert(abi.encodeWithSelector(IProofs.TooManyDemands.selector, MEMBER));
        _demand(ASKER, 78);
        proofs.answerDemand(MEMBER, _operator(4), _answerOf(78));
        _demand(ASKER, 78);
        vm.assertEq(proofs.demandOf(1, MEMBER, ASKER).fellow, 4);
    }

    function test_an_operator_of_no_member_has_no_place_of_its_own() public {
        _takeAllPlaces();
        _addNode(STAKE);
        vm.expectRevert(abi.encodeWithSelector(IProofs.TooManyDemands.selector, MEMBER));
        _demand(_operator(6), 77);
    }

    function test_demand_reverts_for_a_position_that_the_member_has_not() public {
        uint256 end = 2 * U * weight;
        _demand(ASKER, end - 1);
        vm.expectRevert(abi.encodeWithSelector(IProofs.NoSuchPosition.selector, end, end));
        _demand(address(0xa5d), end);
    }

    function test_demand_reverts_for_a_node_that_is_no_member() public {
        vm.expectRevert(abi.encodeWithSelector(IProofs.NotAMember.selector, 9, 1));
        vm.prank(ASKER);
        proofs.demand(9, 77);
    }

    function test_demand_reverts_before_the_round() public {
        _turn();
        vm.expectRevert(abi.encodeWithSelector(IProofs.RoundNotBegun.selector, 2));
        _demand(ASKER, 77);
    }

    function test_demand_reverts_without_the_bond() public {
        vm.prank(ASKER);
        token.approve(address(proofs), BOND - 1);
        vm.expectRevert();
        _demand(ASKER, 77);
    }

    function test_answerDemand_reverts_for_another_symbol() public {
        _demand(ASKER, 77);
        IProofs.Opening memory opening = _answerOf((77 + weight) % (2 * U * weight));
        vm.expectRevert(Openings.NotOfTheBlob.selector);
        proofs.answerDemand(MEMBER, ASKER, opening);
        IProofs.Opening memory nothing;
        vm.expectPartialRevert(Openings.NotInInventory.selector);
        nothing.inventoryPath = new bytes32[](2);
        proofs.answerDemand(MEMBER, ASKER, nothing);
    }

    function test_answerDemand_reverts_for_the_blob_beside_the_one_demanded() public {
        // The first byte of the second blob, and the last of the first.
        uint256 first = stored[1].offset;
        _demand(ASKER, first);
        IProofs.Opening memory opening = _answerOf(first - 1);
        vm.expectRevert(Openings.NotDrawn.selector);
        proofs.answerDemand(MEMBER, ASKER, opening);
        proofs.answerDemand(MEMBER, ASKER, _answerOf(first));
        _demand(ASKER, first - 1);
        opening = _answerOf(first);
        vm.expectRevert(Openings.NotDrawn.selector);
        proofs.answerDemand(MEMBER, ASKER, opening);
        proofs.answerDemand(MEMBER, ASKER, _answerOf(first - 1));
    }

    function test_answerDemand_reverts_behind_the_last_second() public {
        _demand(ASKER, 77);
        IProofs.Opening memory opening = _answerOf(77);
        uint256 answerBy = proofs.demandOf(1, MEMBER, ASKER).answerBy;
        vm.warp(answerBy + 1);
        vm.expectRevert(abi.encodeWithSelector(IProofs.TooLate.selector, answerBy));
        proofs.answerDemand(MEMBER, ASKER, opening);
    }

    function test_answerDemand_reverts_without_a_demand() public {
        IProofs.Opening memory opening = _answerOf(77);
        vm.expectRevert(abi.encodeWithSelector(IProofs.NotDemanded.selector, MEMBER, ASKER));
        proofs.answerDemand(MEMBER, ASKER, opening);
    }

    function test_judgeDemand_reverts_until_its_last_second_is_past() public {
        _demand(ASKER, 77);
        uint256 answerBy = proofs.demandOf(1, MEMBER, ASKER).answerBy;
        vm.warp(answerBy);
        vm.expectRevert(abi.encodeWithSelector(IProofs.TooEarly.selector, answerBy + 1));
        proofs.judgeDemand(MEMBER, ASKER);
    }

    function test_judgeDemand_reverts_a_second_time_and_for_an_answered_one() public {
        _demand(ASKER, 77);
        proofs.answerDemand(MEMBER, ASKER, _answerOf(77));
        vm.expectRevert(abi.encodeWithSelector(IProofs.NotDemanded.selector, MEMBER, ASKER));
        proofs.judgeDemand(MEMBER, ASKER);
        _demand(ASKER, 77);
        _passDemand();
        proofs.judgeDemand(MEMBER, ASKER);
        vm.expectRevert(abi.encodeWithSelector(IProofs.NotDemanded.selector, MEMBER, ASKER));
        proofs.judgeDemand(MEMBER, ASKER);
    }

    function test_judgeDemand_while_ejections_are_paused() public {
        _demand(ASKER, 77);
        vm.prank(GUARDIAN);
        committee.pause(committee.eject.selector);
        _passDemand();
        proofs.judgeDemand(MEMBER, ASKER);
        vm.assertTrue(committee.isEjected(1, MEMBER));
    }

    function _demand(address asker, uint256 position) private {
        vm.prank(asker);
        proofs.demand(MEMBER, position);
    }

    function _demandOf(uint32 nodeId, uint256 position) private {
        vm.prank(ASKER);
        proofs.demand(nodeId, position);
    }

    /// @dev Epoch 2 with its round: a node takes over all shards of another one.
    function _newcomer() private {
        _leave(1);
        _addNode(STAKE);
        _turn();
        _begin();
    }

    /// @dev All of the newcomer's shards.
    function _attestLies() private {
        uint16[] memory own = _shards(NEWCOMER);
        bytes32[] memory lies = new bytes32[](own.length);
        for (uint256 i; i < own.length; ++i) {
            lies[i] = keccak256(abi.encode("lie", i));
        }
        vm.prank(_operator(NEWCOMER));
        committee.attest(2, own, lies, new uint32[](own.length));
    }

    function _takeAllPlaces() private returns (uint256 most) {
        most = proofs.MAX_OPEN_DEMANDS();
        for (uint160 i; i < most; ++i) {
            _fundAsker(address(0xb000 + i));
            _demand(address(0xb000 + i), 77);
        }
    }

    /// @dev Without a path in the commitment.
    function _answerOf(uint256 position) private view returns (IProofs.Opening memory opening) {
        opening = _opening(MEMBER, position);
        opening.commitmentPath = new bytes32[](0);
    }

    function _fundAsker(address asker) private {
        _fund(asker, BOND);
        vm.prank(asker);
        token.approve(address(proofs), BOND);
    }

    function _passDemand() private {
        vm.warp(block.timestamp + 51);
    }
}
