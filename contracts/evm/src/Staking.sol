// SPDX-License-Identifier: Apache-2.0
pragma solidity ^0.8.30;

import {IERC20} from "@openzeppelin/contracts/token/ERC20/IERC20.sol";
import {SafeERC20} from "@openzeppelin/contracts/token/ERC20/utils/SafeERC20.sol";
import {FixedPointMathLib} from "solady/utils/FixedPointMathLib.sol";
import {Candidates, IEpochs} from "./Candidates.sol";
import {Governed} from "./Governed.sol";
import {HauloutToken} from "./HauloutToken.sol";
import {Nodes} from "./Nodes.sol";
import {Pool, Pools} from "./lib/Pools.sol";

/// @title The stake on storage nodes.
/// @notice Anybody may stake on any node. The stake that elects a node for an epoch is the stake that earns in that
/// epoch and that can be slashed for it: tokens join a node's pool with the first epoch whose committee is not elected
/// yet, and shares leave the pool with the first epoch for which they do not stand.
/// @dev A node's epochs are settled in order, each once it is over: the pay comes in, then what leaves goes out and what
/// joins comes in, all at the next epoch's exchange rate. Who enters or leaves never waits for that, and nobody is
/// looped over: all that joins a node, or leaves it, with one epoch is a pool of its own. The tokens of a joining pool
/// become shares of the node's pool when it is settled; the shares in a leaving pool become tokens.
contract Staking is Nodes {
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

    struct Slashes {
        uint32 epoch;
        uint64 fraction; // of `WHOLE`, in that epoch
    }

    /// @notice `amount` more is staked on the node; it counts, and earns, from `fromEpoch` on.
    event Staked(uint32 indexed nodeId, address indexed staker, uint256 amount, uint32 fromEpoch);
    /// @notice `amount` that was to join with `fromEpoch` went back.
    event StakingCancelled(uint32 indexed nodeId, address indexed staker, uint32 fromEpoch, uint256 amount);
    /// @notice `shares` stand and earn for the last time in the epoch before `unlockEpoch`.
    event Unstaked(uint32 indexed nodeId, address indexed staker, uint256 shares, uint32 unlockEpoch);
    /// @notice What was not to stand from `unlockEpoch` on stands on.
    event UnstakingCancelled(uint32 indexed nodeId, address indexed staker, uint32 unlockEpoch, uint256 shares);
    /// @notice Unstaked tokens went back to the staker.
    event Withdrawn(uint32 indexed nodeId, address indexed staker, uint32 unlockEpoch, uint256 amount);
    /// @notice A node earned `amount` in `epoch`; `commission` of it is the receiver's, the rest the pool's.
    event Rewarded(uint32 indexed nodeId, uint32 indexed epoch, address receiver, uint256 amount, uint256 commission);
    /// @notice A node's epochs before `epoch` are settled: with it `shares` are worth `tokens`.
    event Settled(uint32 indexed nodeId, uint32 indexed epoch, uint256 tokens, uint256 shares);
    /// @notice A receiver took its commissions.
    event EarningsWithdrawn(address indexed receiver, uint256 amount);
    /// @notice A part of the stake on a node, and of what is unbonding from it, is burnt.
    event Slashed(uint32 indexed nodeId, uint256 fraction, uint256 amount, bytes32 evidence);
    /// @notice Somebody else may slash, once what unlocks with `unlockEpoch` is unlocked.
    event SlasherChanged(address indexed slasher, uint32 unlockEpoch);

    /// @notice An amount must be above zero.
    error ZeroAmount();
    /// @notice A node carries less than 2^128.
    error StakeTooLarge(uint256 stake);
    /// @notice A staker has either no shares or `least`.
    error StakeTooSmall(uint256 shares, uint256 least);
    /// @notice The staker has fewer shares than named.
    error NotEnoughShares(uint256 held, uint256 shares);
    /// @notice The staker has nothing from this node that unlocks then, or has withdrawn it.
    error NothingUnbonding(uint32 nodeId, address staker, uint32 unlockEpoch);
    /// @notice It stood for the epoch before, which can be judged still.
    error StillBonded(uint32 unlockEpoch);
    /// @notice Only when epochs have come to a standstill.
    error NotStalled();
    /// @notice A committee has been elected with it.
    error ElectedWith(uint32 fromEpoch);
    /// @notice Nothing of the sender's is to join the node's pool with that epoch.
    error NothingJoining(uint32 nodeId, uint32 fromEpoch);
    /// @notice A committee has been elected without it.
    error ElectedWithout(uint32 unlockEpoch);
    /// @notice The node must be settled up to `needed` first: have it paid out.
    error NotSettled(uint32 nodeId, uint32 settled, uint32 needed);
    /// @notice The account has earned nothing that is not withdrawn.
    error NothingEarned(address account);
    /// @notice Only the contract that pays the nodes may.
    error NotPayer(address account);
    /// @notice Only the slasher may.
    error NotSlasher(address account);
    /// @notice Above 0, and no more than an epoch's slashings of the node leave over.
    error InvalidFraction(uint256 fraction, uint256 most);

    /// @notice The fewest shares that a staker has on a node, unless none: so few that they are worth next to nothing,
    /// so many that nobody can make a single one dear and have other stakers' amounts rounded down.
    uint256 public constant LEAST_SHARES = 1e9;
    /// @notice All of a stake, as a fraction to slash.
    uint256 public constant WHOLE = 1e18;
    /// @notice The most of a node's stake that is slashed in one epoch.
    uint256 public constant MOST_PER_EPOCH = WHOLE / 10;
    /// @notice What did not stand for so many epochs is unlocked, however short they were.
    uint32 public constant LONGEST_BOND = 64;

    uint256 private constant COMMISSION_WHOLE = 10_000;
    uint256 private constant LONGEST_WINDOW = 90 days;

    /// @notice What is staked.
    IERC20 public immutable token;
    /// @notice The contract that pays the nodes; it alone brings in what raises the worth of shares.
    address public immutable payer;
    /// @notice Seconds after an epoch's end in which the stake that stood for it can be slashed still.
    uint256 public immutable evidenceWindow;

    /// @notice The slasher named last, and the unlock epoch from whose unlocking on it may slash.
    address public nextSlasher;
    uint32 public nextSlasherEpoch;
    /// @notice Commissions that a receiver has not withdrawn yet.
    mapping(address receiver => uint256 amount) public earningsOf;

    address private _slasher;
    mapping(uint32 nodeId => Stake) private _stakes;
    mapping(uint32 nodeId => mapping(address staker => uint256)) private _shares;
    mapping(uint32 nodeId => mapping(uint32 epoch => Pool)) private _joinings;
    /// @dev Even epochs and odd ones: no more than the next two can be to come.
    mapping(uint32 nodeId => mapping(address staker => Entry[2])) private _entries;
    /// @notice What leaves a node with an epoch: shares of the node's pool until it is settled up to that, then tokens.
    mapping(uint32 nodeId => mapping(uint32 unlockEpoch => Pool)) public unbondingPoolOf;
    /// @notice A staker's shares of that.
    mapping(uint32 nodeId => mapping(uint32 unlockEpoch => mapping(address staker => uint256 shares))) public
        unbondingSharesOf;
    mapping(uint32 nodeId => Slashes) private _slashes;

    /// @param committee_ Where the committee contract is, or is about to be deployed.
    /// @param payer_ Where the blobs' contract is, or is about to be deployed.
    /// @param evidenceWindow_ Seconds, at most 90 days.
    constructor(
        IERC20 token_,
        address committee_,
        address payer_,
        uint256 evidenceWindow_,
        address governor_,
        address guardian_
    ) Governed(governor_, guardian_) Candidates(committee_) {
        if (evidenceWindow_ > LONGEST_WINDOW) revert InvalidParameter("evidenceWindow");
        token = token_;
        payer = payer_;
        evidenceWindow = evidenceWindow_;
    }

    /// @notice Stakes the sender's tokens on a node, from the first epoch on whose committee is not elected yet.
    /// @return fromEpoch That epoch.
    function stake(uint32 nodeId, uint256 amount) external pausable returns (uint32 fromEpoch) {
        _known(nodeId);
        if (amount == 0) revert ZeroAmount();
        Stake storage on = _stakes[nodeId];
        uint256 total = on.pool.tokens + on.joining + amount;
        if (total > type(uint128).max) revert StakeTooLarge(total);
        if (_isEmpty(on)) on.settled = settledEpoch(nodeId);
        fromEpoch = IEpochs(committee).electableEpoch();
        uint256 held = _collect(nodeId);
        if (fromEpoch > on.settled) {
            held += on.pool.price(_enter(nodeId, fromEpoch, uint128(amount)));
        } else {
            held += on.pool.enter(amount); // the epoch before has stalled and is settled: this is the rate
            _shares[nodeId][msg.sender] = held;
        }
        if (held < LEAST_SHARES) revert StakeTooSmall(held, LEAST_SHARES); // also when it is worth no share at all
        emit Staked(nodeId, msg.sender, amount, fromEpoch);
        token.safeTransferFrom(msg.sender, address(this), amount);
    }

    /// @notice Gives the sender back, when epochs have come to a standstill, what was to join a node's pool with an epoch
    /// whose committee is not elected. (At any other time it joins, and is unstaked: nobody can borrow for a moment what
    /// takes another candidate's place.)
    function cancelStaking(uint32 nodeId, uint32 fromEpoch) external returns (uint256 amount) {
        IEpochs epochs = IEpochs(committee);
        if (!epochs.isStalled()) revert NotStalled();
        if (fromEpoch < epochs.electableEpoch()) revert ElectedWith(fromEpoch);
        Entry storage entry = _entries[nodeId][msg.sender][fromEpoch % 2];
        if (entry.epoch != fromEpoch || fromEpoch <= _stakes[nodeId].settled) revert NothingJoining(nodeId, fromEpoch);
        amount = _joinings[nodeId][fromEpoch].exit(entry.amount);
        delete _entries[nodeId][msg.sender][fromEpoch % 2];
        _stakes[nodeId].joining -= uint128(amount);
        emit StakingCancelled(nodeId, msg.sender, fromEpoch, amount);
        token.safeTransfer(msg.sender, amount);
    }

    /// @notice Takes shares off a node. They stand for no committee any more that is not elected yet; for one that is,
    /// they stand, earn and can be slashed until it is over.
    /// @param shares All of the sender's, or as many as leave at least `LEAST_SHARES`.
    /// @return unlockEpoch The first epoch for which they do not stand.
    function unstake(uint32 nodeId, uint256 shares) external returns (uint32 unlockEpoch) {
        if (shares == 0) revert ZeroAmount();
        uint256 held = _collect(nodeId);
        if (shares > held) revert NotEnoughShares(held, shares);
        _checkPosition(held - shares);
        _shares[nodeId][msg.sender] = held - shares;
        Stake storage on = _stakes[nodeId];
        unlockEpoch = IEpochs(committee).electableEpoch();
        uint256 leaving = shares;
        if (unlockEpoch > on.settled) on.leaving += shares;
        else leaving = on.pool.exit(shares); // as in `stake`
        uint256 unbonding = unbondingPoolOf[nodeId][unlockEpoch].enter(leaving);
        unbondingSharesOf[nodeId][unlockEpoch][msg.sender] += unbonding;
        emit Unstaked(nodeId, msg.sender, shares, unlockEpoch);
    }

    /// @notice Lets shares stand on, while no committee is elected without them.
    /// @param unbondingShares Of the sender's that were not to stand from `unlockEpoch` on; all or a part.
    function cancelUnstaking(uint32 nodeId, uint32 unlockEpoch, uint256 unbondingShares) external {
        if (unbondingShares == 0) revert ZeroAmount();
        if (unlockEpoch < IEpochs(committee).electableEpoch()) revert ElectedWithout(unlockEpoch);
        uint256 unbonding = unbondingSharesOf[nodeId][unlockEpoch][msg.sender];
        if (unbondingShares > unbonding) revert NotEnoughShares(unbonding, unbondingShares);
        unbondingSharesOf[nodeId][unlockEpoch][msg.sender] = unbonding - unbondingShares;
        Stake storage on = _stakes[nodeId];
        uint256 shares = unbondingPoolOf[nodeId][unlockEpoch].exit(unbondingShares);
        if (unlockEpoch > on.settled) on.leaving -= shares;
        else shares = on.pool.enter(shares);
        uint256 held = _collect(nodeId) + shares;
        _checkPosition(held);
        _shares[nodeId][msg.sender] = held;
        emit UnstakingCancelled(nodeId, msg.sender, unlockEpoch, shares);
    }

    /// @notice Pays out what the sender unstaked from a node, once it is unlocked and the node settled.
    /// @param unlockEpoch The first epoch for which it did not stand.
    function withdraw(uint32 nodeId, uint32 unlockEpoch) external returns (uint256 amount) {
        uint256 shares = unbondingSharesOf[nodeId][unlockEpoch][msg.sender];
        if (shares == 0) revert NothingUnbonding(nodeId, msg.sender, unlockEpoch);
        if (!isUnlocked(unlockEpoch)) revert StillBonded(unlockEpoch);
        uint32 settled = _stakes[nodeId].settled;
        if (settled < unlockEpoch) revert NotSettled(nodeId, settled, unlockEpoch);
        delete unbondingSharesOf[nodeId][unlockEpoch][msg.sender];
        amount = unbondingPoolOf[nodeId][unlockEpoch].exit(shares);
        emit Withdrawn(nodeId, msg.sender, unlockEpoch, amount);
        token.safeTransfer(msg.sender, amount);
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

    /// @notice Burns a part of the stake on a node, and of all that stood for it and is not unlocked. Slasher only.
    /// @param fraction Of `WHOLE`; of a node at most `MOST_PER_EPOCH` in an epoch.
    /// @param evidence What shows why, by its hash.
    function slash(uint32 nodeId, uint256 fraction, bytes32 evidence) external returns (uint256 amount) {
        if (msg.sender != slasher()) revert NotSlasher(msg.sender);
        _known(nodeId);
        uint32 current = IEpochs(committee).epoch();
        uint32 settled = settledEpoch(nodeId);
        if (settled < current) revert NotSettled(nodeId, settled, current); // what is unlocked would be reached, too
        Slashes storage before = _slashes[nodeId];
        uint256 most = before.epoch == current ? MOST_PER_EPOCH - before.fraction : MOST_PER_EPOCH;
        if (fraction == 0 || fraction > most) revert InvalidFraction(fraction, most);
        (before.epoch, before.fraction) = (current, uint64(MOST_PER_EPOCH - most + fraction));
        amount = _stakes[nodeId].pool.lower(fraction, WHOLE);
        for (uint32 epoch = settled; epoch > 0 && !_isBeyondEvidence(epoch); --epoch) {
            amount += unbondingPoolOf[nodeId][epoch].lower(fraction, WHOLE);
        }
        emit Slashed(nodeId, fraction, amount, evidence);
        HauloutToken(address(token)).burn(amount);
    }

    /// @notice Names who may slash, from when on everybody can have left who unstakes before the next selection but
    /// one; until then the one before may. The zero address for nobody, at once. Governor only.
    function setSlasher(address slasher_) external onlyGovernor {
        _slasher = slasher_ == address(0) ? slasher_ : slasher();
        nextSlasher = slasher_;
        nextSlasherEpoch = IEpochs(committee).electableEpoch() + 1;
        emit SlasherChanged(slasher_, nextSlasherEpoch);
    }

    /// @notice Who may slash: a contract that judges evidence, and nobody to begin with.
    function slasher() public view returns (address) {
        return nextSlasher != address(0) && _isBeyondEvidence(nextSlasherEpoch) ? nextSlasher : _slasher;
    }

    /// @notice Whether what does not stand from `unlockEpoch` on can be withdrawn: the epoch before is over, no
    /// certificate of it counts any more, and the evidence window has passed. When epochs have come to a standstill, at
    /// once, unless it stands for a committee that is selected.
    function isUnlocked(uint32 unlockEpoch) public view returns (bool) {
        IEpochs epochs = IEpochs(committee);
        return _isBeyondEvidence(unlockEpoch) || (epochs.isStalled() && unlockEpoch <= epochs.epoch() + 1);
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

    /// @notice What a staker has staked on a node that is to join its pool, by ascending epoch.
    function joiningsOf(uint32 nodeId, address staker) external view returns (Joining[] memory joinings) {
        joinings = new Joining[](2);
        uint256 count;
        uint32 first = _stakes[nodeId].settled + 1;
        for (uint256 i; i < 2; ++i) {
            Entry memory entry = _entries[nodeId][staker][(first + i) % 2];
            if (entry.epoch >= first) joinings[count++] = Joining(entry.epoch, entry.amount);
        }
        if (count == 2 && joinings[0].epoch > joinings[1].epoch) {
            (joinings[0], joinings[1]) = (joinings[1], joinings[0]);
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

    /// @inheritdoc Governed
    function isPausable(bytes4 selector) public pure override returns (bool) {
        return selector == this.registerNode.selector || selector == this.changePublicKey.selector
            || selector == this.becomeCandidate.selector || selector == this.stake.selector;
    }

    /// @dev The sender's tokens join with an epoch. Returns all of the sender's that are to join.
    function _enter(uint32 nodeId, uint32 fromEpoch, uint128 amount) private returns (uint256) {
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
    function _collect(uint32 nodeId) private returns (uint256 shares) {
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

    function _isEmpty(Stake storage on) private view returns (bool) {
        return on.pool.shares == 0 && on.joining == 0;
    }

    /// @dev Whether what did not stand from an epoch on can be slashed no more.
    function _isBeyondEvidence(uint32 unlockEpoch) private view returns (bool) {
        IEpochs epochs = IEpochs(committee);
        uint32 current = epochs.epoch();
        if (unlockEpoch == 0) return true;
        if (unlockEpoch > current) return false;
        if (current - unlockEpoch >= LONGEST_BOND) return true;
        uint32 last = unlockEpoch - 1;
        return block.timestamp >= epochs.endedAt(last) + evidenceWindow && !epochs.accepts(last);
    }

    function _checkPosition(uint256 shares) private pure {
        if (shares != 0 && shares < LEAST_SHARES) revert StakeTooSmall(shares, LEAST_SHARES);
    }
}
