// SPDX-License-Identifier: Apache-2.0
pragma solidity ^0.8.30;

import {ICommittee} from "src/interfaces/ICommittee.sol";
import {Base} from "test/Base.t.sol";

/// @notice What every selection, replacement and start has to keep, whatever an attacker, time and honest nodes did: the
/// steps below try one each, and check it against what was there before. What is needed and what stands is worked out
/// here, not asked of the contract.
/// @dev Of 100 shards `f` is 33. An attacker's part `x` of the stake that is elected holds at most `x * (100 + members)`
/// of them. That is at most 33 with any `x` below `33 / 118` among at most 18 members: so with the budgets that are drawn,
/// while all honest stake stands. While honest nodes are away, by themselves or ejected by a quorum, the contract
/// promises no more than that the stake which is elected is what `_needed` says; so `f` is kept by an attacker with
/// less than `33 / 118` of that: two thirds of the stake elected last, or less the longer nothing was selected. Beyond
/// that the documents promise nothing, and only the rounding's bound is checked.
abstract contract CaptureChecks is Base {
    uint32 internal constant HONEST = 6;
    uint32 internal constant NODES = 18;
    uint256 internal constant F = 33;

    /// @dev By honest nodes themselves; they come back when they like.
    mapping(uint32 nodeId => bool) internal _hasLeft;
    /// @dev By a quorum, and it has not asked to stand again since.
    mapping(uint32 nodeId => bool) internal _isOut;
    /// @dev The period in which a node was ejected last, and that in which it therefore cannot be elected; 0 for none.
    mapping(uint32 nodeId => uint32 period) internal _ejectedIn;
    mapping(uint32 nodeId => uint32 period) internal _barredIn;

    mapping(uint32 epoch => uint256 stake) private _electedBy;
    bytes32 private _selection; // digest of the committee that was selected last

    /// @dev All that the attacker can ever stake.
    function _budget() internal view virtual returns (uint256);

    function _trySelect() internal {
        ICommittee.State memory state = committee.state();
        uint256[] memory stakes = _standing();
        uint256 needed = _needed(state);
        try committee.select() {}
        catch {
            return;
        }
        require(state.epoch == 0 || block.timestamp >= _selectableAt(state), "selected too early");
        ICommittee.CommitteeView memory shown = committee.committeeOf(state.epoch + 1);
        _selection = keccak256(abi.encode(shown));
        uint256 elected = _checkMembers(shown, stakes, state.period);
        _electedBy[state.epoch + 1] = elected;
        require(elected >= needed, "too little stake stands");
        (uint256 held,) = _heldByAttacker(shown);
        uint256 others;
        for (uint32 nodeId = 1; nodeId <= HONEST; ++nodeId) {
            others += stakes[nodeId];
        }
        uint256 most = SHARDS + shown.members.length;
        require(held * elected <= (elected - _min(others, elected)) * most, "more than rounding gives");
        if (_allStand() || _budget() * most <= F * needed) require(held <= F, "a third of the shards");
    }

    /// @dev A replacement takes from nobody but the ejected, gives no member more than half as many shards again as it had
    /// when the period began, rounded up, and leaves members that had two thirds of them then. The attacker gains at most
    /// the shards of honest members that were ejected: so it holds no third while it and they began with `f` at most. (Where
    /// they began with more, the documents promise the bound of half as many again alone.)
    function _tryReplace() internal {
        ICommittee.State memory state = committee.state();
        try committee.replace() {}
        catch {
            return;
        }
        ICommittee.CommitteeView memory regular = committee.committeeOf(state.firstEpoch);
        ICommittee.CommitteeView memory before = committee.committeeOf(state.epoch);
        ICommittee.CommitteeView memory shown = committee.committeeOf(state.epoch + 1);
        _selection = keccak256(abi.encode(shown));
        _electedBy[state.epoch + 1] = _electedBy[state.epoch];
        uint256 left;
        for (uint256 i; i < shown.members.length; ++i) {
            uint32 nodeId = shown.members[i].nodeId;
            uint256 began = _shardsIn(regular, nodeId).length;
            uint256 had = _shardsIn(before, nodeId).length;
            uint256 has = shown.members[i].shards.length;
            require(had != 0 && has >= had, "a member that stays loses nothing");
            require(_ejectedIn[nodeId] != state.period, "the ejected go");
            require(2 * has <= 3 * began + 1, "half as many again");
            left += began;
        }
        require(3 * left >= 2 * uint256(SHARDS), "two thirds");
        (uint256 began_, uint256 members) = _heldByAttacker(regular);
        (uint256 held,) = _heldByAttacker(shown);
        uint256 departed;
        for (uint256 i; i < regular.members.length; ++i) {
            uint32 nodeId = regular.members[i].nodeId;
            if (_shardsIn(shown, nodeId).length != 0) continue;
            require(_ejectedIn[nodeId] == state.period, "only the ejected go");
            if (nodeId <= HONEST) departed += regular.members[i].shards.length;
        }
        require(2 * held <= 3 * began_ + members, "half as many again, together");
        if (began_ + departed <= F) require(held <= F, "a third of the shards by a replacement");
    }

    /// @dev What was selected is what starts, after the notice, and a period after its full duration.
    function _tryStart() internal {
        ICommittee.State memory state = committee.state();
        try committee.start() {}
        catch {
            return;
        }
        require(keccak256(abi.encode(committee.committeeOf(state.epoch + 1))) == _selection, "another committee");
        if (state.epoch == 0) return;
        require(block.timestamp >= state.selectedAt + NOTICE_S, "started without notice");
        require(block.timestamp >= state.startedAt + GRACE_S, "started within the grace");
        if (!state.isReplacement) require(block.timestamp >= state.regularHandoverDone + EPOCH_S, "a short period");
    }

    /// @dev Who is elected stood, is worth a shard, and was not ejected in the period; who stands and is worth a shard is
    /// elected; and nothing but an ejection or its own leaving ends an honest candidacy. Returns the members' stake.
    function _checkMembers(ICommittee.CommitteeView memory shown, uint256[] memory stakes, uint32 period)
        private
        view
        returns (uint256 elected)
    {
        for (uint256 i; i < shown.members.length; ++i) {
            uint32 nodeId = shown.members[i].nodeId;
            require(period == 0 || _barredIn[nodeId] != period, "an ejected member is elected");
            elected += stakes[nodeId];
        }
        for (uint32 nodeId = 1; nodeId <= NODES; ++nodeId) {
            bool isMember = _shardsIn(shown, nodeId).length != 0;
            // Who is not elected would be worth less than a shard of its own stake and what is elected.
            uint256 others = isMember ? elected - stakes[nodeId] : elected;
            require((stakes[nodeId] * (SHARDS - 1) >= others) == isMember, "who is worth a shard is a member");
            bool isAway = nodeId > HONEST || _hasLeft[nodeId] || _isOut[nodeId];
            require(isAway || stakes[nodeId] != 0, "an honest candidacy has ended");
        }
    }

    /// @dev By node id, what stands for the next regular election; 0 for who is no candidate.
    function _standing() private view returns (uint256[] memory stakes) {
        stakes = new uint256[](NODES + 1);
        for (uint32 nodeId = 1; nodeId <= NODES; ++nodeId) {
            if (registry.node(nodeId).candidate) stakes[nodeId] = staking.stakeOn(nodeId);
        }
    }

    function _allStand() private view returns (bool) {
        for (uint32 nodeId = 1; nodeId <= HONEST; ++nodeId) {
            if (_hasLeft[nodeId] || _isOut[nodeId]) return false;
        }
        return true;
    }

    /// @dev Two thirds of the stake that elected the period's committee, and less the longer the selection waits.
    function _needed(ICommittee.State memory state) private view returns (uint256) {
        if (state.epoch == 0) return 0;
        uint256 selectableAt = _selectableAt(state);
        uint256 waited = block.timestamp < selectableAt ? 0 : block.timestamp - selectableAt;
        return waited >= SHRINK_S ? 0 : 2 * _electedBy[state.epoch] * (SHRINK_S - waited) / (3 * uint256(SHRINK_S));
    }

    function _selectableAt(ICommittee.State memory state) private pure returns (uint256) {
        return state.regularHandoverDone + EPOCH_S / 2;
    }

    function _heldByAttacker(ICommittee.CommitteeView memory shown)
        private
        pure
        returns (uint256 shards, uint256 members)
    {
        for (uint256 i; i < shown.members.length; ++i) {
            if (shown.members[i].nodeId <= HONEST) continue;
            shards += shown.members[i].shards.length;
            ++members;
        }
    }

    function _min(uint256 left, uint256 right) private pure returns (uint256) {
        return left < right ? left : right;
    }
}
