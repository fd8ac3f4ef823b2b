/// The stake on one node: what stands for it, what joins and what leaves, by period.
///
/// A node's periods are settled in order, each once it is over: the pay comes in, then what leaves goes out and what joins
/// comes in, all at the next period's rate. No staker waits for that, and no loop goes over stakes: all that joins with one
/// period is a pool of its own, whose tokens become shares of the node's pool, and all that leaves with one is another, whose
/// shares become tokens.
///
/// All amounts are numbers; whoever calls this keeps the tokens, and names the periods.
module haulout::node_stake;

use haulout::pool::{Self, Pool};
use haulout::recents::{Self, Recents};
use sui::event;
use sui::table::{Self, Table};

/// Nothing is to be staked.
const EZeroAmount: u64 = 17;
/// A stake would have fewer shares than the least: shares could be made so dear that rounding takes from others.
const EStakeTooSmall: u64 = 18;
/// A stake is on another node.
const EOtherNode: u64 = 19;
/// A stake does not stand: it is yet to join, or leaves.
const ENotStanding: u64 = 20;
/// A stake does not leave, or can no longer stay.
const ENotLeaving: u64 = 21;
/// A period is settled, with which something is to join or leave.
const ESettled: u64 = 22;
/// A period is not settled that must be: before a stake leaves with it, or before what is there in it is slashed.
const ENotSettled: u64 = 23;
/// A node on which nothing stands is paid.
const ENothingStands: u64 = 24;
/// A stake does not join, has joined, or a committee is elected with it.
const ENotJoining: u64 = 134;
/// A fraction to slash is nothing, or more than a period's slashings of the node leave over.
const EInvalidFraction: u64 = 135;

const LEAST_SHARES: u128 = 1_000_000;
/// All of a stake, as a fraction to slash.
const WHOLE: u64 = 1_000_000_000;
/// The most of a node's stake that is slashed in one period.
const MOST_PER_PERIOD: u64 = 100_000_000;

public struct NodeStake has store {
    node_id: u32,
    /// What stands, at the rate of period `settled`.
    pool: Pool,
    /// The first period that is not settled.
    settled: u32,
    /// Tokens that join with later periods.
    joining: u128,
    /// Shares of the pool that leave with later periods.
    leaving: u128,
    /// Period → the tokens that join with it; once all before it are settled, the shares that these became.
    joinings: Table<u32, Pool>,
    /// Period → the shares that leave with it; once all before it are settled, the tokens that these became.
    leavings: Table<u32, Pool>,
    /// What came lately, while periods were late.
    recents: Recents,
    /// The fraction slashed in period `slashed_in`.
    slashed: u64,
    slashed_in: u32,
}

/// A staker's part of a node's stake, which can be given away as any object.
public struct Stake has key, store { id: UID, node_id: u32, phase: Phase }

public enum Phase has copy, drop, store {
    /// Shares of all that joins with a period.
    Joining { period: u32, shares: u128 },
    /// Shares of all that stands.
    Standing { shares: u128 },
    /// Shares of all that leaves with a period.
    Leaving { period: u32, shares: u128 },
}

/// A stake is new, or its phase is.
public struct StakeChanged has copy, drop { stake: ID, node_id: u32, phase: Phase }

/// A stake is withdrawn, or has become part of another.
public struct StakeEnded has copy, drop { stake: ID, node_id: u32, withdrawn: u64 }

/// All periods of a node before this one are settled; so many shares joined, and tokens left.
public struct PeriodSettled has copy, drop {
    node_id: u32,
    period: u32,
    tokens: u64,
    shares: u128,
    joined: u128,
    left: u64,
}

/// What stands has changed while no period was settled: at a standstill, or by a slashing.
public struct PoolChanged has copy, drop { node_id: u32, tokens: u64, shares: u128 }

/// Returns the stake on a node on which nothing is staked yet; `period` is the current one.
public(package) fun new(node_id: u32, period: u32, ctx: &mut TxContext): NodeStake {
    NodeStake {
        node_id,
        pool: pool::new(),
        settled: period,
        joining: 0,
        leaving: 0,
        joinings: table::new(ctx),
        leavings: table::new(ctx),
        recents: recents::new(),
        slashed: 0,
        slashed_in: 0,
    }
}

/// Returns a stake that joins with a period, the first whose committee is not elected yet.
///
/// At a standstill that may be settled up to already; then it stands at once, at the rate of that period. Aborts with
/// `EZeroAmount`, `ESettled`, or `EStakeTooSmall` by the rate of now.
public(package) fun stake(self: &mut NodeStake, amount: u64, period: u32, ctx: &mut TxContext): Stake {
    assert!(amount > 0, EZeroAmount);
    assert!(period >= self.settled, ESettled);
    let amount = amount as u128;
    check_size(self.pool.price(amount));
    let phase = if (period > self.settled) {
        self.joining = self.joining + amount;
        Phase::Joining { period, shares: enter(&mut self.joinings, period, amount) }
    } else {
        let shares = self.pool.enter(amount);
        self.announce();
        Phase::Standing { shares }
    };
    new_stake(self.node_id, phase, ctx)
}

/// Has a stake leave with a period, the first whose committee is not elected yet; returns what it is worth now. Until then
/// it stands; at a standstill, if the period is settled up to, no longer.
///
/// Aborts with `EOtherNode`, `ENotStanding` or `ESettled`.
public(package) fun unstake(self: &mut NodeStake, stake: &mut Stake, period: u32): u64 {
    assert!(period >= self.settled, ESettled);
    let left = self.standing_shares(stake);
    let worth = self.pool.worth(left);
    let shares = if (period > self.settled) {
        self.leaving = self.leaving + left;
        enter(&mut self.leavings, period, left)
    } else {
        let amount = self.pool.exit(left);
        self.announce();
        enter(&mut self.leavings, period, amount)
    };
    stake.become(Phase::Leaving { period, shares });
    worth as u64
}

/// Has a leaving stake stay, unless a committee is elected without it: `period` is the first whose committee is not.
/// Returns the period with which it was to leave, and what it is worth now.
///
/// Aborts with `EOtherNode` or `ENotLeaving`, and with `EStakeTooSmall` where it comes back from what has left.
public(package) fun stay(self: &mut NodeStake, stake: &mut Stake, period: u32): (u32, u64) {
    self.check_node(stake);
    let (with, shares) = stake.leaving();
    assert!(with >= period && with >= self.settled, ENotLeaving);
    let left = exit(&mut self.leavings, with, shares);
    let shares = if (with > self.settled) {
        self.leaving = self.leaving - left;
        left
    } else {
        let shares = self.pool.enter(left);
        check_size(shares);
        self.announce();
        shares
    };
    stake.become(Phase::Standing { shares });
    (with, self.pool.worth(shares) as u64)
}

/// Ends a stake that is to join, unless a committee is elected with it: `period` is the first whose committee is not.
/// Returns the period with which it was to join, and its tokens. Aborts with `EOtherNode` or `ENotJoining`.
public(package) fun cancel(self: &mut NodeStake, stake: Stake, period: u32): (u32, u64) {
    self.check_node(&stake);
    let (with, shares) = stake.joining();
    assert!(with >= period && with > self.settled, ENotJoining);
    let amount = exit(&mut self.joinings, with, shares);
    self.joining = self.joining - amount;
    stake.end(amount as u64);
    (with, amount as u64)
}

/// Ends a stake that has left; returns its tokens. Aborts with `EOtherNode`, `ENotLeaving` or `ENotSettled`.
///
/// Whether it can still be slashed is the caller's to know.
public(package) fun withdraw(self: &mut NodeStake, stake: Stake): u64 {
    self.check_node(&stake);
    let (period, shares) = stake.leaving();
    assert!(period <= self.settled, ENotSettled);
    let amount = exit(&mut self.leavings, period, shares) as u64;
    stake.end(amount);
    amount
}

/// Takes some of a stake's shares out as another stake. Aborts with `EOtherNode`, `ENotStanding` or `EStakeTooSmall`.
public(package) fun split(self: &mut NodeStake, stake: &mut Stake, shares: u128, ctx: &mut TxContext): Stake {
    let held = self.standing_shares(stake);
    check_size(shares);
    assert!(held >= shares, EStakeTooSmall);
    check_size(held - shares);
    stake.become(Phase::Standing { shares: held - shares });
    new_stake(self.node_id, Phase::Standing { shares }, ctx)
}

/// Makes a stake part of another. Aborts with `EOtherNode` or `ENotStanding`.
public(package) fun join(self: &mut NodeStake, stake: &mut Stake, mut other: Stake) {
    let shares = self.standing_shares(stake) + self.standing_shares(&mut other);
    other.end(0);
    stake.become(Phase::Standing { shares });
}

/// Settles one period, with the stakers' pay for it. Aborts with `ENothingStands` if there is pay and nobody to have it.
public(package) fun settle(self: &mut NodeStake, pay: u64) {
    assert!(pay == 0 || self.pool.shares() > 0, ENothingStands);
    self.pool.raise(pay as u128);
    let period = self.settled + 1;
    let leaving = if (self.leaving == 0) 0 else amount_in(&self.leavings, period);
    let left = self.pool.exit(leaving);
    if (leaving > 0) self.leavings[period].exchange(left);
    let joining = if (self.joining == 0) 0 else amount_in(&self.joinings, period);
    let joined = self.pool.enter(joining);
    if (joining > 0) self.joinings[period].exchange(joined);
    self.leaving = self.leaving - leaving;
    self.joining = self.joining - joining;
    self.settled = period;
    let (tokens, shares) = (self.pool.amount() as u64, self.pool.shares());
    event::emit(PeriodSettled { node_id: self.node_id, period, tokens, shares, joined, left: left as u64 });
}

/// Takes a fraction of what stands in the current period, and of what left with each period from `first` on and is settled;
/// returns what was taken. All of that is rounded down. In a period at most a tenth is taken.
///
/// Aborts with `ENotSettled`, since what is unlocked would be reached too, or `EInvalidFraction`.
public(package) fun slash(self: &mut NodeStake, fraction: u64, first: u32, current: u32): u64 {
    self.pass_over(current);
    assert!(self.settled >= current, ENotSettled);
    let most = self.most_slashable(current);
    assert!(fraction > 0 && fraction <= most, EInvalidFraction);
    self.slashed = MOST_PER_PERIOD - most + fraction;
    self.slashed_in = current;
    let mut amount = self.pool.lower(fraction, WHOLE);
    let mut period = first;
    while (period <= self.settled) {
        if (self.leavings.contains(period)) amount = amount + self.leavings[period].lower(fraction, WHOLE);
        period = period + 1;
    };
    self.announce();
    amount as u64
}

/// Returns the most that can be slashed still in the current period, of a thousand millions.
public(package) fun most_slashable(self: &NodeStake, current: u32): u64 {
    if (self.slashed_in == current) MOST_PER_PERIOD - self.slashed else MOST_PER_PERIOD
}

/// Passes over the periods before the current one if nothing stood in them and nothing joins.
public(package) fun pass_over(self: &mut NodeStake, period: u32) {
    self.settled = self.settled_by(period);
}

/// Returns what stands for a period, as it is worth now: the first whose committee is not elected yet, or the one before.
public(package) fun standing_for(self: &NodeStake, period: u32): u64 {
    let joining = if (self.joining == 0) 0 else self.joining - amount_in(&self.joinings, period + 1);
    let leaving = if (self.leaving == 0) 0 else self.leaving - amount_in(&self.leavings, period + 1);
    (self.pool.worth(self.pool.shares() - leaving) + joining) as u64
}

/// Takes note that an amount comes to stand now, of what is young for `age_s` at least.
public(package) fun note_coming(self: &mut NodeStake, amount: u64, age_s: u64, now_s: u64) {
    self.recents.add(amount, age_s, now_s);
}

/// Takes note that an amount will stand no more.
public(package) fun note_going(self: &mut NodeStake, amount: u64, age_s: u64, now_s: u64) {
    self.recents.take(amount, age_s, now_s);
}

/// Returns how much of what was noted may be younger than `age_s`.
public(package) fun young(self: &NodeStake, age_s: u64, now_s: u64): u64 {
    self.recents.young(age_s, now_s)
}

/// Returns the first period that is not settled.
public(package) fun settled(self: &NodeStake): u32 { self.settled }

/// Returns the first period that is not settled, the current one at least if nothing stands and nothing joins.
public(package) fun settled_by(self: &NodeStake, period: u32): u32 {
    let is_empty = self.pool.shares() == 0 && self.joining == 0;
    if (is_empty && self.settled < period) period else self.settled
}

public(package) fun has_standing(self: &NodeStake): bool { self.pool.shares() > 0 }

/// Returns the node that a stake is on.
public(package) fun node_id(self: &Stake): u32 { self.node_id }

/// Returns the period with which a stake leaves. Aborts with `ENotLeaving`.
public(package) fun leaves_with(self: &Stake): u32 {
    let (period, _) = self.leaving();
    period
}

/// Returns the shares of a stake that stands; one that has joined since it was last used does so.
fun standing_shares(self: &mut NodeStake, stake: &mut Stake): u128 {
    self.check_node(stake);
    match (stake.phase) {
        Phase::Standing { shares } => shares,
        Phase::Joining { period, shares } => {
            assert!(period <= self.settled, ENotStanding);
            let shares = exit(&mut self.joinings, period, shares);
            stake.become(Phase::Standing { shares });
            shares
        },
        Phase::Leaving { .. } => abort ENotStanding,
    }
}

/// Returns the period with which a stake leaves, and its shares. Aborts with `ENotLeaving`.
fun leaving(stake: &Stake): (u32, u128) {
    match (stake.phase) {
        Phase::Leaving { period, shares } => (period, shares),
        _ => abort ENotLeaving,
    }
}

/// Returns the period with which a stake joins, and its shares. Aborts with `ENotJoining`.
fun joining(stake: &Stake): (u32, u128) {
    match (stake.phase) {
        Phase::Joining { period, shares } => (period, shares),
        _ => abort ENotJoining,
    }
}

fun new_stake(node_id: u32, phase: Phase, ctx: &mut TxContext): Stake {
    let stake = Stake { id: object::new(ctx), node_id, phase };
    event::emit(StakeChanged { stake: object::id(&stake), node_id, phase });
    stake
}

fun become(stake: &mut Stake, phase: Phase) {
    stake.phase = phase;
    event::emit(StakeChanged { stake: object::id(stake), node_id: stake.node_id, phase });
}

fun end(stake: Stake, withdrawn: u64) {
    event::emit(StakeEnded { stake: object::id(&stake), node_id: stake.node_id, withdrawn });
    let Stake { id, .. } = stake;
    id.delete();
}

fun announce(self: &NodeStake) {
    let (tokens, shares) = (self.pool.amount() as u64, self.pool.shares());
    event::emit(PoolChanged { node_id: self.node_id, tokens, shares });
}

fun check_node(self: &NodeStake, stake: &Stake) {
    assert!(stake.node_id == self.node_id, EOtherNode);
}

fun check_size(shares: u128) {
    assert!(shares >= LEAST_SHARES, EStakeTooSmall);
}

/// Returns what joins or leaves with a period, or what it became.
fun amount_in(pools: &Table<u32, Pool>, period: u32): u128 {
    if (pools.contains(period)) pools[period].amount() else 0
}

fun enter(pools: &mut Table<u32, Pool>, period: u32, amount: u128): u128 {
    if (!pools.contains(period)) pools.add(period, pool::new());
    pools[period].enter(amount)
}

/// Takes shares out of a period's pool, which ends with the last of them.
fun exit(pools: &mut Table<u32, Pool>, period: u32, shares: u128): u128 {
    let amount = pools[period].exit(shares);
    if (pools[period].shares() == 0) {
        pools.remove(period);
    };
    amount
}
