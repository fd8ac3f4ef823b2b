// SPDX-License-Identifier: Apache-2.0
pragma solidity ^0.8.30;

import {FixedPointMathLib} from "solady/utils/FixedPointMathLib.sol";
import {LibSort} from "solady/utils/LibSort.sol";
import {Committee} from "./Committee.sol";
import {Governed} from "./Governed.sol";
import {Space} from "./Space.sol";
import {ICommittee} from "./interfaces/ICommittee.sol";
import {ISpace} from "./interfaces/ISpace.sol";
import {Votes} from "./lib/Votes.sol";

/// @title The members' votes on prices and capacity.
/// @notice A node says which prices it asks and how much space the network is to offer. Once a period the terms follow:
/// a price is the lowest that members with a quorum of the shards asked at most, the capacity the largest that such
/// members offered at least (Walrus' rule). A vote counts from the next period on, so that a node cannot wait for the others'
/// votes, or for a moment to have them counted. Members weigh as many votes as they had shards when the period began, so
/// that no ejection or replacement changes what was voted on. While members with fewer shards than a quorum have voted,
/// the terms stay.
contract Ballot {
    struct Vote {
        /// @dev As in `ISpace.Terms`. A price of 0 stands for no vote.
        uint80 price;
        uint80 writePrice;
        uint64 capacity;
        /// @dev The first period in which it counts.
        uint32 fromPeriod;
    }

    /// @notice A node's vote is this one from `fromPeriod` on.
    event Voted(uint32 indexed nodeId, uint80 price, uint80 writePrice, uint64 capacity, uint32 fromPeriod);
    /// @notice The terms are what the votes of a period say.
    event Decided(uint32 indexed period);

    /// @notice The account operates no node.
    error NotAnOperator(address account);
    /// @notice The price must be above 0.
    error ZeroPrice();
    /// @notice The votes of this period are counted already, or the first has not begun.
    error AlreadyDecided(uint32 period);
    /// @notice Too few have voted, in shards.
    error NoQuorum(uint256 weight, uint256 needed);

    /// @notice The largest factor by which a term grows or shrinks in a period.
    uint256 public constant MOST_FACTOR = 2;

    uint256 private constant WEIGHT_BITS = 16;

    /// @notice The contract whose terms are voted on.
    Space public immutable space;
    /// @notice Whose members vote.
    Committee public immutable committee;
    /// @notice The period whose votes were counted last.
    uint32 public decidedPeriod;

    /// @dev The one that counts, and the one to come or to be overwritten.
    mapping(uint32 nodeId => Vote[2]) private _votes;

    /// @param space_ Deployed for this contract's address.
    constructor(Space space_) {
        if (space_.ballot() != address(this)) revert Governed.InvalidParameter("space");
        space = space_;
        committee = space_.committee();
    }

    /// @notice Votes for the sender's node, member or not, from the next period on and until it votes again. The node's
    /// operator only.
    /// @return fromPeriod That period.
    function vote(uint80 price, uint80 writePrice, uint64 capacity) external returns (uint32 fromPeriod) {
        uint32 nodeId = committee.registry().nodeOf(msg.sender);
        if (nodeId == 0) revert NotAnOperator(msg.sender);
        if (price == 0) revert ZeroPrice();
        uint32 period = committee.period();
        fromPeriod = period + 1;
        _votes[nodeId][1 - _counting(nodeId, period)] = Vote(price, writePrice, capacity, fromPeriod);
        emit Voted(nodeId, price, writePrice, capacity, fromPeriod);
    }

    /// @notice Has the votes of the current period counted and the terms changed, once a period. Anyone may.
    function decide() external {
        uint32 period = committee.period();
        if (decidedPeriod >= period) revert AlreadyDecided(period);
        ISpace.Terms memory decided = decision();
        decidedPeriod = period;
        emit Decided(period);
        space.setTerms(decided);
    }

    /// @notice What a node votes in a period that is not over: nothing if its price is 0.
    function voteOf(uint32 nodeId, uint32 period) public view returns (Vote memory counting) {
        counting = _votes[nodeId][_counting(nodeId, period)];
        if (counting.fromPeriod > period) delete counting;
    }

    /// @notice What the terms become by the votes of the current period. Reverts when too few have voted.
    function decision() public view returns (ISpace.Terms memory decided) {
        uint32 period = committee.period();
        ICommittee.MemberView[] memory members = committee.committeeOf(committee.firstEpochOf(period)).members;
        uint256[] memory prices = new uint256[](members.length);
        uint256[] memory writePrices = new uint256[](members.length);
        uint256[] memory capacities = new uint256[](members.length);
        uint256 voters;
        uint256 weight;
        for (uint256 i; i < members.length; ++i) {
            Vote memory own = voteOf(members[i].nodeId, period);
            if (own.price == 0) continue;
            uint256 shards = members[i].shards.length;
            weight += shards;
            prices[voters] = uint256(own.price) << WEIGHT_BITS | shards;
            writePrices[voters] = uint256(own.writePrice) << WEIGHT_BITS | shards;
            // The most that enough offer at least is the least that enough offer at most, counted from above.
            capacities[voters] = uint256(type(uint64).max - own.capacity) << WEIGHT_BITS | shards;
            ++voters;
        }
        uint256 needed = Votes.quorum(committee.nShards());
        if (weight < needed) revert NoQuorum(weight, needed);
        (uint80 price, uint80 writePrice, uint64 capacity) = space.terms();
        decided.price = uint80(_towards(price, _least(prices, voters, needed), type(uint80).max));
        if (decided.price == 0) decided.price = 1;
        decided.writePrice = uint80(_towards(writePrice, _least(writePrices, voters, needed), type(uint80).max));
        uint256 wanted = type(uint64).max - _least(capacities, voters, needed);
        decided.capacity = uint64(_towards(capacity, wanted, type(uint64).max));
    }

    /// @dev Which of a node's two votes counts in a period, if one does.
    function _counting(uint32 nodeId, uint32 period) private view returns (uint256) {
        (uint32 first, uint32 second) = (_votes[nodeId][0].fromPeriod, _votes[nodeId][1].fromPeriod);
        if (first > period) return 1;
        return second <= period && second > first ? 1 : 0;
    }

    /// @dev The least of the first `count` values for which values up to it weigh `needed`.
    function _least(uint256[] memory values, uint256 count, uint256 needed) private pure returns (uint256) {
        assembly ("memory-safe") {
            mstore(values, count)
        }
        LibSort.sort(values);
        uint256 weight;
        uint256 i;
        for (; weight < needed; ++i) {
            weight += values[i] & (1 << WEIGHT_BITS) - 1;
        }
        return values[i - 1] >> WEIGHT_BITS;
    }

    /// @dev As near to `wanted` as a period may bring a term.
    function _towards(uint256 term, uint256 wanted, uint256 most) private pure returns (uint256) {
        uint256 highest = term == 0 ? 1 : FixedPointMathLib.min(MOST_FACTOR * term, most);
        return FixedPointMathLib.clamp(wanted, term / MOST_FACTOR, highest);
    }
}
