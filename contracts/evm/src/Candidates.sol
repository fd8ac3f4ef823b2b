// SPDX-License-Identifier: Apache-2.0
pragma solidity ^0.8.30;

import {Governed} from "./Governed.sol";
import {IEpochs} from "./interfaces/IEpochs.sol";
import {IRegistry} from "./interfaces/IRegistry.sol";
import {IStaking} from "./interfaces/IStaking.sol";

/// @title Who stands for election.
/// @notice Candidates keep the order in which they became candidates; the committee contract elects from them. There
/// are at most `MAX_CANDIDATES`: more stake takes the place of the least.
abstract contract Candidates is Governed, IRegistry {
    struct Standing {
        bool candidate;
        uint32 barredUntil; // the period with whose start it may become a candidate again
    }

    /// @inheritdoc IRegistry
    uint256 public constant MAX_CANDIDATES = 100;

    /// @inheritdoc IRegistry
    address public immutable committee;
    /// @inheritdoc IRegistry
    IStaking public immutable staking;

    mapping(uint32 nodeId => Standing) internal _standings;
    uint32[] private _candidates;

    /// @dev Reverts unless the sender is owner or operator of an existing node.
    modifier onlyOperator(uint32 nodeId) {
        _requireOperator(nodeId);
        _;
    }

    constructor(IStaking staking_) {
        if (address(staking_.registry()) != address(this)) revert InvalidParameter("staking");
        staking = staking_;
        committee = staking_.committee();
    }

    /// @inheritdoc IRegistry
    function leaveCandidates(uint32 nodeId) external onlyOperator(nodeId) {
        if (!_remove(nodeId)) revert NotCandidate(nodeId);
        emit NodeLeft(nodeId);
    }

    /// @inheritdoc IRegistry
    function becomeCandidate(uint32 nodeId) external pausable onlyOperator(nodeId) {
        Standing memory entry = _standings[nodeId];
        if (entry.candidate) revert AlreadyCandidate(nodeId);
        IEpochs clock = IEpochs(committee);
        if (clock.period() < entry.barredUntil && !clock.isStalled()) revert Barred(nodeId, entry.barredUntil);
        if (_candidates.length == MAX_CANDIDATES) _evictFor(staking.stakeOn(nodeId));
        _join(nodeId);
    }

    /// @inheritdoc IRegistry
    function removeCandidate(uint32 nodeId, uint32 barredUntil) external {
        if (msg.sender != committee) revert NotCommittee(msg.sender);
        _standings[nodeId].barredUntil = barredUntil;
        _remove(nodeId);
        emit CandidateRemoved(nodeId, barredUntil);
    }

    /// @inheritdoc IRegistry
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
