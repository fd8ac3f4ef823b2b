/// What becomes of what users paid: members are paid for periods that are over, and what is paid for the periods to come is
/// given back when periods have come to a standstill.
module haulout::payments;

use haulout::blob::Blob;
use haulout::blobs::Blobs;
use haulout::earnings;
use haulout::haul::HAUL;
use haulout::registry::Registry;
use haulout::reservation::Reservation;
use haulout::staking::Staking;
use haulout::system::System;
use sui::clock::Clock;
use sui::coin::{Self, Coin};
use sui::event;

/// Periods have not come to a standstill.
const ENotStalled: u64 = 132;
/// A blob object is shared, so nobody's.
const EShared: u64 = 206;
/// A reservation has periods that are not given back: it is to be split at the next one.
const EHasBegun: u64 = 217;
/// All periods from the next one on are given back, or none was paid for.
const ENothingToRefund: u64 = 218;

/// So many mebibytes are not reserved any more from `start_period` to before `end_period`, and `amount` went back.
public struct SpaceRefunded has copy, drop {
    owner: address,
    mebibytes: u64,
    start_period: u32,
    end_period: u32,
    amount: u64,
}

/// Closes the periods before `until` that are over, and pays nodes what they earned in them. Anyone may; what is paid is
/// skipped.
///
/// A period is over when the next one has begun, or when periods have come to a standstill.
public fun pay_out(
    blobs: &mut Blobs,
    staking: &mut Staking,
    system: &System,
    registry: &Registry,
    node_ids: vector<u32>,
    until: u32,
    clock: &Clock,
    ctx: &mut TxContext,
) {
    let end = least(until, payable_until(blobs, system, clock));
    let space = blobs.space_mut();
    while (space.open_period() < end) {
        let period = space.open_period();
        let earned = if (period == 0) 0 else earnings::of_all(system, period);
        space.close(earnings::most(system), earned);
    };
    let mut place = 0;
    while (place < node_ids.length()) {
        settle(blobs, staking, system, registry, node_ids[place], end, ctx);
        place = place + 1;
    }
}

/// Gives back what is paid for a reservation, all of whose periods are to come, at a standstill.
///
/// It is the part that the reservation has of all that is reserved in each period. Aborts with `ENotStalled` or `EHasBegun`.
public fun refund(
    blobs: &mut Blobs,
    system: &System,
    reservation: Reservation,
    clock: &Clock,
    ctx: &mut TxContext,
): Coin<HAUL> {
    let next = next_period(system, clock);
    let (mebibytes, start, end) = reservation.give_up();
    assert!(start >= next, EHasBegun);
    give_back(blobs, mebibytes, start, end, ctx)
}

/// Gives back what is paid for the periods to come of the sender's blob object, at a standstill. It ends with the current
/// period; one that is not certified is deleted.
///
/// Aborts with `ENotStalled`, `EShared` or `ENothingToRefund`.
public fun refund_blob(
    blobs: &mut Blobs,
    system: &System,
    blob: Blob,
    clock: &Clock,
    ctx: &mut TxContext,
): Coin<HAUL> {
    let (next, end) = (next_period(system, clock), blob.end_period());
    assert!(!blob.is_shared(), EShared);
    assert!(next < end, ENothingToRefund);
    let mebibytes = blob.mebibytes();
    blobs.cut(system, blob, next, ctx);
    give_back(blobs, mebibytes, next, end, ctx)
}

/// Pays a node for its periods before `end` that are not settled, all of them closed.
fun settle(
    blobs: &mut Blobs,
    staking: &mut Staking,
    system: &System,
    registry: &Registry,
    node_id: u32,
    end: u32,
    ctx: &mut TxContext,
) {
    let mut period = staking.settled_period(system, node_id);
    if (period >= end) return;
    let (mut amounts, mut total) = (vector[], 0);
    while (period < end) {
        let part_value = blobs.space().part_value(period);
        let amount = if (part_value == 0) 0 else part_value * earnings::of_node(system, period, node_id);
        amounts.push_back(amount);
        total = total + amount;
        period = period + 1;
    };
    staking.settle(system, registry, node_id, amounts, blobs.take(total), ctx);
}

fun give_back(blobs: &mut Blobs, mebibytes: u64, start_period: u32, end_period: u32, ctx: &mut TxContext): Coin<HAUL> {
    let amount = blobs.space_mut().give_back(mebibytes, start_period, end_period);
    event::emit(SpaceRefunded { owner: ctx.sender(), mebibytes, start_period, end_period, amount });
    coin::from_balance(blobs.take(amount), ctx)
}

/// Returns the first period that is not over. One that was closed at a standstill stays so when periods go on.
fun payable_until(blobs: &Blobs, system: &System, clock: &Clock): u32 {
    let current = system.period();
    let (first, open) = (if (system.is_stalled(clock)) current + 1 else current, blobs.space().open_period());
    if (first < open) open else first
}

/// Returns the first period that is given back. Aborts with `ENotStalled`.
fun next_period(system: &System, clock: &Clock): u32 {
    assert!(system.is_stalled(clock), ENotStalled);
    system.period() + 1
}

fun least(one: u32, other: u32): u32 {
    if (one < other) one else other
}
