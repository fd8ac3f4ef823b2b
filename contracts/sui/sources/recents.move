/// How much of an amount is young: what came lately, in two stretches of time that follow each other.
///
/// What came is young for one to three times an age; never for less, and for no more than three times, whatever comes after
/// it: so nobody can make another's stake young again by adding to it. What goes is taken off the young first.
module haulout::recents;

public struct Recents has drop, store {
    /// When the newer stretch began.
    since_s: u64,
    /// Came in it.
    newer: u64,
    /// Came in the one before.
    older: u64,
}

public(package) fun new(): Recents {
    Recents { since_s: 0, newer: 0, older: 0 }
}

/// Takes note that an amount comes now. A stretch takes `age_s` seconds; what comes after it begins another.
public(package) fun add(self: &mut Recents, amount: u64, age_s: u64, now_s: u64) {
    let passed_s = now_s - self.since_s;
    if (passed_s >= age_s) {
        self.older = if (passed_s < 2 * age_s) self.newer else 0;
        self.newer = 0;
        self.since_s = now_s;
    };
    self.newer = self.newer + amount;
}

/// Takes note that an amount goes now.
public(package) fun take(self: &mut Recents, amount: u64, age_s: u64, now_s: u64) {
    if (self.young(age_s, now_s) == 0) return;
    let rest = above(amount, self.newer);
    self.newer = above(self.newer, amount);
    self.older = above(self.older, rest);
}

/// Returns how much may have come less than `age_s` seconds ago.
public(package) fun young(self: &Recents, age_s: u64, now_s: u64): u64 {
    let passed_s = now_s - self.since_s;
    if (passed_s >= 2 * age_s) 0 else if (passed_s < age_s) self.newer + self.older else self.newer
}

/// Returns by how much a number is above another.
fun above(number: u64, other: u64): u64 {
    if (number > other) number - other else 0
}
