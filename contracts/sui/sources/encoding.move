/// Sizes and ids of blobs that are encoded with RedStuff as grids of symbols (PROTOCOL section 1).
///
/// Of `n` shards, `f = (n - 1) / 3` may fail; the grid has `n - 2f` rows and `n - f` columns.
module haulout::encoding;

use std::bcs;
use sui::address;
use sui::hash;

/// A blob is longer than a grid of this many shards can hold.
const EBlobTooLong: u64 = 29;

/// The only encoding there is, RS2.
const ENCODING_TYPE: u8 = 1;
const LARGEST_SYMBOL_BYTES: u64 = 65534;
const ROOT_BYTES: u64 = 32;
/// Digests in the metadata of a pair of slivers: two of 32 bytes.
const PAIR_DIGEST_BYTES: u64 = 64;

/// What a blob's id is the digest of, in BCS.
public struct Identity has drop { encoding_type: u8, length: u64, root: address }

/// Returns the bytes that all nodes together keep of a blob, which are what is billed. Aborts with `EBlobTooLong`.
public fun encoded_size(n_shards: u16, length: u64): u64 {
    let n = n_shards as u64;
    let (rows, columns) = grid(n_shards);
    n * ((rows + columns) * symbol_size(n_shards, length) + PAIR_DIGEST_BYTES * n + ROOT_BYTES)
}

/// Returns the bytes of a symbol of a blob: even, and 2 of the empty blob. Aborts with `EBlobTooLong`.
public fun symbol_size(n_shards: u16, length: u64): u64 {
    let (rows, columns) = grid(n_shards);
    let symbols = rows * columns;
    assert!(length <= symbols * LARGEST_SYMBOL_BYTES, EBlobTooLong);
    if (length == 0) 2 else (length + 2 * symbols - 1) / (2 * symbols) * 2
}

/// Returns the id of a blob, the number whose little-endian bytes are those that nodes and clients use.
///
/// `root` is the number whose little-endian bytes are the root of the blob's tree.
public fun blob_id(length: u64, root: u256): u256 {
    id_of_digest(blob_digest(length, address::from_bytes(bcs::to_bytes(&root))))
}

/// Returns the number whose little-endian bytes are these.
public(package) fun id_of_digest(digest: address): u256 {
    let mut bytes = bcs::to_bytes(&digest);
    bytes.reverse();
    address::from_bytes(bytes).to_u256()
}

/// Returns the id of a blob as the bytes that nodes and clients use, from the bytes of its tree's root.
public(package) fun blob_digest(length: u64, root: address): address {
    let preimage = bcs::to_bytes(&Identity { encoding_type: ENCODING_TYPE, length, root });
    address::from_bytes(hash::blake2b256(&preimage))
}

/// Returns how many rows and columns the grid of a blob has.
public(package) fun grid(n_shards: u16): (u64, u64) {
    let n = n_shards as u64;
    let faulty = (n - 1) / 3;
    (n - 2 * faulty, n - faulty)
}
