/// A round of storage proofs: what may happen when, and each node's part in it. Times are seconds of Sui's clock.
module haulout::round;

use haulout::opening::Inventory;
use sui::table::{Self, Table};

/// The time has not come.
const ETooEarly: u64 = 114;
/// It was possible until a time that has passed.
const ETooLate: u64 = 75;
/// The positions of this epoch are drawn.
const EAlreadyDrawn: u64 = 76;
/// The positions of this epoch are not drawn.
const EDrawNotMade: u64 = 77;
/// A member has proven in this epoch.
const EAlreadyProven: u64 = 78;
/// There is no such place to be answered here.
const ENoSuchPlace: u64 = 79;
/// A member's miss in this epoch is judged.
const EAlreadyJudged: u64 = 80;
/// An account's demand of a member is open.
const EAlreadyDemanded: u64 = 83;
/// As many demands of a member are open as can be.
const ETooManyDemands: u64 = 84;
/// An account has no demand of a member in this epoch.
const ENotDemanded: u64 = 85;

/// Places that are answered on chain where a quorum has not certified a member.
const PLACES: u16 = 16;
const ALL_PLACES: u16 = 0xffff;
/// Demands of a member that can be open at once, beside one of each of its fellows.
const MAX_OPEN_DEMANDS: u8 = 16;

public struct Round has store {
    inventory: Inventory,
    /// When commitments are refused from.
    commit_by_s: u64,
    /// What draws the positions; none before.
    draw: Option<address>,
    /// The last second of certificates and answers; 0 before the draw.
    answer_by_s: u64,
    /// Node → its part, if it has one.
    parts: Table<u32, Part>,
    /// Those that are neither answered nor judged.
    demands: Table<Asked, Demand>,
}

public struct Part has copy, drop, store {
    /// The root of the node's tree; zeros for no commitment.
    commitment: address,
    /// One bit for each place that is answered.
    answered: u16,
    /// Whether one of these was with a symbol.
    has_shown: bool,
    is_proven: bool,
    is_missed: bool,
    is_punished: bool,
    /// Demands that are neither answered nor judged, but for those in places of fellows.
    open_demands: u8,
    /// Fellows whose own places are taken.
    asking: vector<u32>,
}

/// A member, and the account that wants to see a symbol.
public struct Asked has copy, drop, store { node_id: u32, asker: address }

public struct Demand has copy, drop, store {
    position: u128,
    /// The last second of an answer.
    answer_by_s: u64,
    /// The member whose own place it has; none for one that is for anybody.
    fellow: Option<u32>,
}

public(package) fun new(inventory: Inventory, commit_by_s: u64, ctx: &mut TxContext): Round {
    Round { inventory, commit_by_s, draw: option::none(), answer_by_s: 0, parts: table::new(ctx), demands: table::new(ctx) }
}

public(package) fun inventory(self: &Round): &Inventory { &self.inventory }

/// Returns when commitments are refused from.
public(package) fun commit_by_s(self: &Round): u64 { self.commit_by_s }

/// Returns the root that a node committed itself to; zeros for none.
public(package) fun commitment_of(self: &Round, node_id: u32): address { self.part(node_id).commitment }

/// Takes note of a node's commitment, in the place of one before. Aborts with `ETooLate`.
public(package) fun commit(self: &mut Round, node_id: u32, root: address, now_s: u64) {
    assert!(now_s < self.commit_by_s, ETooLate);
    self.part_mut(node_id).commitment = root;
}

/// Takes note of what draws the positions; answers are refused behind `answer_by_s`. Aborts with `EAlreadyDrawn` or
/// `ETooEarly`.
public(package) fun draw(self: &mut Round, draw: address, answer_by_s: u64, now_s: u64) {
    assert!(self.draw.is_none(), EAlreadyDrawn);
    assert!(now_s >= self.commit_by_s, ETooEarly);
    self.draw = option::some(draw);
    self.answer_by_s = answer_by_s;
}

/// Returns what draws the positions. Aborts with `EDrawNotMade`.
public(package) fun drawn(self: &Round): address {
    assert!(self.draw.is_some(), EDrawNotMade);
    *self.draw.borrow()
}

/// Aborts with `EDrawNotMade`, `ETooLate` or `EAlreadyProven` unless a member can prove now.
public(package) fun check_provable(self: &Round, node_id: u32, now_s: u64) {
    assert!(self.draw.is_some(), EDrawNotMade);
    assert!(now_s <= self.answer_by_s, ETooLate);
    assert!(!self.part(node_id).is_proven, EAlreadyProven);
}

/// Takes note that a member has proven.
public(package) fun prove(self: &mut Round, node_id: u32) {
    self.part_mut(node_id).is_proven = true;
}

/// Returns whether a place of a member is answered. Aborts with `ENoSuchPlace`.
public(package) fun is_answered(self: &Round, node_id: u32, place: u16): bool {
    assert!(place < PLACES, ENoSuchPlace);
    self.part(node_id).answered & bit(place) != 0
}

/// Takes note of an answer; returns whether the member has proven by it, and whether it has shown a symbol.
public(package) fun answer(self: &mut Round, node_id: u32, place: u16, is_excused: bool): (bool, bool) {
    let part = self.part_mut(node_id);
    part.answered = part.answered | bit(place);
    part.has_shown = part.has_shown || !is_excused;
    part.is_proven = part.answered == ALL_PLACES;
    (part.is_proven, part.has_shown)
}

/// Takes note that a member has not proven in time. Aborts with `EDrawNotMade`, `ETooEarly`, `EAlreadyProven` or
/// `EAlreadyJudged`.
public(package) fun miss(self: &mut Round, node_id: u32, now_s: u64) {
    assert!(self.draw.is_some(), EDrawNotMade);
    assert!(now_s > self.answer_by_s, ETooEarly);
    let part = self.part_mut(node_id);
    assert!(!part.is_proven, EAlreadyProven);
    assert!(!part.is_missed, EAlreadyJudged);
    part.is_missed = true;
}

public(package) fun is_punished(self: &Round, node_id: u32): bool { self.part(node_id).is_punished }

/// Takes note that a member is punished.
public(package) fun punish(self: &mut Round, node_id: u32) {
    self.part_mut(node_id).is_punished = true;
}

/// Takes note of a demand, in a fellow's own place or in one that is for anybody. Aborts with `EAlreadyDemanded` or
/// `ETooManyDemands`.
///
/// Without places of fellows a member that demands of itself, and answers and demands anew in one transaction, could keep
/// everybody else out.
public(package) fun ask(
    self: &mut Round,
    node_id: u32,
    asker: address,
    fellow: Option<u32>,
    position: u128,
    answer_by_s: u64,
) {
    let asked = Asked { node_id, asker };
    assert!(!self.demands.contains(asked), EAlreadyDemanded);
    let part = self.part_mut(node_id);
    if (fellow.is_some()) {
        let fellow = *fellow.borrow();
        assert!(find(&part.asking, fellow) == part.asking.length(), ETooManyDemands);
        part.asking.push_back(fellow);
    } else {
        assert!(part.open_demands < MAX_OPEN_DEMANDS, ETooManyDemands);
        part.open_demands = part.open_demands + 1;
    };
    self.demands.add(asked, Demand { position, answer_by_s, fellow });
}

/// Returns the position that an account demands of a member, and the last second of an answer. Aborts with `ENotDemanded`.
public(package) fun demand_of(self: &Round, node_id: u32, asker: address): (u128, u64) {
    let asked = Asked { node_id, asker };
    assert!(self.demands.contains(asked), ENotDemanded);
    let Demand { position, answer_by_s, .. } = self.demands[asked];
    (position, answer_by_s)
}

/// Ends a demand. Aborts with `ENotDemanded`.
public(package) fun close(self: &mut Round, node_id: u32, asker: address) {
    let asked = Asked { node_id, asker };
    assert!(self.demands.contains(asked), ENotDemanded);
    let Demand { fellow, .. } = self.demands.remove(asked);
    let part = self.part_mut(node_id);
    if (fellow.is_some()) {
        let place = find(&part.asking, *fellow.borrow());
        part.asking.remove(place);
    } else {
        part.open_demands = part.open_demands - 1;
    };
}

/// Returns the place of a number, the list's length if it is not in it.
fun find(numbers: &vector<u32>, number: u32): u64 {
    let mut place = 0;
    while (place < numbers.length() && numbers[place] != number) place = place + 1;
    place
}

fun bit(place: u16): u16 { 1 << (place as u8) }

fun part(self: &Round, node_id: u32): Part {
    if (self.parts.contains(node_id)) self.parts[node_id] else nothing()
}

fun part_mut(self: &mut Round, node_id: u32): &mut Part {
    if (!self.parts.contains(node_id)) self.parts.add(node_id, nothing());
    &mut self.parts[node_id]
}

fun nothing(): Part {
    Part {
        commitment: @0x0,
        answered: 0,
        has_shown: false,
        is_proven: false,
        is_missed: false,
        is_punished: false,
        open_demands: 0,
        asking: vector[],
    }
}
