/// Storage proofs: once an epoch each member shows that it has what it should store (PROTOCOL section 8).
///
/// An epoch's round: a quorum certifies the inventory, the blobs that are to be stored (`begin`). Each member commits itself
/// to every symbol that it stores, under a salt of its own (`commit`). Then positions are drawn (`draw`). A member shows the
/// symbols drawn to its fellows, of whom a quorum certifies that (`prove`), or the first of them here (`answer`). A member
/// that does neither in time misses the round (`judge`). Beside that any account may demand a single symbol of a member at any
/// time of the round (`demands`). Nothing can be paused, and no member's word alone has another one lose anything. A round that ends with its epoch before it is judged has no misses.
module haulout::proofs;

use haulout::encoding;
use haulout::epochs;
use haulout::haul::HAUL;
use haulout::messages;
use haulout::opening::{Self, Opening};
use haulout::parameters::Parameters;
use haulout::positions::{Self, Position};
use haulout::registry::{OperatorCap, Registry};
use haulout::round::{Self, Round};
use haulout::staking::Staking;
use haulout::system::{Self, System};
use std::bcs;
use sui::address;
use sui::balance::{Self, Balance};
use sui::bls12381;
use sui::clock::Clock;
use sui::dynamic_field;
use sui::event;
use sui::random::Random;
use sui::table::{Self, Table};

/// The object is of another version than the called package's.
const EWrongVersion: u64 = 6;
/// An epoch is not, or no longer, one to act in.
const EWrongEpoch: u64 = 123;
/// A node is not a member in this epoch.
const ENotAMember: u64 = 164;
/// The steps of a round, or a demand, take more than a sixth of a period, or no time.
const EInvalidWindows: u64 = 71;
/// The round of this epoch has begun.
const EAlreadyBegun: u64 = 72;
/// The round of this epoch has not begun.
const ERoundNotBegun: u64 = 73;
/// There is nothing to prove.
const EEmptyInventory: u64 = 74;
/// A demand costs nothing.
const EInvalidBond: u64 = 81;

const VERSION: u64 = 1;
/// A round takes such a part of a period at most. A replacement ends it without a verdict, so who would have a period without one
/// needs nearly as many members that are ejected one after another.
const WINDOWS_IN_A_PERIOD: u128 = 6;
const DRAW_BYTES: u16 = 32;
/// The part of a member's stake that is slashed, in billionths.
const FINE: u64 = 10_000_000;
/// Why a member is ejected: it has missed two rounds in a row.
const MISSED: u8 = 2;

/// Shared. Its state is a dynamic field named for the version.
public struct Proofs has key { id: UID, version: u64 }

public struct State has store {
    windows: Windows,
    /// What a demand costs if it is answered.
    bond: u64,
    /// Of all demands that are neither answered nor judged.
    bonds: Balance<HAUL>,
    /// Epoch → its round, from its beginning on.
    rounds: Table<u32, Round>,
    /// Node → how many rounds it has missed since it last proved, not counting answers in which all was excused.
    misses: Table<u32, u32>,
    /// Period → with how many shards the members that were punished in it began it.
    punished: Table<u32, u64>,
}

/// How long the steps of a round may take, seconds.
public struct Windows has copy, drop, store {
    /// From the inventory's certificate until commitments are refused and the draw can be made.
    commit_s: u64,
    /// From the draw until a member without a certificate should begin to answer here; nothing is refused then. May be 0.
    prove_s: u64,
    /// From then until certificates and answers are refused.
    answer_s: u64,
    /// From a demand until it must be answered.
    demand_s: u64,
}

public struct ProofsCreated has copy, drop { proofs: ID, windows: Windows, bond: u64 }

/// The round of an epoch has begun.
public struct RoundBegun has copy, drop { epoch: u32, root: address, count: u32, weight: u64, commit_by_s: u64 }

/// A node committed itself; another commitment of it in the epoch counts no more.
public struct Committed has copy, drop { epoch: u32, node_id: u32, root: address }

/// The positions are drawn. From `prove_by_s` on members without a certificate answer; until `answer_by_s`.
public struct Drawn has copy, drop { epoch: u32, draw: address, prove_by_s: u64, answer_by_s: u64 }

/// A place was answered, with a symbol, or excused.
public struct Answered has copy, drop { epoch: u32, node_id: u32, place: u16, is_excused: bool }

/// The round has ended for a member without a miss: it has shown what it stores, as far as it is not excused.
public struct Proven has copy, drop { epoch: u32, node_id: u32 }

/// A member has not. It earns nothing for the epoch; it is so many rounds that it missed since it last proved.
public struct Missed has copy, drop { epoch: u32, node_id: u32, in_a_row: u32 }

/// A member was slashed, unless nothing could be, and ejected.
public struct Punished has copy, drop { epoch: u32, node_id: u32, reason: u8 }

/// Returns how long the steps of a round may take. Aborts with `EInvalidWindows`.
public fun new_windows(commit_s: u64, prove_s: u64, answer_s: u64, demand_s: u64): Windows {
    assert!(commit_s > 0 && answer_s > 0 && demand_s > 0, EInvalidWindows);
    Windows { commit_s, prove_s, answer_s, demand_s }
}

/// Creates the storage proofs of a deployment, and shares them. Aborts with `EInvalidWindows` or `EInvalidBond`.
public(package) fun create(windows: Windows, bond: u64, parameters: &Parameters, ctx: &mut TxContext) {
    let whole_s = (windows.commit_s as u128) + (windows.prove_s as u128) + (windows.answer_s as u128);
    let duration_s = parameters.period_duration_s() as u128;
    assert!(WINDOWS_IN_A_PERIOD * whole_s <= duration_s, EInvalidWindows);
    assert!(WINDOWS_IN_A_PERIOD * (windows.demand_s as u128) <= duration_s, EInvalidWindows);
    assert!(bond > 0, EInvalidBond);
    let mut proofs = Proofs { id: object::new(ctx), version: VERSION };
    event::emit(ProofsCreated { proofs: object::id(&proofs), windows, bond });
    let state = State {
        windows,
        bond,
        bonds: balance::zero(),
        rounds: table::new(ctx),
        misses: table::new(ctx),
        punished: table::new(ctx),
    };
    dynamic_field::add(&mut proofs.id, VERSION, state);
    transfer::share_object(proofs);
}

/// Begins the round of the current epoch, once, with the inventory that a quorum certified. Anyone may.
///
/// Aborts with `EAlreadyBegun` or `EEmptyInventory`, or as `system::verify`.
public fun begin(
    proofs: &mut Proofs,
    system: &System,
    root: address,
    count: u32,
    weight: u64,
    bitmap: vector<u8>,
    signature: vector<u8>,
    clock: &Clock,
    ctx: &mut TxContext,
) {
    let (state, epoch) = (proofs.state_mut(), system.epoch());
    assert!(!state.rounds.contains(epoch), EAlreadyBegun);
    assert!(count > 0 && weight > 0, EEmptyInventory);
    let body = messages::inventory(root, count, weight);
    system.verify(epoch, messages::inventory_intent(), body, &bitmap, &signature, clock);
    let inventory = opening::new_inventory(root, count, weight);
    let commit_by_s = system::seconds(clock) + state.windows.commit_s;
    state.rounds.add(epoch, round::new(inventory, commit_by_s, ctx));
    event::emit(RoundBegun { epoch, root, count, weight, commit_by_s });
}

/// Commits a node to what it stores, by the root of its tree; before the draw as often as it likes, the last counts.
///
/// `epoch` is the current one. Of a node that is no member it counts for nothing. Aborts with `ENotOperator`, `EWrongEpoch`,
/// `ERoundNotBegun` or `ETooLate`.
public fun commit(
    proofs: &mut Proofs,
    system: &System,
    registry: &Registry,
    cap: &OperatorCap,
    epoch: u32,
    root: address,
    clock: &Clock,
) {
    let node_id = registry.check_operator(cap);
    assert!(epoch == system.epoch(), EWrongEpoch);
    proofs.state_mut().round_mut(epoch).commit(node_id, root, system::seconds(clock));
    event::emit(Committed { epoch, node_id, root });
}

/// Draws the positions, once, when commitments are refused. Anyone may: what is drawn is nobody's choice.
///
/// Aborts with `ERoundNotBegun`, `EAlreadyDrawn` or `ETooEarly`.
entry fun draw(proofs: &mut Proofs, system: &System, random: &Random, clock: &Clock, ctx: &mut TxContext) {
    let draw = address::from_bytes(random.new_generator(ctx).generate_bytes(DRAW_BYTES));
    let (state, epoch, now_s) = (proofs.state_mut(), system.epoch(), system::seconds(clock));
    let prove_by_s = now_s + state.windows.prove_s;
    let answer_by_s = prove_by_s + state.windows.answer_s;
    state.round_mut(epoch).draw(draw, answer_by_s, now_s);
    event::emit(Drawn { epoch, draw, prove_by_s, answer_by_s });
}

/// Ends the round for a member, by its fellows' certificate. Anyone may, as long as answers are taken.
///
/// Aborts with `ERoundNotBegun`, `EDrawNotMade`, `ETooLate` or `EAlreadyProven`, or as `system::verify`.
public fun prove(
    proofs: &mut Proofs,
    system: &System,
    node_id: u32,
    bitmap: vector<u8>,
    signature: vector<u8>,
    clock: &Clock,
) {
    let (state, epoch) = (proofs.state_mut(), system.epoch());
    let round = state.round_mut(epoch);
    round.check_provable(node_id, system::seconds(clock));
    let body = messages::proof(node_id, round.drawn());
    system.verify(epoch, messages::proof_intent(), body, &bitmap, &signature, clock);
    round.prove(node_id);
    state.forgive(node_id);
    event::emit(Proven { epoch, node_id });
}

/// Answers a place of a member; when all 16 are, it has proven. Anyone may, as long as answers are taken.
///
/// A place counts as answered without a symbol if its shard was neither kept nor attested before commitments were refused,
/// or its blob is invalid now. A place that is answered already is passed over. Where no place was answered with a symbol the
/// round ends without a miss, and those before count on. Aborts with `ERoundNotBegun`, `EDrawNotMade`, `ETooLate`,
/// `EAlreadyProven`, `ENoSuchPlace` or `ENotAMember`, or by the rule of `opening` that is broken.
public fun answer(
    proofs: &mut Proofs,
    system: &System,
    node_id: u32,
    place: u16,
    opening: Opening,
    clock: &Clock,
) {
    let (state, epoch) = (proofs.state_mut(), system.epoch());
    let round = state.round_mut(epoch);
    round.check_provable(node_id, system::seconds(clock));
    if (round.is_answered(node_id, place)) return;
    let is_excused = check_place(system, round, node_id, place, &opening);
    event::emit(Answered { epoch, node_id, place, is_excused });
    let (is_proven, has_shown) = round.answer(node_id, place, is_excused);
    if (!is_proven) return;
    if (has_shown) state.forgive(node_id);
    event::emit(Proven { epoch, node_id });
}

/// Has a member that has not proven in time earn nothing for the epoch; if it missed the round before too, it is punished.
/// Once, when answers are refused and while the epoch lasts; anyone may.
///
/// Aborts with `ERoundNotBegun`, `EDrawNotMade`, `ETooEarly`, `EAlreadyProven`, `EAlreadyJudged` or `ENotAMember`; with
/// `ENotSettled` if the node is to be slashed, and is not paid for all periods before.
public fun judge(
    proofs: &mut Proofs,
    system: &mut System,
    staking: &mut Staking,
    registry: &mut Registry,
    node_id: u32,
    clock: &Clock,
) {
    let (state, epoch) = (proofs.state_mut(), system.epoch());
    let round = state.round_mut(epoch);
    round.miss(node_id, system::seconds(clock));
    assert!(system.committee(epoch).is_member(node_id), ENotAMember);
    let evidence = bcs::to_bytes(&round.drawn());
    let in_a_row = state.note_miss(node_id);
    event::emit(Missed { epoch, node_id, in_a_row });
    epochs::forfeit(system, node_id, clock);
    if (in_a_row > 1) punish(proofs, system, staking, registry, node_id, MISSED, evidence, 0, clock).destroy_zero();
}

/// Ejects a member and slashes its stake; returns the bounty of a tenth of that, `most_bounty` at most.
///
/// Once in an epoch, and only as long as those punished in the period began it with no more shards than may be faulty: so a
/// fault that all nodes share takes nobody's stake but a third's, and no quorum away, however many replacements there are.
public(package) fun punish(
    proofs: &mut Proofs,
    system: &mut System,
    staking: &mut Staking,
    registry: &mut Registry,
    node_id: u32,
    reason: u8,
    evidence: vector<u8>,
    most_bounty: u64,
    clock: &Clock,
): Balance<HAUL> {
    let (state, epoch, period) = (proofs.state_mut(), system.epoch(), system.period());
    let weight = system.committee(system.first_epoch_of(period)).shards_of(node_id).length();
    let punished = weight + (if (state.punished.contains(period)) state.punished[period] else 0);
    let round = state.round_mut(epoch);
    if (round.is_punished(node_id) || punished > ((system.n_shards() - 1) / 3) as u64) return balance::zero();
    round.punish(node_id);
    state.set_punished(period, punished);
    let most = staking.most_slashable(system, node_id);
    let fraction = if (FINE < most) FINE else most;
    let bounty = if (fraction == 0) balance::zero()
    else staking.slash_by_right(system, node_id, fraction, evidence, most_bounty, clock);
    event::emit(Punished { epoch, node_id, reason });
    if (!system.term(epoch).is_ejected(node_id)) epochs::remove(system, registry, node_id, reason, clock);
    bounty
}

/// Requires that an opening answers a place of a member; returns whether the place is excused.
fun check_place(system: &System, round: &Round, node_id: u32, place: u16, opening: &Opening): bool {
    let (inventory, n_shards) = (round.inventory(), system.n_shards());
    let shards = system.committee(system.epoch()).shards_of(node_id);
    assert!(!shards.is_empty(), ENotAMember);
    let count = positions::count(n_shards, shards.length(), inventory.weight());
    let number = positions::drawn(round.drawn(), node_id, place, count);
    let position = positions::at(n_shards, inventory.weight(), number);
    let shard = shards[position.shard_number()];
    if (check_symbol(system, round, node_id, shard, &position, round.commit_by_s(), opening)) return true;
    let commitment = opening::new_commitment(round.commitment_of(node_id), salt(system, node_id), shards.length());
    let (_, attested) = system.term(system.epoch()).held_since(node_id, shard);
    opening.require_committed(&position, &commitment, &attested, inventory, n_shards);
    false
}

/// Requires that an opening shows the symbol at a position in a shard, unless the member need not have it; returns whether
/// that is so. It has the shard to show if it kept it, or attested it before `deadline_s`.
public(package) fun check_symbol(
    system: &System,
    round: &Round,
    node_id: u32,
    shard: u16,
    position: &Position,
    deadline_s: u64,
    opening: &Opening,
): bool {
    let (since_s, _) = system.term(system.epoch()).held_since(node_id, shard);
    if (since_s == 0 || since_s >= deadline_s) return true;
    let id = opening.require_in_inventory(position, round.inventory(), system.n_shards());
    if (!opening.has_symbol() && system.is_invalid(encoding::id_of_digest(id))) return true;
    opening.require_symbol(position, shard, id, system.n_shards());
    false
}

/// Returns the salt of a member's commitment in the current epoch.
public(package) fun salt(system: &System, node_id: u32): address {
    let epoch = system.epoch();
    let key = bls12381::uncompressed_g1_to_g1(&system.committee(epoch).key_of(node_id));
    opening::salt(epoch, node_id, &key, address::from_bytes(system.term(epoch).salt()))
}

/// Returns whether the round of an epoch has begun.
public(package) fun has_round(proofs: &mut Proofs, epoch: u32): bool { proofs.state_mut().rounds.contains(epoch) }

/// Returns the round of an epoch. Aborts with `ERoundNotBegun`.
public(package) fun round_of(proofs: &mut Proofs, epoch: u32): &mut Round { proofs.state_mut().round_mut(epoch) }

/// Returns what a demand costs if it is answered.
public(package) fun bond(proofs: &mut Proofs): u64 { proofs.state_mut().bond }

/// Returns how long there is to answer a demand.
public(package) fun demand_s(proofs: &mut Proofs): u64 { proofs.state_mut().windows.demand_s }

/// Keeps the bond of a demand.
public(package) fun keep_bond(proofs: &mut Proofs, bond: Balance<HAUL>) {
    proofs.state_mut().bonds.join(bond);
}

/// Takes out the bond of a demand.
public(package) fun take_bond(proofs: &mut Proofs): Balance<HAUL> {
    let state = proofs.state_mut();
    state.bonds.split(state.bond)
}

fun round_mut(self: &mut State, epoch: u32): &mut Round {
    assert!(self.rounds.contains(epoch), ERoundNotBegun);
    &mut self.rounds[epoch]
}

fun set_punished(self: &mut State, period: u32, shards: u64) {
    if (!self.punished.contains(period)) self.punished.add(period, 0);
    *&mut self.punished[period] = shards;
}

/// Takes note that a node has missed a round; returns how many it has since it last proved.
fun note_miss(self: &mut State, node_id: u32): u32 {
    if (!self.misses.contains(node_id)) self.misses.add(node_id, 0);
    let misses = &mut self.misses[node_id];
    *misses = *misses + 1;
    *misses
}

fun forgive(self: &mut State, node_id: u32) {
    if (self.misses.contains(node_id)) {
        self.misses.remove(node_id);
    };
}

fun state_mut(proofs: &mut Proofs): &mut State {
    assert!(proofs.version == VERSION, EWrongVersion);
    dynamic_field::borrow_mut(&mut proofs.id, VERSION)
}
