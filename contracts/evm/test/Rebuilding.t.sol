// SPDX-License-Identifier: Apache-2.0
pragma solidity ^0.8.30;

import {Committee} from "src/Committee.sol";
import {Staking} from "src/Staking.sol";
import {IStaking} from "src/interfaces/IStaking.sol";
import {Signing, Vm} from "test/Base.t.sol";
import {Handler} from "test/Handler.sol";
import {NODES, STAKERS, stakerAt} from "test/StakeHandler.sol";
import {StakeReplay} from "test/StakeReplay.sol";

/// @notice The events say all there is to know of stake: what anybody has, what joins and leaves and when, what elects.
contract RebuildingTest is Signing {
    uint256 private constant STEPS = 120;

    Handler private handler;
    Staking private staking;
    Committee private committee;
    StakeReplay private replay;

    function setUp() public {
        vm.recordLogs();
        handler = new Handler();
        (, address staking_, address committee_,) = handler.contracts();
        (staking, committee) = (Staking(staking_), Committee(committee_));
        replay = new StakeReplay();
        _take();
    }

    /// forge-config: default.fuzz.runs = 24
    function testFuzz_all_stake_is_rebuilt_from_events(uint256 seed) public {
        for (uint256 i; i < STEPS; ++i) {
            seed = uint256(keccak256(abi.encode(seed)));
            _act(seed % 16, seed >> 8);
            _take();
            if (i % 10 == 0) _check();
        }
        _check();
        handler.leaveAll();
        _take();
        _check();
    }

    function _act(uint256 action, uint256 seed) private {
        uint256 amount = uint256(keccak256(abi.encode(seed, "amount")));
        bytes32 before = _digest();
        if (action < 3) {
            handler.stake(seed, amount);
            if (_digest() == before) vm.getRecordedLogs(); // it was refused: Foundry records what a revert undoes
        } else if (action == 3) {
            handler.cancel(seed, amount);
            if (_digest() == before) vm.getRecordedLogs();
        } else if (action < 6) {
            handler.unstake(seed, amount);
        } else if (action == 6) {
            handler.unstakeSooner(seed, amount);
        } else if (action == 7) {
            handler.withdraw(seed);
        } else if (action == 8) {
            handler.slash(seed, amount);
        } else if (action == 9) {
            handler.reserve(seed, uint64(amount));
        } else if (action == 10) {
            handler.govern(seed);
        } else if (action == 11) {
            handler.eject(seed);
        } else if (action < 14) {
            handler.push(seed);
        } else {
            handler.payOut(seed);
        }
    }

    /// @dev Of what each staking, and each cancelling, changes.
    function _digest() private view returns (bytes32 digest) {
        for (uint32 nodeId = 1; nodeId <= NODES; ++nodeId) {
            (uint256 joining, uint256 leaving) = staking.pendingOf(nodeId);
            (uint256 tokens, uint256 shares) = staking.poolOf(nodeId);
            digest = keccak256(abi.encode(digest, joining, leaving, tokens, shares));
        }
    }

    /// @dev Takes in all events since the last time.
    function _take() private {
        Vm.Log[] memory logs = vm.getRecordedLogs();
        (address token,,, address blobs) = handler.contracts();
        for (uint256 i; i < logs.length; ++i) {
            bool isOfOthers =
                logs[i].emitter == token || logs[i].emitter == blobs || logs[i].emitter == address(handler);
            if (!isOfOthers && logs[i].topics.length != 0) {
                replay.take(logs[i], committee.isLate() ? _periodDuration() : 0);
            }
        }
    }

    function _periodDuration() private view returns (uint256 duration) {
        (duration,,,,,,) = committee.parameters();
    }

    function _check() private view {
        for (uint32 nodeId = 1; nodeId <= NODES; ++nodeId) {
            _checkNode(nodeId);
            for (uint256 i; i < STAKERS; ++i) {
                _checkStaker(nodeId, stakerAt(i));
            }
        }
    }

    function _checkNode(uint32 nodeId) private view {
        (StakeReplay.Stake memory on) = _stakeOf(nodeId);
        (uint256 tokens, uint256 shares) = staking.poolOf(nodeId);
        (uint256 joining, uint256 leaving) = staking.pendingOf(nodeId);
        vm.assertEq(on.pool.tokens, tokens);
        vm.assertEq(on.pool.shares, shares);
        vm.assertEq(on.joining, joining);
        vm.assertEq(on.leaving, leaving);
        bool isEmpty = shares == 0 && joining == 0;
        if (!isEmpty) vm.assertEq(on.settled, staking.settledPeriod(nodeId));
        uint256 leastAge = committee.isStalled() && committee.period() != 0 ? _periodDuration() : 0;
        vm.assertEq(replay.stakeOn(nodeId, committee.electablePeriod(), leastAge), staking.stakeOn(nodeId));
        vm.assertEq(replay.earningsOf(handler.receiver(nodeId)), staking.earningsOf(handler.receiver(nodeId)));
    }

    function _checkStaker(uint32 nodeId, address staker) private view {
        uint32 last = committee.electablePeriod() + 1;
        uint32 settled = _stakeOf(nodeId).settled;
        uint256 held = replay.sharesOf(nodeId, staker);
        uint256 toJoin;
        for (uint32 period = 1; period <= last; ++period) {
            _checkUnbonding(nodeId, staker, period);
            uint256 entry = replay.entryOf(nodeId, staker, period);
            if (entry == 0) continue;
            (uint256 tokens, uint256 shares) = replay.joinings(nodeId, period);
            if (period <= settled) held += entry * tokens / shares;
            else toJoin += entry;
        }
        vm.assertEq(held, staking.sharesOf(nodeId, staker));
        IStaking.Joining[] memory joinings = staking.joiningsOf(nodeId, staker);
        for (uint256 i; i < joinings.length; ++i) {
            vm.assertEq(replay.entryOf(nodeId, staker, joinings[i].period), joinings[i].amount);
            toJoin -= joinings[i].amount;
        }
        vm.assertEq(toJoin, 0);
    }

    function _checkUnbonding(uint32 nodeId, address staker, uint32 period) private view {
        (uint256 tokens, uint256 shares) = staking.unbondingPoolOf(nodeId, period);
        (uint256 tokens_, uint256 shares_) = replay.unbondings(nodeId, period);
        vm.assertEq(tokens_, tokens);
        vm.assertEq(shares_, shares);
        uint256 own = staking.unbondingSharesOf(nodeId, period, staker);
        vm.assertEq(replay.unbondingSharesOf(nodeId, period, staker), own);
    }

    function _stakeOf(uint32 nodeId) private view returns (StakeReplay.Stake memory on) {
        (on.pool, on.joining, on.leaving, on.settled, on.receiver) = replay.stakes(nodeId);
    }
}
