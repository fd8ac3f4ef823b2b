/// Which functions are paused: single ones through which something new comes in.
///
/// The guardian may pause each once, until the governor lets it do so again. Every pause ends by itself. No function by which
/// tokens go out, an epoch goes on, or what is paid for is kept alive can be paused.
module haulout::pauses;

use sui::event;

/// A function cannot be paused.
const ENotPausable: u64 = 120;
/// The guardian has paused a function since the governor let it last.
const EPauseUsedUp: u64 = 121;
/// A function is paused.
const EPaused: u64 = 122;

/// How long a pause lasts, if it is not ended.
const DURATION_S: u64 = 4 * 24 * 3600;

const REGISTRATION: u8 = 0;
const CERTIFICATION: u8 = 1;
const KEY_CHANGE: u8 = 2;
const CANDIDACY: u8 = 3;
const STAKING: u8 = 4;
const RESERVING: u8 = 5;
const BLOB_REGISTRATION: u8 = 6;
const EJECTION: u8 = 7;
const COUNT: u64 = 8;

public struct Pauses has drop, store {
    /// By the function's number.
    pauses: vector<Pause>,
}

public struct Pause has drop, store {
    until_s: u64,
    /// By the guardian.
    is_used_up: bool,
}

/// A function is paused until then; 0 for no longer.
public struct PauseChanged has copy, drop { function: u8, until_s: u64 }

/// `registry::register`.
public(package) fun registration(): u8 { REGISTRATION }

/// `registry::change_public_key`.
public(package) fun key_change(): u8 { KEY_CHANGE }

/// `candidates::become`.
public(package) fun candidacy(): u8 { CANDIDACY }

/// `staking::stake`.
public(package) fun staking(): u8 { STAKING }

/// `blob::certify`.
public(package) fun certification(): u8 { CERTIFICATION }

/// `blobs::reserve`.
public(package) fun reserving(): u8 { RESERVING }

/// `blobs::register` and `blobs::register_shared`.
public(package) fun blob_registration(): u8 { BLOB_REGISTRATION }

/// `epochs::eject`.
public(package) fun ejection(): u8 { EJECTION }

public(package) fun new(): Pauses {
    let mut pauses = vector[];
    while (pauses.length() < COUNT) pauses.push_back(Pause { until_s: 0, is_used_up: false });
    Pauses { pauses }
}

/// Aborts with `EPaused`.
public(package) fun check_open(self: &Pauses, function: u8, now_s: u64) {
    assert!(now_s >= self.pauses[function as u64].until_s, EPaused);
}

/// Pauses a function from now on, for the guardian. Aborts with `ENotPausable` or `EPauseUsedUp`.
public(package) fun pause_once(self: &mut Pauses, function: u8, now_s: u64) {
    let pause = self.pause_of(function);
    assert!(!pause.is_used_up, EPauseUsedUp);
    pause.is_used_up = true;
    pause.set(function, now_s + DURATION_S);
}

/// Pauses a function from now on, for the governor. Aborts with `ENotPausable`.
public(package) fun pause(self: &mut Pauses, function: u8, now_s: u64) {
    self.pause_of(function).set(function, now_s + DURATION_S);
}

/// Ends a pause, if there is one. Aborts with `ENotPausable`.
public(package) fun end(self: &mut Pauses, function: u8) {
    self.pause_of(function).set(function, 0);
}

/// Lets the guardian pause a function once more. Aborts with `ENotPausable`.
public(package) fun renew(self: &mut Pauses, function: u8) {
    self.pause_of(function).is_used_up = false;
}

fun set(pause: &mut Pause, function: u8, until_s: u64) {
    pause.until_s = until_s;
    event::emit(PauseChanged { function, until_s });
}

fun pause_of(self: &mut Pauses, function: u8): &mut Pause {
    assert!((function as u64) < COUNT, ENotPausable);
    &mut self.pauses[function as u64]
}
