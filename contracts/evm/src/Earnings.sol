// SPDX-License-Identifier: Apache-2.0
pragma solidity ^0.8.30;

import {FixedPointMathLib} from "solady/utils/FixedPointMathLib.sol";
import {Epochs} from "./Epochs.sol";
import {Roll, Rolls} from "./lib/Rolls.sol";
import {ShardSet} from "./lib/ShardSet.sol";

/// @title What members earn of a period's payment.
/// @notice A shard earns `PARTS` if it is kept. If it is attested, it earns from then on: of the parts it loses as many
/// as have passed of the period's duration, and all once that is over. A shard that is neither, and all shards of a
/// member that is ejected in the epoch, earn nothing.
/// @dev The duration is the parameter, not the time that the epoch turns out to last: so what a shard earns is known when
/// it is attested, does not grow when the next start is late, and is the same for an epoch that stalls.
abstract contract Earnings is Epochs {
    using ShardSet for uint256[];

    /// @notice What a shard earns in an epoch, if it is kept.
    uint256 public constant PARTS = 10_000;

    /// @dev Of the shards that are kept or attested in an epoch; by all members, and by each.
    mapping(uint32 epoch => uint256 parts) private _lost;
    mapping(uint32 epoch => mapping(uint32 nodeId => uint256 parts)) private _lostBy;

    /// @notice The first period that cannot be paid yet: the current one, or, if that has stalled, the next.
    function payableUntil() public view returns (uint32) {
        return isStalled() ? _clock.period + 1 : _clock.period;
    }

    /// @notice The parts that a node earned in a period, or in the current one up to now.
    function earnings(uint32 period_, uint32 nodeId) external view returns (uint256) {
        return _partsOf(_known(period_), period_, nodeId);
    }

    /// @notice The parts that all members together earned in a period, or in the current one up to now.
    function earned(uint32 period_) external view returns (uint256) {
        return PARTS * (nShards - _missingSet(period_).size()) - _lost[period_];
    }

    /// @dev A member attests shards now. One that is ejected earns nothing for them.
    function _losePartsOfLate(Clock memory clock, uint32 nodeId, uint256 shards) internal {
        uint256 passed = PARTS * (block.timestamp - clock.startedAt) / parameters.periodDuration;
        uint256 lost = isEjected[clock.epoch][nodeId] ? PARTS : FixedPointMathLib.min(passed, PARTS);
        _lose(clock.epoch, nodeId, shards * lost);
    }

    /// @dev A node is ejected now. From when on the epoch may have been paid as stalled, that changes no pay.
    function _loseParts(Clock memory clock, uint32 nodeId) internal {
        if (block.timestamp > uint256(clock.startedAt) + _stallTime()) return;
        _lose(clock.epoch, nodeId, _partsOf(_terms[clock.epoch].roll, clock.epoch, nodeId));
    }

    function _partsOf(Roll memory roll, uint32 epoch_, uint32 nodeId) private view returns (uint256) {
        uint16[] memory owned = Rolls.shardsOf(roll, nodeId);
        uint256[] memory missing = _missingSet(epoch_);
        uint256 held = owned.length;
        for (uint256 i; i < owned.length; ++i) {
            if (missing.contains(owned[i])) --held;
        }
        return PARTS * held - _lostBy[epoch_][nodeId];
    }

    function _lose(uint32 epoch_, uint32 nodeId, uint256 parts) private {
        if (parts == 0) return;
        _lost[epoch_] += parts;
        _lostBy[epoch_][nodeId] += parts;
    }
}
