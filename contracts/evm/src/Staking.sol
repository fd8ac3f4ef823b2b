// SPDX-License-Identifier: Apache-2.0
pragma solidity ^0.8.30;

import {IERC20} from "@openzeppelin/contracts/token/ERC20/IERC20.sol";
import {IERC20Permit} from "@openzeppelin/contracts/token/ERC20/extensions/IERC20Permit.sol";
import {SafeERC20} from "@openzeppelin/contracts/token/ERC20/utils/SafeERC20.sol";
import {Multicall} from "@openzeppelin/contracts/utils/Multicall.sol";
import {FixedPointMathLib} from "solady/utils/FixedPointMathLib.sol";
import {Governed} from "./Governed.sol";
import {HauloutToken} from "./HauloutToken.sol";
import {Settlement} from "./Settlement.sol";
import {IEpochs} from "./interfaces/IEpochs.sol";
import {IRegistry} from "./interfaces/IRegistry.sol";
import {IStaking} from "./interfaces/IStaking.sol";
import {Pool, Pools} from "./lib/Pools.sol";

/// @title The stake on storage nodes: who stakes, unstakes and withdraws how much, and what is slashed (`IStaking`).
contract Staking is Settlement, Multicall {
    using SafeERC20 for IERC20;
    using Pools for Pool;
    using FixedPointMathLib for uint256;

    struct Slashes {
        uint32 period;
        uint64 fraction; // of `WHOLE`, in that period
    }

    /// @inheritdoc IStaking
    uint256 public constant LEAST_SHARES = 1e9;
    /// @inheritdoc IStaking
    uint256 public constant WHOLE = 1e18;
    /// @inheritdoc IStaking
    uint256 public constant MOST_PER_PERIOD = WHOLE / 10;
    /// @inheritdoc IStaking
    uint256 public constant BOUNTY_DIVISOR = 10;

    /// @inheritdoc IStaking
    address public nextSlasher;
    /// @inheritdoc IStaking
    uint32 public nextSlasherPeriod;

    /// @inheritdoc IStaking
    address public immutable proofs;

    address private _slasher;
    mapping(uint32 nodeId => Slashes) private _slashes;

    /// @param registry_ Where the registry is, or is about to be deployed.
    /// @param committee_ Where the committee contract is, or is about to be deployed.
    /// @param payer_ Where the blobs' contract is, or is about to be deployed.
    /// @param proofs_ Where the contract of the storage proofs is, or is about to be deployed; the zero address for none.
    /// @param evidenceWindow_ Seconds, at most 90 days.
    constructor(
        IERC20 token_,
        IRegistry registry_,
        address committee_,
        address payer_,
        address proofs_,
        uint256 evidenceWindow_,
        address governor_,
        address guardian_
    ) Governed(governor_, guardian_) Settlement(token_, registry_, committee_, payer_, evidenceWindow_) {
        proofs = proofs_;
    }

    /// @inheritdoc IStaking
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
        _noteComing(nodeId, fromPeriod, amount);
        emit Staked(nodeId, msg.sender, amount, fromPeriod);
        token.safeTransferFrom(msg.sender, address(this), amount);
    }

    /// @inheritdoc IStaking
    function permit(uint256 value, uint256 deadline, uint8 v, bytes32 r, bytes32 s) external {
        try IERC20Permit(address(token)).permit(msg.sender, address(this), value, deadline, v, r, s) {} catch {}
    }

    /// @inheritdoc IStaking
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
        _noteGoing(nodeId, fromPeriod, amount);
        emit StakingCancelled(nodeId, msg.sender, fromPeriod, amount);
        token.safeTransfer(msg.sender, amount);
    }

    /// @inheritdoc IStaking
    function unstake(uint32 nodeId, uint256 shares) external returns (uint32 unlockPeriod) {
        if (shares == 0) revert ZeroAmount();
        uint256 held = _collect(nodeId);
        if (shares > held) revert NotEnoughShares(held, shares);
        _checkPosition(held - shares);
        _shares[nodeId][msg.sender] = held - shares;
        return _leave(nodeId, shares);
    }

    /// @inheritdoc IStaking
    function unstakeSooner(uint32 nodeId, uint32 unlockPeriod, uint256 unbondingShares)
        external
        returns (uint32 sooner)
    {
        return _leave(nodeId, _takeBack(nodeId, unlockPeriod, unbondingShares));
    }

    /// @inheritdoc IStaking
    function cancelUnstaking(uint32 nodeId, uint32 unlockPeriod, uint256 unbondingShares) external {
        uint256 shares = _takeBack(nodeId, unlockPeriod, unbondingShares);
        uint256 held = _collect(nodeId) + shares;
        _checkPosition(held);
        _shares[nodeId][msg.sender] = held;
    }

    /// @inheritdoc IStaking
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

    /// @inheritdoc IStaking
    function slash(uint32 nodeId, uint256 fraction, bytes32 evidence, address finder, uint256 mostBounty)
        external
        returns (uint256 amount)
    {
        if (msg.sender != proofs && msg.sender != slasher()) revert NotSlasher(msg.sender);
        _requireKnown(nodeId);
        uint32 current = IEpochs(committee).period();
        uint32 settled = settledPeriod(nodeId);
        if (settled < current) revert NotSettled(nodeId, settled, current); // what is unlocked would be reached, too
        uint256 most = mostSlashable(nodeId);
        if (fraction == 0 || fraction > most) revert InvalidFraction(fraction, most);
        _slashes[nodeId] = Slashes({period: current, fraction: uint64(MOST_PER_PERIOD - most + fraction)});
        amount = _stakes[nodeId].pool.lower(fraction, WHOLE);
        uint32 unlockPeriod = settled;
        for (; unlockPeriod > 0 && !_isBeyondEvidence(unlockPeriod); --unlockPeriod) {
            amount += unbondingPoolOf[nodeId][unlockPeriod].lower(fraction, WHOLE);
        }
        emit Slashed(nodeId, fraction, amount, evidence, unlockPeriod + 1);
        uint256 bounty = finder == address(0) ? 0 : (amount / BOUNTY_DIVISOR).min(mostBounty);
        HauloutToken(address(token)).burn(amount - bounty);
        if (bounty == 0) return amount;
        emit BountyPaid(nodeId, finder, bounty);
        token.safeTransfer(finder, bounty);
    }

    /// @inheritdoc IStaking
    function mostSlashable(uint32 nodeId) public view returns (uint256 fraction) {
        Slashes storage before = _slashes[nodeId];
        bool isSlashed = before.period == IEpochs(committee).period();
        return isSlashed ? MOST_PER_PERIOD - before.fraction : MOST_PER_PERIOD;
    }

    /// @inheritdoc IStaking
    function setSlasher(address slasher_) external onlyGovernor {
        _slasher = slasher_ == address(0) ? slasher_ : slasher();
        nextSlasher = slasher_;
        nextSlasherPeriod = IEpochs(committee).electablePeriod() + 1;
        emit SlasherChanged(slasher_, nextSlasherPeriod);
    }

    /// @inheritdoc IStaking
    function slasher() public view returns (address) {
        return nextSlasher != address(0) && _isBeyondEvidence(nextSlasherPeriod) ? nextSlasher : _slasher;
    }

    /// @inheritdoc IStaking
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
            _noteGoing(nodeId, unlockPeriod, on.pool.worth(shares));
        } else {
            uint256 amount = on.pool.exit(shares); // as in `stake`
            _noteGoing(nodeId, unlockPeriod, amount);
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
        if (unlockPeriod > on.settled) {
            on.leaving -= shares;
            _noteComing(nodeId, unlockPeriod, on.pool.worth(shares));
        } else {
            _noteComing(nodeId, unlockPeriod, shares);
            shares = on.pool.enter(shares);
        }
        emit UnstakingCancelled(nodeId, msg.sender, unlockPeriod, unbondingShares, shares);
    }

    function _requireKnown(uint32 nodeId) private view {
        if (nodeId == 0 || nodeId > registry.nodeCount()) revert IRegistry.UnknownNode(nodeId);
    }

    function _checkPosition(uint256 shares) private pure {
        if (shares != 0 && shares < LEAST_SHARES) revert StakeTooSmall(shares, LEAST_SHARES);
    }
}
