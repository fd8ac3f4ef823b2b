/// The committee of an epoch, and certificates: one aggregate signature by enough of its members (PROTOCOL section 2).
module haulout::committee;

use haulout::assignment::{Self, Roster};
use haulout::messages;
use haulout::votes;
use sui::bls12381::{Self, G1, UncompressedG1};
use sui::group_ops::Element;

/// Members are not in the order of their ids, or one has no shard.
const EInvalidMembers: u64 = 2;
/// A bitmap is longer than the committee needs, or marks a member that does not exist.
const EBadBitmap: u64 = 3;
/// The signers have fewer shards than the message needs.
const ENotEnoughWeight: u64 = 4;
/// The signature is not the signers' aggregate signature of the message.
const EBadSignature: u64 = 5;

public struct Member has drop, store {
    node_id: u32,
    /// Uncompressed, because keys in this form are added up without square roots.
    key: Element<UncompressedG1>,
    /// In the order in which they came to the member, which gives up the last ones first.
    shards: vector<u16>,
}

/// The members by ascending node id, and the sum of their keys.
public struct Committee has drop, store {
    epoch: u32,
    n_shards: u16,
    members: vector<Member>,
    total_key: Element<G1>,
}

public(package) fun new_member(node_id: u32, key: Element<UncompressedG1>, shards: vector<u16>): Member {
    Member { node_id, key, shards }
}

/// Returns the committee of these members. Each must have proven that it has the secret of its key, and each shard must
/// be one member's alone. Aborts with `EInvalidMembers`.
public(package) fun new(epoch: u32, members: vector<Member>): Committee {
    let mut n_shards = 0;
    let mut last_id = 0;
    let mut keys = vector[];
    let mut place = 0;
    while (place < members.length()) {
        let member = &members[place];
        assert!(member.node_id > last_id && member.weight() > 0, EInvalidMembers);
        last_id = member.node_id;
        n_shards = n_shards + member.weight();
        keys.push_back(member.key);
        place = place + 1;
    };
    assert!(n_shards > 0, EInvalidMembers);
    let total_key = bls12381::uncompressed_g1_to_g1(&bls12381::uncompressed_g1_sum(&keys));
    Committee { epoch, n_shards, members, total_key }
}

/// Returns the weight of the members that signed a message of the committee's epoch.
///
/// `bitmap` has one bit per member in the committee's order, least significant bit first; missing bytes count as 0.
/// Aborts with `EBadBitmap`, `ENotEnoughWeight` or `EBadSignature`.
public(package) fun verify(
    self: &Committee,
    intent: u8,
    domain: vector<u8>,
    body: vector<u8>,
    bitmap: &vector<u8>,
    signature: &vector<u8>,
): u16 {
    let (key, weight) = self.signers(bitmap);
    assert!(weight >= self.weight_needed(intent), ENotEnoughWeight);
    let message = messages::encode(intent, self.epoch, domain, body);
    assert!(bls12381::bls12381_min_pk_verify(signature, key.bytes(), &message), EBadSignature);
    weight
}

/// Returns the members and their shards.
public(package) fun roster(self: &Committee): Roster {
    let mut shards = vector[];
    let mut place = 0;
    while (place < self.members.length()) {
        shards.push_back(self.members[place].shards);
        place = place + 1;
    };
    assignment::new_roster(self.node_ids(), shards)
}

/// Returns the members, by ascending node id.
public(package) fun node_ids(self: &Committee): vector<u32> {
    let mut node_ids = vector[];
    let mut place = 0;
    while (place < self.members.length()) {
        node_ids.push_back(self.members[place].node_id);
        place = place + 1;
    };
    node_ids
}

public(package) fun is_member(self: &Committee, node_id: u32): bool {
    let place = self.find(node_id);
    place < self.members.length() && self.members[place].node_id == node_id
}

/// Returns the shards of a node, in the order in which they came to it; none if it is not a member.
public(package) fun shards_of(self: &Committee, node_id: u32): vector<u16> {
    if (self.is_member(node_id)) self.members[self.find(node_id)].shards else vector[]
}

/// Returns the member that has a shard; each shard is some member's.
public(package) fun owner_of(self: &Committee, shard: u16): u32 {
    let mut place = 0;
    while (!has(&self.members[place].shards, shard)) place = place + 1;
    self.members[place].node_id
}

/// Returns the key with which a member signs.
public(package) fun key_of(self: &Committee, node_id: u32): Element<UncompressedG1> {
    self.members[self.find(node_id)].key
}

/// Returns the place of the first member whose node id is not below another; how many members there are if there is none.
fun find(self: &Committee, node_id: u32): u64 {
    let mut place = 0;
    let mut end = self.members.length();
    while (place < end) {
        let middle = (place + end) / 2;
        if (self.members[middle].node_id < node_id) place = middle + 1 else end = middle;
    };
    place
}

fun has(shards: &vector<u16>, shard: u16): bool {
    let mut place = 0;
    while (place < shards.length() && shards[place] != shard) place = place + 1;
    place < shards.length()
}

/// Returns how many shards the member has.
fun weight(self: &Member): u16 { self.shards.length() as u16 }

/// Returns the sum of the keys of the members that a bitmap marks, and their weight.
///
/// Usually few are missing: their keys are taken from the sum of all.
fun signers(self: &Committee, bitmap: &vector<u8>): (Element<G1>, u16) {
    let count = self.members.length();
    assert!(bitmap.length() <= (count + 7) / 8, EBadBitmap);
    let mut weight = 0;
    let mut missing = vector[];
    let mut place = 0;
    while (place < 8 * ((count + 7) / 8)) {
        let has_signed = is_set(bitmap, place);
        if (place >= count) {
            assert!(!has_signed, EBadBitmap);
        } else if (has_signed) {
            weight = weight + self.members[place].weight();
        } else {
            missing.push_back(self.members[place].key);
        };
        place = place + 1;
    };
    if (missing.is_empty()) return (self.total_key, weight);
    let missing_key = bls12381::uncompressed_g1_to_g1(&bls12381::uncompressed_g1_sum(&missing));
    (bls12381::g1_sub(&self.total_key, &missing_key), weight)
}

fun weight_needed(self: &Committee, intent: u8): u16 {
    if (intent == messages::invalid_blob_intent()) votes::one_correct(self.n_shards)
    else votes::quorum(self.n_shards)
}

fun is_set(bitmap: &vector<u8>, place: u64): bool {
    let byte = place / 8;
    byte < bitmap.length() && bitmap[byte] >> ((place % 8) as u8) & 1 == 1
}
