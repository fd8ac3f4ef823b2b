/// What members earn of a period's payment: parts, which pass with the period's duration in each of its epochs (`term`).
module haulout::earnings;

use haulout::system::{Self, System};

/// Returns the parts of a period that has begun which a node has earned in it up to now.
public fun of_node(system: &System, period: u32, node_id: u32): u64 {
    let (first, last) = epochs_of(system, period);
    let (mut parts, mut epoch) = (0, first);
    while (epoch <= last) {
        let owned = system.committee(epoch).shards_of(node_id);
        parts = parts + system.term(epoch).earnings_of(node_id, &owned, until(system, epoch, last));
        epoch = epoch + 1;
    };
    parts
}

/// Returns the parts of a period that has begun which all members together have earned in it up to now.
public fun of_all(system: &System, period: u32): u64 {
    let (first, last) = epochs_of(system, period);
    let (mut parts, mut epoch) = (0, first);
    while (epoch <= last) {
        parts = parts + system.term(epoch).earned(until(system, epoch, last));
        epoch = epoch + 1;
    };
    parts
}

/// Returns the parts that all members together can earn in a period.
public fun most(system: &System): u64 {
    (system.n_shards() as u64) * system::parts()
}

/// Returns the first epoch of a period and its last, or the current one.
fun epochs_of(system: &System, period: u32): (u32, u32) {
    let last = if (period == system.period()) system.epoch() else system.first_epoch_of(period + 1) - 1;
    (system.first_epoch_of(period), last)
}

/// Returns the parts that pass up to the end of an epoch: the last one of a period has all that are left.
fun until(system: &System, epoch: u32, last: u32): u64 {
    if (epoch == last) system::parts() else system.term(epoch + 1).from()
}
