// SPDX-License-Identifier: Apache-2.0
pragma solidity ^0.8.30;

import {FixedPointMathLib} from "solady/utils/FixedPointMathLib.sol";
import {HauloutToken} from "src/HauloutToken.sol";
import {Staking} from "src/Staking.sol";
import {ICommittee} from "src/interfaces/ICommittee.sol";
import {IRegistry} from "src/interfaces/IRegistry.sol";
import {Vm} from "test/Vm.sol";

/// @notice Stands for the committee contract and the registry, so that the fuzzer sets the clock as it likes.
contract ClockStub {
    uint32 public period;
    bool public isSelected;
    bool public isStalled;
    mapping(uint32 period => uint64) public endedAt;
    mapping(uint32 nodeId => uint16) public commission;
    uint256 private _acceptedUntil;

    function select() external {
        isSelected = true;
    }

    function drop() external {
        isSelected = false;
    }

    function stall(bool isStalled_) external {
        isStalled = isStalled_;
    }

    function start() external {
        endedAt[period++] = uint64(block.timestamp);
        (isSelected, isStalled) = (false, false);
        _acceptedUntil = block.timestamp + 50;
    }

    function setCommission(uint32 nodeId, uint16 commission_) external {
        commission[nodeId] = commission_;
    }

    function electablePeriod() external view returns (uint32) {
        return period + (isSelected ? 2 : 1);
    }

    function acceptsPeriod(uint32 period_) external view returns (bool) {
        return period_ == period || (period_ + 1 == period && block.timestamp < _acceptedUntil);
    }

    function isLate() external view returns (bool) {
        return isStalled;
    }

    function parameters() external pure returns (ICommittee.Parameters memory) {
        return ICommittee.Parameters(1000, 300, 60, 100, 200, 20_000, 0);
    }

    function nodeCount() external pure returns (uint32) {
        return 2;
    }

    function commissionIn(uint32 nodeId, uint32) external view returns (uint16) {
        return commission[nodeId];
    }

    function receiverOf(uint32 nodeId) external pure returns (address) {
        return address(uint160(0xc0de00 + nodeId));
    }
}

/// @notice Four stakers on two nodes, against a model without shares: each staker's stake in tokens, and a loop over all of
/// them for every payment and every slashing.
contract StakeModelHandler {
    using FixedPointMathLib for uint256;

    Vm private constant vm = Vm(address(uint160(uint256(keccak256("hevm cheat code")))));
    uint256 private constant STAKERS = 4;
    uint32 private constant NODES = 2;
    uint256 private constant ONE = 1e18; // the model's unit is as many times finer
    uint256 private constant EVIDENCE_S = 200;

    HauloutToken private _token;
    Staking private _staking;
    ClockStub private _clock = new ClockStub();
    uint32 private _payableUntil;

    /// @dev By node and staker: what stands, what joins with a period, and what leaves, or has left, with one.
    mapping(uint32 nodeId => mapping(uint256 staker => uint256)) private _active;
    mapping(uint32 nodeId => mapping(uint256 staker => mapping(uint32 period => uint256))) private _joining;
    mapping(uint32 nodeId => mapping(uint256 staker => mapping(uint32 period => uint256))) private _leaving;

    constructor() {
        vm.warp(1_700_000_000);
        _token = new HauloutToken(address(this), address(this), 1e30);
        IRegistry registry = IRegistry(address(_clock));
        _staking = new Staking(
            _token, registry, address(_clock), address(this), address(0), EVIDENCE_S, address(this), address(0)
        );
        _staking.setSlasher(address(this));
        _token.approve(address(_staking), type(uint256).max);
        for (uint256 i; i < STAKERS; ++i) {
            _token.transfer(_account(i), 1e28);
            vm.prank(_account(i));
            _token.approve(address(_staking), type(uint256).max);
        }
    }

    function stake(uint256 seed, uint256 amount) external {
        (uint32 nodeId, uint256 staker) = _draw(seed);
        amount = 1e9 + amount % (seed >> 16 & 3 == 0 ? 1e12 : 1e24);
        vm.prank(_account(staker));
        try _staking.stake(nodeId, amount) returns (uint32 from) {
            if (from > _staking.settledPeriod(nodeId)) _joining[nodeId][staker][from] += amount * ONE;
            else _active[nodeId][staker] += amount * ONE;
        } catch {}
    }

    function unstake(uint256 seed) external {
        (uint32 nodeId, uint256 staker) = _draw(seed);
        uint256 held = _staking.sharesOf(nodeId, _account(staker));
        if (held == 0) return;
        uint256 shares = seed >> 16 & 1 == 0 ? held : 1 + (seed >> 20) % held;
        if (held - shares < 1e9) shares = held;
        _unstake(nodeId, staker, shares, held);
    }

    function cancelStaking(uint256 seed) external {
        (uint32 nodeId, uint256 staker) = _draw(seed);
        _cancelStaking(nodeId, staker, _comingPeriod(seed));
    }

    /// @dev Cancels an unstaking, or has it leave sooner.
    function takeBack(uint256 seed) external {
        (uint32 nodeId, uint256 staker) = _draw(seed);
        uint32 period = _comingPeriod(seed);
        uint256 held = _staking.unbondingSharesOf(nodeId, period, _account(staker));
        if (held == 0) return;
        uint256 shares = seed >> 17 & 1 == 0 ? held : 1 + (seed >> 20) % held;
        uint256 part = _leaving[nodeId][staker][period].fullMulDiv(shares, held);
        vm.prank(_account(staker));
        if (seed >> 18 & 1 == 0) {
            try _staking.cancelUnstaking(nodeId, period, shares) {
                _leaving[nodeId][staker][period] -= part;
                _active[nodeId][staker] += part;
            } catch {}
        } else {
            try _staking.unstakeSooner(nodeId, period, shares) returns (uint32 sooner) {
                _leaving[nodeId][staker][period] -= part;
                _leaving[nodeId][staker][sooner] += part;
            } catch {}
        }
    }

    function withdraw(uint256 seed) external {
        (uint32 nodeId, uint256 staker) = _draw(seed);
        for (uint32 period; period <= _clock.period() + 2; ++period) {
            _withdraw(nodeId, staker, period, false);
        }
    }

    /// @dev A node's periods that are over, each paid for what stood in it.
    function settle(uint256 seed) external {
        (uint32 nodeId,) = _draw(seed);
        _settle(nodeId, seed);
    }

    function slash(uint256 seed) external {
        (uint32 nodeId,) = _draw(seed);
        uint256 fraction = 1 + (seed >> 8) % 1e17;
        try _staking.slash(nodeId, fraction, 0, address(0), 0) returns (uint256 amount) {
            uint256 expected;
            for (uint256 i; i < STAKERS; ++i) {
                expected += _active[nodeId][i] / 1e18 * fraction;
                _active[nodeId][i] -= _active[nodeId][i] / 1e18 * fraction;
                for (uint32 period = 1; period <= _clock.period() + 2; ++period) {
                    uint256 leaving = _leaving[nodeId][i][period];
                    if (_isBeyondEvidence(period)) continue;
                    expected += leaving / 1e18 * fraction;
                    _leaving[nodeId][i][period] -= leaving / 1e18 * fraction;
                }
            }
            _requireNear(amount, expected);
        } catch {}
    }

    /// @dev A selection, its end, a start, a standstill or its end, or another commission.
    function tick(uint256 seed) external {
        vm.warp(block.timestamp + (seed >> 8) % 300);
        uint256 what = seed % 8;
        if (what <= 1) _clock.select();
        else if (what == 2) _clock.drop();
        else if (what <= 5 && _clock.isSelected()) _clock.start();
        else if (what == 6) _clock.stall(seed >> 16 & 1 == 0);
        else if (what == 7) _clock.setCommission(uint32(1 + (seed >> 20) % NODES), uint16(seed >> 32) % 3001);
    }

    /// @notice Each staker's stake is shown as the model has it.
    function check() external view {
        for (uint32 nodeId = 1; nodeId <= NODES; ++nodeId) {
            for (uint256 i; i < STAKERS; ++i) {
                uint256 expected = _active[nodeId][i];
                for (uint32 period = _staking.settledPeriod(nodeId) + 1; period <= _clock.period() + 2; ++period) {
                    expected += _joining[nodeId][i][period];
                }
                _requireNear(_staking.stakeOf(nodeId, _account(i)), expected);
            }
            _staking.stakeOn(nodeId); // which an election asks of each candidate, and which therefore never reverts
        }
    }

    /// @notice At a standstill everybody takes out what the model says, and nothing is left.
    function leaveAll() external {
        if (_clock.isSelected()) _clock.start();
        _clock.stall(true);
        for (uint32 nodeId = 1; nodeId <= NODES; ++nodeId) {
            _settle(nodeId, nodeId);
            for (uint256 i; i < STAKERS; ++i) {
                _takeAll(nodeId, i);
            }
            address receiver = _clock.receiverOf(nodeId);
            vm.prank(receiver);
            try _staking.withdrawEarnings() {} catch {}
        }
        require(_token.balanceOf(address(_staking)) == 0, "nothing is left");
    }

    function _takeAll(uint32 nodeId, uint256 staker) private {
        uint32 current = _clock.period();
        _cancelStaking(nodeId, staker, current + 1);
        _cancelStaking(nodeId, staker, current + 2);
        uint256 held = _staking.sharesOf(nodeId, _account(staker));
        if (held != 0) _unstake(nodeId, staker, held, held);
        uint256 later = _staking.unbondingSharesOf(nodeId, current + 2, _account(staker));
        if (later != 0) {
            vm.prank(_account(staker));
            _staking.unstakeSooner(nodeId, current + 2, later);
            _leaving[nodeId][staker][current + 1] += _leaving[nodeId][staker][current + 2];
            _leaving[nodeId][staker][current + 2] = 0;
        }
        for (uint32 period; period <= current + 1; ++period) {
            _withdraw(nodeId, staker, period, true);
        }
    }

    function _settle(uint32 nodeId, uint256 seed) private {
        uint32 end = _clock.period() + (_clock.isStalled() ? 1 : 0);
        if (end < _payableUntil) end = _payableUntil; // closed as stalled
        _payableUntil = end;
        uint32 period = _staking.settledPeriod(nodeId);
        if (period >= end) return;
        uint256[] memory amounts = new uint256[](end - period);
        for (uint256 k; k < amounts.length; ++k) {
            uint256 standing = _standing(nodeId, ++period);
            amounts[k] = uint256(keccak256(abi.encode(seed, k))) % (standing / ONE / 10 + 1);
            uint256 pay = amounts[k] - amounts[k] * _clock.commission(nodeId) / 10_000;
            for (uint256 i; i < STAKERS && standing != 0; ++i) {
                _active[nodeId][i] += _active[nodeId][i].fullMulDiv(pay * ONE, standing);
                for (uint32 later = period; later <= _clock.period() + 2; ++later) {
                    _leaving[nodeId][i][later] += _leaving[nodeId][i][later].fullMulDiv(pay * ONE, standing);
                }
            }
            for (uint256 i; i < STAKERS; ++i) {
                _active[nodeId][i] += _joining[nodeId][i][period];
                _joining[nodeId][i][period] = 0;
            }
        }
        _staking.settle(nodeId, amounts);
    }

    /// @dev What stands in the period before `next`: also what leaves with `next` or later.
    function _standing(uint32 nodeId, uint32 next) private view returns (uint256 sum) {
        for (uint256 i; i < STAKERS; ++i) {
            sum += _active[nodeId][i];
            for (uint32 later = next; later <= _clock.period() + 2; ++later) {
                sum += _leaving[nodeId][i][later];
            }
        }
    }

    function _unstake(uint32 nodeId, uint256 staker, uint256 shares, uint256 held) private {
        vm.prank(_account(staker));
        uint32 period = _staking.unstake(nodeId, shares);
        uint256 part = _active[nodeId][staker].fullMulDiv(shares, held);
        _active[nodeId][staker] -= part;
        _leaving[nodeId][staker][period] += part;
    }

    function _cancelStaking(uint32 nodeId, uint256 staker, uint32 period) private {
        vm.prank(_account(staker));
        try _staking.cancelStaking(nodeId, period) returns (uint256 amount) {
            require(amount * ONE == _joining[nodeId][staker][period], "all that was to join");
            _joining[nodeId][staker][period] = 0;
        } catch {}
    }

    function _withdraw(uint32 nodeId, uint256 staker, uint32 period, bool isPossible) private {
        if (_staking.unbondingSharesOf(nodeId, period, _account(staker)) == 0) return;
        vm.prank(_account(staker));
        try _staking.withdraw(nodeId, period) returns (uint256 amount) {
            _requireNear(amount, _leaving[nodeId][staker][period]);
            _leaving[nodeId][staker][period] = 0;
        } catch {
            require(!isPossible, "everybody can leave");
        }
    }

    function _isBeyondEvidence(uint32 period) private view returns (bool) {
        uint32 current = _clock.period();
        if (period > current) return false;
        bool isOver = block.timestamp >= _clock.endedAt(period - 1) + EVIDENCE_S && !_clock.acceptsPeriod(period - 1);
        return isOver || current - period >= 64;
    }

    /// @dev A staker has a billion shares at least, so that rounding takes no more than this.
    function _requireNear(uint256 amount, uint256 expected) private pure {
        expected /= ONE;
        uint256 off = amount > expected ? amount - expected : expected - amount;
        require(off <= 1e7 + expected / 1e6, "another amount than the staker's part");
    }

    function _comingPeriod(uint256 seed) private view returns (uint32) {
        return _clock.period() + 1 + uint32(seed >> 16 & 1);
    }

    function _draw(uint256 seed) private pure returns (uint32 nodeId, uint256 staker) {
        return (uint32(1 + seed % NODES), (seed >> 8) % STAKERS);
    }

    function _account(uint256 staker) private pure returns (address) {
        return address(uint160(0x5000 + staker));
    }
}
