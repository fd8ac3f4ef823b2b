// SPDX-License-Identifier: Apache-2.0
pragma solidity ^0.8.30;

import {IERC20} from "@openzeppelin/contracts/token/ERC20/IERC20.sol";
import {IRegistry} from "./IRegistry.sol";

/// @title The stake on storage nodes.
/// @notice Anybody may stake on any node. The stake that elects a node for a period is the stake that earns in that
/// period and that can be slashed for it: tokens join a node's pool with the first period whose committee is not elected
/// yet, and shares leave the pool with the first period for which they do not stand.
interface IStaking {
    /// @notice Staked tokens that join a node's pool with `period`, as they are shown.
    struct Joining {
        uint32 period;
        uint256 amount;
    }

    /// @notice Something unstaked and not yet withdrawn, as it is shown.
    struct Unbonding {
        /// @dev The first period for which it does not stand.
        uint32 unlockPeriod;
        uint256 shares;
        /// @dev What they are worth now; pay may come until the node is settled up to `unlockPeriod`.
        uint256 amount;
        /// @dev Seconds: the end of the evidence window. 0 until `unlockPeriod` has begun. `isUnlocked` tells whether it can
        /// be withdrawn: that may be later, while certificates of the last period still count, or sooner, 64 periods after
        /// `unlockPeriod` or at a standstill.
        uint64 unlocksAt;
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
    /// @notice `fraction` of the stake on a node is taken, and of each pool that left it with `firstUnlockPeriod` or later
    /// and that it is settled for; of each rounded down, together `amount`. It is burnt but for a bounty.
    event Slashed(uint32 indexed nodeId, uint256 fraction, uint256 amount, bytes32 evidence, uint32 firstUnlockPeriod);
    /// @notice Of what was slashed the account that found why got `amount`.
    event BountyPaid(uint32 indexed nodeId, address indexed finder, uint256 amount);
    /// @notice Another account may slash, once what unlocks with `unlockPeriod` is unlocked.
    event SlasherChanged(address indexed slasher, uint32 unlockPeriod);
    /// @notice A node earned `amount` in `period`; `commission` of it is the receiver's, the rest the pool's.
    event Rewarded(uint32 indexed nodeId, uint32 indexed period, address receiver, uint256 amount, uint256 commission);
    /// @notice A node's periods before `period` are settled: with it `shares` are worth `tokens`. Among the shares are the
    /// `joined` ones, for the tokens that joined with it; no more among the tokens are the `left` ones, of the shares
    /// that left with it.
    event Settled(
        uint32 indexed nodeId, uint32 indexed period, uint256 tokens, uint256 shares, uint256 joined, uint256 left
    );
    /// @notice A staker was given its `shares` of what joined with a period that is settled.
    event Joined(uint32 indexed nodeId, address indexed staker, uint32 fromPeriod, uint256 shares);
    /// @notice A receiver took its commissions.
    event EarningsWithdrawn(address indexed receiver, uint256 amount);

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
    /// @notice Only the slasher and the contract of the storage proofs may.
    error NotSlasher(address account);
    /// @notice Above 0, and no more than a period's slashings of the node leave over.
    error InvalidFraction(uint256 fraction, uint256 most);
    /// @notice The node must be settled up to `needed` first: have it paid out.
    error NotSettled(uint32 nodeId, uint32 settled, uint32 needed);
    /// @notice The account has earned nothing that is not withdrawn.
    error NothingEarned(address account);
    /// @notice Only the contract that pays the nodes may.
    error NotPayer(address account);

    /// @notice The fewest shares that a staker may have on a node, unless it has none. They are worth next to nothing;
    /// a pool of fewer shares could have one share made so dear that other stakers' amounts are rounded down to it.
    function LEAST_SHARES() external view returns (uint256);

    /// @notice All of a stake, as a fraction to slash.
    function WHOLE() external view returns (uint256);

    /// @notice The most of a node's stake that is slashed in one period.
    function MOST_PER_PERIOD() external view returns (uint256);

    /// @notice Of how many parts of what is slashed one is the bounty.
    function BOUNTY_DIVISOR() external view returns (uint256);

    /// @notice The contract of the storage proofs, which may slash by right of the deployment; the zero address for none.
    function proofs() external view returns (address);

    /// @notice The slasher named last.
    function nextSlasher() external view returns (address);

    /// @notice The next slasher may slash once what unlocks with this period is unlocked.
    function nextSlasherPeriod() external view returns (uint32);

    /// @notice Stakes the sender's tokens on a node, from the first period on whose committee is not elected yet.
    /// @return fromPeriod That period.
    function stake(uint32 nodeId, uint256 amount) external returns (uint32 fromPeriod);

    /// @notice Lets this contract take the sender's tokens, by the sender's signature (EIP-2612): the first call of a
    /// `multicall` that stakes. Where the permit was used already, or is refused, what follows says what is lacking.
    function permit(uint256 value, uint256 deadline, uint8 v, bytes32 r, bytes32 s) external;

    /// @notice Gives the sender back, when periods have come to a standstill, what was to join a node's pool with a period
    /// whose committee is not elected. (At any other time such stake has to join before it is unstaked: with stake
    /// that was borrowed for a moment an account could otherwise take another candidate's place.)
    function cancelStaking(uint32 nodeId, uint32 fromPeriod) external returns (uint256 amount);

    /// @notice Takes shares off a node. They stand for no committee any more that is not elected yet; for one that is,
    /// they stand, earn and can be slashed until it is over.
    /// @param shares All of the sender's, or as many as leave at least `LEAST_SHARES`.
    /// @return unlockPeriod The first period for which they do not stand.
    function unstake(uint32 nodeId, uint256 shares) external returns (uint32 unlockPeriod);

    /// @notice Lets shares that were unstaked behind a selection which was dropped since leave with the first period whose
    /// committee is not elected yet, as if unstaked now. They may be fewer than `LEAST_SHARES`.
    /// @param unbondingShares Of the sender's that were not to stand from `unlockPeriod` on; all or a part.
    /// @return sooner The first period for which they do not stand.
    function unstakeSooner(uint32 nodeId, uint32 unlockPeriod, uint256 unbondingShares) external returns (uint32 sooner);

    /// @notice Lets shares stand on, while no committee is elected without them.
    /// @param unbondingShares Of the sender's that were not to stand from `unlockPeriod` on; all or a part.
    function cancelUnstaking(uint32 nodeId, uint32 unlockPeriod, uint256 unbondingShares) external;

    /// @notice Pays out what the sender unstaked from a node, once it is unlocked and the node settled.
    /// @param unlockPeriod The first period for which it did not stand.
    function withdraw(uint32 nodeId, uint32 unlockPeriod) external returns (uint256 amount);

    /// @notice Takes a part of the stake on a node, and of all that stood for it and is not unlocked, and burns it but for
    /// the bounty. Only the slasher and the contract of the storage proofs.
    /// @param fraction Of `WHOLE`; of a node at most `MOST_PER_PERIOD` in a period.
    /// @param evidence What shows why, by its hash.
    /// @param finder The account that gets one of `BOUNTY_DIVISOR` parts of it, `mostBounty` at most; the zero address for
    /// none.
    /// @return amount What was taken, bounty included.
    function slash(uint32 nodeId, uint256 fraction, bytes32 evidence, address finder, uint256 mostBounty)
        external
        returns (uint256 amount);

    /// @notice The most that can be slashed of a node still in this period, of `WHOLE`.
    function mostSlashable(uint32 nodeId) external view returns (uint256 fraction);

    /// @notice Names another slasher. It may slash once every staker who unstakes before the next selection but one can
    /// have left; until then the slasher before may. The zero address, at once, for no slasher. Governor only.
    function setSlasher(address slasher_) external;

    /// @notice The account that may slash: a contract that judges evidence. It is zero at first, when no account may.
    function slasher() external view returns (address);

    /// @notice Whether what does not stand from `unlockPeriod` on can be withdrawn: the period before is over, no
    /// certificate of it counts any more, and the evidence window has passed. When periods have come to a standstill, at
    /// once, unless it stands for a committee that is selected.
    function isUnlocked(uint32 unlockPeriod) external view returns (bool);

    /// @notice What is staked.
    function token() external view returns (IERC20);

    /// @notice The nodes that are staked on.
    function registry() external view returns (IRegistry);

    /// @notice The committee contract, which tells where periods and epochs are.
    function committee() external view returns (address);

    /// @notice The contract that pays the nodes; it alone brings in what raises the worth of shares.
    function payer() external view returns (address);

    /// @notice Seconds after a period's end in which the stake that stood for it can be slashed still.
    function evidenceWindow() external view returns (uint256);

    /// @notice Commissions that a receiver has not withdrawn yet, and what rounding left of stake unstaked at a standstill.
    function earningsOf(address receiver) external view returns (uint256 amount);

    /// @notice What leaves a node with a period: shares of the node's pool until it is settled up to that, then tokens.
    function unbondingPoolOf(uint32 nodeId, uint32 unlockPeriod) external view returns (uint256 tokens, uint256 shares);

    /// @notice A staker's shares of what leaves a node with a period.
    function unbondingSharesOf(uint32 nodeId, uint32 unlockPeriod, address staker)
        external
        view
        returns (uint256 shares);

    /// @notice Settles a node's next periods, all of them over. Takes what the node earned in them from the sender: the
    /// commission of each period is the receiver's, the rest the stakers' of that period. The payer only.
    /// @param amounts What the node earned, from `settledPeriod` on.
    function settle(uint32 nodeId, uint256[] calldata amounts) external;

    /// @notice Pays the sender the commissions that it received.
    function withdrawEarnings() external returns (uint256 amount);

    /// @notice The first period that is not settled for a node. Of a node without stake there is nothing to settle.
    function settledPeriod(uint32 nodeId) external view returns (uint32);

    /// @notice A node's pool, at the exchange rate of `settledPeriod`, with what is to leave.
    function poolOf(uint32 nodeId) external view returns (uint256 tokens, uint256 shares);

    /// @notice Tokens that are to join a node's pool and shares that are to leave it, with periods not settled yet.
    function pendingOf(uint32 nodeId) external view returns (uint256 joining, uint256 leaving);

    /// @notice A staker's shares of a node's pool.
    function sharesOf(uint32 nodeId, address staker) external view returns (uint256 shares);

    /// @notice What a staker has on a node: its shares' worth now, and what is to join.
    function stakeOf(uint32 nodeId, address staker) external view returns (uint256 amount);

    /// @notice What a staker has staked on a node that is to join its pool.
    function joiningsOf(uint32 nodeId, address staker) external view returns (Joining[] memory joinings);

    /// @notice What a staker has unstaked from a node and not withdrawn, by ascending unlock period.
    /// @param first The first unlock period to look at; the last one is two periods ahead of the current.
    function unbondingsOf(uint32 nodeId, address staker, uint32 first)
        external
        view
        returns (Unbonding[] memory unbondings);

    /// @notice How many shares `amount` is worth now.
    function sharesFor(uint32 nodeId, uint256 amount) external view returns (uint256);

    /// @notice The stake on a node that counts in a selection made now, in the token's smallest unit. When periods have come
    /// to a standstill, stake counts only from one to three periods' durations after it came, whether it was staked or its
    /// unstaking was cancelled; nobody makes another's stake young by adding to it, and what goes is young first. While a
    /// selection stands then, what came behind it does not count.
    function stakeOn(uint32 nodeId) external view returns (uint256);

    /// @notice The same of each of several nodes.
    function stakesOn(uint32[] calldata nodeIds) external view returns (uint256[] memory stakes);
}
