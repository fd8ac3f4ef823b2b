/// Storage nodes: their capabilities, keys, names and addresses.
///
/// A node is what its two capabilities make of it: the owner's, for everything about it, and the operator's, a hot key's,
/// for what a running node does. Both can be given away as any object. The owner can replace the operator's at any time, so
/// that a stolen one ends to count.
module haulout::registry;

use haulout::changes::{Self, Changes};
use haulout::contact;
use haulout::messages;
use haulout::pauses;
use haulout::system::System;
use std::string::String;
use sui::bls12381::{Self, UncompressedG1};
use sui::clock::Clock;
use sui::dynamic_field;
use sui::event;
use sui::group_ops::Element;
use sui::table::{Self, Table};

/// The object is of another version than the called package's.
const EWrongVersion: u64 = 6;
/// A name does not have 1 to 64 printable characters, or begins or ends with a space.
const EInvalidName: u64 = 7;
/// A network address is not `http(s)://host[:port]`, or is too long.
const EInvalidNetworkAddress: u64 = 8;
/// A TLS key does not have 32 bytes.
const EInvalidTlsKey: u64 = 9;
/// A commission is above the highest one.
const ECommissionTooHigh: u64 = 10;
/// A public key does not have 48 bytes, or is the identity, under which anyone can sign.
const EInvalidKey: u64 = 11;
/// A proof of possession is not the key's signature for the account, or the key is no point of the group.
const EInvalidProofOfPossession: u64 = 12;
/// A node has, or had, the public key already.
const EKeyInUse: u64 = 13;
/// The operator's capability has been replaced, or given up.
const ENotOperator: u64 = 14;
/// No node has the id.
const EUnknownNode: u64 = 140;

const VERSION: u64 = 1;
const MAX_CANDIDATES: u64 = 100;
/// In hundredths of a percent.
const MAX_COMMISSION: u16 = 3_000;
const TLS_KEY_BYTES: u64 = 32;
const PUBLIC_KEY_BYTES: u64 = 48;
/// The bit of a compressed key's first byte that says that it is the identity.
const IDENTITY: u8 = 0x40;

/// Shared. Its state is a dynamic field named for the version.
public struct Registry has key { id: UID, version: u64 }

public struct State has store {
    /// Node ids count from 1.
    node_count: u32,
    nodes: Table<u32, Node>,
    /// Each key that was ever registered, compressed → the node that has, or had, it.
    node_with_key: Table<vector<u8>, u32>,
    /// The nodes that stand for election, in the order in which they came to.
    candidates: vector<u32>,
}

public struct Node has store {
    /// The only one that the node ever has. The account that has this object is the node's owner.
    owner_cap: ID,
    operator_cap: Option<ID>,
    /// Where commissions are paid to.
    receiver: address,
    name: String,
    network_address: String,
    tls_key: vector<u8>,
    public_keys: Changes<Element<UncompressedG1>>,
    /// In hundredths of a percent.
    commissions: Changes<u16>,
    is_candidate: bool,
    /// It may not become a candidate before this period.
    barred_until: u32,
}

/// The right to everything about a node.
public struct OwnerCap has key, store { id: UID, node_id: u32 }

/// The right to what a running node does, as long as the node names this object.
public struct OperatorCap has key, store { id: UID, node_id: u32 }

public struct RegistryCreated has copy, drop { registry: ID }

public struct NodeRegistered has copy, drop {
    node_id: u32,
    owner: address,
    owner_cap: ID,
    operator_cap: ID,
    receiver: address,
    name: String,
    network_address: String,
    tls_key: vector<u8>,
    public_key: vector<u8>,
    commission: u16,
}

public struct NetworkAddressChanged has copy, drop { node_id: u32, network_address: String, tls_key: vector<u8> }

/// None: the operator has resigned.
public struct OperatorChanged has copy, drop { node_id: u32, operator_cap: Option<ID> }

/// The key counts from a period on.
public struct PublicKeyChanged has copy, drop { node_id: u32, public_key: vector<u8>, from_period: u32 }

/// The commission counts from a period on.
public struct CommissionChanged has copy, drop { node_id: u32, commission: u16, from_period: u32 }

public struct ReceiverChanged has copy, drop { node_id: u32, receiver: address }

/// A node stands for election, behind all others.
public struct CandidateJoined has copy, drop { node_id: u32 }

/// A node does not stand for election any more.
public struct CandidateLeft has copy, drop { node_id: u32, reason: Absence }

/// A node that was ejected may not become a candidate before a period.
public struct CandidateBarred has copy, drop { node_id: u32, until_period: u32 }

/// Why a node does not stand for election.
public enum Absence has copy, drop, store {
    /// Its operator withdrew it.
    Left,
    /// It was ejected.
    Removed,
    /// A node with more stake took its place.
    Evicted,
}

/// Creates the registry of a deployment, and shares it.
public(package) fun create(ctx: &mut TxContext) {
    let mut registry = Registry { id: object::new(ctx), version: VERSION };
    event::emit(RegistryCreated { registry: object::id(&registry) });
    let state = State {
        node_count: 0,
        nodes: table::new(ctx),
        node_with_key: table::new(ctx),
        candidates: vector[],
    };
    dynamic_field::add(&mut registry.id, VERSION, state);
    transfer::share_object(registry);
}

/// Registers a node, whose owner is the sender; returns its owner's and its operator's capability.
///
/// It stands for election unless all places are taken.
/// `public_key` is compressed, and `proof_of_possession` its signature for the sender's account. Aborts with the
/// error of what is invalid, or with `EPaused`.
public fun register(
    registry: &mut Registry,
    system: &System,
    name: String,
    network_address: String,
    tls_key: vector<u8>,
    public_key: vector<u8>,
    proof_of_possession: vector<u8>,
    commission: u16,
    receiver: address,
    clock: &Clock,
    ctx: &mut TxContext,
): (OwnerCap, OperatorCap) {
    system.check_open(pauses::registration(), clock);
    let state = registry.state_mut();
    assert!(contact::is_name(name.as_bytes()), EInvalidName);
    check_address(&network_address, &tls_key);
    assert!(commission <= MAX_COMMISSION, ECommissionTooHigh);
    state.node_count = state.node_count + 1;
    let node_id = state.node_count;
    let message = possession_message(system, ctx.sender(), public_key);
    let key = state.take_key(node_id, public_key, &proof_of_possession, &message);
    let owner_cap = OwnerCap { id: object::new(ctx), node_id };
    let operator_cap = OperatorCap { id: object::new(ctx), node_id };
    event::emit(NodeRegistered {
        node_id,
        owner: ctx.sender(),
        owner_cap: object::id(&owner_cap),
        operator_cap: object::id(&operator_cap),
        receiver,
        name,
        network_address,
        tls_key,
        public_key,
        commission,
    });
    let node = Node {
        owner_cap: object::id(&owner_cap),
        operator_cap: option::some(object::id(&operator_cap)),
        receiver,
        name,
        network_address,
        tls_key,
        public_keys: changes::new(key),
        commissions: changes::new(commission),
        is_candidate: false,
        barred_until: 0,
    };
    state.nodes.add(node_id, node);
    if (state.candidates.length() < MAX_CANDIDATES) registry.add_candidate(node_id);
    (owner_cap, operator_cap)
}

/// Names another place where the node is reached. Aborts with `ENotOperator`, `EInvalidNetworkAddress` or `EInvalidTlsKey`.
public fun change_network_address(
    registry: &mut Registry,
    cap: &OperatorCap,
    network_address: String,
    tls_key: vector<u8>,
) {
    check_address(&network_address, &tls_key);
    let node = registry.operated(cap);
    node.network_address = network_address;
    node.tls_key = tls_key;
    event::emit(NetworkAddressChanged { node_id: cap.node_id, network_address, tls_key });
}

/// Gives a node another key, from the first period on whose committee is not elected yet. Aborts as `register` does.
public fun change_public_key(
    registry: &mut Registry,
    system: &System,
    cap: &OwnerCap,
    public_key: vector<u8>,
    proof_of_possession: vector<u8>,
    clock: &Clock,
    ctx: &mut TxContext,
) {
    system.check_open(pauses::key_change(), clock);
    let node_id = cap.node_id;
    let message = possession_message(system, ctx.sender(), public_key);
    let key = registry.state_mut().take_key(node_id, public_key, &proof_of_possession, &message);
    let keys = &mut registry.owned(cap).public_keys;
    keys.forget_before(system.period());
    let from_period = keys.set(system.electable_period(), key);
    event::emit(PublicKeyChanged { node_id, public_key, from_period });
}

/// Changes the commission, from the first period on whose committee is not elected yet. Aborts with `ECommissionTooHigh`.
public fun change_commission(registry: &mut Registry, system: &System, cap: &OwnerCap, commission: u16) {
    assert!(commission <= MAX_COMMISSION, ECommissionTooHigh);
    let from_period = registry.owned(cap).commissions.set(system.electable_period(), commission);
    event::emit(CommissionChanged { node_id: cap.node_id, commission, from_period });
}

/// Returns a new operator's capability; the one before counts no longer.
public fun replace_operator(registry: &mut Registry, cap: &OwnerCap, ctx: &mut TxContext): OperatorCap {
    let operator_cap = OperatorCap { id: object::new(ctx), node_id: cap.node_id };
    set_operator(registry.owned(cap), cap.node_id, option::some(object::id(&operator_cap)));
    operator_cap
}

/// Destroys an operator's capability. The node has no operator then, if it still had this one.
public fun resign_operator(registry: &mut Registry, cap: OperatorCap) {
    let operator_cap = object::id(&cap);
    let OperatorCap { id, node_id } = cap;
    id.delete();
    let node = &mut registry.state_mut().nodes[node_id];
    if (node.operator_cap.contains(&operator_cap)) set_operator(node, node_id, option::none());
}

/// Names another account to which the node's commissions are paid.
public fun change_receiver(registry: &mut Registry, cap: &OwnerCap, receiver: address) {
    registry.owned(cap).receiver = receiver;
    event::emit(ReceiverChanged { node_id: cap.node_id, receiver });
}

/// Aborts with `EUnknownNode`.
public(package) fun check_known(registry: &Registry, node_id: u32) {
    assert!(node_id > 0 && node_id <= registry.state().node_count, EUnknownNode);
}

/// Returns the node of an operator's capability that counts. Aborts with `ENotOperator`.
public(package) fun check_operator(registry: &Registry, cap: &OperatorCap): u32 {
    let node = &registry.state().nodes[cap.node_id];
    assert!(node.operator_cap.contains(&object::id(cap)), ENotOperator);
    cap.node_id
}

/// Returns the commission of a node in a period, in hundredths of a percent.
public(package) fun commission_in(registry: &Registry, node_id: u32, period: u32): u16 {
    registry.state().nodes[node_id].commissions.at(period)
}

/// Returns where a node's commissions are paid to.
public(package) fun receiver_of(registry: &Registry, node_id: u32): address {
    registry.state().nodes[node_id].receiver
}

/// Returns the key of a node in a period.
public(package) fun key_in(registry: &Registry, node_id: u32, period: u32): Element<UncompressedG1> {
    registry.state().nodes[node_id].public_keys.at(period)
}

/// Returns the nodes that stand for election, in the order in which they came to.
public(package) fun candidates(registry: &Registry): vector<u32> { registry.state().candidates }

/// Returns whether there is a place for one more candidate.
public(package) fun has_place(registry: &Registry): bool {
    registry.state().candidates.length() < MAX_CANDIDATES
}

/// Returns whether a node stands for election, and before which period it may not come to.
public(package) fun standing_of(registry: &Registry, node_id: u32): (bool, u32) {
    let node = &registry.state().nodes[node_id];
    (node.is_candidate, node.barred_until)
}

/// Has a node stand for election that does not, and for which there is a place.
public(package) fun add_candidate(registry: &mut Registry, node_id: u32) {
    let state = registry.state_mut();
    state.candidates.push_back(node_id);
    state.nodes[node_id].is_candidate = true;
    event::emit(CandidateJoined { node_id });
}

/// Has a node stand for election no more; the others keep their order. Returns whether it did.
public(package) fun drop_candidate(registry: &mut Registry, node_id: u32, reason: Absence): bool {
    let state = registry.state_mut();
    let node = &mut state.nodes[node_id];
    if (!node.is_candidate) return false;
    node.is_candidate = false;
    let mut place = 0;
    while (state.candidates[place] != node_id) place = place + 1;
    state.candidates.remove(place);
    event::emit(CandidateLeft { node_id, reason });
    true
}

/// Keeps a node from becoming a candidate before a period.
public(package) fun bar(registry: &mut Registry, node_id: u32, until_period: u32) {
    registry.state_mut().nodes[node_id].barred_until = until_period;
    event::emit(CandidateBarred { node_id, until_period });
}

public(package) fun left(): Absence { Absence::Left }

public(package) fun removed(): Absence { Absence::Removed }

public(package) fun evicted(): Absence { Absence::Evicted }

fun state(registry: &Registry): &State {
    assert!(registry.version == VERSION, EWrongVersion);
    dynamic_field::borrow(&registry.id, VERSION)
}

fun state_mut(registry: &mut Registry): &mut State {
    assert!(registry.version == VERSION, EWrongVersion);
    dynamic_field::borrow_mut(&mut registry.id, VERSION)
}

fun owned(registry: &mut Registry, cap: &OwnerCap): &mut Node {
    &mut registry.state_mut().nodes[cap.node_id]
}

fun operated(registry: &mut Registry, cap: &OperatorCap): &mut Node {
    let node = &mut registry.state_mut().nodes[cap.node_id];
    assert!(node.operator_cap.contains(&object::id(cap)), ENotOperator);
    node
}

fun set_operator(node: &mut Node, node_id: u32, operator_cap: Option<ID>) {
    node.operator_cap = operator_cap;
    event::emit(OperatorChanged { node_id, operator_cap });
}

/// Returns what a node's new key signs to show that its owner has the secret.
fun possession_message(system: &System, account: address, public_key: vector<u8>): vector<u8> {
    let body = messages::possession(account, public_key);
    messages::encode(messages::possession_intent(), 0, system.domain(), body)
}

/// Checks a new key of a node and keeps it from being registered again.
///
/// The proof is verified first: the framework aborts in its own name for a key that is no point of the group, and such
/// a key has no valid signature.
fun take_key(
    state: &mut State,
    node_id: u32,
    public_key: vector<u8>,
    proof_of_possession: &vector<u8>,
    message: &vector<u8>,
): Element<UncompressedG1> {
    assert!(public_key.length() == PUBLIC_KEY_BYTES && public_key[0] & IDENTITY == 0, EInvalidKey);
    assert!(!state.node_with_key.contains(public_key), EKeyInUse);
    state.node_with_key.add(public_key, node_id);
    let is_proven = bls12381::bls12381_min_pk_verify(proof_of_possession, &public_key, message);
    assert!(is_proven, EInvalidProofOfPossession);
    bls12381::g1_to_uncompressed_g1(&bls12381::g1_from_bytes(&public_key))
}

fun check_address(network_address: &String, tls_key: &vector<u8>) {
    assert!(contact::is_network_address(network_address.as_bytes()), EInvalidNetworkAddress);
    assert!(tls_key.length() == TLS_KEY_BYTES, EInvalidTlsKey);
}
