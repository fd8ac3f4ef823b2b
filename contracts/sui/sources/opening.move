/// Openings: what shows that a member has one symbol of one blob, and the rules that judge it (PROTOCOL section 8).
///
/// A digest is an `address`, Move's type of 32 bytes (`trees`).
module haulout::opening;

use haulout::encoding;
use haulout::positions::{Self, Position};
use haulout::trees;
use std::bcs;
use sui::address;
use sui::bls12381::G1;
use sui::group_ops::Element;
use sui::hash;

/// The blob does not stand there in the inventory.
const ENotInInventory: u64 = 65;
/// Another blob was drawn, or demanded.
const ENotDrawn: u64 = 66;
/// The symbol has not the size of the blob's symbols.
const EWrongSymbolSize: u64 = 67;
/// The symbol is not the one at this place of the blob's grid.
const ENotOfTheBlob: u64 = 68;
/// The member attested the shard, in this epoch, with another root.
const ENotAttested: u64 = 69;
/// The member committed to something else at this place, or to nothing.
const ENotCommitted: u64 = 70;

/// The blobs that were to be stored when the epoch began: a tree over their entries by ascending id.
public struct Inventory has copy, drop, store {
    root: address,
    /// How many blobs.
    count: u32,
    /// The sum of their symbols' sizes, bytes.
    weight: u64,
}

/// What a member's openings are judged by.
public struct Commitment has copy, drop, store {
    /// Of the tree over all symbols that the member stores.
    root: address,
    salt: address,
    /// How many shards the member has.
    shards: u64,
}

/// A symbol, and how it hangs together with the inventory, with its blob's id and with the commitment.
public struct Opening has copy, drop {
    /// Of the blob in the inventory.
    index: u32,
    /// The sum of the symbol sizes of the blobs before it.
    offset: u64,
    /// From the blob's leaf to the inventory's root.
    inventory_path: vector<address>,
    /// Without a symbol, of a blob that is invalid now, the blob's id: nobody need know its root any more.
    blob_root: address,
    /// Bytes of the blob as it is, not encoded.
    blob_length: u64,
    symbol: vector<u8>,
    /// From the symbol's leaf to the sliver's root.
    sliver_path: vector<address>,
    /// The root of the pair's other sliver.
    other_root: address,
    /// From the pair's leaf to the blob's root.
    blob_path: vector<address>,
    /// From the symbol's salted leaf through the trees of pair, shard and member to the member's root. In the answer to a
    /// demand empty, or, for a shard that was attested too late for the commitment, up to the shard's root.
    commitment_path: vector<address>,
}

/// The leaves of an inventory and of a blob are these in BCS.
public struct Entry has drop { id: address, symbol_size: u16, offset: u64 }
public struct Pair has drop { primary: address, secondary: address }

public(package) fun new_inventory(root: address, count: u32, weight: u64): Inventory {
    Inventory { root, count, weight }
}

public(package) fun weight(self: &Inventory): u64 { self.weight }

/// `shards` is how many the member has.
public(package) fun new_commitment(root: address, salt: address, shards: u64): Commitment {
    Commitment { root, salt, shards }
}

/// Returns the salt of a member's commitment; `start` is what nobody knew before the epoch's start.
public(package) fun salt(epoch: u32, node_id: u32, key: &Element<G1>, start: address): address {
    let mut preimage = bcs::to_bytes(&epoch);
    preimage.append(bcs::to_bytes(&node_id));
    preimage.append(*key.bytes());
    preimage.append(bcs::to_bytes(&start));
    address::from_bytes(hash::blake2b256(&preimage))
}

/// Returns an opening. A symbol that is longer than an argument of a transaction can be goes on with `append_symbol`.
public fun new(
    index: u32,
    offset: u64,
    inventory_path: vector<address>,
    blob_root: address,
    blob_length: u64,
    symbol: vector<u8>,
    sliver_path: vector<address>,
    other_root: address,
    blob_path: vector<address>,
    commitment_path: vector<address>,
): Opening {
    Opening {
        index,
        offset,
        inventory_path,
        blob_root,
        blob_length,
        symbol,
        sliver_path,
        other_root,
        blob_path,
        commitment_path,
    }
}

public fun append_symbol(self: &mut Opening, more: vector<u8>) {
    self.symbol.append(more);
}

/// Whether a symbol is shown. One without can be about a blob that is invalid now.
public(package) fun has_symbol(self: &Opening): bool { !self.symbol.is_empty() }

/// Requires that an opening is about the blob that a position means; returns the blob's id.
///
/// Aborts with `EBlobTooLong`, `EWrongPath`, `ENotInInventory` or `ENotDrawn`.
public(package) fun require_in_inventory(
    self: &Opening,
    position: &Position,
    inventory: &Inventory,
    n_shards: u16,
): address {
    let size = encoding::symbol_size(n_shards, self.blob_length);
    let id = if (self.has_symbol()) encoding::blob_digest(self.blob_length, self.blob_root) else self.blob_root;
    let leaf = trees::leaf(Entry { id, symbol_size: size as u16, offset: self.offset });
    let root = trees::root(leaf, self.index as u64, inventory.count as u64, &self.inventory_path);
    assert!(root == inventory.root, ENotInInventory);
    let is_covered = self.offset <= position.offset() && position.offset() - self.offset < size;
    assert!(is_covered, ENotDrawn);
    id
}

/// Requires that an opening's symbol is the one at a position, in this shard, of the blob with this id.
///
/// Aborts with `EWrongSymbolSize`, `EWrongPath` or `ENotOfTheBlob`.
public(package) fun require_symbol(self: &Opening, position: &Position, shard: u16, id: address, n_shards: u16) {
    assert!(self.symbol.length() == encoding::symbol_size(n_shards, self.blob_length), EWrongSymbolSize);
    let n = n_shards as u64;
    let pair = ((shard as u64) + n - ((id.to_u256() % (n as u256)) as u64)) % n;
    let root = trees::root(self.pair_leaf(position.symbol(), n_shards), pair, n, &self.blob_path);
    assert!(root == self.blob_root, ENotOfTheBlob);
}

/// Requires that the member committed to an opening's symbol at a position.
///
/// `attested` is the root with which the member attested the shard in this epoch, or nothing. Aborts with `EWrongPath`,
/// `ENotAttested` or `ENotCommitted`.
public(package) fun require_committed(
    self: &Opening,
    position: &Position,
    commitment: &Commitment,
    attested: &Option<address>,
    inventory: &Inventory,
    n_shards: u16,
) {
    let (root, end) = self.shard_root(position, commitment.salt, attested, inventory, n_shards);
    let (root, end) = trees::climb(root, position.shard_number(), commitment.shards, &self.commitment_path, end);
    trees::require_end(&self.commitment_path, end);
    assert!(root == commitment.root, ENotCommitted);
}

/// Requires that an opening leads to the root with which its shard was attested, and ends there: no commitment has the
/// shard. Aborts with `EWrongPath` or `ENotAttested`.
public(package) fun require_attested_alone(
    self: &Opening,
    position: &Position,
    salt: address,
    attested: &Option<address>,
    inventory: &Inventory,
    n_shards: u16,
) {
    let (_, end) = self.shard_root(position, salt, attested, inventory, n_shards);
    trees::require_end(&self.commitment_path, end);
}

/// Returns the root of the shard's tree that the symbol leads to, and where the commitment path goes on from there.
fun shard_root(
    self: &Opening,
    position: &Position,
    salt: address,
    attested: &Option<address>,
    inventory: &Inventory,
    n_shards: u16,
): (address, u64) {
    let path = &self.commitment_path;
    let leaf = trees::salted_leaf(salt, &self.symbol);
    let (pair, end) = trees::climb(leaf, position.symbol(), positions::symbols_in_pair(n_shards), path, 0);
    let (root, end) = trees::climb(pair, self.index as u64, inventory.count as u64, path, end);
    assert!(attested.is_none() || attested.contains(&root), ENotAttested);
    (root, end)
}

/// Returns the blob's leaf of the pair of which symbol number `symbol` is shown, and the other sliver's root.
fun pair_leaf(self: &Opening, symbol: u64, n_shards: u16): address {
    let (_, columns) = encoding::grid(n_shards);
    let is_primary = symbol < columns;
    let number = if (is_primary) symbol else symbol - columns;
    let leaf = trees::leaf_of_bytes(&self.symbol);
    let root = trees::root(leaf, number, n_shards as u64, &self.sliver_path);
    let (primary, secondary) = if (is_primary) (root, self.other_root) else (self.other_root, root);
    trees::leaf(Pair { primary, secondary })
}
