// SPDX-License-Identifier: Apache-2.0
pragma solidity ^0.8.30;

import {FixedPointMathLib} from "solady/utils/FixedPointMathLib.sol";
import {Epochs} from "./Epochs.sol";
import {Governed} from "./Governed.sol";
import {Staking} from "./Staking.sol";
import {Assignment, Roster} from "./lib/Assignment.sol";
import {Messages} from "./lib/Messages.sol";
import {Roll, Rolls} from "./lib/Rolls.sol";
import {ShardSet} from "./lib/ShardSet.sol";

/// @title Epochs: who stores which shards, and whether they have them.
/// @notice Each epoch has a committee that holds all shards. Half an epoch after a handover anyone may `select` the
/// next committee, after a full epoch anyone may `start` it; its members then fill the shards they gained and
/// `attest` them, until a quorum of the shards is kept or attested: the handover is done. If it is not within the
/// deadline, anyone may `close` it. None of these can be paused.
contract Committee is Epochs {
    using ShardSet for uint256[];

    struct Attestation {
        bytes32 digest;
        uint32 count;
        uint32 epoch;
    }

    /// @notice The committee of `epoch` is elected and will not change any more, unless it is dropped. It stands in the
    /// code of two contracts, as `Roll` in lib/Rolls.sol says.
    event CommitteeSelected(uint32 indexed epoch, address members, address shards);
    /// @notice The selected committee is void, one of its members having been ejected; it may be selected again.
    event SelectionDropped(uint32 indexed epoch);
    /// @notice `epoch` is the current epoch; its members fill the shards that they gained.
    event EpochStarted(uint32 indexed epoch);
    /// @notice A member has, durably, the bytes of these shards.
    event ShardsAttested(
        uint32 indexed epoch, uint32 indexed nodeId, uint16[] shards, bytes32[] digests, uint32[] counts
    );
    /// @notice A quorum of the shards is kept or attested, or the handover was closed.
    event HandoverDone(uint32 indexed epoch);
    /// @notice The deadline passed without a quorum; these nodes had not attested all that they gained.
    event HandoverClosed(uint32 indexed epoch, uint32[] nodeIds);
    /// @notice A quorum found that a member does not answer.
    event MemberEjected(uint32 indexed epoch, uint32 indexed nodeId, uint8 reason);

    /// @notice Possible from `availableAt` on, seconds.
    error TooEarly(uint256 availableAt);
    /// @notice The committee of this epoch is selected.
    error AlreadySelected(uint32 epoch);
    /// @notice The committee of this epoch is not selected yet.
    error NotSelected(uint32 epoch);
    /// @notice The handover of the current epoch comes first.
    error HandoverNotDone(uint32 epoch);
    /// @notice There is no handover to close.
    error HandoverIsDone(uint32 epoch);
    /// @notice The node is not a member in this epoch.
    error NotAMember(uint32 nodeId, uint32 epoch);
    /// @notice Shards, digests and counts are lists of one length.
    error LengthMismatch();
    /// @notice The shard belongs to another member, or does not exist.
    error NotYourShard(uint16 shard);
    /// @notice The member had the shard before; there is nothing to attest.
    error ShardIsKept(uint16 shard);
    /// @notice The shard is attested in this epoch.
    error AlreadyAttested(uint16 shard);
    /// @notice The node was ejected once in this epoch.
    error AlreadyEjected(uint32 nodeId, uint32 epoch);

    mapping(uint16 shard => Attestation) private _attestations;
    mapping(uint32 nodeId => uint32 epoch) private _ejectedIn;

    /// @dev Parameters as in `Epochs` and `Governed`.
    constructor(Staking staking_, uint16 nShards_, Parameters memory parameters_, address governor_, address guardian_)
        Governed(governor_, guardian_)
        Epochs(staking_, nShards_, parameters_)
    {}

    /// @notice Elects the next epoch's committee from the candidates as they are now. Anyone may, from half an epoch
    /// after the last handover on; before the first epoch at once.
    function select() external {
        Clock memory clock = _clock;
        if (clock.selectedEpoch != 0) revert AlreadySelected(clock.selectedEpoch);
        if (!clock.handoverDone) revert HandoverNotDone(clock.epoch);
        _notBefore(clock, parameters.epochDuration / 2);
        (uint32[] memory nodeIds, uint256[] memory stakes) = staking.candidates();
        Roster memory previous;
        if (clock.epoch != 0) previous = Rolls.read(_rolls[clock.epoch]);
        (Roster memory next,) = Assignment.elect(previous, nodeIds, stakes, nShards, parameters.bandMillis);
        uint32 selected = clock.epoch + 1;
        Roll memory roll = Rolls.write(next, staking.keysOf(next.nodeIds, selected));
        _rolls[selected] = roll;
        _clock.selectedEpoch = selected;
        emit CommitteeSelected(selected, roll.members, roll.shards);
    }

    /// @notice Starts the selected epoch. Anyone may, from a full epoch after the last handover on.
    function start() external {
        Clock memory clock = _clock;
        if (clock.selectedEpoch == 0) revert NotSelected(clock.epoch + 1);
        _notBefore(clock, parameters.epochDuration);
        uint256[] memory missing = _missingSet(clock.epoch);
        if (missing.size() != 0) _missing[clock.epoch] = missing;
        clock.epoch = clock.selectedEpoch;
        clock.selectedEpoch = 0;
        clock.startedAt = uint48(block.timestamp);
        clock.startedAtBlock = uint48(block.number);
        clock.handoverDone = false;
        uint256[] memory kept = _keptShards(clock.epoch, missing);
        for (uint256 word; word < kept.length; ++word) {
            _held[word] = kept[word];
        }
        clock.heldCount = uint16(kept.size());
        emit EpochStarted(clock.epoch);
        _finishAtQuorum(clock);
        _clock = clock;
    }

    /// @notice The sender's node has, durably, its slivers of every live certified blob for shards that it gained in
    /// this epoch, or gained in the one before and did not attest. Possible until the next start, after the handover
    /// too. The node's operator only.
    /// @param epoch_ The current epoch.
    /// @param shards Of the sender's node, to be attested and not attested yet.
    /// @param digests Per shard the digest that binds the node to the bytes.
    /// @param counts Per shard the number of blobs in it.
    function attest(uint32 epoch_, uint16[] calldata shards, bytes32[] calldata digests, uint32[] calldata counts)
        external
    {
        Clock memory clock = _clock;
        if (epoch_ != clock.epoch || epoch_ == 0) revert WrongEpoch(epoch_, clock.epoch);
        if (shards.length != digests.length || shards.length != counts.length) revert LengthMismatch();
        uint32 nodeId = staking.nodeOf(msg.sender);
        uint16[] memory owned = Rolls.shardsOf(_rolls[epoch_], nodeId);
        if (owned.length == 0) revert NotAMember(nodeId, epoch_);
        uint256[] memory own = ShardSet.empty(nShards);
        own.add(owned, owned.length);
        uint256[] memory kept = ShardSet.empty(nShards);
        kept.add(owned, _keptCount(nodeId, epoch_, owned.length));
        kept.subtract(_missing[epoch_ - 1]);
        for (uint256 i; i < shards.length; ++i) {
            uint16 shard = shards[i];
            if (!own.contains(shard)) revert NotYourShard(shard);
            if (kept.contains(shard)) revert ShardIsKept(shard);
            if (_attestations[shard].epoch == epoch_) revert AlreadyAttested(shard);
            _attestations[shard] = Attestation({digest: digests[i], count: counts[i], epoch: epoch_});
            _held[shard >> 8] |= 1 << (shard & 0xff);
        }
        clock.heldCount += uint16(shards.length);
        emit ShardsAttested(epoch_, nodeId, shards, digests, counts);
        _finishAtQuorum(clock);
        _clock = clock;
    }

    /// @notice Ends a handover that has no quorum at its deadline. Anyone may. Members that have not attested all that
    /// they gained are no candidates any more and may not come back for an epoch's duration, in which the next
    /// committee is selected; if nobody else stands, that wait is all that it costs.
    function close() external {
        Clock memory clock = _clock;
        if (clock.handoverDone) revert HandoverIsDone(clock.epoch);
        uint256 deadline = clock.startedAt + parameters.handoverDeadline;
        if (block.timestamp < deadline) revert TooEarly(deadline);
        Roster memory roster = Rolls.read(_rolls[clock.epoch]);
        uint256[] memory missing = _missingSet(clock.epoch);
        uint32[] memory late = new uint32[](roster.nodeIds.length);
        uint256 lateCount;
        for (uint256 i; i < late.length; ++i) {
            if (missing.containsAny(roster.shards[i])) late[lateCount++] = roster.nodeIds[i];
        }
        assembly ("memory-safe") {
            mstore(late, lateCount)
        }
        emit HandoverClosed(clock.epoch, late);
        _finish(clock);
        _clock = clock;
        uint64 barredUntil = uint64(block.timestamp) + parameters.epochDuration;
        for (uint256 i; i < late.length; ++i) {
            staking.removeCandidate(late[i], barredUntil);
        }
    }

    /// @notice Ends the candidacy of a member that does not answer. Anyone may, with a certificate of this epoch by a
    /// quorum; once per node and epoch. A committee selected with the node is selected anew.
    /// @param nodeId A member of the current or the selected committee.
    /// @param reason 1: does not answer. Part of what was signed.
    function eject(uint32 nodeId, uint8 reason, bytes calldata bitmap, bytes calldata signature) external pausable {
        Clock memory clock = _clock;
        uint32 current = clock.epoch;
        if (current == 0) revert WrongEpoch(0, 0);
        bool isSelected = clock.selectedEpoch != 0 && _isMember(nodeId, clock.selectedEpoch);
        if (!isSelected && !_isMember(nodeId, current)) revert NotAMember(nodeId, current);
        if (_ejectedIn[nodeId] == current) revert AlreadyEjected(nodeId, current);
        uint256 weight = verify(current, Messages.EJECT, Messages.ejection(nodeId, reason), bitmap, signature);
        if (!_isQuorum(weight)) revert NotEnoughWeight(weight, nShards);
        _ejectedIn[nodeId] = current;
        emit MemberEjected(current, nodeId, reason);
        if (isSelected) {
            _clock.selectedEpoch = 0;
            emit SelectionDropped(clock.selectedEpoch);
        }
        staking.removeCandidate(nodeId, 0);
    }

    /// @notice What was attested of a shard in the current epoch.
    function attestation(uint16 shard) public view returns (bool done, bytes32 digest, uint32 count) {
        Attestation memory entry = _attestations[shard];
        if (entry.epoch != 0 && entry.epoch == _clock.epoch) return (true, entry.digest, entry.count);
    }

    /// @notice The shards attested in the current epoch, ascending; without those that are kept.
    function attestedShards() external view returns (uint16[] memory) {
        uint256[] memory attested = ShardSet.empty(nShards);
        for (uint16 shard; shard < nShards; ++shard) {
            (bool done,,) = attestation(shard);
            if (done) attested[shard >> 8] |= 1 << (shard & 0xff);
        }
        return attested.toList();
    }

    /// @inheritdoc Governed
    function isPausable(bytes4 selector) public pure override returns (bool) {
        return selector == this.eject.selector;
    }

    function _finishAtQuorum(Clock memory clock) private {
        if (!clock.handoverDone && _isQuorum(clock.heldCount)) _finish(clock);
    }

    function _finish(Clock memory clock) private {
        clock.handoverDone = true;
        clock.lastHandoverDone = uint48(block.timestamp);
        emit HandoverDone(clock.epoch);
    }

    function _notBefore(Clock memory clock, uint256 delay) private view {
        uint256 availableAt = clock.epoch == 0 ? 0 : clock.lastHandoverDone + delay;
        if (block.timestamp < availableAt) revert TooEarly(availableAt);
    }

    /// @dev All shards whose owner in an epoch is the one it was before, but for those it did not attest there.
    function _keptShards(uint32 epoch_, uint256[] memory missing) private view returns (uint256[] memory kept) {
        Roster memory roster = Rolls.read(_rolls[epoch_]);
        kept = ShardSet.empty(nShards);
        for (uint256 i; i < roster.nodeIds.length; ++i) {
            uint16[] memory owned = roster.shards[i];
            kept.add(owned, _keptCount(roster.nodeIds[i], epoch_, owned.length));
        }
        kept.subtract(missing);
    }

    /// @dev How many of its shards a member had before. They are the first of its list: members give up from the tail
    /// and gain at the tail. In the first epoch, with no blob to be handed over, all count as kept.
    function _keptCount(uint32 nodeId, uint32 epoch_, uint256 owned) private view returns (uint256) {
        if (epoch_ == 1) return owned;
        return FixedPointMathLib.min(owned, Rolls.weightOf(_rolls[epoch_ - 1], nodeId));
    }
}
