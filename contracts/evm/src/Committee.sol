// SPDX-License-Identifier: Apache-2.0
pragma solidity ^0.8.30;

import {BLS} from "solady/utils/ext/ithaca/BLS.sol";
import {FixedPointMathLib} from "solady/utils/FixedPointMathLib.sol";
import {Staking} from "./Staking.sol";
import {Assignment, Roster} from "./lib/Assignment.sol";
import {Bls} from "./lib/Bls.sol";
import {Messages} from "./lib/Messages.sol";
import {Roll, Rolls} from "./lib/Rolls.sol";
import {ShardSet} from "./lib/ShardSet.sol";

/// @title Epochs: who stores which shards, whether they have them, and what they signed.
/// @notice Each epoch has a committee that holds all shards. Half an epoch after a handover anyone may `select` the
/// next committee, after a full epoch anyone may `start` it; its members then fill the shards they gained and
/// `attest` them, until a quorum of the shards is kept or attested: the handover is done. If it is not within the
/// deadline, anyone may `close` it. Members are ordered by node id and weigh as many votes as they have shards.
contract Committee {
    using ShardSet for uint256[];

    /// @notice Where the epochs are.
    struct State {
        uint32 epoch;
        uint64 startedAt;
        /// @dev Number of the block that started the epoch; its hash salts the attestations.
        uint64 startedAtBlock;
        bool handoverDone;
        uint64 lastHandoverDone;
        /// @dev The epoch for which a committee is selected but not started; 0 if none.
        uint32 selectedEpoch;
    }

    /// @notice One member of a committee.
    struct MemberView {
        uint32 nodeId;
        string name;
        string networkAddress;
        /// @dev Compressed, 48 bytes.
        bytes publicKey;
        uint16[] shards;
    }

    /// @notice A committee, its members by ascending node id.
    struct CommitteeView {
        uint32 epoch;
        MemberView[] members;
    }

    struct Clock {
        uint32 epoch;
        uint48 startedAt;
        uint48 startedAtBlock;
        uint48 lastHandoverDone;
        bool handoverDone;
        uint32 selectedEpoch;
        uint16 heldCount; // shards kept or attested in this epoch
    }

    struct Attestation {
        bytes32 digest;
        uint32 count;
        uint32 epoch;
    }

    /// @notice The committee of `epoch` is elected and will not change any more, unless it is dropped.
    event CommitteeSelected(uint32 indexed epoch);
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

    /// @notice A constructor argument is out of bounds.
    error InvalidParameter(string name);
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
    /// @notice The epoch given is not, or no longer, one to act in.
    error WrongEpoch(uint32 given, uint32 current);
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
    /// @notice The signers' shards are fewer than needed.
    error NotEnoughWeight(uint256 weight, uint256 shards);
    /// @notice The signature is not that of the signers in the bitmap over this message.
    error BadSignature();

    /// @notice The registry that committees are elected from.
    Staking public immutable staking;
    /// @notice How many shards there are, 4 to 1000.
    uint16 public immutable nShards;
    /// @notice Seconds from the end of a handover to the next start.
    uint64 public immutable epochDuration;
    /// @notice Seconds from a start until its handover may be closed without a quorum.
    uint64 public immutable handoverDeadline;
    /// @notice Seconds after which a silent member may be ejected; for those who sign that, not for this contract.
    uint32 public immutable patience;
    /// @notice Tolerance band of the shard assignment, thousandths of a shard; 0 switches it off.
    uint32 public immutable bandMillis;

    uint256 private constant ROLLS = 3; // the previous committee's, the current's, the selected's: epoch modulo this
    uint64 private constant LONGEST_DURATION = 3650 days;

    Clock private _clock;
    Roll[ROLLS] private _rolls;
    mapping(uint256 word => uint256 bits) private _held; // the set of shards kept or attested in this epoch
    mapping(uint16 shard => Attestation) private _attestations;
    mapping(uint32 nodeId => uint32 epoch) private _ejectedIn;

    /// @param staking_ The registry, deployed for this contract's address.
    constructor(
        Staking staking_,
        uint16 nShards_,
        uint64 epochDuration_,
        uint64 handoverDeadline_,
        uint32 patience_,
        uint32 bandMillis_
    ) {
        Bls.requirePrecompiles();
        if (staking_.committee() != address(this)) revert InvalidParameter("staking");
        if (nShards_ < 4 || nShards_ > 1000) revert InvalidParameter("nShards");
        if (epochDuration_ == 0 || epochDuration_ > LONGEST_DURATION) revert InvalidParameter("epochDuration");
        if (handoverDeadline_ == 0 || handoverDeadline_ > LONGEST_DURATION) {
            revert InvalidParameter("handoverDeadline");
        }
        staking = staking_;
        nShards = nShards_;
        epochDuration = epochDuration_;
        handoverDeadline = handoverDeadline_;
        patience = patience_;
        bandMillis = bandMillis_;
        _clock.handoverDone = true; // before the first epoch nothing is to be handed over
    }

    /// @notice Elects the next epoch's committee from the candidates as they are now. Anyone may, from half an epoch
    /// after the last handover on; before the first epoch at once.
    function select() external {
        Clock memory clock = _clock;
        if (clock.selectedEpoch != 0) revert AlreadySelected(clock.selectedEpoch);
        if (!clock.handoverDone) revert HandoverNotDone(clock.epoch);
        _notBefore(clock, epochDuration / 2);
        (uint32[] memory nodeIds, uint256[] memory stakes) = staking.candidates();
        Roster memory previous;
        if (clock.epoch != 0) previous = Rolls.read(_roll(clock.epoch));
        Roster memory next = Assignment.elect(previous, nodeIds, stakes, nShards, bandMillis);
        uint32 selected = clock.epoch + 1;
        _rolls[selected % ROLLS] = Rolls.write(next, staking.keysOf(next.nodeIds));
        _clock.selectedEpoch = selected;
        emit CommitteeSelected(selected);
    }

    /// @notice Starts the selected epoch. Anyone may, from a full epoch after the last handover on.
    function start() external {
        Clock memory clock = _clock;
        if (clock.selectedEpoch == 0) revert NotSelected(clock.epoch + 1);
        _notBefore(clock, epochDuration);
        clock.epoch = clock.selectedEpoch;
        clock.selectedEpoch = 0;
        clock.startedAt = uint48(block.timestamp);
        clock.startedAtBlock = uint48(block.number);
        clock.handoverDone = false;
        uint256[] memory kept = _keptShards(clock.epoch);
        for (uint256 word; word < kept.length; ++word) {
            _held[word] = kept[word];
        }
        clock.heldCount = uint16(kept.size());
        emit EpochStarted(clock.epoch);
        _finishAtQuorum(clock);
        _clock = clock;
    }

    /// @notice The sender's node has, durably, its slivers of every live certified blob for shards that it gained in
    /// this epoch. Possible until the next start, after the handover too.
    /// @param epoch_ The current epoch.
    /// @param shards Gained by the sender's node and not attested yet.
    /// @param digests Per shard the digest that binds the node to the bytes.
    /// @param counts Per shard the number of blobs in it.
    function attest(uint32 epoch_, uint16[] calldata shards, bytes32[] calldata digests, uint32[] calldata counts)
        external
    {
        Clock memory clock = _clock;
        if (epoch_ != clock.epoch || epoch_ == 0) revert WrongEpoch(epoch_, clock.epoch);
        if (shards.length != digests.length || shards.length != counts.length) revert LengthMismatch();
        uint32 nodeId = staking.nodeOf(msg.sender);
        uint16[] memory owned = Rolls.shardsOf(_roll(epoch_), nodeId);
        if (owned.length == 0) revert NotAMember(nodeId, epoch_);
        uint256[] memory own = ShardSet.empty(nShards);
        own.add(owned, owned.length);
        uint256[] memory kept = ShardSet.empty(nShards);
        kept.add(owned, _keptCount(nodeId, epoch_, owned.length));
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
        uint256 deadline = clock.startedAt + handoverDeadline;
        if (block.timestamp < deadline) revert TooEarly(deadline);
        Roster memory roster = Rolls.read(_roll(clock.epoch));
        uint256[] memory held = _heldShards();
        uint32[] memory late = new uint32[](roster.nodeIds.length);
        uint256 lateCount;
        for (uint256 i; i < late.length; ++i) {
            if (held.containsAll(roster.shards[i])) continue;
            late[lateCount++] = roster.nodeIds[i];
            staking.removeCandidate(roster.nodeIds[i], uint64(block.timestamp) + epochDuration);
        }
        assembly ("memory-safe") {
            mstore(late, lateCount)
        }
        emit HandoverClosed(clock.epoch, late);
        _finish(clock);
        _clock = clock;
    }

    /// @notice Ends the candidacy of a member that does not answer. Anyone may, with a certificate of this epoch by a
    /// quorum; once per node and epoch. A committee selected with the node is selected anew.
    /// @param nodeId A member of the current or the selected committee.
    /// @param reason 1: does not answer. Part of what was signed.
    function eject(uint32 nodeId, uint8 reason, bytes calldata bitmap, bytes calldata signature) external {
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

    /// @notice Who signed a message, in shards; the caller judges whether that is enough. Reverts unless the
    /// certificate is of the current epoch, or of the one before while the handover is not done, and its signature
    /// holds.
    /// @param bitmap The signers: one bit per member in the committee's order, least significant bit first.
    /// @param signature Aggregate of all signers', in EIP-2537's form, 256 bytes.
    function verify(uint32 epoch_, uint8 intent, bytes memory body, bytes memory bitmap, bytes memory signature)
        public
        view
        returns (uint256 weight)
    {
        uint32 current = _clock.epoch;
        bool isAccepted = epoch_ == current || (_isBefore(epoch_, current) && !_clock.handoverDone);
        if (epoch_ == 0 || !isAccepted) revert WrongEpoch(epoch_, current);
        BLS.G1Point memory key;
        (key, weight) = Rolls.signers(_roll(epoch_).members, nShards, bitmap);
        if (!Bls.verify(key, Messages.encode(intent, epoch_, domain(), body), signature)) revert BadSignature();
    }

    /// @notice What every signed message carries: keccak256(abi.encode(chain id, this contract)).
    function domain() public view returns (bytes32) {
        return Messages.domainOf(address(this));
    }

    /// @notice The current epoch; 0 before the first.
    function epoch() external view returns (uint32) {
        return _clock.epoch;
    }

    /// @notice Where the epochs are.
    function state() external view returns (State memory) {
        Clock memory clock = _clock;
        return State({
            epoch: clock.epoch,
            startedAt: clock.startedAt,
            startedAtBlock: clock.startedAtBlock,
            handoverDone: clock.handoverDone,
            lastHandoverDone: clock.lastHandoverDone,
            selectedEpoch: clock.selectedEpoch
        });
    }

    /// @notice The committee of the previous, the current or the selected epoch. Reverts for any other.
    function committee(uint32 epoch_) public view returns (CommitteeView memory shown) {
        Clock memory clock = _clock;
        bool isRecent = epoch_ == clock.epoch || _isBefore(epoch_, clock.epoch) || epoch_ == clock.selectedEpoch;
        if (epoch_ == 0 || !isRecent) revert WrongEpoch(epoch_, clock.epoch);
        Roster memory roster = Rolls.read(_roll(epoch_));
        shown.epoch = epoch_;
        shown.members = new MemberView[](roster.nodeIds.length);
        for (uint256 i; i < shown.members.length; ++i) {
            Staking.NodeView memory node = staking.node(roster.nodeIds[i]);
            shown.members[i] = MemberView({
                nodeId: node.nodeId,
                name: node.name,
                networkAddress: node.networkAddress,
                publicKey: node.publicKey,
                shards: roster.shards[i]
            });
        }
    }

    /// @notice The three committees there can be; of one that there is not, the epoch is 0.
    function committees()
        external
        view
        returns (CommitteeView memory previous, CommitteeView memory current, CommitteeView memory next)
    {
        Clock memory clock = _clock;
        if (clock.epoch > 1) previous = committee(clock.epoch - 1);
        if (clock.epoch > 0) current = committee(clock.epoch);
        if (clock.selectedEpoch > 0) next = committee(clock.selectedEpoch);
    }

    /// @notice What was attested of a shard in the current epoch.
    function attestation(uint16 shard) public view returns (bool done, bytes32 digest, uint32 count) {
        Attestation memory entry = _attestations[shard];
        if (entry.epoch != 0 && entry.epoch == _clock.epoch) return (true, entry.digest, entry.count);
    }

    /// @notice The shards attested in the current epoch, ascending; without those that are kept.
    function attestedShards() external view returns (uint16[] memory shards) {
        shards = new uint16[](nShards);
        uint256 count;
        for (uint16 shard; shard < nShards; ++shard) {
            (bool done,,) = attestation(shard);
            if (done) shards[count++] = shard;
        }
        assembly ("memory-safe") {
            mstore(shards, count)
        }
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

    /// @dev All shards whose owner in an epoch is the one it was before.
    function _keptShards(uint32 epoch_) private view returns (uint256[] memory kept) {
        Roster memory roster = Rolls.read(_roll(epoch_));
        kept = ShardSet.empty(nShards);
        for (uint256 i; i < roster.nodeIds.length; ++i) {
            uint16[] memory owned = roster.shards[i];
            kept.add(owned, _keptCount(roster.nodeIds[i], epoch_, owned.length));
        }
    }

    /// @dev How many of its shards a member had before. They are the first of its list: members give up from the tail
    /// and gain at the tail. In the first epoch, with no blob to be handed over, all count as kept.
    function _keptCount(uint32 nodeId, uint32 epoch_, uint256 owned) private view returns (uint256) {
        if (epoch_ == 1) return owned;
        return FixedPointMathLib.min(owned, Rolls.weightOf(_roll(epoch_ - 1), nodeId));
    }

    function _heldShards() private view returns (uint256[] memory held) {
        held = ShardSet.empty(nShards);
        for (uint256 word; word < held.length; ++word) {
            held[word] = _held[word];
        }
    }

    function _isMember(uint32 nodeId, uint32 epoch_) private view returns (bool) {
        return Rolls.weightOf(_roll(epoch_), nodeId) != 0;
    }

    function _roll(uint32 epoch_) private view returns (Roll storage) {
        return _rolls[epoch_ % ROLLS];
    }

    function _isBefore(uint32 epoch_, uint32 next) private pure returns (bool) {
        return uint256(epoch_) + 1 == next;
    }

    function _isQuorum(uint256 weight) private view returns (bool) {
        return 3 * weight >= 2 * uint256(nShards) + 1;
    }
}
