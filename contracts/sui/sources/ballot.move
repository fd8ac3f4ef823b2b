/// The members' votes on prices and capacity (PROTOCOL section 4).
///
/// Shared. A vote counts from the next period on, so that a node cannot wait for the others' votes, or for a moment to have them
/// counted. Members weigh as many votes as they had shards when the period began, so that no ejection or replacement changes
/// what was voted on. While members with fewer shards than a quorum have voted, the terms stay.
module haulout::ballot;

use haulout::blobs::Blobs;
use haulout::changes::{Self, Changes};
use haulout::registry::{OperatorCap, Registry};
use haulout::system::System;
use haulout::terms::Terms;
use sui::dynamic_field;
use sui::event;
use sui::table::{Self, Table};

/// The object is of another version than the called package's.
const EWrongVersion: u64 = 6;
/// The votes of a period are counted already, or the first has not begun.
const EAlreadyDecided: u64 = 170;
/// Space costs nothing.
const EInvalidPrice: u64 = 216;

const VERSION: u64 = 1;

/// Shared. Its state is a dynamic field named for the version.
public struct Ballot has key { id: UID, version: u64 }

public struct State has store {
    /// Node → its vote by period, from its first one on.
    votes: Table<u32, Changes<Option<Terms>>>,
    /// The period whose votes were counted last.
    decided_period: u32,
}

public struct BallotCreated has copy, drop { ballot: ID }

/// A node's vote is this one from a period on.
public struct Voted has copy, drop { node_id: u32, terms: Terms, from_period: u32 }

/// The terms are what the votes of a period say.
public struct Decided has copy, drop { period: u32, terms: Terms }

/// Creates the ballot of a deployment, and shares it.
public(package) fun create(ctx: &mut TxContext) {
    let mut ballot = Ballot { id: object::new(ctx), version: VERSION };
    event::emit(BallotCreated { ballot: object::id(&ballot) });
    dynamic_field::add(&mut ballot.id, VERSION, State { votes: table::new(ctx), decided_period: 0 });
    transfer::share_object(ballot);
}

/// Votes for the operator's node, member or not, from the next period on and until it votes again. Aborts with `ENotOperator`
/// or `EInvalidPrice`.
public fun vote(ballot: &mut Ballot, system: &System, registry: &Registry, cap: &OperatorCap, terms: Terms) {
    assert!(terms.price() > 0, EInvalidPrice);
    let (node_id, period) = (registry.check_operator(cap), system.period());
    let votes = &mut ballot.state_mut().votes;
    if (!votes.contains(node_id)) votes.add(node_id, changes::new(option::none()));
    let own = &mut votes[node_id];
    own.forget_before(period);
    own.set(period + 1, option::some(terms));
    event::emit(Voted { node_id, terms, from_period: period + 1 });
}

/// Has the votes of the current period counted and the terms changed, once a period. Anyone may. Aborts with
/// `EAlreadyDecided` or `ENoQuorum`.
public fun decide(ballot: &mut Ballot, system: &System, blobs: &mut Blobs) {
    let state = ballot.state_mut();
    let period = system.period();
    assert!(state.decided_period < period, EAlreadyDecided);
    state.decided_period = period;
    let roster = system.committee(system.first_epoch_of(period)).roster();
    let (node_ids, shards) = (roster.node_ids(), roster.shards());
    let (mut votes, mut weights) = (vector[], vector[]);
    let mut place = 0;
    while (place < node_ids.length()) {
        let vote = state.vote_in(node_ids[place], period);
        if (vote.is_some()) {
            votes.push_back(*vote.borrow());
            weights.push_back(shards[place].length() as u16);
        };
        place = place + 1;
    };
    let terms = blobs.terms().decided(&votes, &weights, system.quorum());
    event::emit(Decided { period, terms });
    blobs.change_terms(terms);
}

/// Returns what a node votes in a period that is not over, if it does.
fun vote_in(state: &State, node_id: u32, period: u32): Option<Terms> {
    if (state.votes.contains(node_id)) state.votes[node_id].at(period) else option::none()
}

fun state_mut(ballot: &mut Ballot): &mut State {
    assert!(ballot.version == VERSION, EWrongVersion);
    dynamic_field::borrow_mut(&mut ballot.id, VERSION)
}
