/// Which symbols a member is to show: positions, drawn by 32 bytes that nobody knew before (PROTOCOL section 8).
///
/// A position is `(shard_number * u + symbol) * weight + offset`, where `u` symbols are stored of each sliver pair and
/// `weight` is the inventory's: so each byte that is stored is drawn as often.
module haulout::positions;

use haulout::encoding;
use std::bcs;
use sui::address;
use sui::hash;

const TAG: vector<u8> = b"haulout proof";

/// What the number of a position means.
public struct Position has copy, drop {
    /// Of the shard among the member's, in the committee's order.
    shard_number: u64,
    /// Of the symbol in the sliver pair: those of the primary sliver first, then those of the secondary one.
    symbol: u64,
    /// A number below the inventory's weight, which names the blob.
    offset: u64,
}

/// Returns how many positions a member with so many shards has, for an inventory of this weight.
public(package) fun count(n_shards: u16, shards: u64, weight: u64): u128 {
    (shards as u128) * (symbols_in_pair(n_shards) as u128) * (weight as u128)
}

/// Returns the number of the position that is drawn at a place, for a member with `count` positions, at least one.
public(package) fun drawn(draw: address, node_id: u32, place: u16, count: u128): u128 {
    let mut ticket = TAG;
    ticket.append(bcs::to_bytes(&draw));
    ticket.append(bcs::to_bytes(&node_id));
    ticket.append(bcs::to_bytes(&place));
    let number = address::from_bytes(hash::blake2b256(&ticket)).to_u256();
    (number % (count as u256)) as u128
}

/// Returns the position of a number, which must be below `count`.
public(package) fun at(n_shards: u16, weight: u64, number: u128): Position {
    let (weight, symbols) = (weight as u128, symbols_in_pair(n_shards) as u128);
    let pair = number / weight;
    Position {
        shard_number: (pair / symbols) as u64,
        symbol: (pair % symbols) as u64,
        offset: (number % weight) as u64,
    }
}

/// Returns how many symbols are stored of a sliver pair.
public(package) fun symbols_in_pair(n_shards: u16): u64 {
    let (rows, columns) = encoding::grid(n_shards);
    rows + columns
}

public(package) fun shard_number(self: &Position): u64 { self.shard_number }

public(package) fun symbol(self: &Position): u64 { self.symbol }

public(package) fun offset(self: &Position): u64 { self.offset }
