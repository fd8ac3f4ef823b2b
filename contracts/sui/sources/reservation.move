/// Reserved space: given away as any object, split and joined.
///
/// A reservation is whole mebibytes in each of its periods, just what is booked for it there. Splitting and joining move no
/// booking and no payment: the mebibytes in each period are the same before and after, so nobody gains or loses space by
/// them.
module haulout::reservation;

use sui::event;

/// A size is not between nothing and the whole.
const EInvalidSize: u64 = 25;
/// A reservation begins later.
const ENotBegun: u64 = 212;
/// A period is not between the first and the end of a reservation.
const ENotWithin: u64 = 26;
/// A reservation does not go on where something ends: another size, or other periods.
const ENotAdjoining: u64 = 27;
/// A blob object or a reservation has ended.
const EExpired: u64 = 28;

public struct Reservation has key, store {
    id: UID,
    mebibytes: u64,
    start_period: u32,
    /// Exclusive.
    end_period: u32,
}

/// A reservation is new, or is another now.
public struct ReservationChanged has copy, drop {
    reservation: ID,
    mebibytes: u64,
    start_period: u32,
    end_period: u32,
}

/// A reservation has become part of another.
public struct ReservationMerged has copy, drop { reservation: ID, into: ID }

/// A reservation has become the space of a blob object, or the rest of its time.
public struct ReservationUsed has copy, drop { reservation: ID, object: ID }

/// What is paid for a reservation has been given back.
public struct ReservationGivenUp has copy, drop { reservation: ID }

/// Returns a reservation of what has been booked: at least a mebibyte, for at least a period.
public(package) fun new(mebibytes: u64, start_period: u32, end_period: u32, ctx: &mut TxContext): Reservation {
    let reservation = Reservation { id: object::new(ctx), mebibytes, start_period, end_period };
    reservation.announce();
    reservation
}

/// Leaves a reservation so many mebibytes; returns the rest, for the same periods. Aborts with `EInvalidSize`.
public fun split_by_size(self: &mut Reservation, mebibytes: u64, ctx: &mut TxContext): Reservation {
    assert!(mebibytes > 0 && mebibytes < self.mebibytes, EInvalidSize);
    let rest = new(self.mebibytes - mebibytes, self.start_period, self.end_period, ctx);
    self.mebibytes = mebibytes;
    self.announce();
    rest
}

/// Leaves a reservation the periods before `period`; returns the later ones. Aborts with `ENotWithin`.
public fun split_by_period(self: &mut Reservation, period: u32, ctx: &mut TxContext): Reservation {
    assert!(self.start_period < period && period < self.end_period, ENotWithin);
    let later = new(self.mebibytes, period, self.end_period, ctx);
    self.end_period = period;
    self.announce();
    later
}

/// Makes a reservation part of another, for the same periods, or of one size with periods that adjoin.
///
/// Of neither the periods before `current`, the period of now, count. Aborts with `EExpired` or `ENotAdjoining`.
public(package) fun merge(self: &mut Reservation, mut other: Reservation, current: u32) {
    self.forget_before(current);
    other.forget_before(current);
    let is_of_one_size = self.mebibytes == other.mebibytes;
    if (self.start_period == other.start_period && self.end_period == other.end_period) {
        self.mebibytes = self.mebibytes + other.mebibytes;
    } else if (is_of_one_size && self.end_period == other.start_period) {
        self.end_period = other.end_period;
    } else if (is_of_one_size && other.end_period == self.start_period) {
        self.start_period = other.start_period;
    } else {
        abort ENotAdjoining
    };
    event::emit(ReservationMerged { reservation: object::id(&other), into: object::id(self) });
    let Reservation { id, .. } = other;
    id.delete();
    self.announce();
}

/// Takes note that an object has the space of a reservation.
public(package) fun use_up(self: Reservation, object: ID) {
    event::emit(ReservationUsed { reservation: object::id(&self), object });
    let Reservation { id, .. } = self;
    id.delete();
}

/// Takes note that what is paid for a reservation is given back; returns its mebibytes, start and end.
public(package) fun give_up(self: Reservation): (u64, u32, u32) {
    event::emit(ReservationGivenUp { reservation: object::id(&self) });
    let Reservation { id, mebibytes, start_period, end_period } = self;
    id.delete();
    (mebibytes, start_period, end_period)
}

/// Aborts with `EExpired` or `ENotBegun` unless a reservation has the period `current`.
public(package) fun check_current(self: &Reservation, current: u32) {
    assert!(current < self.end_period, EExpired);
    assert!(self.start_period <= current, ENotBegun);
}

public fun mebibytes(self: &Reservation): u64 { self.mebibytes }

public fun start_period(self: &Reservation): u32 { self.start_period }

public fun end_period(self: &Reservation): u32 { self.end_period }

fun forget_before(self: &mut Reservation, current: u32) {
    assert!(current < self.end_period, EExpired);
    if (self.start_period < current) self.start_period = current;
}

fun announce(self: &Reservation) {
    event::emit(ReservationChanged {
        reservation: object::id(self),
        mebibytes: self.mebibytes,
        start_period: self.start_period,
        end_period: self.end_period,
    });
}
