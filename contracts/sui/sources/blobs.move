/// The store of blobs: space is sold for tokens, and blob objects are registered, extended and given up.
///
/// Shared. It is changed by what is paid, and by what ends or moves an object; certificates do without it (`blob`).
module haulout::blobs;

use haulout::blob::{Self, Blob};
use haulout::encoding;
use haulout::haul::HAUL;
use haulout::pauses;
use haulout::reservation::{Self, Reservation};
use haulout::space::{Self, Space};
use haulout::system::{GovernorCap, System};
use haulout::terms::Terms;
use sui::balance::{Self, Balance};
use sui::clock::Clock;
use sui::coin::Coin;
use sui::dynamic_field;
use sui::event;
use sui::table::{Self, Table};

/// The object is of another version than the called package's.
const EWrongVersion: u64 = 6;
/// A size is not between nothing and the whole.
const EInvalidSize: u64 = 25;
/// A reservation does not go on where something ends: another size, or other periods.
const ENotAdjoining: u64 = 27;
/// A blob object lives.
const ENotExpired: u64 = 207;
/// Storage begins with the first epoch.
const ENoEpochYet: u64 = 208;
/// The next period is late by half of what it takes to stall, or the current one was closed as stalled.
const EStalled: u64 = 209;
/// Space is sold for at least a period, and for 53 from the current one on at most.
const EInvalidPeriod: u64 = 210;
/// It costs more than the coin has.
const ETooExpensive: u64 = 211;
/// A reservation has less space than the blob needs.
const EReservationTooSmall: u64 = 213;
/// The sender has registered the blob since it looked.
const ERegisteredMeanwhile: u64 = 214;
/// The end of a blob object is not the one that the sender knows.
const EEndMoved: u64 = 215;
/// Space costs nothing.
const EInvalidPrice: u64 = 216;

const VERSION: u64 = 1;
/// Periods, the current one included, for which space can be reserved.
const MAX_PERIODS_AHEAD: u32 = 53;

/// Shared. Its state is a dynamic field named for the version.
public struct Blobs has key { id: UID, version: u64 }

public struct State has store {
    /// What space costs now.
    terms: Terms,
    space: Space,
    /// What users paid for periods of which not all nodes are paid out.
    payments: Balance<HAUL>,
    /// How many objects were ever registered; their numbers count from 1.
    count: u64,
    /// Number → object, for those that are neither deleted nor, since they have ended, forgotten.
    listed: Table<u64, Listed>,
}

public struct Listed has drop, store {
    object: ID,
    blob_id: u256,
    /// Of a shared one, the account that registered it.
    owner: address,
    end_period: u32,
    is_deletable: bool,
}

public struct BlobsCreated has copy, drop { blobs: ID, terms: Terms }

/// Prices and capacity are others from now on.
public struct TermsChanged has copy, drop { terms: Terms }

/// So many mebibytes more are reserved in each period from `start_period` to before `end_period`, for `per_period` each.
public struct SpacePaid has copy, drop {
    payer: address,
    mebibytes: u64,
    start_period: u32,
    end_period: u32,
    per_period: u64,
}

/// A registration is paid, in a period.
public struct WritePaid has copy, drop { payer: address, period: u32, amount: u64 }

/// An object that has ended is listed no longer.
public struct BlobForgotten has copy, drop { number: u64 }

/// Creates the store of a deployment, which everybody can use. Aborts with `EInvalidPrice`.
public(package) fun create(terms: Terms, ctx: &mut TxContext) {
    assert!(terms.price() > 0, EInvalidPrice);
    let mut blobs = Blobs { id: object::new(ctx), version: VERSION };
    event::emit(BlobsCreated { blobs: object::id(&blobs), terms });
    let state = State {
        terms,
        space: space::new(ctx),
        payments: balance::zero(),
        count: 0,
        listed: table::new(ctx),
    };
    dynamic_field::add(&mut blobs.id, VERSION, state);
    transfer::share_object(blobs);
}

/// Changes prices and capacity, for what is reserved and registered from now on. Aborts with `EInvalidPrice`.
public fun set_terms(blobs: &mut Blobs, _: &GovernorCap, terms: Terms) {
    assert!(terms.price() > 0, EInvalidPrice);
    blobs.change_terms(terms);
}

/// Changes prices and capacity to what the members have voted for; the price is above 0.
public(package) fun change_terms(blobs: &mut Blobs, terms: Terms) {
    blobs.state_mut().terms = terms;
    event::emit(TermsChanged { terms });
}

/// Reserves space from the current period on, for so many periods, and pays it out of `payment`.
///
/// Aborts with `EPaused`, `ENoEpochYet`, `EStalled`, `EInvalidPeriod`, `EInvalidSize`, `ETooExpensive` or `ENoCapacity`.
public fun reserve(
    blobs: &mut Blobs,
    system: &System,
    mebibytes: u64,
    periods: u32,
    payment: &mut Coin<HAUL>,
    clock: &Clock,
    ctx: &mut TxContext,
): Reservation {
    system.check_open(pauses::reserving(), clock);
    let state = blobs.state_mut();
    let current = system.period();
    assert!(current != 0, ENoEpochYet);
    state.check_selling(system, clock);
    assert!(periods > 0 && periods <= MAX_PERIODS_AHEAD, EInvalidPeriod);
    assert!(mebibytes > 0, EInvalidSize);
    state.sell(mebibytes, current, current + periods, payment, ctx);
    reservation::new(mebibytes, current, current + periods, ctx)
}

/// Makes a reservation part of another, for the same periods, or of one size with periods that adjoin.
///
/// What is past of either does not count. Aborts with `EExpired` or `ENotAdjoining`.
public fun merge(reservation: &mut Reservation, other: Reservation, system: &System) {
    reservation.merge(other, system.period());
}

/// Registers a blob object of the sender's in a reservation, which it uses up, and pays the registration out of `payment`.
///
/// `root` is the number whose little-endian bytes are the root of the blob's tree, `length` the blob's bytes as they are.
/// `known_up_to` is how many objects there were when the sender looked for one of the blob. Aborts with
/// `ERegisteredMeanwhile` if the sender has a newer object of the blob, as deletable, that is not known to have ended: so
/// nothing is paid twice; the largest number registers anew. Aborts with `EPaused`, `EExpired`, `ENotBegun`, `EStalled`,
/// `EBlobTooLong`, `EReservationTooSmall`, `ETooExpensive` or `EInvalidBlob`, too.
public fun register(
    blobs: &mut Blobs,
    system: &System,
    reservation: Reservation,
    root: u256,
    length: u64,
    is_deletable: bool,
    known_up_to: u64,
    payment: &mut Coin<HAUL>,
    clock: &Clock,
    ctx: &mut TxContext,
) {
    let state = blobs.state_mut();
    state.add(system, reservation, root, length, is_deletable, false, known_up_to, payment, clock, ctx);
}

/// As `register`, but the object is nobody's: anyone may certify and extend it, and it is permanent.
public fun register_shared(
    blobs: &mut Blobs,
    system: &System,
    reservation: Reservation,
    root: u256,
    length: u64,
    known_up_to: u64,
    payment: &mut Coin<HAUL>,
    clock: &Clock,
    ctx: &mut TxContext,
) {
    let state = blobs.state_mut();
    state.add(system, reservation, root, length, false, true, known_up_to, payment, clock, ctx);
}

/// Extends a certified object by so many periods, and pays them out of `payment`.
///
/// `known_end` is the end that the sender knows: nothing is paid twice. Aborts with `ENotCertified`, `EExpired`,
/// `EInvalidBlob`, `EEndMoved`, `EStalled`, `EInvalidPeriod`, `ETooExpensive` or `ENoCapacity`.
public fun extend(
    blobs: &mut Blobs,
    system: &System,
    blob: &mut Blob,
    periods: u32,
    known_end: u32,
    payment: &mut Coin<HAUL>,
    clock: &Clock,
    ctx: &mut TxContext,
) {
    blob.check_extendable(system);
    let state = blobs.state_mut();
    let start = blob.end_period();
    assert!(start == known_end, EEndMoved);
    state.check_selling(system, clock);
    let most = system.period() + MAX_PERIODS_AHEAD - start;
    assert!(periods > 0 && periods <= most, EInvalidPeriod);
    state.sell(blob.mebibytes(), start, start + periods, payment, ctx);
    state.set_end(blob, start + periods);
}

/// Extends a certified object with a reservation of its size that begins where the object ends; nothing is paid.
///
/// Aborts with `ENotCertified`, `EExpired`, `EInvalidBlob`, `EStalled` or `ENotAdjoining`.
public fun extend_with(blobs: &mut Blobs, system: &System, blob: &mut Blob, reservation: Reservation, clock: &Clock) {
    blob.check_extendable(system);
    let state = blobs.state_mut();
    state.check_running(system, clock);
    let end_period = reservation.end_period();
    let is_adjoining = reservation.start_period() == blob.end_period();
    assert!(is_adjoining && reservation.mebibytes() == blob.mebibytes(), ENotAdjoining);
    reservation.use_up(object::id(blob));
    state.set_end(blob, end_period);
}

/// Gives an object to another account. Aborts with `EShared` or `EExpired`.
public fun transfer(blobs: &mut Blobs, system: &System, blob: Blob, to: address) {
    let number = blob.number();
    blob.transfer(system, to);
    blobs.state_mut().listed[number].owner = to;
}

/// Deletes a deletable object while it lives; returns the space that it had left. Aborts with `ENotDeletable` or
/// `EExpired`.
public fun delete(blobs: &mut Blobs, system: &System, blob: Blob, ctx: &mut TxContext): Reservation {
    let (number, mebibytes, end_period) = (blob.number(), blob.mebibytes(), blob.end_period());
    blob.delete(system);
    blobs.state_mut().listed.remove(number);
    reservation::new(mebibytes, system.period(), end_period, ctx)
}

/// Lists objects that have ended no longer, by their numbers. Anyone may, and gets back most of what Sui took for keeping them
/// in the list.
/// Those that are not listed are passed over. Aborts with `ENotExpired`.
public fun forget(blobs: &mut Blobs, system: &System, numbers: vector<u64>) {
    let (listed, current) = (&mut blobs.state_mut().listed, system.period());
    let mut place = 0;
    while (place < numbers.length()) {
        let number = numbers[place];
        if (listed.contains(number)) {
            let Listed { end_period, .. } = listed.remove(number);
            assert!(end_period <= current, ENotExpired);
            event::emit(BlobForgotten { number });
        };
        place = place + 1;
    }
}

/// Ends an object sooner, for its owner, who sends; one that is not certified is deleted.
public(package) fun cut(blobs: &mut Blobs, system: &System, blob: Blob, end_period: u32, ctx: &TxContext) {
    let (listed, number) = (&mut blobs.state_mut().listed, blob.number());
    if (blob.is_certified()) {
        listed[number].end_period = end_period;
        blob.cut(end_period, ctx);
    } else {
        listed.remove(number);
        blob.give_up(system);
    }
}

/// Takes out what users paid.
public(package) fun take(blobs: &mut Blobs, amount: u64): Balance<HAUL> {
    blobs.state_mut().payments.split(amount)
}

public(package) fun space(blobs: &Blobs): &Space { &blobs.state().space }

public(package) fun space_mut(blobs: &mut Blobs): &mut Space { &mut blobs.state_mut().space }

/// Returns prices and capacity.
public fun terms(blobs: &Blobs): Terms { blobs.state().terms }

/// Returns how many objects were ever registered.
public fun count(blobs: &Blobs): u64 { blobs.state().count }

/// Adds the object of a registration, in the reservation, to those that are listed.
fun add(
    self: &mut State,
    system: &System,
    reservation: Reservation,
    root: u256,
    length: u64,
    is_deletable: bool,
    is_shared: bool,
    known_up_to: u64,
    payment: &mut Coin<HAUL>,
    clock: &Clock,
    ctx: &mut TxContext,
) {
    system.check_open(pauses::blob_registration(), clock);
    let (owner, current) = (ctx.sender(), system.period());
    let blob_id = encoding::blob_id(length, root);
    self.check_none_newer(blob_id, owner, is_deletable, known_up_to, current);
    reservation.check_current(current);
    self.check_running(system, clock);
    let needed = space::mebibytes(encoding::encoded_size(system.n_shards(), length));
    assert!(needed <= reservation.mebibytes(), EReservationTooSmall);
    self.charge_write(needed, current, payment, ctx);
    let (mebibytes, end_period) = (reservation.mebibytes(), reservation.end_period());
    let number = self.count + 1;
    let object = blob::create(system, number, root, length, mebibytes, end_period, is_deletable, is_shared, ctx);
    reservation.use_up(object);
    self.count = number;
    self.listed.add(number, Listed { object, blob_id, owner, end_period, is_deletable });
}

/// Aborts with `ERegisteredMeanwhile` if an account has an object of a blob that is newer than it knows.
fun check_none_newer(
    self: &State,
    blob_id: u256,
    owner: address,
    is_deletable: bool,
    known_up_to: u64,
    current: u32,
) {
    let mut number = self.count;
    while (number > known_up_to) {
        if (self.listed.contains(number)) {
            let one = &self.listed[number];
            let is_same = one.blob_id == blob_id && one.owner == owner && one.is_deletable == is_deletable;
            assert!(!is_same || one.end_period <= current, ERegisteredMeanwhile);
        };
        number = number - 1;
    }
}

/// Books space for the periods from `start` to before `end`, and takes its price from `payment`.
fun sell(self: &mut State, mebibytes: u64, start_period: u32, end_period: u32, payment: &mut Coin<HAUL>, ctx: &TxContext) {
    let cost = space::cost(&self.terms, mebibytes, end_period - start_period);
    self.charge(payment, cost);
    let per_period = space::cost(&self.terms, mebibytes, 1) as u64;
    self.space.book(&self.terms, mebibytes, start_period, end_period, per_period);
    event::emit(SpacePaid { payer: ctx.sender(), mebibytes, start_period, end_period, per_period });
}

/// Takes the price of a registration, in a period, from `payment`.
fun charge_write(self: &mut State, mebibytes: u64, period: u32, payment: &mut Coin<HAUL>, ctx: &TxContext) {
    let cost = space::write_cost(&self.terms, mebibytes);
    self.charge(payment, cost);
    let amount = cost as u64;
    self.space.book_fee(period, amount);
    event::emit(WritePaid { payer: ctx.sender(), period, amount });
}

fun charge(self: &mut State, payment: &mut Coin<HAUL>, cost: u256) {
    assert!(cost <= (payment.value() as u256), ETooExpensive);
    self.payments.join(payment.balance_mut().split(cost as u64));
}

/// Gives an object that is certified another end.
fun set_end(self: &mut State, blob: &mut Blob, end_period: u32) {
    blob.set_end(end_period);
    self.listed[blob.number()].end_period = end_period;
}

/// Aborts with `EStalled`: what is bought shortly before a standstill would be given back with others' money.
fun check_selling(self: &State, system: &System, clock: &Clock) {
    assert!(system.period() >= self.space.open_period() && !system.is_late(clock), EStalled);
}

/// Aborts with `EStalled`: once a period is paid out, a new payment for it would reach no node.
fun check_running(self: &State, system: &System, clock: &Clock) {
    assert!(system.period() >= self.space.open_period() && !system.is_stalled(clock), EStalled);
}

fun state(blobs: &Blobs): &State {
    assert!(blobs.version == VERSION, EWrongVersion);
    dynamic_field::borrow(&blobs.id, VERSION)
}

fun state_mut(blobs: &mut Blobs): &mut State {
    assert!(blobs.version == VERSION, EWrongVersion);
    dynamic_field::borrow_mut(&mut blobs.id, VERSION)
}
