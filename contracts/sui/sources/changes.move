/// A value that changes with periods.
module haulout::changes;

public struct Changes<T: copy + drop + store> has drop, store {
    /// By ascending period; the first is for all before the second.
    changes: vector<Change<T>>,
}

public struct Change<T: copy + drop + store> has copy, drop, store { from_period: u32, value: T }

/// Returns a value that is the same in all periods.
public(package) fun new<T: copy + drop + store>(value: T): Changes<T> {
    Changes { changes: vector[Change { from_period: 0, value }] }
}

/// Has the value be another from a period on, or from that of the last change if it is later; returns which.
public(package) fun set<T: copy + drop + store>(self: &mut Changes<T>, period: u32, value: T): u32 {
    let last = self.changes.length() - 1;
    let last_from = self.changes[last].from_period;
    if (last_from >= period) {
        self.changes[last].value = value;
        last_from
    } else {
        self.changes.push_back(Change { from_period: period, value });
        period
    }
}

/// Forgets what counts in no period from `period` on.
public(package) fun forget_before<T: copy + drop + store>(self: &mut Changes<T>, period: u32) {
    while (self.changes.length() > 1 && self.changes[1].from_period <= period) {
        self.changes.remove(0);
    }
}

/// Returns the value in a period that is not forgotten.
public(package) fun at<T: copy + drop + store>(self: &Changes<T>, period: u32): T {
    let mut place = self.changes.length() - 1;
    while (place > 0 && self.changes[place].from_period > period) place = place - 1;
    self.changes[place].value
}
