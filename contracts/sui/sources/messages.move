/// The messages that storage nodes sign, byte for byte (PROTOCOL section 2): `intent u8, version u8 (1),
/// application u8 (3), epoch u32 little-endian, domain 32, body`.
module haulout::messages;

use std::bcs;
use sui::hash;

/// The digest that names a chain does not have 32 bytes.
const EInvalidChain: u64 = 1;

const POSSESSION: u8 = 0;
const BLOB: u8 = 1;
const INVALID_BLOB: u8 = 2;
const EJECT: u8 = 7;
const INVENTORY: u8 = 10;
const PROOF: u8 = 11;

const VERSION: u8 = 1;
const APPLICATION: u8 = 3;
const CHAIN_BYTES: u64 = 32;

/// A node's key signs for itself; body: `possession`.
public(package) fun possession_intent(): u8 { POSSESSION }

/// Both slivers of all the signer's shards are durable; body: `permanent_blob` or `deletable_blob`.
public(package) fun blob_intent(): u8 { BLOB }

/// The writer encoded the blob inconsistently; body: `invalid_blob`.
public(package) fun invalid_blob_intent(): u8 { INVALID_BLOB }

/// A member is to be ejected; body: `ejection`.
public(package) fun eject_intent(): u8 { EJECT }

/// What the members are to store in an epoch; body: `inventory`.
public(package) fun inventory_intent(): u8 { INVENTORY }

/// A member showed its fellows what was drawn; body: `proof`.
public(package) fun proof_intent(): u8 { PROOF }

/// Returns the domain of the deployment of `package` on a chain: what keeps a signature from serving on another one.
///
/// `chain` is the digest of the chain's first checkpoint, 32 bytes, and `package` the id under which the package was
/// published first. Aborts with `EInvalidChain`.
public(package) fun domain(chain: &vector<u8>, package: address): vector<u8> {
    assert!(chain.length() == CHAIN_BYTES, EInvalidChain);
    let mut named = *chain;
    named.append(bcs::to_bytes(&package));
    hash::keccak256(&named)
}

/// Returns the bytes to sign.
public(package) fun encode(intent: u8, epoch: u32, domain: vector<u8>, body: vector<u8>): vector<u8> {
    let mut message = vector[intent, VERSION, APPLICATION];
    message.append(bcs::to_bytes(&epoch));
    message.append(domain);
    message.append(body);
    message
}

/// `account` is the node's owner, `public_key` the compressed key.
public(package) fun possession(account: address, public_key: vector<u8>): vector<u8> {
    let mut body = bcs::to_bytes(&account);
    body.append(public_key);
    body
}

/// A blob id is the number whose little-endian bytes are the blob id that nodes and clients use.
public(package) fun permanent_blob(blob_id: u256): vector<u8> {
    let mut body = bcs::to_bytes(&blob_id);
    body.push_back(0);
    body
}

public(package) fun deletable_blob(blob_id: u256, object: address): vector<u8> {
    let mut body = bcs::to_bytes(&blob_id);
    body.push_back(1);
    body.append(bcs::to_bytes(&object));
    body
}

public(package) fun invalid_blob(blob_id: u256): vector<u8> {
    bcs::to_bytes(&blob_id)
}

/// `deadline_s` is the last second at which the message counts.
public(package) fun ejection(node_id: u32, reason: u8, deadline_s: u64): vector<u8> {
    let mut body = node_word(node_id);
    body.push_back(reason);
    body.append(bcs::to_bytes(&deadline_s));
    body
}

/// The root of the inventory's tree, the number of its blobs, and their weight.
public(package) fun inventory(root: address, count: u32, weight: u64): vector<u8> {
    let mut body = bcs::to_bytes(&root);
    body.append(bcs::to_bytes(&count));
    body.append(bcs::to_bytes(&weight));
    body
}

public(package) fun proof(node_id: u32, draw: address): vector<u8> {
    let mut body = node_word(node_id);
    body.append(bcs::to_bytes(&draw));
    body
}

/// A node id in 32 bytes, big-endian.
fun node_word(node_id: u32): vector<u8> {
    let mut word = bcs::to_bytes(&(node_id as u256));
    word.reverse();
    word
}
