/// Demands: any account may ask a member for a single symbol that it stores (PROTOCOL section 8).
///
/// A demand costs a bond. It is the node's receiver's if the demand is answered; if it is not in time, the member is punished, and
/// the account has it back with a bounty.
module haulout::demands;

use haulout::epochs;
use haulout::haul::HAUL;
use haulout::opening::Opening;
use haulout::positions;
use haulout::proofs::{Self, Proofs};
use haulout::registry::{OperatorCap, Registry};
use haulout::staking::Staking;
use haulout::system::{Self, System};
use std::bcs;
use sui::balance::Balance;
use sui::clock::Clock;
use sui::coin::{Self, Coin};
use sui::event;

/// It was possible until a time that has passed.
const ETooLate: u64 = 75;
/// There is no such position.
const ENoSuchPosition: u64 = 82;
/// An account has no demand of a member in this epoch.
const ENotDemanded: u64 = 85;
/// The epoch of a demand is the current one.
const EEpochNotOver: u64 = 86;
/// The time has not come.
const ETooEarly: u64 = 114;
/// A node is not a member in this epoch.
const ENotAMember: u64 = 164;
/// It costs more than the coin has.
const ETooExpensive: u64 = 211;

/// Why a member is ejected: it has not answered a demand.
const UNANSWERED: u8 = 3;
/// A bounty is no more than such a part of the bond: that pays the gas of a demand, and no owner for the fine of its own
/// stakers.
const BOUNTY_PART: u64 = 10;
const NEVER_S: u64 = 0xffff_ffff_ffff_ffff;

/// An account wants to see a symbol.
public struct Demanded has copy, drop {
    epoch: u32,
    node_id: u32,
    asker: address,
    position: u128,
    answer_by_s: u64,
    /// The member whose own place the demand has.
    fellow: Option<u32>,
}

/// A demand was answered; the bond is the receiver's.
public struct DemandAnswered has copy, drop { epoch: u32, node_id: u32, asker: address, receiver: address }

/// A demand was not answered; the asker has its bond back.
public struct DemandMissed has copy, drop { epoch: u32, node_id: u32, asker: address }

/// The epoch of a demand ended; the asker has its bond back.
public struct DemandReclaimed has copy, drop { epoch: u32, node_id: u32, asker: address }

/// Demands that a member shows the symbol at a position; the bond is taken from `payment`. While the round's epoch lasts. An
/// account has one open demand of a member.
///
/// Aborts with `ERoundNotBegun`, `ENotAMember`, `ENoSuchPosition`, `EAlreadyDemanded`, `ETooManyDemands` or `ETooExpensive`.
public fun demand(
    proofs: &mut Proofs,
    system: &System,
    node_id: u32,
    position: u128,
    payment: &mut Coin<HAUL>,
    clock: &Clock,
    ctx: &mut TxContext,
) {
    ask(proofs, system, option::none(), node_id, position, payment, clock, ctx);
}

/// As `demand`, in the sender's own place as a member, of which it has one for each member: nobody can keep members out.
///
/// Aborts with `ENotOperator`, too, or with `ENotAMember` if the sender is none.
public fun demand_as_member(
    proofs: &mut Proofs,
    system: &System,
    registry: &Registry,
    cap: &OperatorCap,
    node_id: u32,
    position: u128,
    payment: &mut Coin<HAUL>,
    clock: &Clock,
    ctx: &mut TxContext,
) {
    let fellow = registry.check_operator(cap);
    ask(proofs, system, option::some(fellow), node_id, position, payment, clock, ctx);
}

/// Answers a demand, without a path to the member's commitment. Until the demand's deadline, anyone.
///
/// No symbol is needed of a shard that is neither kept nor attested by now, or of a blob that is invalid now. A shard that
/// was attested too late for the round must be opened to the root that was attested. Aborts with `ERoundNotBegun`,
/// `ENotDemanded` or `ETooLate`, or by the rule of `opening` that is broken.
public fun answer(
    proofs: &mut Proofs,
    system: &System,
    registry: &Registry,
    node_id: u32,
    asker: address,
    opening: Opening,
    clock: &Clock,
    ctx: &mut TxContext,
) {
    let epoch = system.epoch();
    let round = proofs.round_of(epoch);
    let (position, answer_by_s) = round.demand_of(node_id, asker);
    assert!(system::seconds(clock) <= answer_by_s, ETooLate);
    let (inventory, n_shards) = (round.inventory(), system.n_shards());
    let position = positions::at(n_shards, inventory.weight(), position);
    let shard = system.committee(epoch).shards_of(node_id)[position.shard_number()];
    // A shard that is attested by now can be shown, however late it was: its owner earns for it.
    let is_excused = proofs::check_symbol(system, round, node_id, shard, &position, NEVER_S, &opening);
    let (since_s, attested) = system.term(epoch).held_since(node_id, shard);
    // No commitment has a shard that was attested too late for it, and a symbol alone can be had from others.
    if (!is_excused && since_s >= round.commit_by_s()) {
        let salt = proofs::salt(system, node_id);
        opening.require_attested_alone(&position, salt, &attested, inventory, n_shards);
    };
    round.close(node_id, asker);
    let receiver = registry.receiver_of(node_id);
    event::emit(DemandAnswered { epoch, node_id, asker, receiver });
    pay(proofs.take_bond(), receiver, ctx);
}

/// Punishes a member that has not answered a demand, and has it earn nothing for the epoch. The asker gets its bond back, and
/// the bounty. While the epoch lasts, anyone.
///
/// Aborts with `ERoundNotBegun`, `ENotDemanded` or `ETooEarly`; with `ENotSettled` if the node is to be slashed, and is not paid
/// for all periods before.
public fun judge(
    proofs: &mut Proofs,
    system: &mut System,
    staking: &mut Staking,
    registry: &mut Registry,
    node_id: u32,
    asker: address,
    clock: &Clock,
    ctx: &mut TxContext,
) {
    let epoch = system.epoch();
    let round = proofs.round_of(epoch);
    let (position, answer_by_s) = round.demand_of(node_id, asker);
    assert!(system::seconds(clock) > answer_by_s, ETooEarly);
    round.close(node_id, asker);
    event::emit(DemandMissed { epoch, node_id, asker });
    epochs::forfeit(system, node_id, clock);
    let (evidence, most_bounty) = (bcs::to_bytes(&position), proofs.bond() / BOUNTY_PART);
    let bounty = proofs.punish(system, staking, registry, node_id, UNANSWERED, evidence, most_bounty, clock);
    let mut back = proofs.take_bond();
    back.join(bounty);
    pay(back, asker, ctx);
}

/// Gives an asker its bond back when the epoch of the demand is over. Anyone may. Aborts with `EEpochNotOver` or
/// `ENotDemanded`.
public fun reclaim(
    proofs: &mut Proofs,
    system: &System,
    epoch: u32,
    node_id: u32,
    asker: address,
    ctx: &mut TxContext,
) {
    assert!(epoch != system.epoch(), EEpochNotOver);
    assert!(proofs.has_round(epoch), ENotDemanded);
    proofs.round_of(epoch).close(node_id, asker);
    event::emit(DemandReclaimed { epoch, node_id, asker });
    pay(proofs.take_bond(), asker, ctx);
}

fun ask(
    proofs: &mut Proofs,
    system: &System,
    fellow: Option<u32>,
    node_id: u32,
    position: u128,
    payment: &mut Coin<HAUL>,
    clock: &Clock,
    ctx: &TxContext,
) {
    let (epoch, asker, bond) = (system.epoch(), ctx.sender(), proofs.bond());
    let answer_by_s = system::seconds(clock) + proofs.demand_s();
    let round = proofs.round_of(epoch);
    let shards = system.committee(epoch).shards_of(node_id).length();
    assert!(shards > 0, ENotAMember);
    if (fellow.is_some()) assert!(system.committee(epoch).is_member(*fellow.borrow()), ENotAMember);
    assert!(position < positions::count(system.n_shards(), shards, round.inventory().weight()), ENoSuchPosition);
    round.ask(node_id, asker, fellow, position, answer_by_s);
    assert!(payment.value() >= bond, ETooExpensive);
    proofs.keep_bond(payment.balance_mut().split(bond));
    event::emit(Demanded { epoch, node_id, asker, position, answer_by_s, fellow });
}

fun pay(amount: Balance<HAUL>, to: address, ctx: &mut TxContext) {
    transfer::public_transfer(coin::from_balance(amount, ctx), to);
}
