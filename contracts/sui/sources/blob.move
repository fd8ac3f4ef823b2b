/// Blob objects: each is a lifetime that is paid for a blob, up to the period with which it ends.
///
/// A blob object is an account's, or shared: then anyone may certify and extend it, and nobody gives it away or deletes it.
/// It cannot be inside another object, so that every reader finds it by its id.
module haulout::blob;

use haulout::encoding;
use haulout::messages;
use haulout::pauses;
use haulout::system::System;
use sui::clock::Clock;
use sui::event;

/// A blob object or a reservation has ended.
const EExpired: u64 = 28;
/// A blob is proven to be encoded inconsistently.
const EInvalidBlob: u64 = 201;
/// A blob object is certified.
const EAlreadyCertified: u64 = 202;
/// A certificate is older than the blob object.
const ECertificateTooOld: u64 = 203;
/// A blob object is not certified.
const ENotCertified: u64 = 204;
/// A blob object is for the whole time that is paid.
const ENotDeletable: u64 = 205;
/// A blob object is shared, so nobody's.
const EShared: u64 = 206;
/// A blob object lives.
const ENotExpired: u64 = 207;

public struct Blob has key {
    id: UID,
    /// Among all objects that were ever registered, from 1 on.
    number: u64,
    /// The number whose little-endian bytes are the blob id that nodes and clients use.
    blob_id: u256,
    /// Bytes of the blob as the user gave it.
    length: u64,
    /// Space that it takes.
    mebibytes: u64,
    registered_epoch: u32,
    /// None before it is certified: nodes need not keep the blob.
    certified_epoch: Option<u32>,
    /// The first period in which it does not live any more.
    end_period: u32,
    /// Whether its owner may give it up, and get the space back.
    is_deletable: bool,
    is_shared: bool,
}

public struct BlobRegistered has copy, drop {
    object: ID,
    number: u64,
    blob_id: u256,
    /// The sender, also of a shared one.
    owner: address,
    /// The number whose little-endian bytes are the root of the blob's tree.
    root: u256,
    length: u64,
    mebibytes: u64,
    epoch: u32,
    end_period: u32,
    is_deletable: bool,
    is_shared: bool,
}

/// An object is certified, or, certified before, has another end: its blob is to be kept up to then.
public struct BlobCertified has copy, drop {
    object: ID,
    blob_id: u256,
    epoch: u32,
    end_period: u32,
    is_deletable: bool,
    is_extension: bool,
}

/// An object is another account's.
public struct BlobTransferred has copy, drop { object: ID, to: address }

/// Its owner has given up an object while it lived, or what was paid for it has been given back.
public struct BlobDeleted has copy, drop { object: ID, blob_id: u256, epoch: u32 }

/// An object that has ended is there no longer.
public struct BlobDestroyed has copy, drop { object: ID }

/// Enough members found that a blob is encoded inconsistently: nobody need keep it.
public struct BlobInvalidated has copy, drop { blob_id: u256, epoch: u32 }

/// Creates an object that is not certified, for the sender or, shared, for everybody; returns its id.
///
/// Aborts with `EBlobTooLong` or `EInvalidBlob`.
public(package) fun create(
    system: &System,
    number: u64,
    root: u256,
    length: u64,
    mebibytes: u64,
    end_period: u32,
    is_deletable: bool,
    is_shared: bool,
    ctx: &mut TxContext,
): ID {
    let blob_id = encoding::blob_id(length, root);
    assert!(!system.is_invalid(blob_id), EInvalidBlob);
    let registered_epoch = system.epoch();
    let blob = Blob {
        id: object::new(ctx),
        number,
        blob_id,
        length,
        mebibytes,
        registered_epoch,
        certified_epoch: option::none(),
        end_period,
        is_deletable,
        is_shared,
    };
    let object = object::id(&blob);
    event::emit(BlobRegistered {
        object,
        number,
        blob_id,
        owner: ctx.sender(),
        root,
        length,
        mebibytes,
        epoch: registered_epoch,
        end_period,
        is_deletable,
        is_shared,
    });
    if (is_shared) transfer::share_object(blob) else transfer::transfer(blob, ctx.sender());
    object
}

/// Certifies an object by the signatures of a quorum that keeps the blob. The system is not changed, so that writers do
/// not wait for each other.
///
/// `epoch` is that of the committee whose members, given by `bitmap`, have signed. Aborts with `EPaused`,
/// `EAlreadyCertified`, `EExpired`, `ECertificateTooOld` or `EInvalidBlob`, or as `system::verify`.
public fun certify(
    self: &mut Blob,
    system: &System,
    epoch: u32,
    bitmap: vector<u8>,
    signature: vector<u8>,
    clock: &Clock,
) {
    system.check_open(pauses::certification(), clock);
    assert!(self.certified_epoch.is_none(), EAlreadyCertified);
    self.check_live(system.period());
    assert!(epoch >= self.registered_epoch, ECertificateTooOld);
    assert!(!system.is_invalid(self.blob_id), EInvalidBlob);
    let body = if (self.is_deletable) {
        messages::deletable_blob(self.blob_id, object::id_address(self))
    } else {
        messages::permanent_blob(self.blob_id)
    };
    system.verify(epoch, messages::blob_intent(), body, &bitmap, &signature, clock);
    self.certified_epoch = option::some(epoch);
    self.announce(epoch, false);
}

/// Takes note that members of whom one is correct found a blob to be encoded inconsistently. Anyone may, and it cannot be
/// paused: it excuses members from showing what nobody can make for them.
///
/// Aborts with `EInvalidBlob` if that is known, or as `system::verify`.
public fun invalidate(
    system: &mut System,
    blob_id: u256,
    epoch: u32,
    bitmap: vector<u8>,
    signature: vector<u8>,
    clock: &Clock,
) {
    assert!(!system.is_invalid(blob_id), EInvalidBlob);
    let body = messages::invalid_blob(blob_id);
    system.verify(epoch, messages::invalid_blob_intent(), body, &bitmap, &signature, clock);
    system.mark_invalid(blob_id, epoch);
    event::emit(BlobInvalidated { blob_id, epoch });
}

/// Destroys an object that has ended. Aborts with `ENotExpired`.
public fun destroy(self: Blob, system: &System) {
    assert!(self.end_period <= system.period(), ENotExpired);
    event::emit(BlobDestroyed { object: object::id(&self) });
    let Blob { id, .. } = self;
    id.delete();
}

/// Gives an object to another account. Aborts with `EShared` or `EExpired`.
public(package) fun transfer(self: Blob, system: &System, to: address) {
    assert!(!self.is_shared, EShared);
    self.check_live(system.period());
    event::emit(BlobTransferred { object: object::id(&self), to });
    transfer::transfer(self, to);
}

/// Deletes an object. Aborts with `ENotDeletable` or `EExpired`.
public(package) fun delete(self: Blob, system: &System) {
    assert!(self.is_deletable, ENotDeletable);
    self.check_live(system.period());
    self.give_up(system);
}

/// Deletes an object, also one that was not to be deleted, when what is paid for it is given back.
public(package) fun give_up(self: Blob, system: &System) {
    event::emit(BlobDeleted { object: object::id(&self), blob_id: self.blob_id, epoch: system.epoch() });
    let Blob { id, .. } = self;
    id.delete();
}

/// Gives the sender's object, which is certified, a sooner end.
public(package) fun cut(mut self: Blob, end_period: u32, ctx: &TxContext) {
    self.set_end(end_period);
    transfer::transfer(self, ctx.sender());
}

/// Aborts with `ENotCertified`, `EExpired` or `EInvalidBlob` unless an object can be extended.
public(package) fun check_extendable(self: &Blob, system: &System) {
    assert!(self.certified_epoch.is_some(), ENotCertified);
    self.check_live(system.period());
    assert!(!system.is_invalid(self.blob_id), EInvalidBlob);
}

/// Gives an object that is certified another end.
public(package) fun set_end(self: &mut Blob, end_period: u32) {
    self.end_period = end_period;
    self.announce(*self.certified_epoch.borrow(), true);
}

public fun number(self: &Blob): u64 { self.number }

public fun blob_id(self: &Blob): u256 { self.blob_id }

public fun mebibytes(self: &Blob): u64 { self.mebibytes }

public fun end_period(self: &Blob): u32 { self.end_period }

public fun is_deletable(self: &Blob): bool { self.is_deletable }

public fun is_shared(self: &Blob): bool { self.is_shared }

public fun is_certified(self: &Blob): bool { self.certified_epoch.is_some() }

fun check_live(self: &Blob, period: u32) {
    assert!(period < self.end_period, EExpired);
}

fun announce(self: &Blob, epoch: u32, is_extension: bool) {
    event::emit(BlobCertified {
        object: object::id(self),
        blob_id: self.blob_id,
        epoch,
        end_period: self.end_period,
        is_deletable: self.is_deletable,
        is_extension,
    });
}
