/// The stake on storage nodes: who stakes, leaves and withdraws, and what of it counts in an election.
///
/// Shared. Anybody may stake on any node. The stake that elects a node for a period is the stake that earns in it: tokens
/// join with the first period whose committee is not elected yet, and leave with the first for which they do not stand.
module haulout::staking;

use haulout::haul::HAUL;
use haulout::node_stake::{Self, NodeStake, Stake};
use haulout::pauses;
use haulout::registry::Registry;
use haulout::slasher::{Self, Slasher, SlasherCap};
use haulout::system::{Self, GovernorCap, System};
use sui::balance::{Balance, Supply};
use sui::clock::Clock;
use sui::coin::{Self, Coin, TreasuryCap};
use sui::dynamic_field;
use sui::event;
use sui::table::{Self, Table};

/// The object is of another version than the called package's.
const EWrongVersion: u64 = 6;
/// The evidence window is longer than 90 days.
const EInvalidEvidenceWindow: u64 = 130;
/// No token was minted before the deployment was created, and none can be later.
const ENoSupply: u64 = 131;
/// Periods have not come to a standstill.
const ENotStalled: u64 = 132;
/// A stake stood for a period that can still be judged.
const EStillBonded: u64 = 133;
/// Nobody has ever staked on a node.
const ENothingStaked: u64 = 137;

const VERSION: u64 = 1;
const LONGEST_WINDOW_S: u64 = 90 * 24 * 3600;
/// What did not stand for so many periods is unlocked, however short they were.
const LONGEST_BOND: u32 = 64;
const COMMISSION_WHOLE: u64 = 10_000;
/// Of how many parts of what is slashed one is the bounty.
const BOUNTY_DIVISOR: u64 = 10;

/// Shared. Its state is a dynamic field named for the version.
public struct Staking has key { id: UID, version: u64 }

public struct State has store {
    /// Node → its stake, from the first on.
    stakes: Table<u32, NodeStake>,
    /// All that is in these.
    tokens: Balance<HAUL>,
    /// With which the package burns what is slashed; it mints nothing.
    supply: Supply<HAUL>,
    /// Seconds after a period's end in which the stake that stood for it can be slashed.
    evidence_window_s: u64,
    slasher: Slasher,
}

public struct StakingCreated has copy, drop { staking: ID, supply: u64, evidence_window_s: u64 }

/// A node earned an amount in a period; the commission of it is the receiver's, the rest the stakers'.
public struct Rewarded has copy, drop { node_id: u32, period: u32, receiver: address, amount: u64, commission: u64 }

/// A fraction, of a thousand millions, is taken of the stake on a node, and of what left it with each period from `first_period`
/// on and is settled; of each rounded down, together `amount`. But for the bounty it is burnt.
public struct Slashed has copy, drop {
    node_id: u32,
    fraction: u64,
    amount: u64,
    bounty: u64,
    evidence: vector<u8>,
    first_period: u32,
}

/// Creates the staking of a deployment, and shares it; the supply of the token is fixed then.
///
/// Aborts with `EInvalidEvidenceWindow` or `ENoSupply`.
public(package) fun create(treasury: TreasuryCap<HAUL>, evidence_window_s: u64, ctx: &mut TxContext) {
    assert!(evidence_window_s <= LONGEST_WINDOW_S, EInvalidEvidenceWindow);
    let mut supply = treasury.treasury_into_supply();
    assert!(supply.supply_value() > 0, ENoSupply);
    let mut staking = Staking { id: object::new(ctx), version: VERSION };
    let staking_id = object::id(&staking);
    event::emit(StakingCreated { staking: staking_id, supply: supply.supply_value(), evidence_window_s });
    let tokens = supply.increase_supply(0);
    let state = State { stakes: table::new(ctx), tokens, supply, evidence_window_s, slasher: slasher::nobody() };
    dynamic_field::add(&mut staking.id, VERSION, state);
    transfer::share_object(staking);
}

/// Stakes tokens on a node, from the first period on whose committee is not elected yet.
///
/// Aborts with `EPaused`, `EUnknownNode`, `EZeroAmount` or `EStakeTooSmall`.
public fun stake(
    staking: &mut Staking,
    system: &System,
    registry: &Registry,
    node_id: u32,
    tokens: Coin<HAUL>,
    clock: &Clock,
    ctx: &mut TxContext,
): Stake {
    system.check_open(pauses::staking(), clock);
    registry.check_known(node_id);
    let state = staking.state_mut();
    if (!state.stakes.contains(node_id)) state.stakes.add(node_id, node_stake::new(node_id, system.period(), ctx));
    let on = &mut state.stakes[node_id];
    on.pass_over(system.period());
    let (amount, period) = (tokens.value(), system.electable_period());
    state.tokens.join(tokens.into_balance());
    let stake = on.stake(amount, period, ctx);
    if (is_noted(system, period, clock)) on.note_coming(amount, duration_s(system), system::seconds(clock));
    stake
}

/// Takes a stake off its node: it stands for no committee any more that is not elected yet. For one that is, it stands,
/// earns and can be slashed until that is over. Aborts with `ENotStanding`.
public fun unstake(staking: &mut Staking, system: &System, stake: &mut Stake, clock: &Clock) {
    let on = staking.on(stake);
    let period = system.electable_period();
    let amount = on.unstake(stake, period);
    if (is_noted(system, period, clock)) on.note_going(amount, duration_s(system), system::seconds(clock));
}

/// Lets a leaving stake stand on, while no committee is elected without it. Aborts with `ENotLeaving`.
///
/// A stake that leaves behind a selection which was dropped since leaves sooner by this and `unstake`.
public fun stay(staking: &mut Staking, system: &System, stake: &mut Stake, clock: &Clock) {
    let on = staking.on(stake);
    let (period, amount) = on.stay(stake, system.electable_period());
    if (is_noted(system, period, clock)) on.note_coming(amount, duration_s(system), system::seconds(clock));
}

/// Gives back, at a standstill, what was to join with a period whose committee is not elected. Aborts with `ENotStalled` or
/// `ENotJoining`.
///
/// At any other time a stake has to join before it leaves: else an account could take a candidate's place with what it
/// borrowed for a moment.
public fun cancel(
    staking: &mut Staking,
    system: &System,
    stake: Stake,
    clock: &Clock,
    ctx: &mut TxContext,
): Coin<HAUL> {
    assert!(system.is_stalled(clock), ENotStalled);
    let on = staking.on(&stake);
    let (period, amount) = on.cancel(stake, system.electable_period());
    if (is_noted(system, period, clock)) on.note_going(amount, duration_s(system), system::seconds(clock));
    coin::from_balance(staking.state_mut().tokens.split(amount), ctx)
}

/// Pays out a stake that has left, once it is unlocked. Aborts with `ENotLeaving`, `EStillBonded` or `ENotSettled`.
public fun withdraw(
    staking: &mut Staking,
    system: &System,
    stake: Stake,
    clock: &Clock,
    ctx: &mut TxContext,
): Coin<HAUL> {
    assert!(staking.is_unlocked(system, stake.leaves_with(), clock), EStillBonded);
    let amount = staking.on(&stake).withdraw(stake);
    coin::from_balance(staking.state_mut().tokens.split(amount), ctx)
}

/// Takes some of a stake's shares out as another stake. Aborts with `ENotStanding` or `EStakeTooSmall`.
public fun split(staking: &mut Staking, stake: &mut Stake, shares: u128, ctx: &mut TxContext): Stake {
    staking.on(stake).split(stake, shares, ctx)
}

/// Makes a stake part of another on the same node. Aborts with `EOtherNode` or `ENotStanding`.
public fun join(staking: &mut Staking, stake: &mut Stake, other: Stake) {
    staking.on(stake).join(stake, other)
}

/// Names another slasher, which counts once every staker that unstakes before the next selection but one can have left; until
/// then the one before does. Returns its capability.
public fun name_slasher(
    staking: &mut Staking,
    system: &System,
    _: &GovernorCap,
    clock: &Clock,
    ctx: &mut TxContext,
): SlasherCap {
    let is_due = staking.is_slasher_due(system, clock);
    staking.state_mut().slasher.name(system.electable_period() + 1, is_due, ctx)
}

/// Has no slasher count any more, at once.
public fun remove_slasher(staking: &mut Staking, _: &GovernorCap) {
    staking.state_mut().slasher.remove();
}

/// Slashes a node as `slash_by_right` does, for a slasher that counts; returns the bounty. Aborts with `ENotSlasher`, too.
public fun slash(
    staking: &mut Staking,
    system: &System,
    cap: &SlasherCap,
    node_id: u32,
    fraction: u64,
    evidence: vector<u8>,
    most_bounty: u64,
    clock: &Clock,
    ctx: &mut TxContext,
): Coin<HAUL> {
    staking.state().slasher.check(cap, staking.is_slasher_due(system, clock));
    let bounty = staking.slash_by_right(system, node_id, fraction, evidence, most_bounty, clock);
    coin::from_balance(bounty, ctx)
}

/// Takes a fraction, of a thousand millions, of the stake on a node and of all that stood for it and is not unlocked, and burns it
/// but for the bounty, which it returns: a tenth of it, `most_bounty` at most. `evidence` is what shows why, by its hash.
///
/// Aborts with `ENothingStaked`, `ENotSettled` or `EInvalidFraction`; `node_stake` has the most.
public(package) fun slash_by_right(
    staking: &mut Staking,
    system: &System,
    node_id: u32,
    fraction: u64,
    evidence: vector<u8>,
    most_bounty: u64,
    clock: &Clock,
): Balance<HAUL> {
    assert!(staking.state().stakes.contains(node_id), ENothingStaked);
    let mut first_period = staking.settled_period(system, node_id) + 1;
    while (first_period > 1 && !staking.is_beyond_evidence(system, first_period - 1, clock)) first_period = first_period - 1;
    let state = staking.state_mut();
    let amount = state.stakes[node_id].slash(fraction, first_period, system.period());
    let bounty = if (amount / BOUNTY_DIVISOR < most_bounty) amount / BOUNTY_DIVISOR else most_bounty;
    event::emit(Slashed { node_id, fraction, amount, bounty, evidence, first_period });
    state.supply.decrease_supply(state.tokens.split(amount - bounty));
    state.tokens.split(bounty)
}

/// Returns the most that can be slashed of a node still in this period, of a thousand millions.
public(package) fun most_slashable(staking: &Staking, system: &System, node_id: u32): u64 {
    staking.state().stakes[node_id].most_slashable(system.period())
}

/// Settles a node's next periods, all of them over, with what the node earned in each: of `pay` the amounts, which are all
/// of it. The commission of each period is the receiver's, the rest the stakers' of that period.
public(package) fun settle(
    staking: &mut Staking,
    system: &System,
    registry: &Registry,
    node_id: u32,
    amounts: vector<u64>,
    mut pay: Balance<HAUL>,
    ctx: &mut TxContext,
) {
    let state = staking.state_mut();
    let on = &mut state.stakes[node_id];
    on.pass_over(system.period());
    let receiver = registry.receiver_of(node_id);
    let mut commissions = 0;
    let mut place = 0;
    while (place < amounts.length()) {
        let (amount, period) = (amounts[place], on.settled());
        let commission = commission_of(amount, registry.commission_in(node_id, period), on.has_standing());
        commissions = commissions + commission;
        if (amount > 0) event::emit(Rewarded { node_id, period, receiver, amount, commission });
        on.settle(amount - commission);
        place = place + 1;
    };
    if (commissions > 0) transfer::public_transfer(coin::from_balance(pay.split(commissions), ctx), receiver);
    state.tokens.join(pay);
}

/// Returns the first period that is not settled for a node. Of a node without stake there is nothing to settle.
public fun settled_period(staking: &Staking, system: &System, node_id: u32): u32 {
    let stakes = &staking.state().stakes;
    if (stakes.contains(node_id)) stakes[node_id].settled_by(system.period()) else system.period()
}

/// Returns the stake on each node that counts in a selection made now.
///
/// At a standstill stake counts only from one to three periods' durations after it came, and what came behind a selection
/// that stands does not.
public(package) fun stakes_on(
    staking: &Staking,
    system: &System,
    node_ids: &vector<u32>,
    clock: &Clock,
): vector<u64> {
    let mut stakes = vector[];
    let least_age_s = if (system.is_stalled(clock) && system.period() > 0) duration_s(system) else 0;
    let mut place = 0;
    while (place < node_ids.length()) {
        stakes.push_back(staking.counted(system, node_ids[place], least_age_s, clock));
        place = place + 1;
    };
    stakes
}

/// Returns whether what does not stand from a period on can be withdrawn: certificates of the period before count no more,
/// and the evidence window has passed since its end; or, at a standstill, unless it stands for a committee that is selected.
public fun is_unlocked(staking: &Staking, system: &System, period: u32, clock: &Clock): bool {
    let is_free = system.is_stalled(clock) && period <= system.period() + 1;
    is_free || staking.is_beyond_evidence(system, period, clock)
}

/// Returns whether what did not stand from a period on can be slashed no more.
fun is_beyond_evidence(staking: &Staking, system: &System, period: u32, clock: &Clock): bool {
    let current = system.period();
    if (period == 0) return true;
    if (period > current) return false;
    if (current - period >= LONGEST_BOND) return true;
    let is_old = system::seconds(clock) >= system.started_at_s(period) + staking.state().evidence_window_s;
    is_old && !system.accepts_period(period - 1, clock)
}

fun is_slasher_due(staking: &Staking, system: &System, clock: &Clock): bool {
    staking.is_beyond_evidence(system, staking.state().slasher.next_period(), clock)
}

fun counted(staking: &Staking, system: &System, node_id: u32, least_age_s: u64, clock: &Clock): u64 {
    let stakes = &staking.state().stakes;
    if (!stakes.contains(node_id)) return 0;
    let on = &stakes[node_id];
    let standing = on.standing_for(system.electable_period());
    if (least_age_s == 0) return standing;
    let next = on.standing_for(system.period() + 1);
    let young = on.young(least_age_s, system::seconds(clock));
    if (next <= young) 0 else if (next - young < standing) next - young else standing
}

/// Returns whether what comes or goes from a period on is noted.
///
/// Until a period is late there is nothing to note: from then to a standstill it is two durations still. What comes or goes
/// behind a selection changes nothing for the next period, whose committee may be selected anew; once that period has
/// begun, all that is noted is old.
fun is_noted(system: &System, period: u32, clock: &Clock): bool {
    system.is_late(clock) && period <= system.period() + 1
}

fun commission_of(amount: u64, rate: u16, has_standing: bool): u64 {
    if (has_standing) ((amount as u128) * (rate as u128) / (COMMISSION_WHOLE as u128)) as u64 else amount
}

fun duration_s(system: &System): u64 {
    system.parameters().period_duration_s()
}

fun on(staking: &mut Staking, stake: &Stake): &mut NodeStake {
    &mut staking.state_mut().stakes[stake.node_id()]
}

fun state(staking: &Staking): &State {
    assert!(staking.version == VERSION, EWrongVersion);
    dynamic_field::borrow(&staking.id, VERSION)
}

fun state_mut(staking: &mut Staking): &mut State {
    assert!(staking.version == VERSION, EWrongVersion);
    dynamic_field::borrow_mut(&mut staking.id, VERSION)
}
