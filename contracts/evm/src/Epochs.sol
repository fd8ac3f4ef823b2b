// SPDX-License-Identifier: Apache-2.0
pragma solidity ^0.8.30;

import {BLS} from "solady/utils/ext/ithaca/BLS.sol";
import {CommitteeViews} from "./CommitteeViews.sol";
import {Governed} from "./Governed.sol";
import {ICommittee} from "./interfaces/ICommittee.sol";
import {IEpochs} from "./interfaces/IEpochs.sol";
import {IRegistry} from "./interfaces/IRegistry.sol";
import {IStaking} from "./interfaces/IStaking.sol";
import {Bls} from "./lib/Bls.sol";
import {Messages} from "./lib/Messages.sol";
import {Roll, Rolls} from "./lib/Rolls.sol";
import {ShardSet} from "./lib/ShardSet.sol";
import {Votes} from "./lib/Votes.sol";

/// @title What is known of the epochs: the clock, the committees, their shards, and what they signed (`ICommittee`).
abstract contract Epochs is Governed, ICommittee {
    using ShardSet for uint256[];

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

    /// @inheritdoc ICommittee
    IRegistry public immutable registry;
    /// @inheritdoc ICommittee
    IStaking public immutable staking;
    /// @inheritdoc ICommittee
    uint16 public immutable nShards;
    /// @inheritdoc ICommittee
    Parameters public parameters;
    /// @inheritdoc ICommittee
    Parameters public nextParameters;
    /// @inheritdoc ICommittee
    mapping(uint32 epoch => mapping(uint32 nodeId => bool)) public isEjected;
    /// @inheritdoc ICommittee
    mapping(uint32 period => uint32 epoch) public firstEpochOf;

    uint32 internal constant LONGEST_DURATION = 365 days;
    /// @dev A shorter time to shrink in would be no protection.
    uint32 private constant LEAST_SHRINK_PERIODS = 4;
    uint32 private constant WIDEST_BAND_MILLIS = 1000;

    CommitteeViews private immutable _views = new CommitteeViews();

    Parameters private _deployedParameters;
    Clock internal _clock;
    mapping(uint32 epoch => Term) internal _terms;
    mapping(uint32 epoch => Record) internal _records;
    mapping(uint256 word => uint256 bits) internal _held; // the set of shards kept or attested in the current epoch
    mapping(uint32 epoch => uint256[]) internal _missing; // the set that was not, at an epoch's end; empty for none

    /// @param registry_ The registry, for a stake deployed for this contract's address.
    constructor(IRegistry registry_, uint16 nShards_, Parameters memory parameters_) {
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

    /// @inheritdoc ICommittee
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

    /// @inheritdoc ICommittee
    function verify(uint32 epoch_, uint8 intent, bytes memory body, bytes memory bitmap, bytes memory signature)
        public
        view
        returns (uint256 weight)
    {
        BLS.G1Point memory key;
        (key, weight) = _signers(epoch_, intent, bitmap);
        if (!Bls.verify(key, Messages.encode(intent, epoch_, domain(), body), signature)) revert BadSignature();
    }

    /// @inheritdoc ICommittee
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

    /// @inheritdoc ICommittee
    function domain() public view returns (bytes32) {
        return Messages.domainOf(address(this));
    }

    /// @inheritdoc ICommittee
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

    /// @inheritdoc ICommittee
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

    /// @inheritdoc ICommittee
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

    /// @inheritdoc ICommittee
    function committeeOf(uint32 epoch_) external view returns (CommitteeView memory) {
        _passOn(abi.encodeCall(_views.committeeOf, (registry, epoch_, _known(epoch_))));
    }

    /// @inheritdoc ICommittee
    function ownerOf(uint32 epoch_, uint16 shard) external view returns (uint32) {
        _passOn(abi.encodeCall(_views.ownerOf, (_known(epoch_), shard)));
    }

    /// @inheritdoc ICommittee
    function memberOf(uint32 epoch_, uint32 nodeId)
        external
        view
        returns (bytes memory publicKey, bytes memory shards)
    {
        return Rolls.memberOf(_known(epoch_), nodeId);
    }

    /// @inheritdoc ICommittee
    function committees() external view returns (CommitteeView memory, CommitteeView memory, CommitteeView memory) {
        Clock memory clock = _clock;
        uint32[3] memory epochs = [clock.epoch > 1 ? clock.epoch - 1 : 0, clock.epoch, clock.selectedEpoch];
        Roll[3] memory rolls = [_terms[epochs[0]].roll, _terms[epochs[1]].roll, _terms[epochs[2]].roll];
        _passOn(abi.encodeCall(_views.committees, (registry, epochs, rolls)));
    }

    /// @inheritdoc ICommittee
    function missingShards(uint32 epoch_) external view returns (uint16[] memory) {
        return _missingSet(epoch_).toList();
    }

    /// @dev Ends the call with what the views answer to a question.
    function _passOn(bytes memory question) private view {
        address views = address(_views);
        assembly ("memory-safe") {
            let success := staticcall(gas(), views, add(question, 0x20), mload(question), 0x00, 0x00)
            let answer := mload(0x40)
            returndatacopy(answer, 0x00, returndatasize())
            if iszero(success) { revert(answer, returndatasize()) }
            return(answer, returndatasize())
        }
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
