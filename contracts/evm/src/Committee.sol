// SPDX-License-Identifier: Apache-2.0
pragma solidity ^0.8.30;

import {FixedPointMathLib} from "solady/utils/FixedPointMathLib.sol";
import {Earnings} from "./Earnings.sol";
import {Election} from "./Election.sol";
import {Epochs} from "./Epochs.sol";
import {Governed} from "./Governed.sol";
import {ICommittee} from "./interfaces/ICommittee.sol";
import {IRegistry} from "./interfaces/IRegistry.sol";
import {Roster} from "./lib/Assignment.sol";
import {Messages} from "./lib/Messages.sol";
import {Roll, Rolls} from "./lib/Rolls.sol";
import {ShardSet} from "./lib/ShardSet.sol";
import {Votes} from "./lib/Votes.sol";

/// @title Epochs: who stores which shards, and whether they have them.
/// @notice Each epoch has a committee that holds all shards. Half a period after a period's handover anyone may `select`
/// the next period's committee, after a full one anyone may `start` it; its members then fill the shards they gained and
/// `attest` them, until a quorum of the shards is kept or attested: the handover is done. If it is not within the
/// deadline, anyone may `close` it. Within a period anyone may `replace` members that were ejected: the others get their
/// shards, with the start of another epoch. None of these can be paused. Where too little stake stands for a selection
/// the committee in office stays, with its shards and certificates.
contract Committee is Earnings {
    using ShardSet for uint256[];

    struct Attestation {
        bytes32 digest;
        uint32 count;
        uint32 epoch;
        uint40 attestedAt;
    }

    /// @inheritdoc ICommittee
    uint8 public constant MAX_REPLACEMENTS = 16;

    /// @inheritdoc ICommittee
    Opening public opening;

    Election private immutable _election = new Election();

    mapping(uint16 shard => Attestation) private _attestations;

    modifier onlyProofs() {
        if (msg.sender != staking.proofs()) revert NotProofs(msg.sender);
        _;
    }

    /// @dev Parameters as in `Epochs` and `Governed`.
    constructor(
        IRegistry registry_,
        uint16 nShards_,
        Parameters memory parameters_,
        Opening memory opening_,
        address governor_,
        address guardian_
    ) Governed(governor_, guardian_) Epochs(registry_, nShards_, parameters_) {
        if (opening_.duration > LONGEST_DURATION) revert InvalidParameter("opening");
        opening = opening_;
    }

    /// @inheritdoc ICommittee
    function select() external {
        Clock memory clock = _clock;
        _requireNoSelection(clock);
        _notBefore(_selectableAt(clock));
        (Roll memory roll, uint256 stake, uint256 members) =
            _election.elect(_terms[clock.epoch].roll, registry, clock.period + 1, nShards, parameters.bandMillis);
        uint256 needed = stakeNeeded();
        if (stake < needed) revert NotEnoughStake(stake, needed);
        if (_isOpening(clock) && members < opening.members) revert NotEnoughMembers(members, opening.members);
        _select(clock, roll, stake, false);
    }

    /// @inheritdoc ICommittee
    function replace() external {
        Clock memory clock = _clock;
        _requireNoSelection(clock);
        if (_records[clock.epoch].firstEjection == 0) revert NothingToReplace(clock.epoch);
        if (clock.replacements == MAX_REPLACEMENTS) revert TooManyReplacements(MAX_REPLACEMENTS);
        uint256 due = _dueAt(clock);
        if (block.timestamp + parameters.notice >= due) _notBefore(due + parameters.notice);
        Term storage term = _terms[clock.epoch];
        Roll memory regular = _terms[clock.epoch - clock.replacements].roll;
        _select(clock, _election.replace(regular, term.roll, _departed(clock.epoch), nShards), term.stake, true);
    }

    /// @inheritdoc ICommittee
    function stakeNeeded() public view returns (uint256) {
        Clock memory clock = _clock;
        if (clock.epoch == 0) return _isOpening(clock) ? opening.stake : 0;
        uint256 selectableAt = _selectableAt(clock);
        uint256 waited = block.timestamp < selectableAt ? 0 : block.timestamp - selectableAt;
        uint256 longest = parameters.shrinkDuration;
        if (waited >= longest) return 0;
        return 2 * uint256(_terms[clock.epoch].stake) * (longest - waited) / (3 * longest);
    }

    /// @inheritdoc ICommittee
    function start() external {
        Clock memory clock = _clock;
        if (clock.selectedEpoch == 0) revert NotSelected(clock.epoch + 1);
        Term storage term = _terms[clock.selectedEpoch];
        if (clock.epoch != 0) {
            if (!clock.isReplacement) _notBefore(_dueAt(clock));
            _notBefore(uint256(term.selectedAt) + parameters.notice);
            _notBefore(uint256(clock.startedAt) + parameters.certificateGrace);
        }
        uint256[] memory missing = _missingSet(clock.epoch);
        if (missing.size() != 0) _missing[clock.epoch] = missing;
        term.startedAt = uint40(block.timestamp);
        if (clock.isReplacement) term.from = uint16(_partsPassed(clock));
        clock.epoch = clock.selectedEpoch;
        _turnPeriod(clock);
        clock.selectedEpoch = 0;
        clock.isReplacement = false;
        clock.startedAt = uint40(block.timestamp);
        clock.startedAtBlock = uint40(block.number);
        clock.handoverDone = false;
        uint256[] memory kept = _keptShards(clock.epoch, missing);
        for (uint256 word; word < kept.length; ++word) {
            _held[word] = kept[word];
        }
        clock.heldCount = uint16(kept.size());
        emit EpochStarted(clock.epoch, clock.period);
        _finishAtQuorum(clock);
        _clock = clock;
    }

    /// @inheritdoc ICommittee
    function attest(uint32 epoch_, uint16[] calldata shards, bytes32[] calldata digests, uint32[] calldata counts)
        external
    {
        Clock memory clock = _clock;
        if (epoch_ != clock.epoch || epoch_ == 0) revert WrongEpoch(epoch_, clock.epoch);
        if (shards.length != digests.length || shards.length != counts.length) revert LengthMismatch();
        uint32 nodeId = registry.nodeOf(msg.sender);
        uint16[] memory owned = Rolls.shardsOf(_terms[epoch_].roll, nodeId);
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
            _attestations[shard] =
                Attestation({digest: digests[i], count: counts[i], epoch: epoch_, attestedAt: uint40(block.timestamp)});
            _held[shard >> 8] |= 1 << (shard & 0xff);
        }
        clock.heldCount += uint16(shards.length);
        _enterAttested(clock, nodeId, shards.length);
        emit ShardsAttested(epoch_, nodeId, shards, digests, counts);
        _finishAtQuorum(clock);
        _clock = clock;
    }

    /// @inheritdoc ICommittee
    function close() external {
        Clock memory clock = _clock;
        if (clock.handoverDone) revert HandoverIsDone(clock.epoch);
        _notBefore(uint256(clock.startedAt) + parameters.handoverDeadline);
        emit HandoverClosed(clock.epoch);
        _finish(clock);
        _clock = clock;
    }

    /// @inheritdoc ICommittee
    function eject(uint32 nodeId, uint8 reason, uint64 deadline, bytes calldata bitmap, bytes calldata signature)
        external
        pausable
    {
        if (block.timestamp > deadline) revert EjectionTooLate(deadline);
        uint32 current = _remove(nodeId, reason);
        verify(current, Messages.EJECT, Messages.ejection(nodeId, reason, deadline), bitmap, signature);
    }

    /// @inheritdoc ICommittee
    function remove(uint32 nodeId, uint8 reason) external onlyProofs {
        _remove(nodeId, reason);
    }

    /// @inheritdoc ICommittee
    function forfeit(uint32 nodeId) external onlyProofs {
        _forfeit(_clock, nodeId);
    }

    /// @inheritdoc ICommittee
    function attestation(uint16 shard) public view returns (bool done, bytes32 digest, uint32 count) {
        Attestation memory entry = _attestations[shard];
        if (entry.epoch != 0 && entry.epoch == _clock.epoch) return (true, entry.digest, entry.count);
    }

    /// @inheritdoc ICommittee
    function heldSince(uint16 shard) external view returns (uint64 since, bool isAttested, bytes32 digest) {
        Clock memory clock = _clock;
        if (_held[shard >> 8] >> (shard & 0xff) & 1 == 0) return (0, false, 0);
        Attestation storage entry = _attestations[shard];
        if (entry.epoch != clock.epoch) return (clock.startedAt, false, 0);
        return (entry.attestedAt, true, entry.digest);
    }

    /// @inheritdoc ICommittee
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

    /// @dev Ends a member's candidacy until the next period, lets it be replaced and drops a selection with it.
    function _remove(uint32 nodeId, uint8 reason) private returns (uint32 current) {
        Clock memory clock = _clock;
        current = clock.epoch;
        if (current == 0) revert WrongEpoch(0, 0);
        bool isSelected = clock.selectedEpoch != 0 && _isMember(nodeId, clock.selectedEpoch);
        bool isInOffice = _isMember(nodeId, current);
        if (!isSelected && !isInOffice) revert NotAMember(nodeId, current);
        if (isEjected[current][nodeId]) revert AlreadyEjected(nodeId, current);
        isEjected[current][nodeId] = true;
        _forfeit(clock, nodeId);
        Record storage record = _records[current];
        if (record.firstEjection == 0 && isInOffice) record.firstEjection = uint40(block.timestamp);
        emit MemberEjected(current, nodeId, reason);
        if (isSelected) {
            (_clock.selectedEpoch, _clock.isReplacement) = (0, false);
            emit SelectionDropped(clock.selectedEpoch);
        }
        registry.removeCandidate(nodeId, clock.period + 1);
    }

    function _finishAtQuorum(Clock memory clock) private {
        if (!clock.handoverDone && clock.heldCount >= Votes.quorum(nShards)) _finish(clock);
    }

    function _finish(Clock memory clock) private {
        clock.handoverDone = true;
        if (clock.replacements == 0) clock.regularHandoverDone = uint40(block.timestamp);
        else _records[clock.epoch].handoverDone = uint40(block.timestamp);
        emit HandoverDone(clock.epoch);
    }

    /// @dev Enters an elected committee for the next epoch.
    function _select(Clock memory clock, Roll memory roll, uint256 stake, bool isReplacement) private {
        uint32 selected = clock.epoch + 1;
        _terms[selected] =
            Term({roll: roll, stake: uint160(stake), selectedAt: uint40(block.timestamp), startedAt: 0, from: 0});
        (_clock.selectedEpoch, _clock.isReplacement) = (selected, isReplacement);
        (bytes memory members, bytes memory shards) = Rolls.lists(roll);
        emit CommitteeSelected(selected, clock.period + (isReplacement ? 0 : 1), stake, members, shards);
    }

    /// @dev The epoch is the next one now: one more of the period, or the first of the next.
    function _turnPeriod(Clock memory clock) private {
        if (clock.isReplacement) {
            ++clock.replacements;
        } else {
            clock.replacements = 0;
            firstEpochOf[++clock.period] = clock.epoch;
            parameters = nextParameters;
        }
    }

    function _requireNoSelection(Clock memory clock) private pure {
        if (clock.selectedEpoch != 0) revert AlreadySelected(clock.selectedEpoch);
        if (!clock.handoverDone) revert HandoverNotDone(clock.epoch);
    }

    /// @inheritdoc Epochs
    function _replaceableAt(Clock memory clock) internal view override returns (uint64) {
        uint64 ejected = _records[clock.epoch].firstEjection;
        bool isFree = clock.handoverDone && clock.selectedEpoch == 0 && clock.replacements < MAX_REPLACEMENTS;
        if (ejected == 0 || !isFree) return 0;
        Roll memory regular = _terms[clock.epoch - clock.replacements].roll;
        uint256 left = _election.shardsLeft(regular, _terms[clock.epoch].roll, _departed(clock.epoch));
        if (left < Votes.twoThirds(nShards)) return 0;
        return uint64(FixedPointMathLib.max(ejected, _lastHandoverDone(clock)));
    }

    /// @dev The members of an epoch that were ejected in it, one bit each in their order.
    function _departed(uint32 epoch_) private view returns (uint256 departed) {
        uint32[] memory nodeIds = Rolls.nodeIdsOf(_terms[epoch_].roll);
        for (uint256 i; i < nodeIds.length; ++i) {
            if (isEjected[epoch_][nodeIds[i]]) departed |= 1 << i;
        }
    }

    /// @dev From when on the next period may start.
    function _dueAt(Clock memory clock) private view returns (uint256) {
        return uint256(clock.regularHandoverDone) + parameters.periodDuration;
    }

    /// @dev From when on a selection is possible; far away while the handover is not done.
    function _selectableAt(Clock memory clock) private view returns (uint256) {
        if (clock.epoch == 0) return 0;
        return
            clock.handoverDone ? uint256(clock.regularHandoverDone) + parameters.periodDuration / 2 : type(uint256).max;
    }

    /// @dev Before the first epoch the last handover's end stands for the deployment.
    function _isOpening(Clock memory clock) private view returns (bool) {
        return clock.epoch == 0 && block.timestamp < uint256(clock.regularHandoverDone) + opening.duration;
    }

    function _notBefore(uint256 availableAt) private view {
        if (block.timestamp < availableAt) revert TooEarly(availableAt);
    }

    /// @dev All shards whose owner in an epoch is the one it was before, but for those it did not attest there.
    function _keptShards(uint32 epoch_, uint256[] memory missing) private view returns (uint256[] memory kept) {
        Roster memory roster = Rolls.read(_terms[epoch_].roll);
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
        return FixedPointMathLib.min(owned, Rolls.weightOf(_terms[epoch_ - 1].roll, nodeId));
    }
}
