// SPDX-License-Identifier: Apache-2.0
pragma solidity ^0.8.30;

import {IERC20} from "@openzeppelin/contracts/token/ERC20/IERC20.sol";
import {IERC20Permit} from "@openzeppelin/contracts/token/ERC20/extensions/IERC20Permit.sol";
import {SafeERC20} from "@openzeppelin/contracts/token/ERC20/utils/SafeERC20.sol";
import {Multicall} from "@openzeppelin/contracts/utils/Multicall.sol";
import {Governed} from "./Governed.sol";
import {HauloutToken} from "./HauloutToken.sol";
import {Settlement} from "./Settlement.sol";
import {IEpochs} from "./interfaces/IEpochs.sol";
import {IRegistry} from "./interfaces/IRegistry.sol";
import {Pool, Pools} from "./lib/Pools.sol";

/// @title The stake on storage nodes.
/// @notice Anybody may stake on any node. The stake that elects a node for a period is the stake that earns in that
/// period and that can be slashed for it: tokens join a node's pool with the first period whose committee is not elected
/// yet, and shares leave the pool with the first period for which they do not stand.
contract Staking is Settlement, Multicall {
    using SafeERC20 for IERC20;
    using Pools for Pool;

    struct Slashes {
        uint32 period;
        uint64 fraction; // of `WHOLE`, in that period
    }

    /// @notice `amount` more is staked on the node; it counts, and earns, from `fromPeriod` on.
    event Staked(uint32 indexed nodeId, address indexed staker, uint256 amount, uint32 fromPeriod);
    /// @notice `amount` that was to join with `fromPeriod` went back.
    event StakingCancelled(uint32 indexed nodeId, address indexed staker, uint32 fromPeriod, uint256 amount);
    /// @notice `shares` stand and earn for the last time in the period before `unlockPeriod`; they gave `unbondingShares`
    /// of what leaves with it.
    event Unstaked(
        uint32 indexed nodeId, address indexed staker, uint256 shares, uint32 unlockPeriod, uint256 unbondingShares
    );
    /// @notice `unbondingShares` of what was not to stand from `unlockPeriod` on are `shares` of the node's pool again.
    event UnstakingCancelled(
        uint32 indexed nodeId, address indexed staker, uint32 unlockPeriod, uint256 unbondingShares, uint256 shares
    );
    /// @notice Unstaked tokens went back to the staker.
    event Withdrawn(uint32 indexed nodeId, address indexed staker, uint32 unlockPeriod, uint256 amount);
    /// @notice `fraction` of the stake on a node is burnt, and of each pool that left it with `firstUnlockPeriod` or later
    /// and that it is settled for; of each rounded down, together `amount`.
    event Slashed(uint32 indexed nodeId, uint256 fraction, uint256 amount, bytes32 evidence, uint32 firstUnlockPeriod);
    /// @notice Another account may slash, once what unlocks with `unlockPeriod` is unlocked.
    event SlasherChanged(address indexed slasher, uint32 unlockPeriod);

    /// @notice An amount must be above zero.
    error ZeroAmount();
    /// @notice A node carries less than 2^128.
    error StakeTooLarge(uint256 stake);
    /// @notice A staker has either no shares or `least`.
    error StakeTooSmall(uint256 shares, uint256 least);
    /// @notice The staker has fewer shares than named.
    error NotEnoughShares(uint256 held, uint256 shares);
    /// @notice The staker has nothing from this node that unlocks then, or has withdrawn it.
    error NothingUnbonding(uint32 nodeId, address staker, uint32 unlockPeriod);
    /// @notice It stood for the period before, which can be judged still.
    error StillBonded(uint32 unlockPeriod);
    /// @notice Only when periods have come to a standstill.
    error NotStalled();
    /// @notice A committee has been elected with it.
    error ElectedWith(uint32 fromPeriod);
    /// @notice Nothing of the sender's is to join the node's pool with that period.
    error NothingJoining(uint32 nodeId, uint32 fromPeriod);
    /// @notice A committee has been elected without it.
    error ElectedWithout(uint32 unlockPeriod);
    /// @notice Only the slasher may.
    error NotSlasher(address account);
    /// @notice Above 0, and no more than a period's slashings of the node leave over.
    error InvalidFraction(uint256 fraction, uint256 most);

    /// @notice The fewest shares that a staker has on a node, unless none: so few that they are worth next to nothing,
    /// so many that nobody can make a single one dear and have other stakers' amounts rounded down.
    uint256 public constant LEAST_SHARES = 1e9;
    /// @notice All of a stake, as a fraction to slash.
    uint256 public constant WHOLE = 1e18;
    /// @notice The most of a node's stake that is slashed in one period.
    uint256 public constant MOST_PER_PERIOD = WHOLE / 10;

    /// @notice The slasher named last, and the unlock period from whose unlocking on it may slash.
    address public nextSlasher;
    uint32 public nextSlasherPeriod;

    address private _slasher;
    mapping(uint32 nodeId => Slashes) private _slashes;

    /// @param registry_ Where the registry is, or is about to be deployed.
    /// @param committee_ Where the committee contract is, or is about to be deployed.
    /// @param payer_ Where the blobs' contract is, or is about to be deployed.
    /// @param evidenceWindow_ Seconds, at most 90 days.
    constructor(
        IERC20 token_,
        IRegistry registry_,
        address committee_,
        address payer_,
        uint256 evidenceWindow_,
        address governor_,
        address guardian_
    ) Governed(governor_, guardian_) Settlement(token_, registry_, committee_, payer_, evidenceWindow_) {}

    /// @notice Stakes the sender's tokens on a node, from the first period on whose committee is not elected yet.
    /// @return fromPeriod That period.
    function stake(uint32 nodeId, uint256 amount) external pausable returns (uint32 fromPeriod) {
        if (amount == 0) revert ZeroAmount();
        Stake storage on = _stakes[nodeId];
        uint256 total = on.pool.tokens + on.joining + amount;
        if (total > type(uint128).max) revert StakeTooLarge(total);
        if (_isEmpty(on)) {
            _requireKnown(nodeId); // a node that carries stake is known
            on.settled = settledPeriod(nodeId);
        }
        fromPeriod = IEpochs(committee).electablePeriod();
        uint256 held = _collect(nodeId);
        if (fromPeriod > on.settled) {
            held += on.pool.price(_enter(nodeId, fromPeriod, uint128(amount)));
        } else {
            uint256 shares = on.pool.enter(amount); // the period before has stalled and is settled: this is the rate
            held += shares;
            _shares[nodeId][msg.sender] = held;
            emit Joined(nodeId, msg.sender, fromPeriod, shares);
        }
        if (held < LEAST_SHARES) revert StakeTooSmall(held, LEAST_SHARES); // also when it is worth no share at all
        emit Staked(nodeId, msg.sender, amount, fromPeriod);
        token.safeTransferFrom(msg.sender, address(this), amount);
    }

    /// @notice Lets this contract take the sender's tokens, by the sender's signature (EIP-2612): the first call of a
    /// `multicall` that stakes. Where the permit was used already, or is refused, what follows says what is lacking.
    function permit(uint256 value, uint256 deadline, uint8 v, bytes32 r, bytes32 s) external {
        try IERC20Permit(address(token)).permit(msg.sender, address(this), value, deadline, v, r, s) {} catch {}
    }

    /// @notice Gives the sender back, when periods have come to a standstill, what was to join a node's pool with a period
    /// whose committee is not elected. (At any other time it joins, and is unstaked: nobody can borrow for a moment what
    /// takes another candidate's place.)
    function cancelStaking(uint32 nodeId, uint32 fromPeriod) external returns (uint256 amount) {
        IEpochs clock = IEpochs(committee);
        if (!clock.isStalled()) revert NotStalled();
        if (fromPeriod < clock.electablePeriod()) revert ElectedWith(fromPeriod);
        Entry storage entry = _entries[nodeId][msg.sender][fromPeriod % 2];
        if (entry.period != fromPeriod || fromPeriod <= _stakes[nodeId].settled) {
            revert NothingJoining(nodeId, fromPeriod);
        }
        amount = _joinings[nodeId][fromPeriod].exit(entry.amount);
        delete _entries[nodeId][msg.sender][fromPeriod % 2];
        _stakes[nodeId].joining -= uint128(amount);
        emit StakingCancelled(nodeId, msg.sender, fromPeriod, amount);
        token.safeTransfer(msg.sender, amount);
    }

    /// @notice Takes shares off a node. They stand for no committee any more that is not elected yet; for one that is,
    /// they stand, earn and can be slashed until it is over.
    /// @param shares All of the sender's, or as many as leave at least `LEAST_SHARES`.
    /// @return unlockPeriod The first period for which they do not stand.
    function unstake(uint32 nodeId, uint256 shares) external returns (uint32 unlockPeriod) {
        if (shares == 0) revert ZeroAmount();
        uint256 held = _collect(nodeId);
        if (shares > held) revert NotEnoughShares(held, shares);
        _checkPosition(held - shares);
        _shares[nodeId][msg.sender] = held - shares;
        return _leave(nodeId, shares);
    }

    /// @notice Lets shares that were unstaked behind a selection which was dropped since leave with the first period whose
    /// committee is not elected yet, as if unstaked now. Fewer than `LEAST_SHARES`, too: they are nobody's position between.
    /// @param unbondingShares Of the sender's that were not to stand from `unlockPeriod` on; all or a part.
    /// @return sooner The first period for which they do not stand.
    function unstakeSooner(uint32 nodeId, uint32 unlockPeriod, uint256 unbondingShares)
        external
        returns (uint32 sooner)
    {
        return _leave(nodeId, _takeBack(nodeId, unlockPeriod, unbondingShares));
    }

    /// @notice Lets shares stand on, while no committee is elected without them.
    /// @param unbondingShares Of the sender's that were not to stand from `unlockPeriod` on; all or a part.
    function cancelUnstaking(uint32 nodeId, uint32 unlockPeriod, uint256 unbondingShares) external {
        uint256 shares = _takeBack(nodeId, unlockPeriod, unbondingShares);
        uint256 held = _collect(nodeId) + shares;
        _checkPosition(held);
        _shares[nodeId][msg.sender] = held;
    }

    /// @notice Pays out what the sender unstaked from a node, once it is unlocked and the node settled.
    /// @param unlockPeriod The first period for which it did not stand.
    function withdraw(uint32 nodeId, uint32 unlockPeriod) external returns (uint256 amount) {
        uint256 shares = unbondingSharesOf[nodeId][unlockPeriod][msg.sender];
        if (shares == 0) revert NothingUnbonding(nodeId, msg.sender, unlockPeriod);
        if (!isUnlocked(unlockPeriod)) revert StillBonded(unlockPeriod);
        uint32 settled = _stakes[nodeId].settled;
        if (settled < unlockPeriod) revert NotSettled(nodeId, settled, unlockPeriod);
        delete unbondingSharesOf[nodeId][unlockPeriod][msg.sender];
        amount = unbondingPoolOf[nodeId][unlockPeriod].exit(shares);
        emit Withdrawn(nodeId, msg.sender, unlockPeriod, amount);
        token.safeTransfer(msg.sender, amount);
    }

    /// @notice Burns a part of the stake on a node, and of all that stood for it and is not unlocked. Slasher only.
    /// @param fraction Of `WHOLE`; of a node at most `MOST_PER_PERIOD` in a period.
    /// @param evidence What shows why, by its hash.
    function slash(uint32 nodeId, uint256 fraction, bytes32 evidence) external returns (uint256 amount) {
        if (msg.sender != slasher()) revert NotSlasher(msg.sender);
        _requireKnown(nodeId);
        uint32 current = IEpochs(committee).period();
        uint32 settled = settledPeriod(nodeId);
        if (settled < current) revert NotSettled(nodeId, settled, current); // what is unlocked would be reached, too
        Slashes storage before = _slashes[nodeId];
        uint256 most = before.period == current ? MOST_PER_PERIOD - before.fraction : MOST_PER_PERIOD;
        if (fraction == 0 || fraction > most) revert InvalidFraction(fraction, most);
        (before.period, before.fraction) = (current, uint64(MOST_PER_PERIOD - most + fraction));
        amount = _stakes[nodeId].pool.lower(fraction, WHOLE);
        uint32 unlockPeriod = settled;
        for (; unlockPeriod > 0 && !_isBeyondEvidence(unlockPeriod); --unlockPeriod) {
            amount += unbondingPoolOf[nodeId][unlockPeriod].lower(fraction, WHOLE);
        }
        emit Slashed(nodeId, fraction, amount, evidence, unlockPeriod + 1);
        HauloutToken(address(token)).burn(amount);
    }

    /// @notice Names who may slash, from when on everybody can have left who unstakes before the next selection but
    /// one; until then the one before may. The zero address for nobody, at once. Governor only.
    function setSlasher(address slasher_) external onlyGovernor {
        _slasher = slasher_ == address(0) ? slasher_ : slasher();
        nextSlasher = slasher_;
        nextSlasherPeriod = IEpochs(committee).electablePeriod() + 1;
        emit SlasherChanged(slasher_, nextSlasherPeriod);
    }

    /// @notice Who may slash: a contract that judges evidence, and nobody to begin with.
    function slasher() public view returns (address) {
        return nextSlasher != address(0) && _isBeyondEvidence(nextSlasherPeriod) ? nextSlasher : _slasher;
    }

    /// @notice Whether what does not stand from `unlockPeriod` on can be withdrawn: the period before is over, no
    /// certificate of it counts any more, and the evidence window has passed. When periods have come to a standstill, at
    /// once, unless it stands for a committee that is selected.
    function isUnlocked(uint32 unlockPeriod) public view returns (bool) {
        IEpochs clock = IEpochs(committee);
        return _isBeyondEvidence(unlockPeriod) || (clock.isStalled() && unlockPeriod <= clock.period() + 1);
    }

    /// @inheritdoc Governed
    function isPausable(bytes4 selector) public pure override returns (bool) {
        return selector == this.stake.selector;
    }

    /// @dev The sender's shares, which no account holds now, leave the pool with the first period that is not elected for.
    function _leave(uint32 nodeId, uint256 shares) private returns (uint32 unlockPeriod) {
        Stake storage on = _stakes[nodeId];
        unlockPeriod = IEpochs(committee).electablePeriod();
        Pool storage unbonding = unbondingPoolOf[nodeId][unlockPeriod];
        uint256 leaving = shares;
        if (unlockPeriod > on.settled) {
            on.leaving += shares;
        } else {
            uint256 amount = on.pool.exit(shares); // as in `stake`
            leaving = unbonding.cost(amount);
            earningsOf[registry.receiverOf(nodeId)] += amount - leaving; // less than a share: else it would make the others dear
        }
        uint256 unbondingShares = unbonding.enter(leaving);
        unbondingSharesOf[nodeId][unlockPeriod][msg.sender] += unbondingShares;
        emit Unstaked(nodeId, msg.sender, shares, unlockPeriod, unbondingShares);
    }

    /// @dev Takes back what of the sender's was to leave with a period: shares of the node's pool, which no account holds now.
    function _takeBack(uint32 nodeId, uint32 unlockPeriod, uint256 unbondingShares) private returns (uint256 shares) {
        if (unbondingShares == 0) revert ZeroAmount();
        if (unlockPeriod < IEpochs(committee).electablePeriod()) revert ElectedWithout(unlockPeriod);
        uint256 unbonding = unbondingSharesOf[nodeId][unlockPeriod][msg.sender];
        if (unbondingShares > unbonding) revert NotEnoughShares(unbonding, unbondingShares);
        unbondingSharesOf[nodeId][unlockPeriod][msg.sender] = unbonding - unbondingShares;
        Stake storage on = _stakes[nodeId];
        shares = unbondingPoolOf[nodeId][unlockPeriod].exit(unbondingShares);
        if (unlockPeriod > on.settled) on.leaving -= shares;
        else shares = on.pool.enter(shares);
        emit UnstakingCancelled(nodeId, msg.sender, unlockPeriod, unbondingShares, shares);
    }

    function _requireKnown(uint32 nodeId) private view {
        if (nodeId == 0 || nodeId > registry.nodeCount()) revert IRegistry.UnknownNode(nodeId);
    }

    function _checkPosition(uint256 shares) private pure {
        if (shares != 0 && shares < LEAST_SHARES) revert StakeTooSmall(shares, LEAST_SHARES);
    }
}
