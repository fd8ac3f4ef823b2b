/// What happens in one epoch: which shards are kept and attested, which members are ejected, and what that earns them.
///
/// A period has 10 000 parts, which pass with its duration. A shard earns those that pass in an epoch if its owner kept it;
/// if it is attested, those that pass from then on. A shard that is neither, and all shards of a member that is ejected in
/// the epoch or misses its storage proof, earn nothing in that epoch.
module haulout::term;

use haulout::shard_set::ShardSet;
use sui::table::{Self, Table};

/// Shards, roots and counts are not one for one.
const EUnequalLists: u64 = 150;
/// A shard belongs to another member, or does not exist.
const ENotYourShard: u64 = 151;
/// A member had a shard before; there is nothing to attest.
const EShardIsKept: u64 = 152;
/// A shard is attested in this epoch.
const EAlreadyAttested: u64 = 153;
/// A node was ejected once in this epoch.
const EAlreadyEjected: u64 = 154;

public struct Term has store {
    started_at_s: u64,
    /// Parts of the period that had passed then; 0 in its first epoch.
    from: u64,
    /// What nobody knew before the epoch started: it salts commitments to what nodes store.
    salt: vector<u8>,
    kept: ShardSet,
    /// Kept or attested.
    held: ShardSet,
    /// Nodes, in the order in which they were ejected: members of this committee or of the one selected.
    ejected: vector<u32>,
    /// When the first member of this committee was ejected; 0 if none was.
    first_ejection_s: u64,
    /// Node → its part, if it attested or forfeited.
    shares: Table<u32, Share>,
    /// Shards that are held by members that forfeited their pay.
    forfeited: u16,
    /// Shards attested by the others.
    attested: u16,
    /// Parts of the period that had passed when they were, summed over these shards.
    attested_at: u64,
}

/// A member's part in an epoch.
public struct Share has store {
    attestations: vector<Attestation>,
    /// Parts of the period that had passed, summed over these.
    attested_at: u64,
    /// It was ejected, or missed its storage proof.
    is_forfeited: bool,
}

public struct Attestation has copy, drop, store {
    shard: u16,
    /// That binds the member to the bytes.
    root: address,
    /// How many blobs are in the shard.
    count: u32,
    at_s: u64,
}

public(package) fun new(
    started_at_s: u64,
    from: u64,
    salt: vector<u8>,
    kept: ShardSet,
    ctx: &mut TxContext,
): Term {
    Term {
        started_at_s,
        from,
        salt,
        kept,
        held: kept,
        ejected: vector[],
        first_ejection_s: 0,
        shares: table::new(ctx),
        forfeited: 0,
        attested: 0,
        attested_at: 0,
    }
}

public(package) fun salt(self: &Term): vector<u8> { self.salt }

public(package) fun from(self: &Term): u64 { self.from }

/// Returns the shards that are kept or attested; the others are missing.
public(package) fun held(self: &Term): &ShardSet { &self.held }

/// Returns when the first member of the committee was ejected, 0 if none was.
public(package) fun first_ejection_s(self: &Term): u64 { self.first_ejection_s }

public(package) fun is_ejected(self: &Term, node_id: u32): bool {
    let mut place = 0;
    while (place < self.ejected.length()) {
        if (self.ejected[place] == node_id) return true;
        place = place + 1;
    };
    false
}

/// Takes a member's word that it has all of these shards; `passed` parts of the period have passed.
///
/// Aborts with `EUnequalLists`, `ENotYourShard`, `EShardIsKept` or `EAlreadyAttested`.
public(package) fun attest(
    self: &mut Term,
    node_id: u32,
    owned: &ShardSet,
    shards: &vector<u16>,
    roots: &vector<address>,
    counts: &vector<u32>,
    passed: u64,
    now_s: u64,
) {
    let count = shards.length();
    assert!(roots.length() == count && counts.length() == count, EUnequalLists);
    let mut attestations = vector[];
    let mut place = 0;
    while (place < count) {
        let shard = shards[place];
        assert!(owned.contains(shard), ENotYourShard);
        assert!(!self.kept.contains(shard), EShardIsKept);
        assert!(!self.held.contains(shard), EAlreadyAttested);
        self.held.add(shard);
        attestations.push_back(Attestation { shard, root: roots[place], count: counts[place], at_s: now_s });
        place = place + 1;
    };
    let attested_at = count * passed;
    let share = self.share_mut(node_id);
    share.attestations.append(attestations);
    share.attested_at = share.attested_at + attested_at;
    if (share.is_forfeited) {
        self.forfeited = self.forfeited + (count as u16);
    } else {
        self.attested = self.attested + (count as u16);
        self.attested_at = self.attested_at + attested_at;
    };
}

/// Takes note that a node is ejected. Aborts with `EAlreadyEjected`.
public(package) fun eject(self: &mut Term, node_id: u32, is_member: bool, now_s: u64) {
    assert!(!self.is_ejected(node_id), EAlreadyEjected);
    self.ejected.push_back(node_id);
    if (is_member && self.first_ejection_s == 0) self.first_ejection_s = now_s;
}

/// Has a member that owns these shards earn nothing in the epoch; again changes nothing.
public(package) fun forfeit(self: &mut Term, node_id: u32, owned: &vector<u16>) {
    let held = self.held_of(owned) as u16;
    let share = self.share_mut(node_id);
    if (share.is_forfeited) return;
    share.is_forfeited = true;
    let (attested, attested_at) = (share.attestations.length() as u16, share.attested_at);
    self.forfeited = self.forfeited + held;
    self.attested = self.attested - attested;
    self.attested_at = self.attested_at - attested_at;
}

/// Returns since when the owner of a shard has had it in the epoch, seconds, and the root if it attested it: since the epoch's
/// start if it kept the shard. 0 for a shard that is neither.
public(package) fun held_since(self: &Term, node_id: u32, shard: u16): (u64, Option<address>) {
    if (self.kept.contains(shard)) return (self.started_at_s, option::none());
    if (!self.held.contains(shard)) return (0, option::none());
    let attestations = &self.shares[node_id].attestations;
    let mut place = 0;
    while (attestations[place].shard != shard) place = place + 1;
    (attestations[place].at_s, option::some(attestations[place].root))
}

/// Returns the parts that a node earned, which owned these shards; until `until` parts of the period had passed.
public(package) fun earnings_of(self: &Term, node_id: u32, owned: &vector<u16>, until: u64): u64 {
    if (!self.shares.contains(node_id)) return parts(self.from, until, self.held_of(owned), 0, 0);
    let share = &self.shares[node_id];
    if (share.is_forfeited) return 0;
    parts(self.from, until, self.held_of(owned), share.attestations.length(), share.attested_at)
}

/// Returns the parts that all members together earned, until `until` parts of the period had passed.
public(package) fun earned(self: &Term, until: u64): u64 {
    let held = (self.held.size() - self.forfeited) as u64;
    parts(self.from, until, held, self.attested as u64, self.attested_at)
}

/// What `held` shards earn, `attested` of which were attested, when `attested_at` parts had passed, summed over them.
fun parts(from: u64, until: u64, held: u64, attested: u64, attested_at: u64): u64 {
    until * held - from * (held - attested) - attested_at
}

/// Returns how many of these shards are kept or attested.
fun held_of(self: &Term, shards: &vector<u16>): u64 {
    let mut held = 0;
    let mut place = 0;
    while (place < shards.length()) {
        if (self.held.contains(shards[place])) held = held + 1;
        place = place + 1;
    };
    held
}

fun share_mut(self: &mut Term, node_id: u32): &mut Share {
    if (!self.shares.contains(node_id)) {
        self.shares.add(node_id, Share { attestations: vector[], attested_at: 0, is_forfeited: false });
    };
    &mut self.shares[node_id]
}
