// SPDX-License-Identifier: Apache-2.0
pragma solidity ^0.8.30;

import {Governed} from "./Governed.sol";
import {Staking} from "./Staking.sol";
import {IEpochs} from "./interfaces/IEpochs.sol";

/// @title Who stands for election.
/// @notice Candidates keep the order in which they became candidates; the committee contract elects from them. There
/// are at most `MAX_CANDIDATES`: more stake takes the place of the least.
abstract contract Candidates is Governed {
    struct Standing {
        bool candidate;
        uint32 barredUntil; // the period with whose start it may become a candidate again
    }

    /// @notice A node stands for election, behind all that stand already.
    event CandidateJoined(uint32 indexed nodeId);
    /// @notice The candidacy was withdrawn.
    event NodeLeft(uint32 indexed nodeId);
    /// @notice The committee contract ended the candidacy until the start of a period (ejection), or barred a node that
    /// had withdrawn already.
    event CandidateRemoved(uint32 indexed nodeId, uint32 barredUntil);
    /// @notice A candidate with more stake took the place of this one.
    event CandidateEvicted(uint32 indexed nodeId);

    /// @notice The node stands already.
    error AlreadyCandidate(uint32 nodeId);
    /// @notice The node does not stand.
    error NotCandidate(uint32 nodeId);
    /// @notice The node may not stand before the period `until` has begun.
    error Barred(uint32 nodeId, uint32 until);
    /// @notice All places are taken by candidates with at least `leastStake`.
    error CandidatesFull(uint256 leastStake);
    /// @notice Only the committee contract may.
    error NotCommittee(address account);

    /// @notice The most candidates at a time.
    uint256 public constant MAX_CANDIDATES = 100;

    /// @notice The committee contract; it alone may remove candidates.
    address public immutable committee;
    /// @notice The stake on the nodes.
    Staking public immutable staking;

    mapping(uint32 nodeId => Standing) internal _standings;
    uint32[] private _candidates;

    /// @dev Reverts unless the sender is owner or operator of an existing node.
    modifier onlyOperator(uint32 nodeId) {
        _requireOperator(nodeId);
        _;
    }

    constructor(Staking staking_) {
        if (address(staking_.registry()) != address(this)) revert InvalidParameter("staking");
        staking = staking_;
        committee = staking_.committee();
    }

    /// @notice A node stands for no further selection. In committees already selected it stays. Owner or operator.
    function leaveCandidates(uint32 nodeId) external onlyOperator(nodeId) {
        if (!_remove(nodeId)) revert NotCandidate(nodeId);
        emit NodeLeft(nodeId);
    }

    /// @notice A node stands again, behind the other candidates. If all places are taken, it takes the one with the
    /// least stake (of equals the last), if that is less than its own. A node that was ejected waits for the next period,
    /// unless none comes. Owner or operator.
    function becomeCandidate(uint32 nodeId) external pausable onlyOperator(nodeId) {
        Standing memory entry = _standings[nodeId];
        if (entry.candidate) revert AlreadyCandidate(nodeId);
        IEpochs clock = IEpochs(committee);
        if (clock.period() < entry.barredUntil && !clock.isStalled()) revert Barred(nodeId, entry.barredUntil);
        if (_candidates.length == MAX_CANDIDATES) _evictFor(staking.stakeOn(nodeId));
        _join(nodeId);
    }

    /// @notice Ends a candidacy, if there is one; only the committee contract may.
    /// @param barredUntil The period with whose start the node may become a candidate again.
    function removeCandidate(uint32 nodeId, uint32 barredUntil) external {
        if (msg.sender != committee) revert NotCommittee(msg.sender);
        _standings[nodeId].barredUntil = barredUntil;
        _remove(nodeId);
        emit CandidateRemoved(nodeId, barredUntil);
    }

    /// @notice The nodes that stand for the next selection, with the stake on each, in candidate order.
    function candidates() external view returns (uint32[] memory nodeIds, uint256[] memory stakes) {
        nodeIds = _candidates;
        stakes = staking.stakesOn(nodeIds);
    }

    function _requireOperator(uint32 nodeId) internal view virtual;

    /// @dev A new node stands, unless all places are taken.
    function _joinIfFree(uint32 nodeId) internal {
        if (_candidates.length < MAX_CANDIDATES) _join(nodeId);
    }

    function _join(uint32 nodeId) private {
        _candidates.push(nodeId);
        _standings[nodeId].candidate = true;
        emit CandidateJoined(nodeId);
    }

    /// @dev Removes a candidate and keeps the order of the others; false if it was none.
    function _remove(uint32 nodeId) private returns (bool) {
        if (!_standings[nodeId].candidate) return false;
        _standings[nodeId].candidate = false;
        uint32[] memory list = _candidates;
        uint256 kept;
        for (uint256 i; i < list.length; ++i) {
            if (list[i] == nodeId) continue;
            if (kept != i) _candidates[kept] = list[i];
            ++kept;
        }
        _candidates.pop();
        return true;
    }

    function _evictFor(uint256 newcomerStake) private {
        uint32 least;
        uint256 lowest = type(uint256).max;
        uint32[] memory list = _candidates;
        uint256[] memory stakes = staking.stakesOn(list);
        for (uint256 i; i < list.length; ++i) {
            if (stakes[i] <= lowest) (least, lowest) = (list[i], stakes[i]);
        }
        if (newcomerStake <= lowest) revert CandidatesFull(lowest);
        _remove(least);
        emit CandidateEvicted(least);
    }
}
