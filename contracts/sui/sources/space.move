/// What is reserved in each period and paid for it, and what of that each part is worth that members earn.
///
/// A size is whole mebibytes. What users pay for a period is shared out once the period is closed, in parts; what no member
/// earned of it waits for the next period that is closed, apart from what users paid for that one and may be given back.
module haulout::space;

use haulout::terms::Terms;
use sui::event;
use sui::table::{Self, Table};

/// A period has too little space left.
const ENoCapacity: u64 = 200;

const MEBIBYTE: u64 = 1_048_576;

public struct Account has copy, drop, store {
    /// Mebibytes.
    reserved: u64,
    /// What users paid.
    payment: u64,
}

public struct Space has store {
    /// The first period that is not closed.
    open_period: u32,
    /// Of the open period and those behind it, as far as anything is booked.
    accounts: vector<Account>,
    /// Closed period → what a part of it is worth.
    part_values: Table<u32, u64>,
    /// What no member earned of the closed periods. It is never given back.
    unearned: u64,
}

/// A period's payment is final: `part_value` is what each part earned is worth, `rest` is shared out with the next period.
public struct PeriodClosed has copy, drop { period: u32, payment: u64, part_value: u64, rest: u64 }

public(package) fun new(ctx: &mut TxContext): Space {
    Space { open_period: 0, accounts: vector[], part_values: table::new(ctx), unearned: 0 }
}

/// Returns a size in bytes as it is booked, in mebibytes: begun ones are counted whole.
public fun mebibytes(bytes: u64): u64 {
    bytes / MEBIBYTE + (if (bytes % MEBIBYTE == 0) 0 else 1)
}

/// Returns what space costs for some periods. It may be more than there is of any token.
public(package) fun cost(terms: &Terms, mebibytes: u64, periods: u32): u256 {
    (mebibytes as u256) * (terms.price() as u256) * (periods as u256)
}

/// Returns what registering a blob costs for whose encoded size so many mebibytes are booked.
public(package) fun write_cost(terms: &Terms, mebibytes: u64): u256 {
    (mebibytes as u256) * (terms.write_price() as u256)
}

/// Enters space for the periods from `first`, one that is not closed, to before `end`, and `per_period` as the payment for
/// each. Aborts with `ENoCapacity`.
public(package) fun book(self: &mut Space, terms: &Terms, mebibytes: u64, first: u32, end: u32, per_period: u64) {
    let mut period = first;
    while (period < end) {
        let account = self.account(period);
        let wanted = ((account.reserved as u128) + (mebibytes as u128)) * (MEBIBYTE as u128);
        assert!(wanted <= (terms.capacity() as u128), ENoCapacity);
        account.reserved = account.reserved + mebibytes;
        account.payment = account.payment + per_period;
        period = period + 1;
    }
}

/// Enters a payment for one period that is not closed.
public(package) fun book_fee(self: &mut Space, period: u32, fee: u64) {
    let account = self.account(period);
    account.payment = account.payment + fee;
}

/// Takes space out of the periods from `first`, one that is not closed, to before `end`, in which it is booked.
///
/// Returns what is given back for it: of each period's payment the part that the space has of what is reserved, rounded
/// down.
public(package) fun give_back(self: &mut Space, mebibytes: u64, first: u32, end: u32): u64 {
    let mut amount = 0;
    let mut period = first;
    while (period < end) {
        let account = self.account(period);
        let back = ((account.payment as u128) * (mebibytes as u128) / (account.reserved as u128)) as u64;
        account.reserved = account.reserved - mebibytes;
        account.payment = account.payment - back;
        amount = amount + back;
        period = period + 1;
    };
    amount
}

/// Closes the open period, of whose `parts` members earned `earned`.
public(package) fun close(self: &mut Space, parts: u64, earned: u64) {
    let period = self.open_period;
    let Account { payment, .. } = *self.account(period);
    let payment = payment + self.unearned;
    let part_value = payment / parts;
    let rest = payment - part_value * earned;
    self.unearned = rest;
    self.part_values.add(period, part_value);
    self.accounts.remove(0);
    self.open_period = period + 1;
    event::emit(PeriodClosed { period, payment, part_value, rest });
}

/// Returns the first period that is not closed.
public(package) fun open_period(self: &Space): u32 { self.open_period }

/// Returns what a part of a closed period is worth.
public(package) fun part_value(self: &Space, period: u32): u64 { self.part_values[period] }

/// Returns the account of a period that is not closed.
fun account(self: &mut Space, period: u32): &mut Account {
    let place = (period - self.open_period) as u64;
    while (self.accounts.length() <= place) self.accounts.push_back(Account { reserved: 0, payment: 0 });
    &mut self.accounts[place]
}
