/// Merkle trees by Blake2b-256: leaf `H(0x00 ‖ bytes)`, inner node `H(0x01 ‖ left ‖ right)` (PROTOCOL section 1).
///
/// A level of odd length is padded with one node of 32 zero bytes, so that a tree of `count` leaves has
/// `ceil(log2(count))` levels above them. A node is an `address`: the type of 32 bytes that Move reads and writes without a loop.
module haulout::trees;

use std::bcs;
use sui::address;
use sui::hash;

/// A tree of so many leaves has no leaf of this index, or no path of this length.
const EWrongPath: u64 = 64;

const LEAF: u8 = 0;
const INNER: u8 = 1;

/// These three in BCS are what is hashed.
public struct Leaf<T> has drop { kind: u8, content: T }
public struct SaltedLeaf has drop { kind: u8, salt: address }
public struct Inner has drop { kind: u8, left: address, right: address }

/// Returns the node of the leaf whose bytes are the BCS form of `content`.
public(package) fun leaf<T: drop>(content: T): address {
    node(&bcs::to_bytes(&Leaf { kind: LEAF, content }))
}

/// Returns the node of a leaf of bytes.
public(package) fun leaf_of_bytes(content: &vector<u8>): address {
    leaf_behind(vector[LEAF], content)
}

/// Returns the node of the leaf `salt ‖ content`.
public(package) fun salted_leaf(salt: address, content: &vector<u8>): address {
    leaf_behind(bcs::to_bytes(&SaltedLeaf { kind: LEAF, salt }), content)
}

/// Returns the root of the tree of `count` leaves in which `leaf` is the node of the leaf of this index.
///
/// `path` has the siblings on the way, from the leaf's to the one below the root. Aborts with `EWrongPath`.
public(package) fun root(leaf: address, index: u64, count: u64, path: &vector<address>): address {
    let (root, end) = climb(leaf, index, count, path, 0);
    require_end(path, end);
    root
}

/// As `root`, but the siblings are the part of `path` that begins at `start`; returns the root and where that part ends.
public(package) fun climb(
    leaf: address,
    mut index: u64,
    count: u64,
    path: &vector<address>,
    start: u64,
): (address, u64) {
    assert!(index < count, EWrongPath);
    let end = start + depth(count);
    assert!(end <= path.length(), EWrongPath);
    let mut found = leaf;
    let mut place = start;
    while (place < end) {
        let sibling = path[place];
        found = if (index % 2 == 0) inner(found, sibling) else inner(sibling, found);
        index = index / 2;
        place = place + 1;
    };
    (found, end)
}

/// Requires that a path ends at a place of it. Aborts with `EWrongPath`.
public(package) fun require_end(path: &vector<address>, end: u64) {
    assert!(path.length() == end, EWrongPath);
}

/// Returns how many siblings lead from a leaf to the root of a tree of `count` leaves, at least one.
public(package) fun depth(count: u64): u64 {
    let mut depth = 0;
    let mut last = count - 1;
    while (last > 0) {
        last = last / 2;
        depth = depth + 1;
    };
    depth
}

fun inner(left: address, right: address): address {
    node(&bcs::to_bytes(&Inner { kind: INNER, left, right }))
}

fun leaf_behind(mut preimage: vector<u8>, content: &vector<u8>): address {
    preimage.append(*content);
    node(&preimage)
}

fun node(preimage: &vector<u8>): address {
    address::from_bytes(hash::blake2b256(preimage))
}
