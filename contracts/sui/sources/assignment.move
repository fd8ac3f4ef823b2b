/// Stake to shards, moving as few as possible (PROTOCOL section 3).
///
/// Largest quotients (Hagenbach-Bischoff) among the nodes whose stake is worth a shard, then a tolerance band in which a
/// changed stake moves nothing, then the shards themselves. All is in integers, so that everybody who elects comes to the
/// same shards. A coin's supply is below 2^64, so stakes and their sum are too.
module haulout::assignment;

/// No candidate has any stake.
const ENoStake: u64 = 15;

const FRACTION_BITS: u8 = 64;

/// Which nodes have which shards: node ids ascending, each with its list, from whose tail it gives up.
public struct Roster has copy, drop {
    node_ids: vector<u32>,
    shards: vector<vector<u16>>,
}

/// What the steps share; all lists are in the candidates' order.
public struct Election has drop {
    node_ids: vector<u32>,
    /// 0 for the candidates that do not count.
    stakes: vector<u64>,
    /// Of the stakes that count.
    total: u64,
    n_shards: u64,
    /// How many shards each has in the previous committee.
    held: vector<u64>,
    /// And in the next one.
    elected: vector<u64>,
}

/// Returns the roster of nodes, by ascending ids, and their shards; of nobody before the first election.
public(package) fun new_roster(node_ids: vector<u32>, shards: vector<vector<u16>>): Roster {
    Roster { node_ids, shards }
}

public(package) fun node_ids(self: &Roster): vector<u32> { self.node_ids }

public(package) fun shards(self: &Roster): vector<vector<u16>> { self.shards }

/// Returns the next committee, all candidates whose stake is worth a shard, and the stake of its members.
///
/// `node_ids` are the candidates in their order, each once, with their `stakes`; `band_millis` is the tolerance band in
/// thousandths of a shard, 0 switches it off. Nodes with a part `x` of the members' stake hold at most
/// `x * (n_shards + members)` shards, however they share it out among themselves. Aborts with `ENoStake`.
public(package) fun elect(
    previous: &Roster,
    node_ids: vector<u32>,
    stakes: vector<u64>,
    n_shards: u16,
    band_millis: u16,
): (Roster, u64) {
    let mut election = open(previous, node_ids, stakes, n_shards);
    election.drop_the_least();
    election.apportion();
    if (band_millis != 0) election.settle(band_millis);
    (election.assigned(previous), election.total)
}

/// Returns the committee in which departed members' shards are dealt to those that stay, by Webster's divisors: the next
/// shard goes to the member with the greatest `weight / (2 * shards + 1)`, of equals the first.
///
/// `node_ids` are the members of `in_office` that stay, ascending, and `weights` the shards with which they began the period,
/// above 0. None of them loses a shard. If the weights are two thirds of `n_shards` or more, none comes to more than half as
/// many again as its weight, rounded up. Aborts with `ENoStake` if nobody stays.
public(package) fun replace(in_office: &Roster, node_ids: vector<u32>, weights: vector<u64>, n_shards: u16): Roster {
    let mut election = open(in_office, node_ids, weights, n_shards);
    election.grow();
    election.assigned(in_office)
}

fun open(previous: &Roster, node_ids: vector<u32>, stakes: vector<u64>, n_shards: u16): Election {
    let mut total = 0;
    let mut held = vector[];
    let mut place = 0;
    while (place < node_ids.length()) {
        total = total + stakes[place];
        let (found, member) = find(&previous.node_ids, node_ids[place]);
        held.push_back(if (found) previous.shards[member].length() else 0);
        place = place + 1;
    };
    assert!(total > 0, ENoStake);
    Election { node_ids, stakes, total, n_shards: n_shards as u64, held, elected: vector[] }
}

/// Drops the least stake, of equals the last, until each that is left is worth a shard: `total / n_shards` of what is
/// left.
fun drop_the_least(self: &mut Election) {
    loop {
        let mut least = 0;
        let mut lowest = 0;
        let mut place = 0;
        while (place < self.stakes.length()) {
            let stake = self.stakes[place];
            if (stake != 0 && (lowest == 0 || stake <= lowest)) {
                lowest = stake;
                least = place;
            };
            place = place + 1;
        };
        if ((lowest as u128) * (self.n_shards as u128) >= self.total as u128) return;
        *&mut self.stakes[least] = 0;
        self.total = self.total - lowest;
    }
}

/// Counts by stake alone: a sure start, the stake divided by a quota so large that the shards suffice, and then one shard
/// at a time to the highest quotient. Fewer shards are left for that than there are candidates.
fun apportion(self: &mut Election) {
    let quota = fraction(self.total, self.n_shards + 1) + 1;
    let mut quotients = vector[]; // 0 for the candidates that do not count
    let mut left = self.n_shards;
    let mut place = 0;
    while (place < self.stakes.length()) {
        let stake = self.stakes[place];
        let sure = (((stake as u128) << FRACTION_BITS) / quota) as u64;
        self.elected.push_back(sure);
        quotients.push_back(fraction(stake, sure + 1));
        left = left - sure;
        place = place + 1;
    };
    while (left > 0) {
        let best = greatest(&quotients);
        let count = self.elected[best] + 1;
        *&mut self.elected[best] = count;
        *&mut quotients[best] = fraction(self.stakes[best], count + 1);
        left = left - 1;
    }
}

/// Counts from what is held on: first what each has once all quotients above a bound are served, a bound so high that the
/// shards suffice. Fewer shards are left then than there are members.
fun grow(self: &mut Election) {
    let halves = 2 * self.n_shards - self.stakes.length(); // half a shard each is for rounding
    let mut quotients = vector[];
    let mut left = self.n_shards;
    let mut place = 0;
    while (place < self.stakes.length()) {
        let weight = self.stakes[place];
        let sure = larger((weight * halves + self.total) / (2 * self.total), self.held[place]);
        self.elected.push_back(sure);
        quotients.push_back(fraction(weight, 2 * sure + 1));
        left = left - sure;
        place = place + 1;
    };
    while (left > 0) {
        let best = greatest(&quotients);
        let count = self.elected[best] + 1;
        *&mut self.elected[best] = count;
        *&mut quotients[best] = fraction(self.stakes[best], 2 * count + 1);
        left = left - 1;
    }
}

/// Undoes one move of each member that would shrink although it holds hardly more than its share, the one with the least
/// excess first; the growing member furthest above its own share gives the shard back, but none its only one.
fun settle(self: &mut Election, band_millis: u16) {
    let most = self.n_shards + self.count_members();
    let mut room = vector[]; // of who may get one back: the more, the less its excess; 0 for all others
    let mut excess = vector[]; // of who may give one up; 0 for all others
    let mut place = 0;
    while (place < self.stakes.length()) {
        let held = self.held[place];
        let elected = self.elected[place];
        let may_grow = elected < held && self.may_keep(place, band_millis, most);
        room.push_back(if (may_grow) self.raised_room(place, held) else 0);
        let may_shrink = elected > larger(held, 1);
        excess.push_back(if (may_shrink) self.raised_excess(place, elected) else 0);
        place = place + 1;
    };
    loop {
        let keeper = greatest(&room);
        let giver = greatest(&excess);
        if (room[keeper] == 0 || excess[giver] == 0) return;
        *&mut room[keeper] = 0;
        *&mut self.elected[keeper] = self.elected[keeper] + 1;
        let count = self.elected[giver] - 1;
        *&mut self.elected[giver] = count;
        let may_shrink = count > larger(self.held[giver], 1);
        *&mut excess[giver] = if (may_shrink) self.raised_excess(giver, count) else 0;
    }
}

/// Returns whether what a candidate holds is within the band, and no more than `apportion` could give it: else a part of
/// the stake that is spread over many nodes would keep half a shard, or a whole one, on each of them for nothing.
fun may_keep(self: &Election, place: u64, band_millis: u16, most: u64): bool {
    let held = (self.held[place] as u128) * (self.total as u128);
    let stake = self.stakes[place] as u128;
    held <= (most as u128) * stake
        && 1000 * held <= 1000 * (self.n_shards as u128) * stake + (band_millis as u128) * (self.total as u128)
}

/// Returns by how much `count` shards, 1 or more, are above a candidate's share, times the total stake, and raised so that
/// it is above 0: no share has more than all shards.
fun raised_excess(self: &Election, place: u64, count: u64): u128 {
    ((self.n_shards + count) as u128) * (self.total as u128) - (self.n_shards as u128) * (self.stakes[place] as u128)
}

/// Returns the contrary of `raised_excess`, raised likewise: nobody has more than all shards.
fun raised_room(self: &Election, place: u64, count: u64): u128 {
    1 + ((self.n_shards - count) as u128) * (self.total as u128) + (self.n_shards as u128) * (self.stakes[place] as u128)
}

fun count_members(self: &Election): u64 {
    let mut count = 0;
    let mut place = 0;
    while (place < self.stakes.length()) {
        if (self.stakes[place] != 0) count = count + 1;
        place = place + 1;
    };
    count
}

/// Returns the committee that has the shards counted in `elected`.
fun assigned(self: &Election, previous: &Roster): Roster {
    if (previous.node_ids.is_empty()) self.deal() else self.move_from(previous)
}

/// The first committee: all shards in sequence, in the candidates' order.
fun deal(self: &Election): Roster {
    let mut lists = vector[];
    let mut shard = 0;
    let mut place = 0;
    while (place < self.elected.length()) {
        let mut list = vector[];
        let mut left = self.elected[place];
        while (left > 0) {
            list.push_back(shard);
            shard = shard + 1;
            left = left - 1;
        };
        lists.push_back(list);
        place = place + 1;
    };
    self.ascending(lists)
}

/// Each keeps what it may, from the head of its list. What is freed is taken last in, first out: first by new members in
/// the candidates' order, then by growing ones in the order of their ids.
fun move_from(self: &Election, previous: &Roster): Roster {
    let mut lists = vector[];
    let mut place = 0;
    while (place < self.node_ids.length()) {
        lists.push_back(vector[]);
        place = place + 1;
    };
    let mut freed = vector[];
    let mut growing = vector[]; // candidates' places, by node id
    let mut member = 0;
    while (member < previous.node_ids.length()) {
        let mut shards = previous.shards[member];
        let candidate = self.place_of(previous.node_ids[member]);
        let elected = if (candidate < self.elected.length()) self.elected[candidate] else 0;
        if (elected == 0) {
            freed.append(shards);
        } else {
            while (shards.length() > elected) freed.push_back(shards.pop_back());
            if (shards.length() < elected) growing.push_back(candidate);
            *&mut lists[candidate] = shards;
        };
        member = member + 1;
    };
    place = 0;
    while (place < lists.length()) {
        if (self.held[place] == 0) fill(&mut lists[place], self.elected[place], &mut freed);
        place = place + 1;
    };
    place = 0;
    while (place < growing.length()) {
        let candidate = growing[place];
        fill(&mut lists[candidate], self.elected[candidate], &mut freed);
        place = place + 1;
    };
    self.ascending(lists)
}

/// Completes a list with freed shards.
fun fill(list: &mut vector<u16>, count: u64, freed: &mut vector<u16>) {
    while (list.length() < count) list.push_back(freed.pop_back());
}

/// Returns a node's place among the candidates; their number if it is none.
fun place_of(self: &Election, node_id: u32): u64 {
    let mut place = 0;
    while (place < self.node_ids.length() && self.node_ids[place] != node_id) place = place + 1;
    place
}

/// Returns the candidates that have shards, by ascending id.
fun ascending(self: &Election, lists: vector<vector<u16>>): Roster {
    let mut roster = new_roster(vector[], vector[]);
    let mut place = 0;
    while (place < lists.length()) {
        if (!lists[place].is_empty()) {
            roster.node_ids.push_back(self.node_ids[place]);
            roster.shards.push_back(lists[place]);
            let mut last = roster.node_ids.length() - 1;
            while (last > 0 && roster.node_ids[last - 1] > roster.node_ids[last]) {
                roster.node_ids.swap(last - 1, last);
                roster.shards.swap(last - 1, last);
                last = last - 1;
            };
        };
        place = place + 1;
    };
    roster
}

/// Returns whether a node is in an ascending list of ids, and its place.
fun find(node_ids: &vector<u32>, node_id: u32): (bool, u64) {
    let mut place = 0;
    let mut end = node_ids.length();
    while (place < end) {
        let middle = (place + end) / 2;
        if (node_ids[middle] < node_id) place = middle + 1 else end = middle;
    };
    (place < node_ids.length() && node_ids[place] == node_id, place)
}

/// Returns where the first of the greatest values is.
fun greatest(values: &vector<u128>): u64 {
    let mut best = 0;
    let mut place = 1;
    while (place < values.length()) {
        if (values[place] > values[best]) best = place;
        place = place + 1;
    };
    best
}

/// Returns `stake / divisor` in 64.64 fixed point, rounded down.
fun fraction(stake: u64, divisor: u64): u128 {
    ((stake as u128) << FRACTION_BITS) / (divisor as u128)
}

fun larger(left: u64, right: u64): u64 {
    if (left < right) right else left
}
