/// Sizes and ids of blobs that are encoded with RedStuff as grids of symbols (PROTOCOL section 1).
///
/// Of `n` shards, `f = (n - 1) / 3` may fail; the grid has `n - 2f` rows and `n - f` columns.
module haulout::encoding;

use std::bcs;
use sui::hash;

/// A blob is longer than a grid of this many shards can hold.
const EBlobTooLong: u64 = 29;

/// The only encoding there is, RS2.
const ENCODING_TYPE: u8 = 1;
const LARGEST_SYMBOL_BYTES: u64 = 65534;
const ROOT_BYTES: u64 = 32;
/// Digests in the metadata of a pair of slivers: two of 32 bytes.
const PAIR_DIGEST_BYTES: u64 = 64;

/// Returns the bytes that all nodes together keep of a blob, which are what is billed. Aborts with `EBlobTooLong`.
public fun encoded_size(n_shards: u16, length: u64): u64 {
    let n = n_shards as u64;
    let (rows, columns) = grid(n);
    n * ((rows + columns) * symbol_size(n_shards, length) + PAIR_DIGEST_BYTES * n + ROOT_BYTES)
}

/// Returns the bytes of a symbol of a blob: even, and 2 of the empty blob. Aborts with `EBlobTooLong`.
public fun symbol_size(n_shards: u16, length: u64): u64 {
    let (rows, columns) = grid(n_shards as u64);
    let symbols = rows * columns;
    assert!(length <= symbols * LARGEST_SYMBOL_BYTES, EBlobTooLong);
    if (length == 0) 2 else (length + 2 * symbols - 1) / (2 * symbols) * 2
}

/// Returns the id of a blob, the number whose little-endian bytes are those that nodes and clients use.
///
/// `root` is the number whose little-endian bytes are the root of the blob's tree.
public fun blob_id(length: u64, root: u256): u256 {
    let mut preimage = vector[ENCODING_TYPE];
    preimage.append(bcs::to_bytes(&length));
    preimage.append(bcs::to_bytes(&root));
    from_little_endian(&hash::blake2b256(&preimage))
}

fun grid(n_shards: u64): (u64, u64) {
    let faulty = (n_shards - 1) / 3;
    (n_shards - 2 * faulty, n_shards - faulty)
}

fun from_little_endian(bytes: &vector<u8>): u256 {
    let mut number = 0;
    let mut place = bytes.length();
    while (place > 0) {
        place = place - 1;
        number = number << 8 | (bytes[place] as u256);
    };
    number
}
