// SPDX-License-Identifier: Apache-2.0
pragma solidity ^0.8.30;

import {IERC20} from "@openzeppelin/contracts/token/ERC20/IERC20.sol";
import {SafeERC20} from "@openzeppelin/contracts/token/ERC20/utils/SafeERC20.sol";
import {FixedPointMathLib} from "solady/utils/FixedPointMathLib.sol";
import {Governed} from "./Governed.sol";
import {ICommittee} from "./interfaces/ICommittee.sol";
import {IEpochs} from "./interfaces/IEpochs.sol";
import {IRegistry} from "./interfaces/IRegistry.sol";
import {IStaking} from "./interfaces/IStaking.sol";
import {Pool, Pools} from "./lib/Pools.sol";
import {Recent, Recents} from "./lib/Recents.sol";

/// @title The pools of stake, and how they are settled.
/// @notice A node's periods are settled in order, each once it is over: the pay comes in, then what leaves goes out and what
/// joins comes in, all at the next period's exchange rate.
/// @dev No staker waits for the settling, and no loop goes over stakers: all stake that joins a node, or leaves it, with
/// one period is a pool of its own. The tokens of a joining pool become shares of the node's pool when it is settled; the shares
/// in a leaving pool become tokens.
abstract contract Settlement is Governed, IStaking {
    using SafeERC20 for IERC20;
    using Pools for Pool;
    using Recents for Recent;
    using FixedPointMathLib for uint256;

    struct Stake {
        Pool pool; // at the exchange rate of period `settled`
        uint128 joining; // tokens that join with later periods
        uint32 settled; // the first period that is not settled
        uint256 leaving; // shares of the pool that leave with later periods
    }

    struct Entry {
        uint32 period;
        uint128 amount;
    }

    /// @dev What did not stand for so many periods is unlocked, however short they were.
    uint32 private constant LONGEST_BOND = 64;

    uint256 private constant COMMISSION_WHOLE = 10_000;
    uint256 private constant LONGEST_WINDOW = 90 days;

    /// @inheritdoc IStaking
    IERC20 public immutable token;
    /// @inheritdoc IStaking
    IRegistry public immutable registry;
    /// @inheritdoc IStaking
    address public immutable committee;
    /// @inheritdoc IStaking
    address public immutable payer;
    /// @inheritdoc IStaking
    uint256 public immutable evidenceWindow;

    /// @inheritdoc IStaking
    mapping(address receiver => uint256 amount) public earningsOf;

    mapping(uint32 nodeId => Stake) internal _stakes;
    /// @dev Tokens that were staked on a node for the next period, or whose unstaking was taken back, while a period was late.
    mapping(uint32 nodeId => Recent) private _recents;
    mapping(uint32 nodeId => mapping(address staker => uint256)) internal _shares;
    mapping(uint32 nodeId => mapping(uint32 period => Pool)) internal _joinings;
    /// @dev Even periods and odd ones: no more than the next two can be to come.
    mapping(uint32 nodeId => mapping(address staker => Entry[2])) internal _entries;
    /// @inheritdoc IStaking
    mapping(uint32 nodeId => mapping(uint32 unlockPeriod => Pool)) public unbondingPoolOf;
    /// @inheritdoc IStaking
    mapping(uint32 nodeId => mapping(uint32 unlockPeriod => mapping(address staker => uint256 shares))) public
        unbondingSharesOf;

    constructor(IERC20 token_, IRegistry registry_, address committee_, address payer_, uint256 evidenceWindow_) {
        if (evidenceWindow_ > LONGEST_WINDOW) revert InvalidParameter("evidenceWindow");
        token = token_;
        registry = registry_;
        committee = committee_;
        payer = payer_;
        evidenceWindow = evidenceWindow_;
    }

    /// @inheritdoc IStaking
    function settle(uint32 nodeId, uint256[] calldata amounts) external {
        if (msg.sender != payer) revert NotPayer(msg.sender);
        Stake storage on = _stakes[nodeId];
        uint32 period = settledPeriod(nodeId);
        uint256 total;
        for (uint256 i; i < amounts.length; ++i) {
            if (amounts[i] != 0) _reward(nodeId, period, amounts[i]);
            total += amounts[i];
            (uint256 joined, uint256 left) = _turn(nodeId, ++period);
            emit Settled(nodeId, period, on.pool.tokens, on.pool.shares, joined, left);
        }
        on.settled = period;
        if (total != 0) token.safeTransferFrom(msg.sender, address(this), total);
    }

    /// @inheritdoc IStaking
    function withdrawEarnings() external returns (uint256 amount) {
        amount = earningsOf[msg.sender];
        if (amount == 0) revert NothingEarned(msg.sender);
        delete earningsOf[msg.sender];
        emit EarningsWithdrawn(msg.sender, amount);
        token.safeTransfer(msg.sender, amount);
    }

    /// @inheritdoc IStaking
    function settledPeriod(uint32 nodeId) public view returns (uint32) {
        Stake storage on = _stakes[nodeId];
        uint32 current = IEpochs(committee).period();
        return _isEmpty(on) && on.settled < current ? current : on.settled;
    }

    /// @inheritdoc IStaking
    function poolOf(uint32 nodeId) external view returns (uint256 tokens, uint256 shares) {
        Pool storage pool = _stakes[nodeId].pool;
        return (pool.tokens, pool.shares);
    }

    /// @inheritdoc IStaking
    function pendingOf(uint32 nodeId) external view returns (uint256 joining, uint256 leaving) {
        Stake storage on = _stakes[nodeId];
        return (on.joining, on.leaving);
    }

    /// @inheritdoc IStaking
    function sharesOf(uint32 nodeId, address staker) public view returns (uint256 shares) {
        shares = _shares[nodeId][staker];
        for (uint256 i; i < 2; ++i) {
            Entry memory entry = _entries[nodeId][staker][i];
            if (_isSettled(nodeId, entry)) shares += _joinings[nodeId][entry.period].worth(entry.amount);
        }
    }

    /// @inheritdoc IStaking
    function stakeOf(uint32 nodeId, address staker) external view returns (uint256 amount) {
        amount = _stakes[nodeId].pool.worth(sharesOf(nodeId, staker));
        for (uint256 i; i < 2; ++i) {
            Entry memory entry = _entries[nodeId][staker][i];
            if (!_isSettled(nodeId, entry)) amount += entry.amount;
        }
    }

    /// @inheritdoc IStaking
    function joiningsOf(uint32 nodeId, address staker) external view returns (Joining[] memory joinings) {
        joinings = new Joining[](2);
        uint256 count;
        uint32 first = _stakes[nodeId].settled + 1;
        for (uint256 i; i < 2; ++i) {
            Entry memory entry = _entries[nodeId][staker][(first + i) % 2];
            if (entry.period >= first) joinings[count++] = Joining(entry.period, entry.amount);
        }
        assembly ("memory-safe") {
            mstore(joinings, count)
        }
    }

    /// @inheritdoc IStaking
    function unbondingsOf(uint32 nodeId, address staker, uint32 first)
        external
        view
        returns (Unbonding[] memory unbondings)
    {
        uint32 end = IEpochs(committee).period() + 3;
        unbondings = new Unbonding[](end > first ? end - first : 0);
        uint256 count;
        for (uint32 period = first; period < end; ++period) {
            uint256 shares = unbondingSharesOf[nodeId][period][staker];
            if (shares == 0) continue;
            uint256 amount = unbondingPoolOf[nodeId][period].worth(shares);
            if (period > _stakes[nodeId].settled) amount = _stakes[nodeId].pool.worth(amount);
            uint256 began = period == 0 ? 0 : IEpochs(committee).endedAt(period - 1);
            uint64 unlocksAt = began == 0 ? 0 : uint64(began + evidenceWindow);
            unbondings[count++] = Unbonding(period, shares, amount, unlocksAt);
        }
        assembly ("memory-safe") {
            mstore(unbondings, count)
        }
    }

    /// @inheritdoc IStaking
    function sharesFor(uint32 nodeId, uint256 amount) external view returns (uint256) {
        return _stakes[nodeId].pool.price(amount);
    }

    /// @inheritdoc IStaking
    function stakeOn(uint32 nodeId) external view returns (uint256) {
        IEpochs clock = IEpochs(committee);
        return _stakeOn(nodeId, clock.electablePeriod(), clock.period() + 1, _leastAge());
    }

    /// @inheritdoc IStaking
    function stakesOn(uint32[] calldata nodeIds) external view returns (uint256[] memory stakes) {
        stakes = new uint256[](nodeIds.length);
        (uint32 electable, uint32 next) = (IEpochs(committee).electablePeriod(), IEpochs(committee).period() + 1);
        uint256 leastAge = _leastAge();
        for (uint256 i; i < nodeIds.length; ++i) {
            stakes[i] = _stakeOn(nodeIds[i], electable, next, leastAge);
        }
    }

    /// @dev `amount` comes to stand for a node, from a period on.
    function _noteComing(uint32 nodeId, uint32 fromPeriod, uint256 amount) internal {
        if (_isNoted(fromPeriod)) _recents[nodeId].add(amount, _periodDuration());
    }

    /// @dev `amount` will stand for a node no more, from a period on.
    function _noteGoing(uint32 nodeId, uint32 fromPeriod, uint256 amount) internal {
        if (_isNoted(fromPeriod)) _recents[nodeId].take(amount, _periodDuration());
    }

    /// @dev The sender's tokens join with a period. Returns all of the sender's that are to join.
    function _enter(uint32 nodeId, uint32 fromPeriod, uint128 amount) internal returns (uint256) {
        Stake storage on = _stakes[nodeId];
        Entry[2] storage entries = _entries[nodeId][msg.sender];
        Entry storage entry = entries[fromPeriod % 2];
        uint32 before = entry.period;
        if (before != 0 && before != fromPeriod) revert NotSettled(nodeId, on.settled, before);
        entry.period = fromPeriod;
        entry.amount += amount;
        on.joining += amount;
        _joinings[nodeId][fromPeriod].enter(amount);
        return uint256(entries[0].amount) + entries[1].amount;
    }

    /// @dev Gives the sender the shares of what has joined. Returns all of its shares.
    function _collect(uint32 nodeId) internal returns (uint256 shares) {
        shares = _shares[nodeId][msg.sender];
        uint256 before = shares;
        for (uint256 i; i < 2; ++i) {
            Entry memory entry = _entries[nodeId][msg.sender][i];
            if (entry.amount == 0 || !_isSettled(nodeId, entry)) continue;
            uint256 joined = _joinings[nodeId][entry.period].exit(entry.amount);
            shares += joined;
            delete _entries[nodeId][msg.sender][i];
            emit Joined(nodeId, msg.sender, entry.period, joined);
        }
        if (shares != before) _shares[nodeId][msg.sender] = shares;
    }

    /// @dev What stands for the `electable` period, and no more than what is not younger than `leastAge` of what stands for
    /// the `next` one; these are two while a selection stands.
    function _stakeOn(uint32 nodeId, uint32 electable, uint32 next, uint256 leastAge) private view returns (uint256) {
        uint256 most = type(uint128).max; // rewards may have raised it above
        if (leastAge != 0) most = most.min(_standing(nodeId, next).zeroFloorSub(_recents[nodeId].young(leastAge)));
        return most.min(_standing(nodeId, electable));
    }

    /// @dev What stands for a period, the first whose committee is not elected yet or the next one, as it is worth now.
    /// Only what came or left behind a selection does so later.
    function _standing(uint32 nodeId, uint32 period) private view returns (uint256) {
        Stake storage on = _stakes[nodeId];
        uint256 joining = on.joining;
        uint256 leaving = on.leaving;
        if (joining != 0) joining -= _joinings[nodeId][period + 1].tokens;
        if (leaving != 0) leaving -= unbondingPoolOf[nodeId][period + 1].tokens;
        return on.pool.worth(on.pool.shares - leaving) + joining;
    }

    /// @dev A standstill before the first period is none: nobody has staked yet.
    function _leastAge() private view returns (uint256) {
        IEpochs clock = IEpochs(committee);
        return clock.isStalled() && clock.period() != 0 ? _periodDuration() : 0;
    }

    /// @dev Whether what comes or goes from a period on is noted. Until a period is late there is nothing to note: from
    /// then to a standstill it is two durations still. What comes or goes behind a selection changes nothing for the next
    /// period, whose committee may be selected anew; once that period has begun, all that is noted is old.
    function _isNoted(uint32 fromPeriod) private view returns (bool) {
        return ICommittee(committee).isLate() && fromPeriod <= IEpochs(committee).period() + 1;
    }

    function _periodDuration() private view returns (uint256 duration) {
        (duration,,,,,,) = ICommittee(committee).parameters();
    }

    function _reward(uint32 nodeId, uint32 period, uint256 amount) private {
        Pool storage pool = _stakes[nodeId].pool;
        uint256 commission =
            pool.shares == 0 ? amount : amount * registry.commissionIn(nodeId, period) / COMMISSION_WHOLE;
        address receiver = registry.receiverOf(nodeId);
        earningsOf[receiver] += commission;
        pool.raise(amount - commission);
        emit Rewarded(nodeId, period, receiver, amount, commission);
    }

    /// @dev With a period, all before it being settled: what leaves goes out, what joins comes in.
    function _turn(uint32 nodeId, uint32 period) private returns (uint256 joined, uint256 left) {
        Stake storage on = _stakes[nodeId];
        uint256 shares = on.leaving == 0 ? 0 : unbondingPoolOf[nodeId][period].tokens;
        if (shares != 0) {
            on.leaving -= shares;
            left = on.pool.exit(shares);
            unbondingPoolOf[nodeId][period].tokens = left;
        }
        uint256 tokens = on.joining == 0 ? 0 : _joinings[nodeId][period].tokens;
        if (tokens != 0) {
            on.joining -= uint128(tokens);
            joined = on.pool.enter(tokens);
            _joinings[nodeId][period].tokens = joined;
        }
    }

    function _isSettled(uint32 nodeId, Entry memory entry) private view returns (bool) {
        return entry.period <= _stakes[nodeId].settled;
    }

    function _isEmpty(Stake storage on) internal view returns (bool) {
        return on.pool.shares == 0 && on.joining == 0;
    }

    /// @dev Whether what did not stand from a period on can be slashed no more.
    function _isBeyondEvidence(uint32 unlockPeriod) internal view returns (bool) {
        IEpochs clock = IEpochs(committee);
        uint32 current = clock.period();
        if (unlockPeriod == 0) return true;
        if (unlockPeriod > current) return false;
        if (current - unlockPeriod >= LONGEST_BOND) return true;
        uint32 last = unlockPeriod - 1;
        return block.timestamp >= clock.endedAt(last) + evidenceWindow && !clock.acceptsPeriod(last);
    }
}
