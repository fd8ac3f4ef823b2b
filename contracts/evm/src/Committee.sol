// SPDX-License-Identifier: Apache-2.0
pragma solidity ^0.8.30;

import {FixedPointMathLib} from "solady/utils/FixedPointMathLib.sol";
import {Earnings} from "./Earnings.sol";
import {Election} from "./Election.sol";
import {Epochs} from "./Epochs.sol";
import {Governed} from "./Governed.sol";
import {Registry} from "./Registry.sol";
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

    /// @notice What the first selection waits for: both members and stake, or the time.
    struct Opening {
        uint16 members;
        uint128 stake;
        /// @dev Seconds from the deployment.
        uint32 duration;
    }

    struct Attestation {
        bytes32 digest;
        uint32 count;
        uint32 epoch;
    }

    /// @notice The committee of `epoch` is elected and will not change any more, unless it is dropped. It stands in the
    /// code of two contracts, as `Roll` in lib/Rolls.sol says. In a `period` that has begun already it is a replacement.
    event CommitteeSelected(uint32 indexed epoch, uint32 period, address members, address shards);
    /// @notice The selected committee is void, one of its members having been ejected; it may be selected again.
    event SelectionDropped(uint32 indexed epoch);
    /// @notice `epoch` is the current epoch, in `period`; its members fill the shards that they gained.
    event EpochStarted(uint32 indexed epoch, uint32 period);
    /// @notice A member has, durably, the bytes of these shards.
    event ShardsAttested(
        uint32 indexed epoch, uint32 indexed nodeId, uint16[] shards, bytes32[] digests, uint32[] counts
    );
    /// @notice A quorum of the shards is kept or attested, or the handover was closed.
    event HandoverDone(uint32 indexed epoch);
    /// @notice The deadline passed without a quorum.
    event HandoverClosed(uint32 indexed epoch);
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
    /// @notice What was signed to eject the node was for use until `deadline`, seconds.
    error EjectionTooLate(uint64 deadline);
    /// @notice The stake that stands is less than a selection needs now (`stakeNeeded`).
    error NotEnoughStake(uint256 stake, uint256 needed);
    /// @notice The first committee has to have more members now.
    error NotEnoughMembers(uint256 members, uint256 needed);
    /// @notice No member in office was ejected in this epoch.
    error NothingToReplace(uint32 epoch);
    /// @notice Members were replaced `most` times in this period.
    error TooManyReplacements(uint256 most);

    /// @notice How many times members can be replaced in a period; bounds what settling a period takes.
    uint8 public constant MAX_REPLACEMENTS = 16;

    /// @notice What the first selection waits for.
    Opening public opening;

    Election private immutable _election = new Election();

    mapping(uint16 shard => Attestation) private _attestations;

    /// @dev Parameters as in `Epochs` and `Governed`.
    constructor(
        Registry registry_,
        uint16 nShards_,
        Parameters memory parameters_,
        Opening memory opening_,
        address governor_,
        address guardian_
    ) Governed(governor_, guardian_) Epochs(registry_, nShards_, parameters_) {
        if (opening_.duration > LONGEST_DURATION) revert InvalidParameter("opening");
        opening = opening_;
    }

    /// @notice Elects the next period's committee from the candidates as they are now. Anyone may, from half a period
    /// after the period's handover on, if the stake that is elected is at least `stakeNeeded`; before the first epoch
    /// once there is what the opening waits for.
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

    /// @notice Elects a committee for the rest of the period: that in office without the members that were ejected,
    /// whose shards the others get. Stake that came since counts for nothing. Anyone may, up to `MAX_REPLACEMENTS` times
    /// in a period, while the members that stay held two thirds of the shards when it began. Not from the notice before
    /// the next period's start is due until the notice after: a regular selection starts no later then.
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

    /// @notice How much stake has to be elected in a selection made now. Two thirds of the stake that elected the
    /// period's committee, to begin with: so that no candidate takes over from members that are late, away or leaving. Then it
    /// falls to nothing, so slowly that a network which truly shrinks can follow.
    function stakeNeeded() public view returns (uint256) {
        Clock memory clock = _clock;
        if (clock.epoch == 0) return _isOpening(clock) ? opening.stake : 0;
        uint256 selectableAt = _selectableAt(clock);
        uint256 waited = block.timestamp < selectableAt ? 0 : block.timestamp - selectableAt;
        uint256 longest = parameters.shrinkDuration;
        if (waited >= longest) return 0;
        return 2 * uint256(_terms[clock.epoch].stake) * (longest - waited) / (3 * longest);
    }

    /// @notice Starts the selected epoch. Anyone may, no sooner after the selection than the notice, and when no
    /// certificate of the epoch before the current one counts any more; the first epoch at once. The next period starts
    /// no sooner than a full duration after this one's handover, and with the parameters that were set last.
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
            _attestations[shard] = Attestation({digest: digests[i], count: counts[i], epoch: epoch_});
            _held[shard >> 8] |= 1 << (shard & 0xff);
        }
        clock.heldCount += uint16(shards.length);
        _enterAttested(clock, nodeId, shards.length);
        emit ShardsAttested(epoch_, nodeId, shards, digests, counts);
        _finishAtQuorum(clock);
        _clock = clock;
    }

    /// @notice Ends a handover that has no quorum at its deadline. Anyone may. The members that are late then weigh more
    /// than all that may be faulty, so it costs them no more than the pay for what they lack.
    function close() external {
        Clock memory clock = _clock;
        if (clock.handoverDone) revert HandoverIsDone(clock.epoch);
        _notBefore(uint256(clock.startedAt) + parameters.handoverDeadline);
        emit HandoverClosed(clock.epoch);
        _finish(clock);
        _clock = clock;
    }

    /// @notice Ends the candidacy of a member that does not answer until the next period has begun. Anyone may, with a
    /// certificate of this epoch by a quorum, before its deadline; once per node and epoch. A committee selected with the
    /// node is selected anew.
    /// @param nodeId A member of the current or the selected committee.
    /// @param reason 1: does not answer. Part of what was signed.
    /// @param deadline Seconds, the last at which the certificate counts. Part of what was signed.
    function eject(uint32 nodeId, uint8 reason, uint64 deadline, bytes calldata bitmap, bytes calldata signature)
        external
        pausable
    {
        if (block.timestamp > deadline) revert EjectionTooLate(deadline);
        Clock memory clock = _clock;
        uint32 current = clock.epoch;
        if (current == 0) revert WrongEpoch(0, 0);
        bool isSelected = clock.selectedEpoch != 0 && _isMember(nodeId, clock.selectedEpoch);
        bool isInOffice = _isMember(nodeId, current);
        if (!isSelected && !isInOffice) revert NotAMember(nodeId, current);
        if (isEjected[current][nodeId]) revert AlreadyEjected(nodeId, current);
        verify(current, Messages.EJECT, Messages.ejection(nodeId, reason, deadline), bitmap, signature);
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
        emit CommitteeSelected(selected, clock.period + (isReplacement ? 0 : 1), roll.members, roll.shards);
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
