// SPDX-License-Identifier: Apache-2.0
pragma solidity ^0.8.30;

import {ICommittee} from "src/interfaces/ICommittee.sol";
import {ReplacementBase} from "test/ReplacementBase.sol";

/// @notice At a standstill, whatever anybody stakes, unstakes and takes back around selections that are dropped: what counts of
/// a node is at most the least stake that it had for the next period in the last duration, and at least the least that it
/// had in three; but no more than stands for the period whose committee is elected next.
contract YoungStakeModelTest is ReplacementBase {
    uint32 private constant FEW = 4; // nodes
    uint256 private constant STAKERS = 3;

    /// @dev By node and period: what joins with it and what leaves with it.
    mapping(uint32 nodeId => mapping(uint32 period => uint256)) private _joins;
    mapping(uint32 nodeId => mapping(uint32 period => uint256)) private _leaves;
    uint256[] private _changedAt;
    mapping(uint32 nodeId => uint256[]) private _stakes; // for the next period, from each change on

    function setUp() public override {
        vm.warp(1_700_000_000);
        _deploy(SHARDS, 500);
        for (uint32 nodeId = 1; nodeId <= FEW; ++nodeId) {
            _addNode(0);
        }
        for (uint256 i; i < STAKERS; ++i) {
            _fund(_staker(i), 1e9 ether);
            for (uint32 nodeId = 1; nodeId <= FEW; ++nodeId) {
                vm.prank(_staker(i));
                staking.stake(nodeId, STAKE);
                _joins[nodeId][1] += STAKE;
            }
        }
        committee.select();
        committee.start();
    }

    /// forge-config: default.fuzz.runs = 64
    function test_what_counts_is_what_is_old(uint256 seed) public {
        vm.warp(block.timestamp + 4 * (EPOCH_S + DEADLINE_S) + 1);
        if (seed & 1 == 1) _payOutAll();
        _note(0);
        for (uint256 step; step < 45; ++step) {
            seed = uint256(keccak256(abi.encode(seed)));
            _act(seed);
            _note(block.timestamp);
            _check();
            vm.warp(block.timestamp + (seed & 7 == 0 ? (seed >> 8) % 900 : 0));
            _check();
        }
    }

    function _act(uint256 seed) private {
        (uint256 what, uint32 nodeId) = ((seed >> 16) % 9, uint32(1 + (seed >> 24) % FEW));
        address staker = _staker((seed >> 32) % STAKERS);
        uint32 period = 2 + uint32(seed >> 40 & 1);
        if (what <= 2) _stake(nodeId, staker, 1 ether + (seed >> 64) % (3 * STAKE));
        else if (what <= 4) _unstake(nodeId, staker, seed >> 64);
        else if (what <= 6) _takeBack(nodeId, staker, period, what == 5);
        else if (what == 7) _cancel(nodeId, staker, period);
        else if (committee.state().selectedEpoch == 0) _trySelect();
        else _drop();
    }

    function _stake(uint32 nodeId, address staker, uint256 amount) private {
        vm.prank(staker);
        try staking.stake(nodeId, amount) returns (uint32 period) {
            _joins[nodeId][period] += amount;
        } catch {} // an earlier stake waits for settling
    }

    function _unstake(uint32 nodeId, address staker, uint256 seed) private {
        uint256 held = staking.sharesOf(nodeId, staker);
        if (held < 1 ether) return;
        uint256 shares = seed & 1 == 0 ? held : 1 + seed % (held - 1e9);
        vm.prank(staker);
        _leaves[nodeId][staking.unstake(nodeId, shares)] += shares;
    }

    function _takeBack(uint32 nodeId, address staker, uint32 period, bool isCancelled) private {
        uint256 shares = staking.unbondingSharesOf(nodeId, period, staker);
        if (shares == 0) return;
        vm.prank(staker);
        if (isCancelled) {
            try staking.cancelUnstaking(nodeId, period, shares) {
                _leaves[nodeId][period] -= shares;
            } catch {}
        } else {
            try staking.unstakeSooner(nodeId, period, shares) returns (uint32 sooner) {
                _leaves[nodeId][period] -= shares;
                _leaves[nodeId][sooner] += shares;
            } catch {}
        }
    }

    function _cancel(uint32 nodeId, address staker, uint32 period) private {
        vm.prank(staker);
        try staking.cancelStaking(nodeId, period) returns (uint256 amount) {
            _joins[nodeId][period] -= amount;
        } catch {}
    }

    function _trySelect() private {
        try committee.select() {} catch {}
    }

    /// @dev Ejects a member of the selected committee, whose operator has it stand again.
    function _drop() private {
        ICommittee.MemberView[] memory members = committee.committeeOf(2).members;
        for (uint256 i; i < members.length; ++i) {
            uint32 nodeId = members[i].nodeId;
            if (committee.isEjected(1, nodeId)) continue;
            _eject(nodeId);
            vm.prank(_operator(nodeId));
            registry.becomeCandidate(nodeId);
            return;
        }
    }

    function _check() private view {
        for (uint32 nodeId = 1; nodeId <= FEW; ++nodeId) {
            (uint256 counted, uint256 standing) = (staking.stakeOn(nodeId), _upTo(nodeId, committee.electablePeriod()));
            vm.assertLe(counted, standing);
            vm.assertLe(counted, _leastSince(nodeId, block.timestamp - EPOCH_S + 1));
            uint256 least = _leastSince(nodeId, block.timestamp - 3 * EPOCH_S);
            vm.assertGe(counted, least < standing ? least : standing);
        }
    }

    /// @dev A share is worth one unit throughout: nothing is paid.
    function _upTo(uint32 nodeId, uint32 period) private view returns (uint256 stake) {
        for (uint32 each; each <= period; ++each) {
            stake += _joins[nodeId][each];
        }
        for (uint32 each; each <= period; ++each) {
            stake -= _leaves[nodeId][each];
        }
    }

    function _note(uint256 changedAt) private {
        _changedAt.push(changedAt);
        for (uint32 nodeId = 1; nodeId <= FEW; ++nodeId) {
            _stakes[nodeId].push(_upTo(nodeId, 2));
        }
    }

    function _leastSince(uint32 nodeId, uint256 since) private view returns (uint256 least) {
        least = type(uint256).max;
        for (uint256 i = _changedAt.length; i > 0; --i) {
            if (_stakes[nodeId][i - 1] < least) least = _stakes[nodeId][i - 1];
            if (_changedAt[i - 1] <= since) return least;
        }
    }

    function _staker(uint256 index) private pure returns (address) {
        return address(uint160(0x900 + index));
    }
}
