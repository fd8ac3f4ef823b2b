// SPDX-License-Identifier: Apache-2.0
pragma solidity ^0.8.30;

import {Ballot} from "src/Ballot.sol";
import {Governed} from "src/Governed.sol";
import {IBallot} from "src/interfaces/IBallot.sol";
import {ICommittee} from "src/interfaces/ICommittee.sol";
import {ISpace} from "src/interfaces/ISpace.sol";
import {Base} from "test/Base.t.sol";

/// @notice How members set prices and capacity by their votes.
contract BallotTest is Base {
    uint256 private constant QUORUM = 67; // of 100 shards

    /// @dev Four members with 40, 30, 20 and 10 shards; epoch 1 runs.
    function setUp() public override {
        super.setUp();
        for (uint256 weight = 4; weight > 0; --weight) {
            _addNode(weight * STAKE);
        }
        _nextEpoch();
    }

    function test_price_is_the_lowest_that_two_thirds_asked_at_most() public {
        // 40 shards ask 5e9, 20 ask 6e9, 30 ask 7e9, 10 ask 9e9: 67 asked at most 7e9.
        _vote(1, 5e9, 1e9, 1 << 40);
        _vote(2, 7e9, 5e9, 1 << 40);
        _vote(3, 6e9, 2e9, 1 << 40);
        _vote(4, 9e9, 3e9, 1 << 40);
        _nextEpoch();
        ballot.decide();
        (uint80 price, uint80 writePrice,) = blobs.terms();
        vm.assertEq(price, 7e9);
        vm.assertEq(writePrice, 3e9); // 40 + 20 + 10 shards asked at most that
    }

    function test_capacity_is_the_largest_that_two_thirds_offered_at_least() public {
        _vote(1, PRICE, WRITE_PRICE, CAPACITY + 500);
        _vote(2, PRICE, WRITE_PRICE, CAPACITY + 300);
        _vote(3, PRICE, WRITE_PRICE, CAPACITY + 900);
        _vote(4, PRICE, WRITE_PRICE, CAPACITY + 100);
        _nextEpoch();
        ballot.decide();
        (,, uint64 capacity) = blobs.terms();
        vm.assertEq(capacity, CAPACITY + 300); // 20 + 40 offer at least 500, 90 at least 300
    }

    function test_decide_reverts_until_a_quorum_has_voted() public {
        _vote(1, 6e9, WRITE_PRICE, CAPACITY);
        _vote(3, 6e9, WRITE_PRICE, CAPACITY);
        _nextEpoch();
        vm.expectRevert(abi.encodeWithSelector(IBallot.NoQuorum.selector, 60, QUORUM));
        ballot.decide();
        _vote(4, 6e9, WRITE_PRICE, CAPACITY);
        vm.expectRevert(abi.encodeWithSelector(IBallot.NoQuorum.selector, 60, QUORUM));
        ballot.decide(); // the last vote counts from the next period on
        _checkPrice(PRICE);
        _nextEpoch();
        ballot.decide();
        _checkPrice(6e9);
    }

    function test_a_vote_counts_from_the_next_period_on_and_until_the_next_vote() public {
        _voteAll(6e9);
        _nextEpoch();
        _voteAll(7e9);
        ballot.decide();
        _checkPrice(6e9);
        _nextEpoch();
        _voteAll(1e10);
        _voteAll(8e9); // in place of the one before
        ballot.decide();
        _checkPrice(7e9);
        for (uint256 i; i < 3; ++i) {
            _nextEpoch();
            ballot.decide();
            _checkPrice(8e9);
        }
        vm.assertEq(ballot.voteOf(1, committee.period()).fromPeriod, 4);
    }

    function test_decide_reverts_twice_in_a_period() public {
        _voteAll(1e10);
        vm.expectRevert(abi.encodeWithSelector(IBallot.NoQuorum.selector, 0, QUORUM));
        ballot.decide();
        _nextEpoch();
        vm.expectEmit();
        emit IBallot.Decided(2);
        ballot.decide();
        vm.expectRevert(abi.encodeWithSelector(IBallot.AlreadyDecided.selector, 2));
        ballot.decide();
    }

    function test_no_term_more_than_doubles_or_halves_in_a_period() public {
        _voteAll(type(uint80).max, 0, type(uint64).max);
        _nextEpoch();
        ballot.decide();
        _checkTerms(2 * PRICE, WRITE_PRICE / 2, 2 * CAPACITY);
        _voteAll(1, type(uint80).max, 0);
        _nextEpoch();
        ballot.decide();
        _checkTerms(PRICE, WRITE_PRICE / 2 * 2, CAPACITY);
    }

    function test_terms_come_back_from_the_least_and_stay_below_the_most() public {
        _setTerms(1, 0, 0);
        _voteAll(1, 5, 5);
        _nextEpoch();
        ballot.decide();
        _checkTerms(1, 1, 1);
        _setTerms(type(uint80).max - 1, type(uint80).max - 1, type(uint64).max - 1);
        _voteAll(type(uint80).max, type(uint80).max, type(uint64).max);
        _nextEpoch();
        ballot.decide();
        _checkTerms(type(uint80).max, type(uint80).max, type(uint64).max);
    }

    /// @dev Whatever a third of the shards votes, what the others agree on or want at the least comes.
    function testFuzz_less_than_a_third_moves_nothing_that_the_others_agree_on(uint80 price, uint64 capacity) public {
        _voteAll(6e9, 4e9, CAPACITY + 7);
        _vote(2, price == 0 ? 1 : price, price, capacity); // 30 of 100 shards
        _nextEpoch();
        ballot.decide();
        _checkTerms(6e9, 4e9, CAPACITY + 7);
    }

    function test_vote_reverts_for_who_operates_no_node_and_for_a_price_of_0() public {
        vm.expectRevert(abi.encodeWithSelector(IBallot.NotAnOperator.selector, address(this)));
        ballot.vote(1, 1, 1);
        vm.expectRevert(IBallot.ZeroPrice.selector);
        _vote(1, 0, 1, 1);
    }

    function test_votes_of_nodes_that_are_no_members_do_not_count() public {
        _addNode(0);
        _vote(5, 1, 1, 1);
        _voteAll(6e9);
        _nextEpoch();
        ballot.decide();
        _checkPrice(6e9);
    }

    /// @dev When the period begins, 70 of 100 shards ask 8e9 at most: 40 of node 1, 20 of node 3, 10 of node 4. After the
    /// replacement of node 3, nodes 1 and 4 have 62, so that by the shards of then the price would be 9e9.
    function test_a_replacement_changes_nothing_that_was_voted_on() public {
        _vote(1, 6e9, WRITE_PRICE, CAPACITY);
        _vote(2, 9e9, WRITE_PRICE, CAPACITY);
        _vote(3, 7e9, WRITE_PRICE, CAPACITY);
        _vote(4, 8e9, WRITE_PRICE, CAPACITY);
        _nextEpoch();
        vm.assertEq(ballot.decision().price, 8e9);
        _eject(4, 3);
        committee.replace();
        vm.warp(block.timestamp + NOTICE_S);
        committee.start();
        ICommittee.CommitteeView memory inOffice = committee.committeeOf(committee.epoch());
        vm.assertEq(_shardsIn(inOffice, 1).length + _shardsIn(inOffice, 4).length, 62);
        ballot.decide();
        _checkPrice(8e9);
    }

    function test_setTerms_reverts_for_anybody_but_governor_and_ballot() public {
        ISpace.Terms memory terms = ISpace.Terms(1, 1, 1);
        vm.expectRevert(abi.encodeWithSelector(Governed.NotGovernor.selector, address(this)));
        blobs.setTerms(terms);
        vm.prank(GUARDIAN);
        vm.expectRevert(abi.encodeWithSelector(Governed.NotGovernor.selector, GUARDIAN));
        blobs.setTerms(terms);
    }

    function test_constructor_reverts_for_another_ballots_space() public {
        vm.expectRevert(abi.encodeWithSelector(Governed.InvalidParameter.selector, "space"));
        new Ballot(blobs);
    }

    function _voteAll(uint80 price) private {
        _voteAll(price, WRITE_PRICE, CAPACITY);
    }

    function _voteAll(uint80 price, uint80 writePrice, uint64 capacity) private {
        for (uint32 nodeId = 1; nodeId <= 4; ++nodeId) {
            _vote(nodeId, price, writePrice, capacity);
        }
    }

    function _vote(uint32 nodeId, uint80 price, uint80 writePrice, uint64 capacity) private {
        vm.prank(_operator(nodeId));
        ballot.vote(price, writePrice, capacity);
    }

    function _setTerms(uint80 price, uint80 writePrice, uint64 capacity) private {
        vm.prank(GOVERNOR);
        blobs.setTerms(ISpace.Terms(price, writePrice, capacity));
    }

    function _checkPrice(uint256 expected) private view {
        (uint80 price,,) = blobs.terms();
        vm.assertEq(price, expected);
    }

    function _checkTerms(uint256 price, uint256 writePrice, uint256 capacity) private view {
        (uint80 price_, uint80 writePrice_, uint64 capacity_) = blobs.terms();
        vm.assertEq(price_, price);
        vm.assertEq(writePrice_, writePrice);
        vm.assertEq(capacity_, capacity);
    }
}
