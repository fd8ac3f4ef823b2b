// SPDX-License-Identifier: Apache-2.0
pragma solidity ^0.8.30;

import {ICommittee} from "./ICommittee.sol";
import {ISpace} from "./ISpace.sol";

/// @title The members' votes on prices and capacity.
/// @notice A node says which prices it asks and how much space the network is to offer. Once a period the terms follow:
/// a price is the lowest that members with a quorum of the shards asked at most, the capacity the largest that such
/// members offered at least (Walrus' rule). A vote counts from the next period on, so that a node cannot wait for the others'
/// votes, or for a moment to have them counted. Members weigh as many votes as they had shards when the period began, so
/// that no ejection or replacement changes what was voted on. While members with fewer shards than a quorum have voted,
/// the terms stay.
interface IBallot {
    /// @notice What a node asks and offers.
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
    /// @notice The terms are what the votes of a period say; `ISpace.TermsChanged` tells them.
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
    function MOST_FACTOR() external view returns (uint256);

    /// @notice The contract whose terms are voted on.
    function space() external view returns (ISpace);

    /// @notice Whose members vote.
    function committee() external view returns (ICommittee);

    /// @notice The period whose votes were counted last.
    function decidedPeriod() external view returns (uint32);

    /// @notice Votes for the sender's node, member or not, from the next period on and until it votes again. The node's
    /// operator only.
    /// @return fromPeriod That period.
    function vote(uint80 price, uint80 writePrice, uint64 capacity) external returns (uint32 fromPeriod);

    /// @notice Has the votes of the current period counted and the terms changed, once a period. Anyone may.
    function decide() external;

    /// @notice What a node votes in a period that is not over: nothing if its price is 0.
    function voteOf(uint32 nodeId, uint32 period) external view returns (Vote memory counting);

    /// @notice What the terms become by the votes of the current period. Reverts when too few have voted.
    function decision() external view returns (ISpace.Terms memory decided);
}
