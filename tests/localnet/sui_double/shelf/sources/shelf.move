/// A shared shelf, notes that accounts own, and what else a chain must get right.
module shelf::shelf;

use sui::clock::Clock;
use sui::coin::Coin;
use sui::dynamic_field;
use sui::event;
use sui::sui::SUI;

const EEmpty: u64 = 3;

public struct SHELF has drop {}

/// Given to the publisher. It cannot be given away by a transaction alone.
public struct Librarian has key { id: UID, is_witnessed: bool }

public struct Shelf has key { id: UID, count: u64 }

public struct Note has key, store { id: UID, text: vector<u8> }

/// A note out of sight.
public struct Envelope has key, store { id: UID, note: Note }

/// Must be used up in the transaction that made it.
public struct Promise { count: u64 }

public struct Counted has copy, drop { shelf: ID, count: u64 }

public struct Seen has copy, drop { time_ms: u64, mist: u64 }

fun init(witness: SHELF, ctx: &mut TxContext) {
    let SHELF {} = witness;
    transfer::share_object(Shelf { id: object::new(ctx), count: 0 });
    transfer::transfer(Librarian { id: object::new(ctx), is_witnessed: true }, ctx.sender());
}

public fun write(text: vector<u8>, ctx: &mut TxContext): Note { Note { id: object::new(ctx), text } }

public fun append(note: &mut Note, text: vector<u8>) { note.text.append(text) }

public fun text(note: &Note): &vector<u8> { &note.text }

public fun length(note: &Note): u64 { note.text.length() }

public fun destroy(note: Note) {
    let Note { id, text: _ } = note;
    id.delete();
}

public fun append_from(note: &mut Note, other: &Note) { note.text.append(other.text) }

public fun wrap(note: Note, ctx: &mut TxContext): Envelope { Envelope { id: object::new(ctx), note } }

public fun unwrap(envelope: Envelope): Note {
    let Envelope { id, note } = envelope;
    id.delete();
    note
}

public fun count_up(shelf: &mut Shelf) {
    shelf.count = shelf.count + 1;
    event::emit(Counted { shelf: object::id(shelf), count: shelf.count });
}

public fun count_down(shelf: &mut Shelf) {
    assert!(shelf.count > 0, EEmpty);
    shelf.count = shelf.count - 1;
}

public fun check_count(shelf: &Shelf, expected: u64) { assert!(shelf.count == expected, EEmpty) }

public fun put(shelf: &mut Shelf, name: u64, note: Note) { dynamic_field::add(&mut shelf.id, name, note) }

public fun edit(shelf: &mut Shelf, name: u64, text: vector<u8>) {
    dynamic_field::borrow_mut<u64, Note>(&mut shelf.id, name).text = text;
}

public fun read(shelf: &Shelf, name: u64): vector<u8> { dynamic_field::borrow<u64, Note>(&shelf.id, name).text }

public fun take(shelf: &mut Shelf, name: u64): Note { dynamic_field::remove(&mut shelf.id, name) }

/// Adds fields `first`, … to the shelf, as many as `count`.
public fun fill(shelf: &mut Shelf, first: u64, count: u64) {
    let mut name = first;
    while (name < first + count) {
        dynamic_field::add(&mut shelf.id, name, true);
        name = name + 1;
    }
}

public fun close(shelf: Shelf) {
    let Shelf { id, count: _ } = shelf;
    id.delete();
}

#[allow(lint(share_owned, custom_state_change))]
public fun keep(shelf: Shelf, recipient: address) { transfer::transfer(shelf, recipient) }

#[allow(lint(share_owned))]
public fun share_again(shelf: Shelf) { transfer::share_object(shelf) }

public fun look(clock: &Clock, coin: &Coin<SUI>) {
    event::emit(Seen { time_ms: clock.timestamp_ms(), mist: coin.value() });
}

public fun promise(shelf: &Shelf): Promise { Promise { count: shelf.count } }

public fun fulfil(promise: Promise, shelf: &Shelf) {
    let Promise { count } = promise;
    assert!(shelf.count > count, EEmpty);
}

public fun names(_: &Librarian, texts: vector<vector<u8>>, notes: vector<Note>, ctx: &mut TxContext): vector<Note> {
    let mut named = notes;
    texts.length();
    named.push_back(write(b"one more", ctx));
    named
}

public fun send_all(mut notes: vector<Note>, recipient: address) {
    while (!notes.is_empty()) transfer::public_transfer(notes.pop_back(), recipient);
    notes.destroy_empty();
}

public fun choose<T: copy + drop>(first: T, second: T, is_first: bool): T { if (is_first) first else second }

entry fun only_a_transaction(shelf: &mut Shelf) { hidden(shelf) }

public(package) fun for_the_package(shelf: &mut Shelf) { hidden(shelf) }

fun hidden(shelf: &mut Shelf) { shelf.count = 1000 }
