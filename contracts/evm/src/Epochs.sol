// SPDX-License-Identifier: Apache-2.0
pragma solidity ^0.8.30;

import {BLS} from "solady/utils/ext/ithaca/BLS.sol";
import {Governed} from "./Governed.sol";
import {Registry} from "./Registry.sol";
import {Staking} from "./Staking.sol";
import {IEpochs} from "./interfaces/IEpochs.sol";
import {Roster} from "./lib/Assignment.sol";
import {Bls} from "./lib/Bls.sol";
import {Messages} from "./lib/Messages.sol";
import {Roll, Rolls} from "./lib/Rolls.sol";
import {ShardSet} from "./lib/ShardSet.sol";
import {Votes} from "./lib/Votes.sol";

/// @title What is known of the epochs: the clock, the committees, their shards, and what they signed.
/// @notice An epoch is a committee's term. A period is what users pay for and what stake is elected for: a run of epochs,
/// the first of which begins with a regular election, each further one with the replacement of ejected members.
/// Members are ordered by node id and weigh as many votes as they have shards.
abstract contract Epochs is Governed, IEpochs {
    using ShardSet for uint256[];

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
        /// @dev The epoch for which a committee is selected but not started, and when it was; 0 if none.
        uint32 selectedEpoch;
        uint64 selectedAt;
        /// @dev Whether that is in this period.
        bool isReplacement;
        /// @dev Since when there has been something to replace; 0 if there is not, or it cannot be but for the time.
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

    struct Clock {
        uint32 epoch;
        uint32 period;
        uint8 replacements; // in this period, so many epochs after its first
        uint40 startedAt;
        uint40 startedAtBlock;
        uint40 regularHandoverDone; // as in `State`
        bool handoverDone;
        uint32 selectedEpoch;
        bool isReplacement; // of the selection
        uint16 heldCount; // shards kept or attested in this epoch
    }

    /// @dev One epoch's committee, from its selection on.
    struct Term {
        Roll roll;
        uint160 stake; // that elected the committee with which the period began
        uint40 selectedAt;
        uint40 startedAt; // 0 before
        uint16 from; // parts of the period that had passed then (`Earnings`)
    }

    /// @dev What happened in an epoch.
    struct Record {
        uint40 handoverDone; // 0 in the first epoch of a period, whose time is the clock's
        uint40 firstEjection; // of a member of its committee
        uint16 forfeited; // shards held by members that were ejected
        uint16 attested; // shards attested by the others
        uint64 attestedAt; // parts of the period that had passed then, summed over these shards
    }

    /// @notice What the governor can change. Seconds, but for the last.
    struct Parameters {
        /// @dev From the end of a period's handover to the start of the next period.
        uint32 periodDuration;
        /// @dev From a start until its handover may be closed without a quorum.
        uint32 handoverDeadline;
        /// @dev After which a silent member may be ejected; for those who sign that, not for this contract.
        uint32 patience;
        /// @dev From a start, in which certificates of the epoch before still count, though the handover is done, and in
        /// which no other epoch starts.
        uint32 certificateGrace;
        /// @dev From a selection to its start at least, in which the new owners of shards prefetch.
        uint32 notice;
        /// @dev In which the part of the elected stake that must stand for a selection falls from two thirds to nothing.
        uint32 shrinkDuration;
        /// @dev Tolerance band of the shard assignment, thousandths of a shard; 0 switches it off.
        uint32 bandMillis;
    }

    /// @notice The parameters are these from the start of `fromPeriod` on.
    event ParametersChanged(uint32 indexed fromPeriod, Parameters parameters);

    /// @notice The epoch given is not, or no longer, one to act in.
    error WrongEpoch(uint32 given, uint32 current);
    /// @notice The period given has not begun, or is none.
    error WrongPeriod(uint32 given, uint32 current);
    /// @notice The signers' shards are fewer than needed.
    error NotEnoughWeight(uint256 weight, uint256 needed);
    /// @notice The signature is not that of the signers in the bitmap over this message.
    error BadSignature();

    /// @notice The registry that committees are elected from.
    Registry public immutable registry;
    /// @notice The stake that elects them.
    Staking public immutable staking;
    /// @notice How many shards there are, 4 to 1000.
    uint16 public immutable nShards;
    /// @notice The parameters of the current period: they hold from its start to its end.
    Parameters public parameters;
    /// @notice The parameters of the periods to come.
    Parameters public nextParameters;
    /// @notice Whether a quorum found in an epoch that a node does not answer.
    mapping(uint32 epoch => mapping(uint32 nodeId => bool)) public isEjected;
    /// @notice The epoch with which a period began, 0 if it has not.
    mapping(uint32 period => uint32 epoch) public firstEpochOf;

    uint32 internal constant LONGEST_DURATION = 365 days;
    /// @dev A shorter time to shrink in would be no protection.
    uint32 private constant LEAST_SHRINK_PERIODS = 4;
    uint32 private constant WIDEST_BAND_MILLIS = 1000;

    Parameters private _deployedParameters;
    Clock internal _clock;
    mapping(uint32 epoch => Term) internal _terms;
    mapping(uint32 epoch => Record) internal _records;
    mapping(uint256 word => uint256 bits) internal _held; // the set of shards kept or attested in the current epoch
    mapping(uint32 epoch => uint256[]) internal _missing; // the set that was not, at an epoch's end; empty for none

    /// @param registry_ The registry, for a stake deployed for this contract's address.
    constructor(Registry registry_, uint16 nShards_, Parameters memory parameters_) {
        Bls.requirePrecompiles();
        if (registry_.committee() != address(this)) revert InvalidParameter("registry");
        if (nShards_ < 4 || nShards_ > 1000) revert InvalidParameter("nShards");
        (registry, staking) = (registry_, registry_.staking());
        nShards = nShards_;
        _clock.handoverDone = true; // before the first epoch nothing is to be handed over
        _clock.regularHandoverDone = uint40(block.timestamp);
        _checkParameters(parameters_);
        (parameters, nextParameters, _deployedParameters) = (parameters_, parameters_, parameters_);
        emit ParametersChanged(1, parameters_);
    }

    /// @notice Changes the parameters from the next period on. Governor only. No time may become longer than twice what it
    /// was deployed with, or shorter than half.
    function setParameters(Parameters calldata given) external onlyGovernor {
        Parameters memory deployed = _deployedParameters;
        _checkParameters(given);
        _checkTime("periodDuration", given.periodDuration, deployed.periodDuration);
        _checkTime("handoverDeadline", given.handoverDeadline, deployed.handoverDeadline);
        _checkTime("patience", given.patience, deployed.patience);
        _checkTime("certificateGrace", given.certificateGrace, deployed.certificateGrace);
        _checkTime("notice", given.notice, deployed.notice);
        _checkTime("shrinkDuration", given.shrinkDuration, deployed.shrinkDuration);
        nextParameters = given;
        emit ParametersChanged(_clock.period + 1, given);
    }

    /// @notice Who signed a message, in shards. Reverts unless certificates of the epoch count, enough have signed for
    /// the intent, and the signature holds.
    /// @param bitmap The signers: one bit per member in the committee's order, least significant bit first.
    /// @param signature Aggregate of all signers', in EIP-2537's form, 256 bytes.
    function verify(uint32 epoch_, uint8 intent, bytes memory body, bytes memory bitmap, bytes memory signature)
        public
        view
        returns (uint256 weight)
    {
        BLS.G1Point memory key;
        (key, weight) = _signers(epoch_, intent, bitmap);
        if (!Bls.verify(key, Messages.encode(intent, epoch_, domain(), body), signature)) revert BadSignature();
    }

    /// @notice The same for several messages that all have the same signers, with one signature: the aggregate of
    /// all signers' over all messages.
    function verifyMany(uint32 epoch_, uint8 intent, bytes[] memory bodies, bytes memory bitmap, bytes memory signature)
        external
        view
        returns (uint256 weight)
    {
        BLS.G1Point memory key;
        (key, weight) = _signers(epoch_, intent, bitmap);
        bytes32 domain_ = domain();
        for (uint256 i; i < bodies.length; ++i) {
            bodies[i] = Messages.encode(intent, epoch_, domain_, bodies[i]);
        }
        if (!Bls.verifyMany(key, bodies, signature)) revert BadSignature();
    }

    /// @notice What every signed message carries: keccak256(abi.encode(chain id, this contract)).
    function domain() public view returns (bytes32) {
        return Messages.domainOf(address(this));
    }

    /// @notice The current epoch, 0 before the first.
    function epoch() external view returns (uint32) {
        return _clock.epoch;
    }

    /// @inheritdoc IEpochs
    function period() external view returns (uint32) {
        return _clock.period;
    }

    /// @inheritdoc IEpochs
    function electablePeriod() external view returns (uint32) {
        Clock memory clock = _clock;
        return clock.period + (clock.selectedEpoch == 0 || clock.isReplacement ? 1 : 2);
    }

    /// @notice Whether certificates of an epoch's committee count.
    /// @dev The one before counts until its successor's handover is done, and for a grace time in any case, so that a
    /// certificate on its way survives every start.
    function accepts(uint32 epoch_) public view returns (bool) {
        Clock memory clock = _clock;
        if (epoch_ == clock.epoch) return epoch_ != 0;
        if (epoch_ == 0 || !_isBefore(epoch_, clock.epoch)) return false;
        return !clock.handoverDone || block.timestamp < uint256(clock.startedAt) + parameters.certificateGrace;
    }

    /// @inheritdoc IEpochs
    function acceptsPeriod(uint32 period_) external view returns (bool) {
        Clock memory clock = _clock;
        if (period_ == clock.period) return period_ != 0;
        return _isBefore(period_, clock.period) && clock.replacements == 0 && accepts(clock.epoch - 1);
    }

    /// @inheritdoc IEpochs
    function endedAt(uint32 period_) external view returns (uint64) {
        return _terms[firstEpochOf[period_ + 1]].startedAt;
    }

    /// @inheritdoc IEpochs
    /// @dev From the end of a period's handover to the next period's start takes the duration, from there to the next end
    /// at most the deadline. After four times both no keeper has moved the period on, or too little stake stands for election.
    /// Replacements put nothing off.
    function isStalled() public view returns (bool) {
        return block.timestamp > _lastInTime() + _stallTime();
    }

    /// @notice Where the epochs are.
    function state() external view returns (State memory) {
        Clock memory clock = _clock;
        return State({
            epoch: clock.epoch,
            period: clock.period,
            firstEpoch: clock.epoch - clock.replacements,
            startedAt: clock.startedAt,
            startedAtBlock: clock.startedAtBlock,
            handoverDone: clock.handoverDone,
            lastHandoverDone: _lastHandoverDone(clock),
            regularHandoverDone: clock.regularHandoverDone,
            selectedEpoch: clock.selectedEpoch,
            selectedAt: clock.selectedEpoch == 0 ? 0 : _terms[clock.selectedEpoch].selectedAt,
            isReplacement: clock.isReplacement,
            replaceableAt: _replaceableAt(clock),
            nShards: nShards
        });
    }

    /// @notice The committee of an epoch that is selected, runs, or ran; with the addresses of today. Reverts for any other.
    function committee(uint32 epoch_) public view returns (CommitteeView memory shown) {
        Roll memory roll = _known(epoch_);
        Roster memory roster = Rolls.read(roll);
        bytes memory keys = Rolls.keys(roll);
        shown.epoch = epoch_;
        shown.members = new MemberView[](roster.nodeIds.length);
        for (uint256 i; i < shown.members.length; ++i) {
            (string memory name, string memory networkAddress) = registry.contact(roster.nodeIds[i]);
            shown.members[i] = MemberView({
                nodeId: roster.nodeIds[i],
                name: name,
                networkAddress: networkAddress,
                publicKey: Bls.compress(Bls.keyAt(keys, i)),
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

    /// @notice The shards that were neither kept nor attested at the end of an epoch, or are not yet in the current one;
    /// ascending. Their owners have them to attest in the next epoch.
    function missingShards(uint32 epoch_) external view returns (uint16[] memory) {
        return _missingSet(epoch_).toList();
    }

    function _signers(uint32 epoch_, uint8 intent, bytes memory bitmap)
        private
        view
        returns (BLS.G1Point memory key, uint256 weight)
    {
        if (!accepts(epoch_)) revert WrongEpoch(epoch_, _clock.epoch);
        (key, weight) = Rolls.signers(_terms[epoch_].roll.members, nShards, bitmap);
        uint256 needed = intent == Messages.INVALID_BLOB ? Votes.oneCorrect(nShards) : Votes.quorum(nShards);
        if (weight < needed) revert NotEnoughWeight(weight, needed);
    }

    /// @dev The roll of an epoch; reverts when there is none. (That of a dropped selection counts for none.)
    function _known(uint32 epoch_) internal view returns (Roll memory) {
        Clock memory clock = _clock;
        bool exists = epoch_ != 0 && (epoch_ <= clock.epoch || epoch_ == clock.selectedEpoch);
        if (!exists) revert WrongEpoch(epoch_, clock.epoch);
        return _terms[epoch_].roll;
    }

    function _missingSet(uint32 epoch_) internal view returns (uint256[] memory missing) {
        uint32 current = _clock.epoch;
        if (epoch_ > current) revert WrongEpoch(epoch_, current);
        if (epoch_ != current || epoch_ == 0) return _missing[epoch_];
        missing = ShardSet.all(nShards);
        for (uint256 word; word < missing.length; ++word) {
            missing[word] &= ~_held[word];
        }
    }

    /// @dev When the newest handover that is done was.
    function _lastHandoverDone(Clock memory clock) internal view returns (uint64) {
        uint40 done = _records[clock.handoverDone ? clock.epoch : clock.epoch - 1].handoverDone;
        return done == 0 ? clock.regularHandoverDone : done;
    }

    /// @dev As in `State`.
    function _replaceableAt(Clock memory clock) internal view virtual returns (uint64);

    function _isMember(uint32 nodeId, uint32 epoch_) internal view returns (bool) {
        return Rolls.weightOf(_terms[epoch_].roll, nodeId) != 0;
    }

    function _isBefore(uint32 epoch_, uint32 next) internal pure returns (bool) {
        return uint256(epoch_) + 1 == next;
    }

    /// @dev When something last happened that the period's clock goes by.
    function _lastInTime() internal view returns (uint256) {
        Clock memory clock = _clock;
        bool isRegularDone = clock.handoverDone || clock.replacements != 0;
        return isRegularDone ? clock.regularHandoverDone : clock.startedAt;
    }

    /// @dev So long nothing happens before an epoch has stalled.
    function _stallTime() internal view returns (uint256) {
        return 4 * (uint256(parameters.periodDuration) + parameters.handoverDeadline);
    }

    function _checkParameters(Parameters memory given) private pure {
        _checkDuration("periodDuration", given.periodDuration);
        _checkDuration("handoverDeadline", given.handoverDeadline);
        _checkDuration("patience", given.patience);
        if (given.certificateGrace > given.periodDuration) revert InvalidParameter("certificateGrace");
        if (given.notice > given.periodDuration) revert InvalidParameter("notice");
        if (given.shrinkDuration < uint256(LEAST_SHRINK_PERIODS) * given.periodDuration) {
            revert InvalidParameter("shrinkDuration");
        }
        if (given.bandMillis > WIDEST_BAND_MILLIS) revert InvalidParameter("bandMillis");
    }

    function _checkDuration(string memory name, uint32 given) private pure {
        if (given == 0 || given > LONGEST_DURATION) revert InvalidParameter(name);
    }

    function _checkTime(string memory name, uint256 given, uint256 deployed) private pure {
        if (given > 2 * deployed || 2 * given < deployed) revert InvalidParameter(name);
    }
}
