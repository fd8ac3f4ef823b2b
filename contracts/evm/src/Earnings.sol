// SPDX-License-Identifier: Apache-2.0
pragma solidity ^0.8.30;

import {FixedPointMathLib} from "solady/utils/FixedPointMathLib.sol";
import {Epochs} from "./Epochs.sol";
import {ICommittee} from "./interfaces/ICommittee.sol";
import {Rolls} from "./lib/Rolls.sol";
import {ShardSet} from "./lib/ShardSet.sol";

/// @title What members earn of a period's payment.
/// @notice A period has `PARTS` parts, which pass with its duration. A shard earns those that pass in an epoch, if its
/// owner kept it. If it is attested, it earns those that pass from then on. A shard that is neither, and all shards of a
/// member that is ejected in the epoch or misses its storage proof, earn nothing in that epoch.
/// @dev The duration is the parameter, not the time that the period turns out to last, and its last epoch has all parts
/// that are left: so pay does not grow when the next start is late, and is the same for a period that stalls.
abstract contract Earnings is Epochs {
    using ShardSet for uint256[];

    /// @dev What a member attested in an epoch, as in `Record`.
    struct Share {
        uint16 attested;
        uint64 attestedAt;
        bool isForfeited; // it was ejected, or missed its proof
    }

    /// @inheritdoc ICommittee
    uint256 public constant PARTS = 10_000;

    mapping(uint32 epoch => mapping(uint32 nodeId => Share)) private _shares;

    /// @inheritdoc ICommittee
    function payableUntil() public view returns (uint32) {
        return isStalled() ? _clock.period + 1 : _clock.period;
    }

    /// @inheritdoc ICommittee
    /// @dev Then nothing is sold any more. The second of a standstill is known ahead, and it gives back of each period's
    /// payment the average: who could buy just before it would get others' money for nothing.
    function isLate() external view returns (bool) {
        return block.timestamp > _lastInTime() + _stallTime() / 2;
    }

    /// @inheritdoc ICommittee
    function earnings(uint32 period_, uint32 nodeId) external view returns (uint256 parts) {
        (uint32 first, uint32 last) = _epochsOf(period_);
        for (uint32 epoch_ = first; epoch_ <= last; ++epoch_) {
            Share memory share = _shares[epoch_][nodeId];
            if (share.isForfeited) continue;
            parts += _partsOf(epoch_, last, _heldBy(epoch_, nodeId), share.attested, share.attestedAt);
        }
    }

    /// @inheritdoc ICommittee
    function earned(uint32 period_) external view returns (uint256 parts) {
        (uint32 first, uint32 last) = _epochsOf(period_);
        for (uint32 epoch_ = first; epoch_ <= last; ++epoch_) {
            Record memory record = _records[epoch_];
            uint256 held = nShards - _missingSet(epoch_).size() - record.forfeited;
            parts += _partsOf(epoch_, last, held, record.attested, record.attestedAt);
        }
    }

    /// @dev A member attests shards now. One that has forfeited its pay earns nothing for them.
    function _enterAttested(Clock memory clock, uint32 nodeId, uint256 shards) internal {
        Share storage share = _shares[clock.epoch][nodeId];
        Record storage record = _records[clock.epoch];
        if (share.isForfeited) {
            record.forfeited += uint16(shards);
            return;
        }
        uint64 attestedAt = uint64(shards * _partsPassed(clock));
        share.attested += uint16(shards);
        share.attestedAt += attestedAt;
        record.attested += uint16(shards);
        record.attestedAt += attestedAt;
    }

    /// @dev A node is ejected, or has missed its proof, once or more. From when on the period may have been paid as
    /// stalled, that changes no pay.
    function _forfeit(Clock memory clock, uint32 nodeId) internal {
        if (block.timestamp > uint256(_terms[clock.epoch - clock.replacements].startedAt) + _stallTime()) return;
        Share storage share = _shares[clock.epoch][nodeId];
        if (share.isForfeited) return;
        Record storage record = _records[clock.epoch];
        record.forfeited += uint16(_heldBy(clock.epoch, nodeId));
        record.attested -= share.attested;
        record.attestedAt -= share.attestedAt;
        share.isForfeited = true;
    }

    /// @dev The parts of the period that have passed now.
    function _partsPassed(Clock memory clock) internal view returns (uint256) {
        uint256 time = block.timestamp - _terms[clock.epoch - clock.replacements].startedAt;
        return FixedPointMathLib.min(PARTS * time / parameters.periodDuration, PARTS);
    }

    /// @dev The epochs that a period had, or the current one has up to now.
    function _epochsOf(uint32 period_) private view returns (uint32 first, uint32 last) {
        Clock memory clock = _clock;
        if (period_ == 0 || period_ > clock.period) revert WrongPeriod(period_, clock.period);
        first = firstEpochOf[period_];
        last = period_ == clock.period ? clock.epoch : firstEpochOf[period_ + 1] - 1;
    }

    /// @dev What shards earn in an epoch of a period whose last epoch is `last`, which has all parts that are left.
    /// @param held How many they are.
    /// @param attested How many of them were attested in the epoch; the others were kept.
    /// @param attestedAt The parts that had passed then, summed over the shards attested.
    function _partsOf(uint32 epoch_, uint32 last, uint256 held, uint256 attested, uint256 attestedAt)
        private
        view
        returns (uint256)
    {
        uint256 until = epoch_ == last ? PARTS : _terms[epoch_ + 1].from;
        return until * held - _terms[epoch_].from * (held - attested) - attestedAt;
    }

    /// @dev The shards that a member kept or attested in an epoch.
    function _heldBy(uint32 epoch_, uint32 nodeId) private view returns (uint256 held) {
        uint256[] memory missing = _missingSet(epoch_);
        if (missing.size() == 0) return Rolls.weightOf(_terms[epoch_].roll, nodeId);
        uint16[] memory owned = Rolls.shardsOf(_terms[epoch_].roll, nodeId);
        held = owned.length;
        for (uint256 i; i < owned.length; ++i) {
            if (missing.contains(owned[i])) --held;
        }
    }
}
