// SPDX-License-Identifier: Apache-2.0
pragma solidity ^0.8.30;

import {StakeBase} from "test/StakeBase.t.sol";

/// @notice Within a block of a standstill a staker does what it can, with ejections and selections between: no node comes
/// to count for more than before, and none for less than what others have staked on it that counted.
contract YoungStakeFuzzTest is StakeBase {
    uint32 private constant NODES = 6;
    uint256 private constant ACTIONS = 25;
    uint256 private constant ROUNDING = 2 * ACTIONS; // an action's, of some units

    uint256 private seed;

    function setUp() public override {
        super.setUp();
        _addNodes(NODES);
        _fund(STAKER, 1e6 * STAKE);
        _nextEpoch();
        blobs.reserve(1 << 30, 5, ANY);
    }

    /// forge-config: default.fuzz.runs = 64
    function testFuzz_nothing_done_within_a_block_makes_stake_older_or_hides_anothers(uint256 seed_) public {
        seed = seed_;
        _untilAStandstill();
        uint256[] memory before = new uint256[](NODES + 1);
        uint256[] memory ofOthers = new uint256[](NODES + 1);
        for (uint32 nodeId = 1; nodeId <= NODES; ++nodeId) {
            before[nodeId] = staking.stakeOn(nodeId);
            uint256 others = staking.stakeOf(nodeId, address(this));
            ofOthers[nodeId] = others < before[nodeId] ? others : before[nodeId];
        }
        for (uint256 i; i < ACTIONS; ++i) {
            _act();
            bool isSelected = committee.state().selectedEpoch != 0;
            for (uint32 nodeId = 1; nodeId <= NODES; ++nodeId) {
                uint256 counts = staking.stakeOn(nodeId);
                vm.assertGe(counts + ROUNDING, ofOthers[nodeId]);
                if (!isSelected) vm.assertLe(counts, before[nodeId] + ROUNDING);
            }
        }
    }

    /// @dev Shares come to be worth more than one unit; stake comes and leaves, some of it behind a selection, which is
    /// dropped then, and some young.
    function _untilAStandstill() private {
        for (uint256 i = _next(3); i > 0; --i) {
            _payOutAll();
            vm.prank(STAKER);
            staking.stake(uint32(1 + _next(NODES)), UNIT + _next(3 * STAKE));
            _nextEpoch();
            vm.warp(block.timestamp + DEADLINE_S);
            if (!committee.state().handoverDone) committee.close();
        }
        _payOutAll();
        if (_next(2) == 0) _select();
        _comeAndGo();
        vm.warp(block.timestamp + 5 * (EPOCH_S + DEADLINE_S) + _next(2 * EPOCH_S));
        _comeAndGo();
        vm.warp(block.timestamp + _next(2 * EPOCH_S));
        if (_next(2) == 0) _payOutAll();
        _comeAndGo();
        _payOutAll();
        for (uint32 nodeId = 1; committee.state().selectedEpoch != 0; ++nodeId) {
            _tryEject(nodeId);
        }
        vm.assertTrue(committee.isStalled());
    }

    function _comeAndGo() private {
        for (uint32 nodeId = 1; nodeId <= NODES; ++nodeId) {
            vm.startPrank(STAKER);
            if (_next(3) == 0) _tryStake(nodeId);
            if (_next(4) == 0) _tryUnstake(nodeId);
            vm.stopPrank();
        }
    }

    function _act() private {
        uint32 nodeId = uint32(1 + _next(NODES));
        uint256 action = _next(9);
        if (action == 0) return _tryEject(nodeId);
        if (action == 1) {
            try committee.select() {} catch {}
            return;
        }
        uint32 period = committee.period() + 1 + uint32(_next(2));
        uint256 unbonding = staking.unbondingSharesOf(nodeId, period, STAKER);
        uint256 part = _next(2) == 0 ? unbonding : _next(unbonding + 1);
        vm.startPrank(STAKER);
        if (action < 4) {
            _tryStake(nodeId);
        } else if (action == 4) {
            _tryUnstake(nodeId);
        } else if (action == 5) {
            try staking.cancelStaking(nodeId, period) {} catch {}
        } else if (action == 6) {
            try staking.cancelUnstaking(nodeId, period, part) {} catch {}
        } else if (action == 7) {
            try staking.unstakeSooner(nodeId, period, part) {} catch {}
        } else {
            try staking.withdraw(nodeId, period) {} catch {}
        }
        vm.stopPrank();
    }

    function _tryStake(uint32 nodeId) private {
        try staking.stake(nodeId, UNIT + _next(3 * STAKE)) {} catch {} // when a stake before is not settled
    }

    function _tryUnstake(uint32 nodeId) private {
        uint256 shares = staking.sharesOf(nodeId, STAKER);
        try staking.unstake(nodeId, _next(2) == 0 ? shares : _next(shares + 1)) {} catch {}
    }

    /// @dev The node stands again at once, as it may at a standstill.
    function _tryEject(uint32 nodeId) private {
        try this.eject(nodeId) {
            vm.prank(_operator(nodeId));
            try registry.becomeCandidate(nodeId) {} catch {}
        } catch {}
    }

    function eject(uint32 nodeId) external {
        _eject(committee.committeeOf(committee.epoch()).members.length, nodeId);
    }

    function _next(uint256 count) private returns (uint256) {
        seed = uint256(keccak256(abi.encode(seed)));
        return seed % count;
    }
}
