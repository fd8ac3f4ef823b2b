/// The deployment: its parameters, its epochs and periods, its committees, and who governs it.
///
/// Shared. Certificates are verified with it immutable, so that writers of blobs do not wait for each other; only what moves
/// epochs and periods on, and what the governor and the guardian do, takes it mutable.
module haulout::system;

use haulout::assignment::{Self, Roster};
use haulout::committee::Committee;
use haulout::messages;
use haulout::parameters::{Self, Opening, Parameters};
use haulout::pauses::{Self, Pauses};
use haulout::term::Term;
use haulout::timeline::{Self, Timeline};
use haulout::votes;
use std::type_name;
use sui::clock::Clock;
use sui::dynamic_field;
use sui::event;
use sui::table::{Self, Table};

/// The object is of another version than the called package's.
const EWrongVersion: u64 = 6;
/// An epoch is not, or no longer, one whose certificates count.
const EWrongEpoch: u64 = 123;
/// The guardian's capability has been replaced, or taken away.
const ENotGuardian: u64 = 124;

const VERSION: u64 = 1;
const MS_PER_S: u64 = 1000;
/// What a shard earns in a period, if it is kept.
const PARTS: u64 = 10_000;

/// Shared. Its state is a dynamic field named for the version.
public struct System has key { id: UID, version: u64 }

public struct State has store {
    domain: vector<u8>,
    n_shards: u16,
    /// Of the current period: they hold from its start to its end.
    parameters: Parameters,
    /// Of the periods to come.
    next_parameters: Parameters,
    deployed_parameters: Parameters,
    opening: Opening,
    timeline: Timeline,
    /// Epoch → its committee, from its selection on.
    committees: Table<u32, Committee>,
    /// Ids of blobs that are proven to be encoded inconsistently → the epoch of the certificate.
    invalid_blobs: Table<u256, u32>,
    /// Period → how it began, from its start on.
    starts: Table<u32, Start>,
    /// Epoch → what happens in it, from its start on.
    terms: Table<u32, Term>,
    guardian_cap: Option<ID>,
    pauses: Pauses,
}

/// The first epoch of a period, and when it began.
public struct Start has copy, drop, store { epoch: u32, at_s: u64 }

/// The right to change parameters within their bounds, to pause functions and to name the guardian.
public struct GovernorCap has key, store { id: UID }

/// The right to pause single functions, once each, as long as the system names this object.
public struct GuardianCap has key, store { id: UID }

public struct SystemCreated has copy, drop {
    system: ID,
    domain: vector<u8>,
    n_shards: u16,
    parameters: Parameters,
    opening: Opening,
    governor_cap: ID,
    at_s: u64,
}

/// The parameters are these from the start of a period on.
public struct ParametersChanged has copy, drop { from_period: u32, parameters: Parameters }

/// None: there is no guardian.
public struct GuardianChanged has copy, drop { guardian_cap: Option<ID> }

/// Creates the system of a deployment; returns the governor's and the guardian's capability.
///
/// `chain` is the digest of the chain's first checkpoint, 32 bytes. Aborts with `EInvalidShardCount` or `EInvalidChain`.
public(package) fun create(
    chain: vector<u8>,
    n_shards: u16,
    parameters: Parameters,
    opening: Opening,
    clock: &Clock,
    ctx: &mut TxContext,
): (System, GovernorCap, GuardianCap) {
    parameters::check_shards(n_shards);
    let mut system = System { id: object::new(ctx), version: VERSION };
    let governor_cap = GovernorCap { id: object::new(ctx) };
    let guardian_cap = GuardianCap { id: object::new(ctx) };
    let domain = messages::domain(&chain, type_name::original_id<System>());
    let guardian = option::some(object::id(&guardian_cap));
    event::emit(SystemCreated {
        system: object::id(&system),
        domain,
        n_shards,
        parameters,
        opening,
        governor_cap: object::id(&governor_cap),
        at_s: seconds(clock),
    });
    event::emit(GuardianChanged { guardian_cap: guardian });
    let state = State {
        domain,
        n_shards,
        parameters,
        next_parameters: parameters,
        deployed_parameters: parameters,
        opening,
        timeline: timeline::new(seconds(clock)),
        committees: table::new(ctx),
        invalid_blobs: table::new(ctx),
        starts: table::new(ctx),
        terms: table::new(ctx),
        guardian_cap: guardian,
        pauses: pauses::new(),
    };
    dynamic_field::add(&mut system.id, VERSION, state);
    (system, governor_cap, guardian_cap)
}

/// Makes a new system the deployment's: everybody can use it.
public(package) fun share(system: System) {
    transfer::share_object(system);
}

/// Changes the parameters from the next period on; no time becomes longer than twice what was deployed, or shorter than
/// half. Aborts with the error of the time that would.
public fun set_parameters(system: &mut System, _: &GovernorCap, parameters: Parameters) {
    let state = system.state_mut();
    parameters.check_change(&state.deployed_parameters);
    state.next_parameters = parameters;
    event::emit(ParametersChanged { from_period: state.timeline.period() + 1, parameters });
}

/// Returns a new guardian's capability; the one before counts no longer.
public fun replace_guardian(system: &mut System, _: &GovernorCap, ctx: &mut TxContext): GuardianCap {
    let guardian_cap = GuardianCap { id: object::new(ctx) };
    system.state_mut().set_guardian(option::some(object::id(&guardian_cap)));
    guardian_cap
}

/// Takes the guardian's rights away: there is none then.
public fun remove_guardian(system: &mut System, _: &GovernorCap) {
    system.state_mut().set_guardian(option::none());
}

/// Pauses a function, given by its number, for four days. Aborts with `ENotGuardian`, `ENotPausable` or `EPauseUsedUp`.
public fun pause(system: &mut System, cap: &GuardianCap, function: u8, clock: &Clock) {
    system.guarded(cap).pause_once(function, seconds(clock));
}

/// Ends a pause. Aborts with `ENotGuardian` or `ENotPausable`.
public fun unpause(system: &mut System, cap: &GuardianCap, function: u8) {
    system.guarded(cap).end(function);
}

/// Pauses a function for four days, also one that is paused. Aborts with `ENotPausable`.
public fun pause_as_governor(system: &mut System, _: &GovernorCap, function: u8, clock: &Clock) {
    system.state_mut().pauses.pause(function, seconds(clock));
}

/// Ends a pause, and lets the guardian pause the function once more. Aborts with `ENotPausable`.
public fun unpause_as_governor(system: &mut System, _: &GovernorCap, function: u8) {
    let pauses = &mut system.state_mut().pauses;
    pauses.end(function);
    pauses.renew(function);
}

/// Returns the weight of the members of a committee that signed a message.
///
/// Aborts with `EWrongEpoch` if certificates of the epoch do not count, or as `committee::verify`.
public(package) fun verify(
    system: &System,
    epoch: u32,
    intent: u8,
    body: vector<u8>,
    bitmap: &vector<u8>,
    signature: &vector<u8>,
    clock: &Clock,
): u16 {
    assert!(system.accepts(epoch, clock), EWrongEpoch);
    let state = system.state();
    state.committees[epoch].verify(intent, state.domain, body, bitmap, signature)
}

/// Aborts with `EPaused`; `pauses` has the functions' numbers.
public(package) fun check_open(system: &System, function: u8, clock: &Clock) {
    system.state().pauses.check_open(function, seconds(clock));
}

/// Takes note that a blob is proven to be encoded inconsistently, by a certificate of an epoch's committee.
public(package) fun mark_invalid(system: &mut System, blob_id: u256, epoch: u32) {
    system.state_mut().invalid_blobs.add(blob_id, epoch);
}

/// Returns whether a blob is proven to be encoded inconsistently, by its id.
public fun is_invalid(system: &System, blob_id: u256): bool { system.state().invalid_blobs.contains(blob_id) }

/// Returns what keeps the deployment's signatures from serving on another chain, or for another package.
public fun domain(system: &System): vector<u8> { system.state().domain }

public fun n_shards(system: &System): u16 { system.state().n_shards }

/// Returns the weight that a quorum has at least.
public fun quorum(system: &System): u16 { votes::quorum(system.n_shards()) }

/// Returns the current epoch, 0 before the first.
public fun epoch(system: &System): u32 { system.state().timeline.epoch() }

/// Returns the current period, 0 before the first.
public fun period(system: &System): u32 { system.state().timeline.period() }

/// Returns the first period whose committee is not elected yet.
public fun electable_period(system: &System): u32 { system.state().timeline.electable_period() }

/// Returns whether certificates of an epoch's committee count.
public fun accepts(system: &System, epoch: u32, clock: &Clock): bool {
    let state = system.state();
    state.timeline.accepts(&state.parameters, epoch, seconds(clock))
}

/// Returns whether certificates of a committee of a period count.
public fun accepts_period(system: &System, period: u32, clock: &Clock): bool {
    let state = system.state();
    state.timeline.accepts_period(&state.parameters, period, seconds(clock))
}

/// Returns whether the next period is late by half of what makes a standstill: then nothing is sold any more.
public fun is_late(system: &System, clock: &Clock): bool {
    let state = system.state();
    state.timeline.is_late(&state.parameters, seconds(clock))
}

/// Returns whether no period has begun for so long that none may come any more.
public fun is_stalled(system: &System, clock: &Clock): bool {
    let state = system.state();
    state.timeline.is_stalled(&state.parameters, seconds(clock))
}

/// Returns when a period that has begun did so.
public(package) fun started_at_s(system: &System, period: u32): u64 { system.state().starts[period].at_s }

/// Returns the first epoch of a period that has begun.
public(package) fun first_epoch_of(system: &System, period: u32): u32 { system.state().starts[period].epoch }

public(package) fun timeline(system: &System): &Timeline { &system.state().timeline }

public(package) fun timeline_mut(system: &mut System): &mut Timeline { &mut system.state_mut().timeline }

/// Returns the committee of an epoch that is selected, runs, or ran.
public(package) fun committee(system: &System, epoch: u32): &Committee { &system.state().committees[epoch] }

/// Returns the members in office and their shards; before the first epoch there are none.
public(package) fun roster(system: &System): Roster {
    let epoch = system.epoch();
    if (epoch == 0) assignment::new_roster(vector[], vector[]) else system.committee(epoch).roster()
}

/// Returns what happens in an epoch that runs or ran.
public(package) fun term(system: &System, epoch: u32): &Term { &system.state().terms[epoch] }

/// Returns what happens in the current epoch.
public(package) fun term_mut(system: &mut System): &mut Term {
    let epoch = system.epoch();
    &mut system.state_mut().terms[epoch]
}

/// Returns the stake and the members that a selection made now needs at least.
public(package) fun needed(system: &System, now_s: u64): (u64, u16) {
    let state = system.state();
    let (stake, members, duration_s) = state.opening.opening_parts();
    if (system.epoch() > 0) (state.timeline.stake_needed(&state.parameters, now_s), 0)
    else if (state.timeline.waited_s(now_s) < duration_s) (stake, members) else (0, 0)
}

/// Returns the parts of the period that have passed.
public(package) fun parts_passed(system: &System, now_s: u64): u64 {
    let state = system.state();
    let passed = PARTS * state.timeline.passed_s(now_s) / state.parameters.period_duration_s();
    if (passed < PARTS) passed else PARTS
}

/// Returns the parts that a shard earns in a period, if it is kept.
public(package) fun parts(): u64 { PARTS }

/// Returns whether the period may have been paid as one that has stalled.
public(package) fun is_paid_as_stalled(system: &System, now_s: u64): bool {
    let state = system.state();
    state.timeline.is_paid_as_stalled(&state.parameters, now_s)
}

/// Keeps the committee that is selected for the next epoch, in the place of one that was dropped.
public(package) fun enter(system: &mut System, committee: Committee) {
    let epoch = system.epoch() + 1;
    let committees = &mut system.state_mut().committees;
    if (committees.contains(epoch)) {
        committees.remove(epoch);
    };
    committees.add(epoch, committee);
}

/// Takes note that the current period begins with the current epoch, and the parameters that were set last.
public(package) fun begin_period(system: &mut System, now_s: u64) {
    let (period, epoch) = (system.period(), system.epoch());
    let state = system.state_mut();
    state.parameters = state.next_parameters;
    state.starts.add(period, Start { epoch, at_s: now_s });
}

/// Keeps what happens in the current epoch.
public(package) fun begin_term(system: &mut System, term: Term) {
    let epoch = system.epoch();
    system.state_mut().terms.add(epoch, term);
}

/// Returns the parameters of the current period.
public fun parameters(system: &System): Parameters { system.state().parameters }

/// Returns the time in whole seconds, in which all of the deployment's times are.
public(package) fun seconds(clock: &Clock): u64 { clock.timestamp_ms() / MS_PER_S }

fun state(system: &System): &State {
    assert!(system.version == VERSION, EWrongVersion);
    dynamic_field::borrow(&system.id, VERSION)
}

fun state_mut(system: &mut System): &mut State {
    assert!(system.version == VERSION, EWrongVersion);
    dynamic_field::borrow_mut(&mut system.id, VERSION)
}

fun guarded(system: &mut System, cap: &GuardianCap): &mut Pauses {
    let state = system.state_mut();
    assert!(state.guardian_cap.contains(&object::id(cap)), ENotGuardian);
    &mut state.pauses
}

fun set_guardian(state: &mut State, guardian_cap: Option<ID>) {
    state.guardian_cap = guardian_cap;
    event::emit(GuardianChanged { guardian_cap });
}
