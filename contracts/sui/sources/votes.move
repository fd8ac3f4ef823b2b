/// How many shards must sign; at most `f = (n - 1) / 3` of `n` shards belong to members that lie or are down.
module haulout::votes;

/// Returns the least weight of a quorum: any two quorums overlap in more than `f` shards, so in a correct member.
public(package) fun quorum(n_shards: u16): u16 {
    (2 * (n_shards as u64) / 3 + 1) as u16
}

/// Returns the least weight that includes a correct member.
public(package) fun one_correct(n_shards: u16): u16 {
    n_shards / 3 + 1
}

/// Returns the least weight that is two thirds of all or more.
public(package) fun two_thirds(n_shards: u16): u16 {
    (2 * n_shards + 2) / 3
}
