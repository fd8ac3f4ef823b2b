// SPDX-License-Identifier: Apache-2.0
pragma solidity ^0.8.30;

import {FixedPointMathLib} from "solady/utils/FixedPointMathLib.sol";
import {LibSort} from "solady/utils/LibSort.sol";
import {Governed} from "./Governed.sol";
import {Space} from "./Space.sol";
import {IBallot} from "./interfaces/IBallot.sol";
import {ICommittee} from "./interfaces/ICommittee.sol";
import {ISpace} from "./interfaces/ISpace.sol";
import {Votes} from "./lib/Votes.sol";

/// @title How the members' votes are kept and counted (`IBallot`).
contract Ballot is IBallot {
    /// @inheritdoc IBallot
    uint256 public constant MOST_FACTOR = 2;

    uint256 private constant WEIGHT_BITS = 16;

    /// @inheritdoc IBallot
    ISpace public immutable space;
    /// @inheritdoc IBallot
    ICommittee public immutable committee;
    /// @inheritdoc IBallot
    uint32 public decidedPeriod;

    /// @dev The one that counts, and the one to come or to be overwritten.
    mapping(uint32 nodeId => Vote[2]) private _votes;

    /// @param space_ Deployed for this contract's address.
    constructor(Space space_) {
        if (space_.ballot() != address(this)) revert Governed.InvalidParameter("space");
        space = space_;
        committee = space_.committee();
    }

    /// @inheritdoc IBallot
    function vote(uint80 price, uint80 writePrice, uint64 capacity) external returns (uint32 fromPeriod) {
        uint32 nodeId = committee.registry().nodeOf(msg.sender);
        if (nodeId == 0) revert NotAnOperator(msg.sender);
        if (price == 0) revert ZeroPrice();
        uint32 period = committee.period();
        fromPeriod = period + 1;
        _votes[nodeId][1 - _counting(nodeId, period)] = Vote(price, writePrice, capacity, fromPeriod);
        emit Voted(nodeId, price, writePrice, capacity, fromPeriod);
    }

    /// @inheritdoc IBallot
    function decide() external {
        uint32 period = committee.period();
        if (decidedPeriod >= period) revert AlreadyDecided(period);
        ISpace.Terms memory decided = decision();
        decidedPeriod = period;
        emit Decided(period);
        space.setTerms(decided);
    }

    /// @inheritdoc IBallot
    function voteOf(uint32 nodeId, uint32 period) public view returns (Vote memory counting) {
        counting = _votes[nodeId][_counting(nodeId, period)];
        if (counting.fromPeriod > period) delete counting;
    }

    /// @inheritdoc IBallot
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
