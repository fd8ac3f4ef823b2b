// SPDX-License-Identifier: Apache-2.0
pragma solidity ^0.8.30;

import {IERC20} from "@openzeppelin/contracts/token/ERC20/IERC20.sol";
import {SafeERC20} from "@openzeppelin/contracts/token/ERC20/utils/SafeERC20.sol";
import {FixedPointMathLib} from "solady/utils/FixedPointMathLib.sol";
import {Candidates, IEpochs} from "./Candidates.sol";
import {Nodes} from "./Nodes.sol";
import {Pool, Pools} from "./lib/Pools.sol";

/// @title The pools of stake, and how they are settled.
/// @notice A node's epochs are settled in order, each once it is over: the pay comes in, then what leaves goes out and what
/// joins comes in, all at the next epoch's exchange rate.
/// @dev Who enters or leaves never waits for that, and nobody is looped over: all that joins a node, or leaves it, with one
/// epoch is a pool of its own. The tokens of a joining pool become shares of the node's pool when it is settled; the shares
/// in a leaving pool become tokens.
abstract contract Settlement is Nodes {
    using SafeERC20 for IERC20;
    using Pools for Pool;

    /// @notice Staked tokens that join a node's pool with `epoch`, as they are shown.
    struct Joining {
        uint32 epoch;
        uint256 amount;
    }

    /// @notice Something unstaked and not yet withdrawn, as it is shown.
    struct Unbonding {
        /// @dev The first epoch for which it does not stand.
        uint32 unlockEpoch;
        uint256 shares;
        /// @dev What they are worth now; pay may come until the node is settled up to `unlockEpoch`.
        uint256 amount;
        /// @dev Seconds; it cannot be withdrawn before. 0 until `unlockEpoch` has begun.
        uint64 unlocksAt;
    }

    struct Stake {
        Pool pool; // at the exchange rate of epoch `settled`
        uint128 joining; // tokens that join with later epochs
        uint32 settled; // the first epoch that is not settled
        uint256 leaving; // shares of the pool that leave with later epochs
    }

    struct Entry {
        uint32 epoch;
        uint128 amount;
    }

    /// @notice A node earned `amount` in `epoch`; `commission` of it is the receiver's, the rest the pool's.
    event Rewarded(uint32 indexed nodeId, uint32 indexed epoch, address receiver, uint256 amount, uint256 commission);
    /// @notice A node's epochs before `epoch` are settled: with it `shares` are worth `tokens`.
    event Settled(uint32 indexed nodeId, uint32 indexed epoch, uint256 tokens, uint256 shares);
    /// @notice A receiver took its commissions.
    event EarningsWithdrawn(address indexed receiver, uint256 amount);

    /// @notice The node must be settled up to `needed` first: have it paid out.
    error NotSettled(uint32 nodeId, uint32 settled, uint32 needed);
    /// @notice The account has earned nothing that is not withdrawn.
    error NothingEarned(address account);
    /// @notice Only the contract that pays the nodes may.
    error NotPayer(address account);

    /// @dev What did not stand for so many epochs is unlocked, however short they were.
    uint32 private constant LONGEST_BOND = 64;

    uint256 private constant COMMISSION_WHOLE = 10_000;
    uint256 private constant LONGEST_WINDOW = 90 days;

    /// @notice What is staked.
    IERC20 public immutable token;
    /// @notice The contract that pays the nodes; it alone brings in what raises the worth of shares.
    address public immutable payer;
    /// @notice Seconds after an epoch's end in which the stake that stood for it can be slashed still.
    uint256 public immutable evidenceWindow;

    /// @notice Commissions that a receiver has not withdrawn yet, and what rounding left of stake unstaked at a standstill.
    mapping(address receiver => uint256 amount) public earningsOf;

    mapping(uint32 nodeId => Stake) internal _stakes;
    mapping(uint32 nodeId => mapping(address staker => uint256)) internal _shares;
    mapping(uint32 nodeId => mapping(uint32 epoch => Pool)) internal _joinings;
    /// @dev Even epochs and odd ones: no more than the next two can be to come.
    mapping(uint32 nodeId => mapping(address staker => Entry[2])) internal _entries;
    /// @notice What leaves a node with an epoch: shares of the node's pool until it is settled up to that, then tokens.
    mapping(uint32 nodeId => mapping(uint32 unlockEpoch => Pool)) public unbondingPoolOf;
    /// @notice A staker's shares of that.
    mapping(uint32 nodeId => mapping(uint32 unlockEpoch => mapping(address staker => uint256 shares))) public
        unbondingSharesOf;

    constructor(IERC20 token_, address payer_, uint256 evidenceWindow_) {
        if (evidenceWindow_ > LONGEST_WINDOW) revert InvalidParameter("evidenceWindow");
        token = token_;
        payer = payer_;
        evidenceWindow = evidenceWindow_;
    }

    /// @notice Settles a node's next epochs, all of them over. Takes what the node earned in them from the sender: the
    /// commission of each epoch is the receiver's, the rest the stakers' of that epoch. The payer only.
    /// @param amounts What the node earned, from `settledEpoch` on.
    function settle(uint32 nodeId, uint256[] calldata amounts) external {
        if (msg.sender != payer) revert NotPayer(msg.sender);
        Stake storage on = _stakes[nodeId];
        uint32 epoch = settledEpoch(nodeId);
        uint256 total;
        for (uint256 i; i < amounts.length; ++i) {
            if (amounts[i] != 0) _reward(nodeId, epoch, amounts[i]);
            total += amounts[i];
            _turn(nodeId, ++epoch);
        }
        on.settled = epoch;
        emit Settled(nodeId, epoch, on.pool.tokens, on.pool.shares);
        if (total != 0) token.safeTransferFrom(msg.sender, address(this), total);
    }

    /// @notice Pays the sender the commissions that it received.
    function withdrawEarnings() external returns (uint256 amount) {
        amount = earningsOf[msg.sender];
        if (amount == 0) revert NothingEarned(msg.sender);
        delete earningsOf[msg.sender];
        emit EarningsWithdrawn(msg.sender, amount);
        token.safeTransfer(msg.sender, amount);
    }

    /// @notice The first epoch that is not settled for a node. Of a node without stake there is nothing to settle.
    function settledEpoch(uint32 nodeId) public view returns (uint32) {
        Stake storage on = _stakes[nodeId];
        uint32 current = IEpochs(committee).epoch();
        return _isEmpty(on) && on.settled < current ? current : on.settled;
    }

    /// @notice A node's pool, at the exchange rate of `settledEpoch`, with what is to leave.
    function poolOf(uint32 nodeId) external view returns (uint256 tokens, uint256 shares) {
        Pool storage pool = _stakes[nodeId].pool;
        return (pool.tokens, pool.shares);
    }

    /// @notice Tokens that are to join a node's pool and shares that are to leave it, with epochs not settled yet.
    function pendingOf(uint32 nodeId) external view returns (uint256 joining, uint256 leaving) {
        Stake storage on = _stakes[nodeId];
        return (on.joining, on.leaving);
    }

    /// @notice A staker's shares of a node's pool.
    function sharesOf(uint32 nodeId, address staker) public view returns (uint256 shares) {
        shares = _shares[nodeId][staker];
        for (uint256 i; i < 2; ++i) {
            Entry memory entry = _entries[nodeId][staker][i];
            if (_isSettled(nodeId, entry)) shares += _joinings[nodeId][entry.epoch].worth(entry.amount);
        }
    }

    /// @notice What a staker has on a node: its shares' worth now, and what is to join.
    function stakeOf(uint32 nodeId, address staker) external view returns (uint256 amount) {
        amount = _stakes[nodeId].pool.worth(sharesOf(nodeId, staker));
        for (uint256 i; i < 2; ++i) {
            Entry memory entry = _entries[nodeId][staker][i];
            if (!_isSettled(nodeId, entry)) amount += entry.amount;
        }
    }

    /// @notice What a staker has staked on a node that is to join its pool.
    function joiningsOf(uint32 nodeId, address staker) external view returns (Joining[] memory joinings) {
        joinings = new Joining[](2);
        uint256 count;
        uint32 first = _stakes[nodeId].settled + 1;
        for (uint256 i; i < 2; ++i) {
            Entry memory entry = _entries[nodeId][staker][(first + i) % 2];
            if (entry.epoch >= first) joinings[count++] = Joining(entry.epoch, entry.amount);
        }
        assembly ("memory-safe") {
            mstore(joinings, count)
        }
    }

    /// @notice What a staker has unstaked from a node and not withdrawn, by ascending unlock epoch.
    /// @param first The first unlock epoch to look at; the last one is two epochs ahead of the current.
    function unbondingsOf(uint32 nodeId, address staker, uint32 first)
        external
        view
        returns (Unbonding[] memory unbondings)
    {
        uint32 end = IEpochs(committee).epoch() + 3;
        unbondings = new Unbonding[](end > first ? end - first : 0);
        uint256 count;
        for (uint32 epoch = first; epoch < end; ++epoch) {
            uint256 shares = unbondingSharesOf[nodeId][epoch][staker];
            if (shares == 0) continue;
            uint256 amount = unbondingPoolOf[nodeId][epoch].worth(shares);
            if (epoch > _stakes[nodeId].settled) amount = _stakes[nodeId].pool.worth(amount);
            uint256 began = epoch == 0 ? 0 : IEpochs(committee).endedAt(epoch - 1);
            uint64 unlocksAt = began == 0 ? 0 : uint64(began + evidenceWindow);
            unbondings[count++] = Unbonding(epoch, shares, amount, unlocksAt);
        }
        assembly ("memory-safe") {
            mstore(unbondings, count)
        }
    }

    /// @notice How many shares `amount` is worth now.
    function sharesFor(uint32 nodeId, uint256 amount) external view returns (uint256) {
        return _stakes[nodeId].pool.price(amount);
    }

    /// @inheritdoc Candidates
    /// @dev What stands for the first epoch whose committee is not elected yet, as it is worth now. When a selection was
    /// dropped, what came or left after it does so with the epoch after that one.
    function stakeOn(uint32 nodeId) public view override returns (uint256) {
        Stake storage on = _stakes[nodeId];
        uint32 later = IEpochs(committee).electableEpoch() + 1;
        uint256 joining = on.joining;
        uint256 leaving = on.leaving;
        if (joining != 0) joining -= _joinings[nodeId][later].tokens;
        if (leaving != 0) leaving -= unbondingPoolOf[nodeId][later].tokens;
        uint256 standing = on.pool.worth(on.pool.shares - leaving) + joining;
        return FixedPointMathLib.min(standing, type(uint128).max); // rewards may have raised it above
    }

    /// @dev The sender's tokens join with an epoch. Returns all of the sender's that are to join.
    function _enter(uint32 nodeId, uint32 fromEpoch, uint128 amount) internal returns (uint256) {
        Stake storage on = _stakes[nodeId];
        Entry[2] storage entries = _entries[nodeId][msg.sender];
        Entry storage entry = entries[fromEpoch % 2];
        uint32 before = entry.epoch;
        if (before != 0 && before != fromEpoch) revert NotSettled(nodeId, on.settled, before);
        entry.epoch = fromEpoch;
        entry.amount += amount;
        on.joining += amount;
        _joinings[nodeId][fromEpoch].enter(amount);
        return uint256(entries[0].amount) + entries[1].amount;
    }

    /// @dev Gives the sender the shares of what has joined. Returns all of its shares.
    function _collect(uint32 nodeId) internal returns (uint256 shares) {
        shares = _shares[nodeId][msg.sender];
        uint256 before = shares;
        for (uint256 i; i < 2; ++i) {
            Entry memory entry = _entries[nodeId][msg.sender][i];
            if (entry.amount == 0 || !_isSettled(nodeId, entry)) continue;
            shares += _joinings[nodeId][entry.epoch].exit(entry.amount);
            delete _entries[nodeId][msg.sender][i];
        }
        if (shares != before) _shares[nodeId][msg.sender] = shares;
    }

    function _reward(uint32 nodeId, uint32 epoch, uint256 amount) private {
        Pool storage pool = _stakes[nodeId].pool;
        uint256 commission = pool.shares == 0 ? amount : amount * commissionIn(nodeId, epoch) / COMMISSION_WHOLE;
        address receiver = _receiverOf(nodeId);
        earningsOf[receiver] += commission;
        pool.raise(amount - commission);
        emit Rewarded(nodeId, epoch, receiver, amount, commission);
    }

    /// @dev With an epoch, all before it being settled: what leaves goes out, what joins comes in.
    function _turn(uint32 nodeId, uint32 epoch) private {
        Stake storage on = _stakes[nodeId];
        uint256 shares = on.leaving == 0 ? 0 : unbondingPoolOf[nodeId][epoch].tokens;
        if (shares != 0) {
            on.leaving -= shares;
            unbondingPoolOf[nodeId][epoch].tokens = on.pool.exit(shares);
        }
        uint256 tokens = on.joining == 0 ? 0 : _joinings[nodeId][epoch].tokens;
        if (tokens != 0) {
            on.joining -= uint128(tokens);
            _joinings[nodeId][epoch].tokens = on.pool.enter(tokens);
        }
    }

    function _isSettled(uint32 nodeId, Entry memory entry) private view returns (bool) {
        return entry.epoch <= _stakes[nodeId].settled;
    }

    function _isEmpty(Stake storage on) internal view returns (bool) {
        return on.pool.shares == 0 && on.joining == 0;
    }

    /// @dev Whether what did not stand from an epoch on can be slashed no more.
    function _isBeyondEvidence(uint32 unlockEpoch) internal view returns (bool) {
        IEpochs epochs = IEpochs(committee);
        uint32 current = epochs.epoch();
        if (unlockEpoch == 0) return true;
        if (unlockEpoch > current) return false;
        if (current - unlockEpoch >= LONGEST_BOND) return true;
        uint32 last = unlockEpoch - 1;
        return block.timestamp >= epochs.endedAt(last) + evidenceWindow && !epochs.accepts(last);
    }
}
