/// Has everybody see what the governor is about to do: it is announced, and can be done after a delay.
///
/// Shared. It has the governor's capability. The proposer announces and cancels; once the delay is over, anyone has done what
/// was announced. A deployment whose governor's capability is not given to a timelock has none.
module haulout::timelock;

use haulout::blobs::Blobs;
use haulout::parameters::Parameters;
use haulout::staking::Staking;
use haulout::system::{Self, GovernorCap, System};
use haulout::terms::Terms;
use sui::clock::Clock;
use sui::dynamic_field;
use sui::event;
use sui::table::{Self, Table};

/// The object is of another version than the called package's.
const EWrongVersion: u64 = 6;
/// The time has not come.
const ETooEarly: u64 = 114;
/// A proposer's capability is another timelock's.
const ENotProposer: u64 = 180;
/// A delay is shorter than the timelock's, or longer than a year.
const EInvalidDelay: u64 = 181;
/// Nothing is announced under a number: it was never, or is done or cancelled.
const ENotAnnounced: u64 = 182;
/// What is announced is done by another function.
const EOtherAction: u64 = 183;
/// The timelock has given the governor's capability away.
const EReleased: u64 = 184;

const VERSION: u64 = 1;
const LONGEST_DELAY_S: u64 = 365 * 24 * 3600;

/// Shared. Its state is a dynamic field named for the version.
public struct Timelock has key { id: UID, version: u64 }

public struct State has store {
    /// None once it is released.
    governor_cap: Option<GovernorCap>,
    proposer_cap: ID,
    /// The shortest delay.
    delay_s: u64,
    /// How much was ever announced; its numbers count from 1.
    count: u64,
    announced: Table<u64, Announcement>,
}

/// The right to announce and to cancel.
public struct ProposerCap has key, store { id: UID }

public struct Announcement has drop, store { action: Action, due_s: u64 }

/// What the governor can do, and what can be done with the timelock itself.
public enum Action has copy, drop, store {
    SetParameters(Parameters),
    /// Of the function with a number.
    Pause(u8),
    Unpause(u8),
    /// The address gets the new guardian's capability.
    ReplaceGuardian(address),
    RemoveGuardian,
    SetTerms(Terms),
    /// The address gets the new slasher's capability.
    NameSlasher(address),
    RemoveSlasher,
    SetDelay(u64),
    /// The address gets the governor's capability, and the timelock has none any more.
    Release(address),
}

public struct TimelockCreated has copy, drop { timelock: ID, governor_cap: ID, proposer_cap: ID, delay_s: u64 }

/// An action can be done from a time on, seconds.
public struct Announced has copy, drop { number: u64, action: Action, due_s: u64 }

public struct Cancelled has copy, drop { number: u64 }

public struct Done has copy, drop { number: u64 }

public fun set_parameters(parameters: Parameters): Action { Action::SetParameters(parameters) }

public fun pause(function: u8): Action { Action::Pause(function) }

public fun unpause(function: u8): Action { Action::Unpause(function) }

public fun replace_guardian(recipient: address): Action { Action::ReplaceGuardian(recipient) }

public fun remove_guardian(): Action { Action::RemoveGuardian }

public fun set_terms(terms: Terms): Action { Action::SetTerms(terms) }

public fun name_slasher(recipient: address): Action { Action::NameSlasher(recipient) }

public fun remove_slasher(): Action { Action::RemoveSlasher }

public fun set_delay(delay_s: u64): Action { Action::SetDelay(delay_s) }

public fun release(recipient: address): Action { Action::Release(recipient) }

/// Gives the governor's capability to a new timelock; returns the proposer's capability. Aborts with `EInvalidDelay`.
public fun create(governor_cap: GovernorCap, delay_s: u64, ctx: &mut TxContext): ProposerCap {
    check_delay(delay_s, 0);
    let proposer_cap = ProposerCap { id: object::new(ctx) };
    let mut timelock = Timelock { id: object::new(ctx), version: VERSION };
    event::emit(TimelockCreated {
        timelock: object::id(&timelock),
        governor_cap: object::id(&governor_cap),
        proposer_cap: object::id(&proposer_cap),
        delay_s,
    });
    let (proposer, announced) = (object::id(&proposer_cap), table::new(ctx));
    let governor_cap = option::some(governor_cap);
    let state = State { governor_cap, proposer_cap: proposer, delay_s, count: 0, announced };
    dynamic_field::add(&mut timelock.id, VERSION, state);
    transfer::share_object(timelock);
    proposer_cap
}

/// Announces an action for when `delay_s` seconds have passed; returns its number. Aborts with `ENotProposer` or
/// `EInvalidDelay`.
public fun announce(timelock: &mut Timelock, cap: &ProposerCap, action: Action, delay_s: u64, clock: &Clock): u64 {
    let state = timelock.proposed(cap);
    check_delay(delay_s, state.delay_s);
    let due_s = system::seconds(clock) + delay_s;
    state.count = state.count + 1;
    state.announced.add(state.count, Announcement { action, due_s });
    event::emit(Announced { number: state.count, action, due_s });
    state.count
}

/// Cancels what was announced and is not done. Aborts with `ENotProposer` or `ENotAnnounced`.
public fun cancel(timelock: &mut Timelock, cap: &ProposerCap, number: u64) {
    let state = timelock.proposed(cap);
    assert!(state.announced.contains(number), ENotAnnounced);
    state.announced.remove(number);
    event::emit(Cancelled { number });
}

/// Does what is announced of parameters, pauses or the guardian. Anyone may. Aborts with `ENotAnnounced`, `ETooEarly`,
/// `EOtherAction`, or as the system's function.
public fun execute_on_system(
    timelock: &mut Timelock,
    system: &mut System,
    number: u64,
    clock: &Clock,
    ctx: &mut TxContext,
) {
    let (action, cap) = timelock.due(number, clock);
    match (action) {
        Action::SetParameters(parameters) => system.set_parameters(cap, parameters),
        Action::Pause(function) => system.pause_as_governor(cap, function, clock),
        Action::Unpause(function) => system.unpause_as_governor(cap, function),
        Action::ReplaceGuardian(recipient) => transfer::public_transfer(system.replace_guardian(cap, ctx), recipient),
        Action::RemoveGuardian => system.remove_guardian(cap),
        _ => abort EOtherAction,
    }
}

/// Does what is announced of prices and capacity. Anyone may. Aborts with `ENotAnnounced`, `ETooEarly`, `EOtherAction`, or as
/// `blobs::set_terms`.
public fun execute_on_blobs(timelock: &mut Timelock, blobs: &mut Blobs, number: u64, clock: &Clock) {
    let (action, cap) = timelock.due(number, clock);
    match (action) {
        Action::SetTerms(terms) => blobs.set_terms(cap, terms),
        _ => abort EOtherAction,
    }
}

/// Does what is announced of the slasher. Anyone may. Aborts with `ENotAnnounced`, `ETooEarly` or `EOtherAction`.
public fun execute_on_staking(
    timelock: &mut Timelock,
    staking: &mut Staking,
    system: &System,
    number: u64,
    clock: &Clock,
    ctx: &mut TxContext,
) {
    let (action, cap) = timelock.due(number, clock);
    match (action) {
        Action::NameSlasher(recipient) => {
            transfer::public_transfer(staking.name_slasher(system, cap, clock, ctx), recipient)
        },
        Action::RemoveSlasher => staking.remove_slasher(cap),
        _ => abort EOtherAction,
    }
}

/// Does what is announced of the timelock itself. Anyone may. Aborts with `ENotAnnounced`, `ETooEarly`, `EOtherAction` or
/// `EInvalidDelay`.
public fun execute_on_itself(timelock: &mut Timelock, number: u64, clock: &Clock) {
    let (action, _) = timelock.due(number, clock);
    let state = timelock.state_mut();
    match (action) {
        Action::SetDelay(delay_s) => {
            check_delay(delay_s, 0);
            state.delay_s = delay_s;
        },
        Action::Release(recipient) => transfer::public_transfer(state.governor_cap.extract(), recipient),
        _ => abort EOtherAction,
    }
}

/// Returns what is announced under a number, with the capability to do it, and forgets it.
fun due(timelock: &mut Timelock, number: u64, clock: &Clock): (Action, &GovernorCap) {
    let state = timelock.state_mut();
    assert!(state.announced.contains(number), ENotAnnounced);
    assert!(state.governor_cap.is_some(), EReleased);
    let Announcement { action, due_s } = state.announced.remove(number);
    assert!(system::seconds(clock) >= due_s, ETooEarly);
    event::emit(Done { number });
    (action, state.governor_cap.borrow())
}

fun proposed(timelock: &mut Timelock, cap: &ProposerCap): &mut State {
    let state = timelock.state_mut();
    assert!(state.proposer_cap == object::id(cap), ENotProposer);
    state
}

fun check_delay(delay_s: u64, shortest_s: u64) {
    assert!(delay_s >= shortest_s && delay_s <= LONGEST_DELAY_S, EInvalidDelay);
}

fun state_mut(timelock: &mut Timelock): &mut State {
    assert!(timelock.version == VERSION, EWrongVersion);
    dynamic_field::borrow_mut(&mut timelock.id, VERSION)
}
