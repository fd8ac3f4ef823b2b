// SPDX-License-Identifier: Apache-2.0
pragma solidity ^0.8.30;

import {IERC20} from "@openzeppelin/contracts/token/ERC20/IERC20.sol";
import {SafeERC20} from "@openzeppelin/contracts/token/ERC20/utils/SafeERC20.sol";
import {Candidates, IEpochs} from "./Candidates.sol";
import {Governed} from "./Governed.sol";
import {Nodes} from "./Nodes.sol";
import {Pool, Pools} from "./lib/Pools.sol";

/// @title The stake on storage nodes.
/// @notice Anybody may stake on any node. The stakers of a node share a pool: rewards raise what a share is worth,
/// a slashing lowers it, and nobody is ever looped over. What is unstaked waits in a pool of its own, together with all
/// of that node's that unlocks in the same epoch: it earns nothing, counts for no election, and can still be slashed
/// until then. A withdrawal cannot be paused.
contract Staking is Nodes {
    using SafeERC20 for IERC20;
    using Pools for Pool;

    /// @notice Something unstaked and not yet withdrawn, as it is shown.
    struct Unbonding {
        uint32 unlockEpoch;
        uint256 shares;
        uint256 amount;
    }

    /// @notice `amount` more is staked on the node, for `shares` of its pool.
    event Staked(uint32 indexed nodeId, address indexed staker, uint256 amount, uint256 shares);
    /// @notice `shares` are no longer staked; the `amount` can be withdrawn in `unlockEpoch`.
    event Unstaked(
        uint32 indexed nodeId,
        address indexed staker,
        uint256 shares,
        uint256 amount,
        uint256 unbondingShares,
        uint32 unlockEpoch
    );
    /// @notice What was to unlock in `unlockEpoch` is staked again.
    event UnstakingCancelled(
        uint32 indexed nodeId,
        address indexed staker,
        uint32 unlockEpoch,
        uint256 unbondingShares,
        uint256 amount,
        uint256 shares
    );
    /// @notice Unstaked tokens went back to the staker.
    event Withdrawn(uint32 indexed nodeId, address indexed staker, uint32 unlockEpoch, uint256 amount);
    /// @notice A node earned `amount` in `epoch`; `commission` of it is the receiver's, the rest the pool's.
    event Rewarded(uint32 indexed nodeId, uint32 indexed epoch, address receiver, uint256 amount, uint256 commission);
    /// @notice A receiver took its commissions.
    event EarningsWithdrawn(address indexed receiver, uint256 amount);
    /// @notice A part of the stake on a node, and of what is unbonding from it, is lost.
    event Slashed(uint32 indexed nodeId, uint256 fraction, uint256 amount, bytes32 evidence);
    /// @notice Somebody else may slash.
    event SlasherChanged(address indexed slasher);

    /// @notice An amount must be above zero.
    error ZeroAmount();
    /// @notice A node carries less than 2^128.
    error StakeTooLarge(uint256 stake);
    /// @notice A staker has either no shares or `least`.
    error StakeTooSmall(uint256 shares, uint256 least);
    /// @notice The exchange rate gives fewer shares than the staker wanted at least.
    error TooFewShares(uint256 shares, uint256 wanted);
    /// @notice The staker has fewer shares than named.
    error NotEnoughShares(uint256 held, uint256 shares);
    /// @notice The staker has nothing from this node that unlocks then, or has withdrawn it.
    error NothingUnbonding(uint32 nodeId, address staker, uint32 unlockEpoch);
    /// @notice It can be withdrawn from `unlockEpoch` on.
    error StillBonded(uint32 unlockEpoch);
    /// @notice It can be withdrawn; only what is still locked can be staked again.
    error AlreadyUnlocked(uint32 unlockEpoch);
    /// @notice The account has earned nothing that is not withdrawn.
    error NothingEarned(address account);
    /// @notice Only the slasher may.
    error NotSlasher(address account);
    /// @notice Above 0 and below 10^18, all of it: else a pool could have shares that are worth nothing.
    error InvalidFraction(uint256 fraction);

    /// @notice Epochs from unstaking to withdrawing.
    uint32 public constant UNBONDING_EPOCHS = 2;
    /// @notice The fewest shares that a staker has on a node, unless none: so few that they are worth next to nothing,
    /// so many that nobody can make a single one dear and have other stakers' amounts rounded down.
    uint256 public constant LEAST_SHARES = 1e9;
    /// @notice All of a stake, as a fraction to slash.
    uint256 public constant WHOLE = 1e18;

    uint256 private constant COMMISSION_WHOLE = 10_000;

    /// @notice What is staked.
    IERC20 public immutable token;

    /// @notice Who may slash: a contract that judges evidence, and nobody to begin with.
    address public slasher;
    /// @notice The stake on a node and the shares it is divided into.
    mapping(uint32 nodeId => Pool) public poolOf;
    /// @notice A staker's shares of the stake on a node.
    mapping(uint32 nodeId => mapping(address staker => uint256 shares)) public sharesOf;
    /// @notice What unlocks in an epoch of what was staked on a node.
    mapping(uint32 nodeId => mapping(uint32 unlockEpoch => Pool)) public unbondingPoolOf;
    /// @notice A staker's shares of that.
    mapping(uint32 nodeId => mapping(uint32 unlockEpoch => mapping(address staker => uint256 shares))) public
        unbondingSharesOf;
    /// @notice Commissions that a receiver has not withdrawn yet.
    mapping(address receiver => uint256 amount) public earningsOf;

    /// @param committee_ Where the committee contract is, or is about to be deployed.
    constructor(IERC20 token_, address committee_, address governor_, address guardian_)
        Governed(governor_, guardian_)
        Candidates(committee_)
    {
        token = token_;
    }

    /// @notice Stakes the sender's tokens on a node; they count from the next selection on.
    /// @param minShares The fewest shares the sender takes for them.
    function stake(uint32 nodeId, uint256 amount, uint256 minShares) external pausable returns (uint256 shares) {
        _known(nodeId);
        if (amount == 0) revert ZeroAmount();
        shares = _enter(nodeId, amount, minShares);
        emit Staked(nodeId, msg.sender, amount, shares);
        token.safeTransferFrom(msg.sender, address(this), amount);
    }

    /// @notice Takes shares off a node. What they are worth counts no more at once, and may be withdrawn two epochs
    /// later.
    /// @param shares All of the sender's, or as many as leave at least `LEAST_SHARES`.
    /// @return amount What they are worth now.
    /// @return unlockEpoch From when on it can be withdrawn.
    function unstake(uint32 nodeId, uint256 shares) external returns (uint256 amount, uint32 unlockEpoch) {
        if (shares == 0) revert ZeroAmount();
        uint256 held = sharesOf[nodeId][msg.sender];
        if (shares > held) revert NotEnoughShares(held, shares);
        _checkPosition(held - shares);
        sharesOf[nodeId][msg.sender] = held - shares;
        amount = poolOf[nodeId].exit(shares);
        unlockEpoch = IEpochs(committee).epoch() + UNBONDING_EPOCHS;
        uint256 unbondingShares = unbondingPoolOf[nodeId][unlockEpoch].enter(amount);
        unbondingSharesOf[nodeId][unlockEpoch][msg.sender] += unbondingShares;
        emit Unstaked(nodeId, msg.sender, shares, amount, unbondingShares, unlockEpoch);
    }

    /// @notice Stakes again, on the same node, what is still to unlock.
    /// @param unbondingShares Of the sender's shares of what unlocks in `unlockEpoch`; all or a part.
    /// @param minShares The fewest shares of the stake the sender takes for them.
    function cancelUnstaking(uint32 nodeId, uint32 unlockEpoch, uint256 unbondingShares, uint256 minShares)
        external
        pausable
        returns (uint256 shares)
    {
        if (unbondingShares == 0) revert ZeroAmount();
        if (IEpochs(committee).epoch() >= unlockEpoch) revert AlreadyUnlocked(unlockEpoch);
        uint256 held = unbondingSharesOf[nodeId][unlockEpoch][msg.sender];
        if (unbondingShares > held) revert NotEnoughShares(held, unbondingShares);
        unbondingSharesOf[nodeId][unlockEpoch][msg.sender] = held - unbondingShares;
        uint256 amount = unbondingPoolOf[nodeId][unlockEpoch].exit(unbondingShares);
        shares = _enter(nodeId, amount, minShares);
        emit UnstakingCancelled(nodeId, msg.sender, unlockEpoch, unbondingShares, amount, shares);
    }

    /// @notice Pays out what the sender unstaked from a node and what unlocks in `unlockEpoch`, once that has come. When
    /// epochs have come to a standstill, it pays at once.
    function withdraw(uint32 nodeId, uint32 unlockEpoch) external returns (uint256 amount) {
        uint256 shares = unbondingSharesOf[nodeId][unlockEpoch][msg.sender];
        if (shares == 0) revert NothingUnbonding(nodeId, msg.sender, unlockEpoch);
        if (IEpochs(committee).epoch() < unlockEpoch && !IEpochs(committee).isStalled()) {
            revert StillBonded(unlockEpoch);
        }
        delete unbondingSharesOf[nodeId][unlockEpoch][msg.sender];
        amount = unbondingPoolOf[nodeId][unlockEpoch].exit(shares);
        emit Withdrawn(nodeId, msg.sender, unlockEpoch, amount);
        token.safeTransfer(msg.sender, amount);
    }

    /// @notice Takes `amount` from the sender as what a node earned in an epoch: the commission of that epoch is the
    /// receiver's, the rest raises what the pool's shares are worth. Without a staker all is the receiver's.
    function reward(uint32 nodeId, uint32 epoch, uint256 amount) external {
        _known(nodeId);
        if (amount == 0) revert ZeroAmount();
        Pool storage pool = poolOf[nodeId];
        uint256 commission = pool.shares == 0 ? amount : amount * commissionIn(nodeId, epoch) / COMMISSION_WHOLE;
        address receiver = _receiverOf(nodeId);
        earningsOf[receiver] += commission;
        pool.raise(amount - commission);
        _checkTotal(pool);
        emit Rewarded(nodeId, epoch, receiver, amount, commission);
        token.safeTransferFrom(msg.sender, address(this), amount);
    }

    /// @notice Pays the sender the commissions that it received.
    function withdrawEarnings() external returns (uint256 amount) {
        amount = earningsOf[msg.sender];
        if (amount == 0) revert NothingEarned(msg.sender);
        delete earningsOf[msg.sender];
        emit EarningsWithdrawn(msg.sender, amount);
        token.safeTransfer(msg.sender, amount);
    }

    /// @notice Takes a part of the stake on a node, and of everything unbonding from it that is still locked, for the
    /// governor to dispose of. Slasher only.
    /// @param fraction Of `WHOLE`; not all of it.
    /// @param evidence What shows why, by its hash.
    function slash(uint32 nodeId, uint256 fraction, bytes32 evidence) external returns (uint256 amount) {
        if (msg.sender != slasher) revert NotSlasher(msg.sender);
        if (fraction == 0 || fraction >= WHOLE) revert InvalidFraction(fraction);
        _known(nodeId);
        amount = poolOf[nodeId].lower(fraction, WHOLE);
        uint32 current = IEpochs(committee).epoch();
        for (uint32 ahead = 1; ahead <= UNBONDING_EPOCHS; ++ahead) {
            amount += unbondingPoolOf[nodeId][current + ahead].lower(fraction, WHOLE);
        }
        emit Slashed(nodeId, fraction, amount, evidence);
        token.safeTransfer(governor, amount);
    }

    /// @notice Names who may slash; the zero address for nobody. Governor only.
    function setSlasher(address slasher_) external onlyGovernor {
        slasher = slasher_;
        emit SlasherChanged(slasher_);
    }

    /// @notice What a staker's shares of a node are worth now.
    function stakeOf(uint32 nodeId, address staker) external view returns (uint256) {
        return poolOf[nodeId].worth(sharesOf[nodeId][staker]);
    }

    /// @notice What a staker has unstaked from a node and not withdrawn, by ascending unlock epoch.
    /// @param first The first unlock epoch to look at; the last one is two epochs ahead of the current.
    function unbondingsOf(uint32 nodeId, address staker, uint32 first)
        external
        view
        returns (Unbonding[] memory unbondings)
    {
        uint32 end = IEpochs(committee).epoch() + UNBONDING_EPOCHS + 1;
        unbondings = new Unbonding[](end > first ? end - first : 0);
        uint256 count;
        for (uint32 epoch = first; epoch < end; ++epoch) {
            uint256 shares = unbondingSharesOf[nodeId][epoch][staker];
            if (shares == 0) continue;
            unbondings[count++] = Unbonding(epoch, shares, unbondingPoolOf[nodeId][epoch].worth(shares));
        }
        assembly ("memory-safe") {
            mstore(unbondings, count)
        }
    }

    /// @notice How many shares `amount` gives now.
    function sharesFor(uint32 nodeId, uint256 amount) external view returns (uint256) {
        return poolOf[nodeId].price(amount);
    }

    /// @inheritdoc Candidates
    function stakeOn(uint32 nodeId) public view override returns (uint256) {
        return poolOf[nodeId].tokens;
    }

    /// @inheritdoc Governed
    function isPausable(bytes4 selector) public pure override returns (bool) {
        return selector == this.registerNode.selector || selector == this.changePublicKey.selector
            || selector == this.becomeCandidate.selector || selector == this.stake.selector
            || selector == this.cancelUnstaking.selector;
    }

    /// @dev Adds to the stake; shares for the sender.
    function _enter(uint32 nodeId, uint256 amount, uint256 minShares) private returns (uint256 shares) {
        Pool storage pool = poolOf[nodeId];
        shares = pool.enter(amount);
        _checkTotal(pool);
        if (shares == 0 || shares < minShares) revert TooFewShares(shares, minShares);
        uint256 held = sharesOf[nodeId][msg.sender] + shares;
        _checkPosition(held);
        sharesOf[nodeId][msg.sender] = held;
    }

    function _checkTotal(Pool storage pool) private view {
        if (pool.tokens > type(uint128).max) revert StakeTooLarge(pool.tokens);
    }

    function _checkPosition(uint256 shares) private pure {
        if (shares != 0 && shares < LEAST_SHARES) revert StakeTooSmall(shares, LEAST_SHARES);
    }
}
