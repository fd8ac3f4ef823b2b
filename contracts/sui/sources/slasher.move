/// The capability that may slash stake: none until the governor has one made, and a new one no sooner than every staker can have
/// left that unstakes before the next selection but one.
module haulout::slasher;

use sui::event;

/// A slasher's capability does not count: not yet, or not any more.
const ENotSlasher: u64 = 136;

public struct Slasher has drop, store {
    /// The capability that counts until the next one does.
    cap: Option<ID>,
    next_cap: Option<ID>,
    /// The next one counts once what leaves with this period is unlocked.
    next_period: u32,
}

/// The right to slash stake, as long as the staking names this object: for what judges evidence.
public struct SlasherCap has key, store { id: UID }

/// Another capability counts, once what leaves with a period is unlocked; none: no capability counts any more.
public struct SlasherChanged has copy, drop { slasher_cap: Option<ID>, period: u32 }

public(package) fun nobody(): Slasher {
    Slasher { cap: option::none(), next_cap: option::none(), next_period: 0 }
}

/// Names another slasher, for when what leaves with a period is unlocked; returns its capability. `is_due` tells whether the
/// one that was named before counts by now.
public(package) fun name(self: &mut Slasher, period: u32, is_due: bool, ctx: &mut TxContext): SlasherCap {
    let slasher_cap = SlasherCap { id: object::new(ctx) };
    self.cap = self.counting(is_due);
    self.next_cap = option::some(object::id(&slasher_cap));
    self.next_period = period;
    event::emit(SlasherChanged { slasher_cap: self.next_cap, period });
    slasher_cap
}

/// Has no slasher count any more, at once.
public(package) fun remove(self: &mut Slasher) {
    self.cap = option::none();
    self.next_cap = option::none();
    event::emit(SlasherChanged { slasher_cap: option::none(), period: 0 });
}

/// Aborts with `ENotSlasher`.
public(package) fun check(self: &Slasher, cap: &SlasherCap, is_due: bool) {
    assert!(self.counting(is_due).contains(&object::id(cap)), ENotSlasher);
}

/// Returns the period with which what leaves must be unlocked before the slasher named last counts.
public(package) fun next_period(self: &Slasher): u32 { self.next_period }

fun counting(self: &Slasher, is_due: bool): Option<ID> {
    if (self.next_cap.is_some() && is_due) self.next_cap else self.cap
}
