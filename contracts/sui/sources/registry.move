/// Storage nodes: their capabilities, keys, names and addresses.
///
/// A node is what its two capabilities make of it: the owner's, for everything about it, and the operator's, a hot key's,
/// for what a running node does. Both can be given away as any object. The owner can replace the operator's at any time, so
/// that a stolen one ends to count.
module haulout::registry;

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

const VERSION: u64 = 1;
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
}

public struct Node has store {
    operator_cap: Option<ID>,
    /// Where commissions are paid to.
    receiver: address,
    name: String,
    network_address: String,
    tls_key: vector<u8>,
    public_key: Element<UncompressedG1>,
    /// In hundredths of a percent.
    commission: u16,
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

public struct ReceiverChanged has copy, drop { node_id: u32, receiver: address }

/// Creates the registry of a deployment, and shares it.
public(package) fun create(ctx: &mut TxContext) {
    let mut registry = Registry { id: object::new(ctx), version: VERSION };
    event::emit(RegistryCreated { registry: object::id(&registry) });
    let state = State { node_count: 0, nodes: table::new(ctx), node_with_key: table::new(ctx) };
    dynamic_field::add(&mut registry.id, VERSION, state);
    transfer::share_object(registry);
}

/// Registers a node, whose owner is the sender; returns its owner's and its operator's capability.
///
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
        operator_cap: option::some(object::id(&operator_cap)),
        receiver,
        name,
        network_address,
        tls_key,
        public_key: key,
        commission,
    };
    state.nodes.add(node_id, node);
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
