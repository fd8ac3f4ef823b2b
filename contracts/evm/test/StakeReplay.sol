// SPDX-License-Identifier: Apache-2.0
pragma solidity ^0.8.30;

import {ICommittee} from "src/interfaces/ICommittee.sol";
import {IRegistry} from "src/interfaces/IRegistry.sol";
import {IStaking} from "src/interfaces/IStaking.sol";
import {Pool, Pools} from "src/lib/Pools.sol";
import {Recent, Recents} from "src/lib/Recents.sol";
import {Vm} from "test/Vm.sol";

/// @notice All that is known of stake, rebuilt from events alone.
contract StakeReplay {
    using Pools for Pool;
    using Recents for Recent;

    struct Stake {
        Pool pool;
        uint256 joining;
        uint256 leaving;
        uint32 settled;
        address receiver;
    }

    uint256 private constant WHOLE = 1e18;

    uint32 public period;
    /// @dev Of a period, by the parameters that hold.
    uint256 private duration;
    mapping(uint32 nodeId => Recent) private recents;
    mapping(address receiver => uint256) public earningsOf;
    mapping(uint32 nodeId => Stake) public stakes;
    mapping(uint32 nodeId => mapping(uint32 period => Pool)) public joinings;
    mapping(uint32 nodeId => mapping(uint32 unlockPeriod => Pool)) public unbondings;
    mapping(uint32 nodeId => mapping(address staker => uint256)) public sharesOf;
    mapping(uint32 nodeId => mapping(address staker => mapping(uint32 period => uint256))) public entryOf;
    mapping(uint32 nodeId => mapping(uint32 unlockPeriod => mapping(address staker => uint256))) public
        unbondingSharesOf;

    /// @notice Takes one event in, which comes behind those before and is as old as this block.
    /// @param periodDuration Of then; 0 when no period was late then, and nothing could be young.
    function take(Vm.Log calldata log, uint256 periodDuration) external {
        duration = periodDuration;
        bytes32 kind = log.topics[0];
        if (kind == ICommittee.EpochStarted.selector) {
            period = abi.decode(log.data, (uint32));
        } else if (kind == IStaking.EarningsWithdrawn.selector) {
            delete earningsOf[address(uint160(uint256(log.topics[1])))];
        } else if (log.topics.length >= 2) {
            uint32 nodeId = uint32(uint256(log.topics[1]));
            if (kind == IStaking.Settled.selector) {
                _settled(nodeId, uint32(uint256(log.topics[2])), log.data);
            } else if (kind == IStaking.Rewarded.selector) {
                (address receiver,, uint256 commission) = abi.decode(log.data, (address, uint256, uint256));
                earningsOf[receiver] += commission;
            } else if (kind == IStaking.Slashed.selector) {
                _slashed(nodeId, log.data);
            } else if (kind == IRegistry.NodeRegistered.selector) {
                stakes[nodeId].receiver = abi.decode(log.data, (address));
            } else if (kind == IRegistry.ReceiverChanged.selector) {
                stakes[nodeId].receiver = address(uint160(uint256(log.topics[2])));
            } else if (log.topics.length == 3) {
                _ofStaker(kind, nodeId, address(uint160(uint256(log.topics[2]))), log.data);
            }
        }
    }

    /// @notice What elects a node for a period, of at least this age.
    function stakeOn(uint32 nodeId, uint32 electable, uint256 leastAge) external view returns (uint256) {
        uint256 standing = _standing(nodeId, electable);
        if (leastAge == 0) return standing;
        uint256 ofNext = _standing(nodeId, period + 1);
        uint256 young = recents[nodeId].young(leastAge);
        uint256 old = young < ofNext ? ofNext - young : 0;
        return old < standing ? old : standing;
    }

    function _standing(uint32 nodeId, uint32 electable) private view returns (uint256) {
        Stake storage on = stakes[nodeId];
        uint256 leaving = on.leaving == 0 ? 0 : on.leaving - unbondings[nodeId][electable + 1].tokens;
        uint256 joining = on.joining == 0 ? 0 : on.joining - joinings[nodeId][electable + 1].tokens;
        return on.pool.worth(on.pool.shares - leaving) + joining;
    }

    function _settled(uint32 nodeId, uint32 reached, bytes calldata data) private {
        Stake storage on = stakes[nodeId];
        (uint256 tokens, uint256 shares, uint256 joined, uint256 left) =
            abi.decode(data, (uint256, uint256, uint256, uint256));
        on.pool = Pool(tokens, shares);
        if (on.leaving != 0) {
            on.leaving -= unbondings[nodeId][reached].tokens;
            if (unbondings[nodeId][reached].tokens != 0) unbondings[nodeId][reached].tokens = left;
        }
        if (on.joining != 0) {
            on.joining -= joinings[nodeId][reached].tokens;
            if (joinings[nodeId][reached].tokens != 0) joinings[nodeId][reached].tokens = joined;
        }
        on.settled = reached;
    }

    function _slashed(uint32 nodeId, bytes calldata data) private {
        (uint256 fraction, uint256 amount,, uint32 first) = abi.decode(data, (uint256, uint256, bytes32, uint32));
        uint256 sum = stakes[nodeId].pool.lower(fraction, WHOLE);
        for (uint32 unlock = first; unlock <= stakes[nodeId].settled; ++unlock) {
            sum += unbondings[nodeId][unlock].lower(fraction, WHOLE);
        }
        require(sum == amount, "what was burnt");
    }

    function _ofStaker(bytes32 kind, uint32 nodeId, address staker, bytes calldata data) private {
        if (kind == IStaking.Staked.selector) {
            (uint256 amount, uint32 from) = abi.decode(data, (uint256, uint32));
            _staked(nodeId, staker, amount, from);
        } else if (kind == IStaking.Joined.selector) {
            (uint32 from, uint256 shares) = abi.decode(data, (uint32, uint256));
            sharesOf[nodeId][staker] += shares;
            uint256 entry = entryOf[nodeId][staker][from];
            if (entry == 0) return; // at once, which the event that follows says
            joinings[nodeId][from].tokens -= shares;
            joinings[nodeId][from].shares -= entry;
            delete entryOf[nodeId][staker][from];
        } else if (kind == IStaking.StakingCancelled.selector) {
            (uint32 from, uint256 amount) = abi.decode(data, (uint32, uint256));
            joinings[nodeId][from].tokens -= amount;
            joinings[nodeId][from].shares -= entryOf[nodeId][staker][from];
            delete entryOf[nodeId][staker][from];
            stakes[nodeId].joining -= amount;
            _noteGoing(nodeId, from, amount);
        } else if (kind == IStaking.Unstaked.selector) {
            (uint256 shares, uint32 unlock, uint256 given) = abi.decode(data, (uint256, uint32, uint256));
            _unstaked(nodeId, staker, shares, unlock, given);
        } else if (kind == IStaking.UnstakingCancelled.selector) {
            (uint32 unlock, uint256 taken, uint256 shares) = abi.decode(data, (uint32, uint256, uint256));
            unbondingSharesOf[nodeId][unlock][staker] -= taken;
            uint256 amount = unbondings[nodeId][unlock].exit(taken);
            Stake storage on = stakes[nodeId];
            if (unlock > on.settled) {
                on.leaving -= amount;
                _noteComing(nodeId, unlock, on.pool.worth(amount));
            } else {
                _noteComing(nodeId, unlock, amount);
                on.pool.enter(amount);
            }
            sharesOf[nodeId][staker] += shares;
        } else if (kind == IStaking.Withdrawn.selector) {
            (uint32 unlock, uint256 amount) = abi.decode(data, (uint32, uint256));
            unbondings[nodeId][unlock].tokens -= amount;
            unbondings[nodeId][unlock].shares -= unbondingSharesOf[nodeId][unlock][staker];
            delete unbondingSharesOf[nodeId][unlock][staker];
        }
    }

    function _staked(uint32 nodeId, address staker, uint256 amount, uint32 from) private {
        Stake storage on = stakes[nodeId];
        _noteComing(nodeId, from, amount);
        bool isEmpty = on.pool.shares == 0 && on.joining == 0;
        if (isEmpty && on.settled < period) on.settled = period;
        if (from > on.settled) {
            on.joining += amount;
            joinings[nodeId][from].enter(amount);
            entryOf[nodeId][staker][from] += amount;
        } else {
            on.pool.enter(amount);
        }
    }

    function _unstaked(uint32 nodeId, address staker, uint256 shares, uint32 unlock, uint256 given) private {
        Stake storage on = stakes[nodeId];
        Pool storage unbonding = unbondings[nodeId][unlock];
        sharesOf[nodeId][staker] -= shares;
        uint256 leaving = shares;
        if (unlock > on.settled) {
            on.leaving += shares;
            _noteGoing(nodeId, unlock, on.pool.worth(shares));
        } else {
            uint256 amount = on.pool.exit(shares);
            _noteGoing(nodeId, unlock, amount);
            leaving = unbonding.cost(amount);
            earningsOf[on.receiver] += amount - leaving;
        }
        require(unbonding.enter(leaving) == given, "what is unbonding");
        unbondingSharesOf[nodeId][unlock][staker] += given;
    }

    function _noteComing(uint32 nodeId, uint32 from, uint256 amount) private {
        if (duration != 0 && from <= period + 1) recents[nodeId].add(amount, duration);
    }

    function _noteGoing(uint32 nodeId, uint32 from, uint256 amount) private {
        if (duration != 0 && from <= period + 1) recents[nodeId].take(amount, duration);
    }
}
