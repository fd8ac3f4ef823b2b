// SPDX-License-Identifier: Apache-2.0
pragma solidity ^0.8.30;

import {IEpochs} from "./IEpochs.sol";
import {IRegistry} from "./IRegistry.sol";
import {IStaking} from "./IStaking.sol";

/// @title The committee contract: epochs and periods, who stores which shards, and who signed.
/// @notice An epoch is a committee's term. A period is what users pay for and what stake is elected for: a run of epochs,
/// the first of which begins with a regular election, each further one with the replacement of ejected members.
/// Members are ordered by node id and weigh as many votes as they have shards.
interface ICommittee is IEpochs {
    /// @notice Where the epochs are.
    struct State {
        uint32 epoch;
        uint32 period;
        /// @dev The epoch with which the period began.
        uint32 firstEpoch;
        uint64 startedAt;
        /// @dev Number of the block that started the epoch; its hash salts the attestations.
        uint64 startedAtBlock;
        bool handoverDone;
        /// @dev When the newest handover that is done was.
        uint64 lastHandoverDone;
        /// @dev When the handover with which the period began was done; while it is under way, that of the period before.
        uint64 regularHandoverDone;
        /// @dev The epoch for which a committee is selected but not started, and when it was selected; 0 if none is.
        uint32 selectedEpoch;
        uint64 selectedAt;
        /// @dev Whether the selected epoch is one of the current period.
        bool isReplacement;
        /// @dev Since when there have been members to replace; 0 if there are none, or `replace` is not possible for
        /// another reason than the time.
        uint64 replaceableAt;
        uint16 nShards;
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

    /// @notice What the governor can change. Seconds, but for the last.
    struct Parameters {
        /// @dev From the end of a period's handover to the start of the next period.
        uint32 periodDuration;
        /// @dev From a start until its handover may be closed without a quorum.
        uint32 handoverDeadline;
        /// @dev Time after which a silent member may be ejected. The members that sign an ejection go by it, this contract
        /// does not.
        uint32 patience;
        /// @dev Time from a start in which certificates of the epoch before still count, though the handover is done, and
        /// no other epoch starts.
        uint32 certificateGrace;
        /// @dev Least time from a selection to its start; the new owners of shards prefetch in it.
        uint32 notice;
        /// @dev Time in which the part of the elected stake that must stand for a selection falls from two thirds to nothing.
        uint32 shrinkDuration;
        /// @dev Tolerance band of the shard assignment, thousandths of a shard; 0 switches it off.
        uint32 bandMillis;
    }

    /// @notice What the first selection waits for: both members and stake, or the time.
    struct Opening {
        uint16 members;
        uint128 stake;
        /// @dev Seconds from the deployment.
        uint32 duration;
    }

    /// @notice The parameters are these from the start of `fromPeriod` on.
    event ParametersChanged(uint32 indexed fromPeriod, Parameters parameters);
    /// @notice The committee of `epoch` is elected and will not change any more, unless it is dropped. In a `period` that
    /// has begun already it is a replacement.
    /// @param stake What elected the period's first committee.
    /// @param members Six bytes for each, by ascending node id: the node id, and as two bytes where its part of the list of
    /// shards ends. They sign with the keys that they have in the period.
    /// @param shards The list of shards, two bytes each, member after member; big-endian, as all this is.
    event CommitteeSelected(uint32 indexed epoch, uint32 period, uint256 stake, bytes members, bytes shards);
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
    /// @notice A quorum found that a member does not answer, or the proofs' contract that it lacks what it should store.
    /// @param reason 1: does not answer. 2: missed two storage proofs in a row. 3: did not answer a demand.
    event MemberEjected(uint32 indexed epoch, uint32 indexed nodeId, uint8 reason);

    /// @notice The epoch given is not, or no longer, one to act in.
    error WrongEpoch(uint32 given, uint32 current);
    /// @notice The period given has not begun, or is none.
    error WrongPeriod(uint32 given, uint32 current);
    /// @notice The signers' shards are fewer than needed.
    error NotEnoughWeight(uint256 weight, uint256 needed);
    /// @notice The signature is not that of the signers in the bitmap over this message.
    error BadSignature();
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
    /// @notice Only the contract of the storage proofs may.
    error NotProofs(address account);
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

    /// @notice The registry that committees are elected from.
    function registry() external view returns (IRegistry);

    /// @notice The stake that elects them.
    function staking() external view returns (IStaking);

    /// @notice How many shards there are, 4 to 1000.
    function nShards() external view returns (uint16);

    /// @notice The parameters of the current period: they hold from its start to its end.
    function parameters()
        external
        view
        returns (
            uint32 periodDuration,
            uint32 handoverDeadline,
            uint32 patience,
            uint32 certificateGrace,
            uint32 notice,
            uint32 shrinkDuration,
            uint32 bandMillis
        );

    /// @notice The parameters of the periods to come.
    function nextParameters()
        external
        view
        returns (
            uint32 periodDuration,
            uint32 handoverDeadline,
            uint32 patience,
            uint32 certificateGrace,
            uint32 notice,
            uint32 shrinkDuration,
            uint32 bandMillis
        );

    /// @notice Whether a node was ejected in an epoch, for whichever reason.
    function isEjected(uint32 epoch_, uint32 nodeId) external view returns (bool);

    /// @notice The epoch with which a period began, 0 if it has not.
    function firstEpochOf(uint32 period_) external view returns (uint32);

    /// @notice Changes the parameters from the next period on. Governor only. No time may become longer than twice what it
    /// was deployed with, or shorter than half.
    function setParameters(Parameters calldata given) external;

    /// @notice Who signed a message, in shards. Reverts unless certificates of the epoch count, enough have signed for
    /// the intent, and the signature holds.
    /// @param bitmap The signers: one bit per member in the committee's order, least significant bit first.
    /// @param signature Aggregate of all signers', in EIP-2537's form, 256 bytes.
    function verify(uint32 epoch_, uint8 intent, bytes memory body, bytes memory bitmap, bytes memory signature)
        external
        view
        returns (uint256 weight);

    /// @notice As `verify`, for several messages that all have the same signers, with one signature: the aggregate of
    /// all signers' over all messages.
    function verifyMany(uint32 epoch_, uint8 intent, bytes[] memory bodies, bytes memory bitmap, bytes memory signature)
        external
        view
        returns (uint256 weight);

    /// @notice What every signed message carries: keccak256(abi.encode(chain id, this contract)).
    function domain() external view returns (bytes32);

    /// @notice The current epoch, 0 before the first.
    function epoch() external view returns (uint32);

    /// @notice Whether certificates of an epoch's committee count.
    function accepts(uint32 epoch_) external view returns (bool);

    /// @notice Where the epochs are.
    function state() external view returns (State memory);

    /// @notice The committee of an epoch that is selected, runs, or ran; with the addresses of today. Reverts for any other.
    function committeeOf(uint32 epoch_) external view returns (CommitteeView memory shown);

    /// @notice The member that has a shard in an epoch that is selected, runs, or ran; 0 if there is no such shard.
    /// Reverts for any other epoch.
    function ownerOf(uint32 epoch_, uint16 shard) external view returns (uint32);

    /// @notice A member's key, 128 bytes, and its shards, two bytes each, big-endian, in an epoch that is selected, runs, or
    /// ran; both empty for a node that is no member of it. Reverts for any other epoch.
    function memberOf(uint32 epoch_, uint32 nodeId) external view returns (bytes memory publicKey, bytes memory shards);

    /// @notice The three committees there can be; of one that there is not, the epoch is 0.
    function committees()
        external
        view
        returns (CommitteeView memory previous, CommitteeView memory current, CommitteeView memory next);

    /// @notice The shards that were neither kept nor attested at the end of an epoch, or are not yet in the current one;
    /// ascending. Their owners have them to attest in the next epoch.
    function missingShards(uint32 epoch_) external view returns (uint16[] memory);

    /// @notice What a shard earns in a period, if it is kept.
    function PARTS() external view returns (uint256);

    /// @notice The first period that cannot be paid yet: the current one, or, if that has stalled, the next.
    function payableUntil() external view returns (uint32);

    /// @notice Whether the next period is late by half of what it takes to stall.
    function isLate() external view returns (bool);

    /// @notice The parts that a node earned in a period; in the current one, if nothing changes.
    function earnings(uint32 period_, uint32 nodeId) external view returns (uint256 parts);

    /// @notice The parts that all members together earned in a period; in the current one, if nothing changes.
    function earned(uint32 period_) external view returns (uint256 parts);

    /// @notice How many times members can be replaced in a period; bounds what settling a period takes.
    function MAX_REPLACEMENTS() external view returns (uint8);

    /// @notice What the first selection waits for.
    function opening() external view returns (uint16 members, uint128 stake, uint32 duration);

    /// @notice Elects the next period's committee from the candidates as they are now. Anyone may, from half a period
    /// after the period's handover on, if the stake that is elected is at least `stakeNeeded`; before the first epoch
    /// once there is what the opening waits for.
    function select() external;

    /// @notice Elects a committee for the rest of the period: that in office without the members that were ejected,
    /// whose shards the others get. Stake that came since counts for nothing. Anyone may, up to `MAX_REPLACEMENTS` times
    /// in a period, while the members that stay held two thirds of the shards when it began. Not from the notice before
    /// the next period's start is due until the notice after: a regular selection starts no later then.
    function replace() external;

    /// @notice How much stake has to be elected in a selection made now. Two thirds of the stake that elected the
    /// period's committee, to begin with: so that no candidate takes over from members that are late, away or leaving. Then it
    /// falls to nothing, so slowly that a network which truly shrinks can follow.
    function stakeNeeded() external view returns (uint256);

    /// @notice Starts the selected epoch. Anyone may, no sooner after the selection than the notice, and when no
    /// certificate of the epoch before the current one counts any more; the first epoch at once. The next period starts
    /// no sooner than a full duration after this one's handover, and with the parameters that were set last.
    function start() external;

    /// @notice The sender's node has, durably, its slivers of every live certified blob for shards that it gained in
    /// this epoch, or gained in the one before and did not attest. Possible until the next start, after the handover
    /// too. The node's operator only.
    /// @param epoch_ The current epoch.
    /// @param shards Of the sender's node, to be attested and not attested yet.
    /// @param digests Per shard the digest that binds the node to the bytes.
    /// @param counts Per shard the number of blobs in it.
    function attest(uint32 epoch_, uint16[] calldata shards, bytes32[] calldata digests, uint32[] calldata counts)
        external;

    /// @notice Ends a handover that has no quorum at its deadline. Anyone may. The members that are late then weigh more
    /// than all that may be faulty, so it costs them no more than the pay for what they lack.
    function close() external;

    /// @notice Ends the candidacy of a member that does not answer until the next period has begun. Anyone may, with a
    /// certificate of this epoch by a quorum, before its deadline; once per node and epoch. A committee selected with the
    /// node is selected anew.
    /// @param nodeId A member of the current or the selected committee.
    /// @param reason 1: does not answer. Part of what was signed.
    /// @param deadline Seconds, the last at which the certificate counts. Part of what was signed.
    function eject(uint32 nodeId, uint8 reason, uint64 deadline, bytes calldata bitmap, bytes calldata signature)
        external;

    /// @notice Ejects a member as `eject` does, without a certificate. The proofs' contract only; never paused.
    /// @param reason 2 or 3, as in `MemberEjected`.
    function remove(uint32 nodeId, uint8 reason) external;

    /// @notice Has a member of the current epoch earn nothing for it. The proofs' contract only.
    function forfeit(uint32 nodeId) external;

    /// @notice Since when the owner of a shard has had it in the current epoch, seconds: since the epoch's start if it kept
    /// the shard, since the attestation if it attested it, in this epoch. 0 for a shard that is neither.
    /// @param shard One that there is.
    /// @return since Seconds.
    /// @return isAttested Whether it was attested in this epoch.
    /// @return digest What was attested.
    function heldSince(uint16 shard) external view returns (uint64 since, bool isAttested, bytes32 digest);

    /// @notice What was attested of a shard in the current epoch.
    function attestation(uint16 shard) external view returns (bool done, bytes32 digest, uint32 count);

    /// @notice The shards attested in the current epoch, ascending; without those that are kept.
    function attestedShards() external view returns (uint16[] memory);
}
