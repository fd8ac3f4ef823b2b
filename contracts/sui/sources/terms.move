/// What space costs and how much of it there is, and what the members' votes make of it (PROTOCOL section 4).
module haulout::terms;

/// The members that have voted have fewer shards than a quorum.
const ENoQuorum: u64 = 30;
/// Votes and weights are not one for one.
const EVotesWithoutWeights: u64 = 31;

/// The largest factor by which a term grows or shrinks in a period.
const MOST_FACTOR: u64 = 2;
const LARGEST: u64 = 0xffff_ffff_ffff_ffff;

/// Prices are in the token's smallest unit.
public struct Terms has copy, drop, store {
    /// Price of a mebibyte of encoded size for one period; above 0.
    price: u64,
    /// Price of registering a mebibyte of encoded size.
    write_price: u64,
    /// Encoded bytes that may be reserved for any one period.
    capacity: u64,
}

public fun new(price: u64, write_price: u64, capacity: u64): Terms {
    Terms { price, write_price, capacity }
}

public(package) fun price(self: &Terms): u64 { self.price }

public(package) fun write_price(self: &Terms): u64 { self.write_price }

public(package) fun capacity(self: &Terms): u64 { self.capacity }

/// Returns what the votes of a period make of the terms.
///
/// A price is the lowest that members with `quorum` of the shards asked at most, the capacity the largest that such
/// members offered at least; no term changes by more than `MOST_FACTOR`. `weights` are the voters' shards when the period
/// began. Aborts with `ENoQuorum`, or with `EVotesWithoutWeights`.
public(package) fun decided(self: &Terms, votes: &vector<Terms>, weights: &vector<u16>, quorum: u16): Terms {
    assert!(votes.length() == weights.length(), EVotesWithoutWeights);
    let mut prices = vector[];
    let mut write_prices = vector[];
    let mut shortages = vector[]; // what is not offered: the most offered at least is the least lacking at most
    let mut place = 0;
    while (place < votes.length()) {
        prices.push_back(votes[place].price);
        write_prices.push_back(votes[place].write_price);
        shortages.push_back(LARGEST - votes[place].capacity);
        place = place + 1;
    };
    let price = towards(self.price, least(&prices, weights, quorum));
    Terms {
        price: if (price == 0) 1 else price,
        write_price: towards(self.write_price, least(&write_prices, weights, quorum)),
        capacity: towards(self.capacity, LARGEST - least(&shortages, weights, quorum)),
    }
}

/// Returns the least of the values such that it and those below weigh a quorum.
fun least(values: &vector<u64>, weights: &vector<u16>, quorum: u16): u64 {
    let mut order = vector[]; // places by ascending value
    let mut place = 0;
    while (place < values.length()) {
        order.push_back(place);
        let mut last = place;
        while (last > 0 && values[order[last - 1]] > values[order[last]]) {
            order.swap(last - 1, last);
            last = last - 1;
        };
        place = place + 1;
    };
    let mut weight = 0;
    place = 0;
    while (place < order.length()) {
        weight = weight + weights[order[place]];
        if (weight >= quorum) return values[order[place]];
        place = place + 1;
    };
    abort ENoQuorum
}

/// Returns the value nearest to `wanted` that a period may bring a term to: a half to the double of it, and from 0 to 1.
fun towards(term: u64, wanted: u64): u64 {
    let highest = if (term == 0) 1 else if (term > LARGEST / MOST_FACTOR) LARGEST else MOST_FACTOR * term;
    let lowest = term / MOST_FACTOR;
    if (wanted < lowest) lowest else if (wanted > highest) highest else wanted
}
