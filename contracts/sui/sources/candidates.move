/// Who stands for election.
///
/// Candidates keep the order in which they came to be candidates. There are 100 at most: more stake takes the place of the
/// least.
module haulout::candidates;

use haulout::pauses;
use haulout::registry::{Self, OperatorCap, Registry};
use haulout::staking::Staking;
use haulout::system::System;
use sui::clock::Clock;

/// A node stands for election already.
const EAlreadyCandidate: u64 = 141;
/// A node does not stand for election.
const ENotCandidate: u64 = 142;
/// A node was ejected, and the next period has not begun.
const EBarred: u64 = 143;
/// All places are taken, by nodes with as much stake or more.
const ECandidatesFull: u64 = 144;

/// Has the operator's node stand for election; if all places are taken, in that of the candidate with the least stake, of
/// equals the last. Aborts with `EPaused`, `ENotOperator`, `EAlreadyCandidate`, `EBarred` or `ECandidatesFull`.
public fun become(registry: &mut Registry, system: &System, staking: &Staking, cap: &OperatorCap, clock: &Clock) {
    system.check_open(pauses::candidacy(), clock);
    let node_id = registry.check_operator(cap);
    let (is_candidate, barred_until) = registry.standing_of(node_id);
    assert!(!is_candidate, EAlreadyCandidate);
    assert!(system.period() >= barred_until || system.is_stalled(clock), EBarred);
    if (!registry.has_place()) make_place(registry, system, staking, node_id, clock);
    registry.add_candidate(node_id);
}

/// Has the operator's node stand for election no more. Aborts with `ENotOperator` or `ENotCandidate`.
public fun leave(registry: &mut Registry, cap: &OperatorCap) {
    let node_id = registry.check_operator(cap);
    assert!(registry.drop_candidate(node_id, registry::left()), ENotCandidate);
}

/// Has an ejected node stand for election no more, and not again before a period.
public(package) fun remove(registry: &mut Registry, node_id: u32, barred_until: u32) {
    registry.bar(node_id, barred_until);
    registry.drop_candidate(node_id, registry::removed());
}

/// Takes the place of the candidate with the least stake for a node that has more.
fun make_place(registry: &mut Registry, system: &System, staking: &Staking, node_id: u32, clock: &Clock) {
    let node_ids = registry.candidates();
    let stakes = staking.stakes_on(system, &node_ids, clock);
    let (mut least, mut place) = (0, 1);
    while (place < stakes.length()) {
        if (stakes[place] <= stakes[least]) least = place;
        place = place + 1;
    };
    let own = staking.stakes_on(system, &vector[node_id], clock)[0];
    assert!(own > stakes[least], ECandidatesFull);
    registry.drop_candidate(node_ids[least], registry::evicted());
}
