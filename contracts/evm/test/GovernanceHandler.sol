// SPDX-License-Identifier: Apache-2.0
pragma solidity ^0.8.30;

import {IBallot} from "src/interfaces/IBallot.sol";
import {ICommittee} from "src/interfaces/ICommittee.sol";
import {IRegistry} from "src/interfaces/IRegistry.sol";
import {ISpace} from "src/interfaces/ISpace.sol";
import {N, NODES, STAKERS, stakerAt} from "test/StakeHandler.sol";
import {TradeHandler} from "test/TradeHandler.sol";

/// @notice What members do by their votes, and owners with their nodes.
contract GovernanceHandler is TradeHandler {
    uint256 private constant QUORUM = 7; // of 10 shards
    uint80 private constant MOST_PRICE = 1e22; // as much as the governor sets
    /// @dev So that all the space that a run reserves is there.
    uint64 private constant LEAST_CAPACITY = 1 << 36;

    /// @notice How often the terms were decided, and how often a node became another account's.
    uint256 public decided;
    uint256 public accepted;
    /// @notice Who owns a node, and who may accept it.
    mapping(uint32 nodeId => address) public ownerOf;
    mapping(uint32 nodeId => address) public nextOwnerOf;

    /// @dev The votes sent in each period, by the period in which they begin to count.
    mapping(uint32 nodeId => mapping(uint32 fromPeriod => ISpace.Terms)) private _votes;

    constructor() {
        for (uint32 nodeId = 1; nodeId <= NODES; ++nodeId) {
            ownerOf[nodeId] = _operator(nodeId);
        }
    }

    // Votes

    /// @dev Of one node, or of all.
    function vote(uint256 seed) external watched {
        uint32 first = seed & 1 == 0 ? 1 : _node(seed);
        uint32 last = seed & 1 == 0 ? NODES : first;
        for (uint32 nodeId = first; nodeId <= last; ++nodeId) {
            uint256 random = uint256(keccak256(abi.encode(seed, nodeId)));
            uint80 price = random & 15 == 0 ? 0 : uint80(_between(random >> 8, 1, MOST_PRICE));
            ISpace.Terms memory terms = ISpace.Terms(
                price, uint80(_between(random >> 96, 0, 1e10)), uint64(_between(random >> 160, LEAST_CAPACITY, 1 << 44))
            );
            if (price == 0) vm.expectRevert(IBallot.ZeroPrice.selector);
            else _votes[nodeId][period + 1] = terms;
            vm.prank(_operator(nodeId));
            ballot.vote(terms.price, terms.writePrice, terms.capacity);
        }
    }

    /// @dev Once a period, if a quorum of the members with which it began has voted: whatever became of them since.
    function decide() external watched {
        uint32 last = ballot.decidedPeriod();
        if (period <= last) {
            vm.expectRevert(abi.encodeWithSelector(IBallot.AlreadyDecided.selector, period));
            return ballot.decide();
        }
        ICommittee.MemberView[] memory members = committee.committeeOf(committee.firstEpochOf(period)).members;
        ISpace.Terms[] memory votes = new ISpace.Terms[](members.length);
        uint256 weight;
        for (uint256 i; i < members.length; ++i) {
            votes[i] = _counting(members[i].nodeId);
            if (votes[i].price != 0) weight += members[i].shards.length;
        }
        if (weight < QUORUM) {
            vm.expectRevert(abi.encodeWithSelector(IBallot.NoQuorum.selector, weight, QUORUM));
            return ballot.decide();
        }
        ISpace.Terms memory before = _terms();
        ballot.decide();
        ++decided;
        _checkTerms(before, _terms(), members, votes);
    }

    // Nodes

    /// @dev To one of the stakers, or to nobody; by the owner, or by another account, which may not.
    function offer(uint256 seed) external watched {
        uint32 nodeId = _node(seed);
        address to = seed & 3 == 3 ? address(0) : stakerAt(seed & 3);
        address sender = seed & 28 == 0 ? stakerAt((seed >> 5) % STAKERS) : ownerOf[nodeId];
        if (sender == ownerOf[nodeId]) nextOwnerOf[nodeId] = to;
        else vm.expectRevert(abi.encodeWithSelector(IRegistry.NotNodeOwner.selector, sender, nodeId));
        vm.prank(sender);
        registry.offerNode(nodeId, to);
    }

    /// @dev By one of the stakers: if it is offered the node, and once. The owner before has no more say.
    function accept(uint256 seed) external watched {
        (uint32 nodeId, address sender) = (_node(seed), stakerAt(seed % STAKERS));
        bool isOffered = nextOwnerOf[nodeId] == sender;
        if (!isOffered) vm.expectRevert(abi.encodeWithSelector(IRegistry.NotOffered.selector, sender, nodeId));
        vm.prank(sender);
        registry.acceptNode(nodeId);
        if (!isOffered) return;
        ++accepted;
        address before = ownerOf[nodeId];
        (ownerOf[nodeId], nextOwnerOf[nodeId]) = (sender, address(0));
        if (before == sender) return;
        vm.expectRevert(abi.encodeWithSelector(IRegistry.NotNodeOwner.selector, before, nodeId));
        vm.prank(before);
        registry.changeReceiver(nodeId, before);
    }

    /// @dev The newest vote of a node that counts in this period; without one all zero.
    function _counting(uint32 nodeId) private view returns (ISpace.Terms memory) {
        uint32 from = period;
        while (from > 0 && _votes[nodeId][from].price == 0) {
            --from;
        }
        return _votes[nodeId][from];
    }

    /// @dev Each term is the least, or the greatest, that voters with a quorum accept; no more than twice what it was, no
    /// less than half.
    function _checkTerms(
        ISpace.Terms memory before,
        ISpace.Terms memory now_,
        ICommittee.MemberView[] memory members,
        ISpace.Terms[] memory votes
    ) private pure {
        uint256 price = type(uint256).max;
        uint256 writePrice = type(uint256).max;
        uint256 capacity;
        for (uint256 i; i < votes.length; ++i) {
            uint256[3] memory accepting; // the shards of the voters that accept this vote's price, write price, capacity
            for (uint256 k; k < votes.length; ++k) {
                if (votes[k].price == 0) continue;
                uint256 shards = members[k].shards.length;
                if (votes[k].price <= votes[i].price) accepting[0] += shards;
                if (votes[k].writePrice <= votes[i].writePrice) accepting[1] += shards;
                if (votes[k].capacity >= votes[i].capacity) accepting[2] += shards;
            }
            if (votes[i].price == 0) continue;
            if (accepting[0] >= QUORUM && votes[i].price < price) price = votes[i].price;
            if (accepting[1] >= QUORUM && votes[i].writePrice < writePrice) writePrice = votes[i].writePrice;
            if (accepting[2] >= QUORUM && votes[i].capacity > capacity) capacity = votes[i].capacity;
        }
        require(now_.price == _within(price, before.price), "the price");
        require(now_.writePrice == _within(writePrice, before.writePrice), "the write price");
        require(now_.capacity == _within(capacity, before.capacity), "the capacity");
    }

    function _within(uint256 wanted, uint256 before) private pure returns (uint256) {
        uint256 most = before == 0 ? 1 : 2 * before;
        if (wanted > most) return most;
        return wanted < before / 2 ? before / 2 : wanted;
    }

    function _terms() private view returns (ISpace.Terms memory terms) {
        (terms.price, terms.writePrice, terms.capacity) = blobs.terms();
    }
}
