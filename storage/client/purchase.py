"""Pay for one blob's storage, once: find what an earlier try has paid for, pay what is lacking, certify.

Before anything is paid, the chain is asked for the blob's objects (`best_object` is the rule). So a store that failed
after its registration, or whose answer was lost, is finished by the next one, whichever process runs it. Where the
chain's endpoint tells an old block, the contract refuses to be paid twice, and names the object to go on with.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from enum import StrEnum

from committee.errors import LedgerError, LedgerRefused
from committee.ledger import BlobRecord, ClientLedger, DryRun, Transaction
from storage.client.errors import NotCertified, NotExtended, PaidObjectError
from storage.client.storing import Registered, Storing, current_committee
from storage.client.waiting import Pauses, Progress
from storage.redstuff import BlobId, BlobMetadata, EncodedBlob, LargeBlob

BEHIND_PATIENCE_S = 60.0
"""The time for which the endpoint is waited for that does not tell yet of an object which the contract has named."""
EXTENSION_TRIES = 5
"""The most ends from which an object is tried to be extended; each but the first was named by the contract."""


class Outcome(StrEnum):
    """What was done to have a blob certified; its text is shown to users."""

    REGISTERED = "registered and certified"
    CONTINUED = "certified an object that was registered before"
    EXTENDED = "extended an object that was certified before"
    FOUND = "found certified; nothing was paid"


@dataclass(frozen=True)
class StoredBlob:
    """A blob the chain has certified."""

    blob_id: BlobId
    object_id: int
    owner: str
    """The account that the object belongs to; another one's when its permanent object serves as well."""
    size_bytes: int
    certified_epoch: int
    end_period: int
    """Exclusive."""
    outcome: Outcome
    register_gas: int = 0
    """0 when it had been registered before."""
    certify_gas: int = 0
    """0 when it had been certified before."""
    extend_gas: int = 0
    """0 when it was not extended."""


def found_again(stored: StoredBlob) -> StoredBlob:
    """Return what a store finds of a blob that was stored just before it."""
    return replace(stored, outcome=Outcome.FOUND, register_gas=0, certify_gas=0, extend_gas=0)


def best_object(
    objects: Iterable[BlobRecord], account: str | None, end_period: int, deletable: bool
) -> BlobRecord | None:
    """Return the object to go on with so that the blob lives until `end_period` for the least payment; None for none.

    `objects` are live objects of the blob. In this order: an object of the account's that is certified and lasts, or
    is registered and lasts (its certificate costs gas alone); another account's that is permanent and certified and
    lasts; an object of the account's that is certified, or registered, and is to be extended. A permanent object does
    not serve where a deletable one is asked for, nor the other way about.
    """
    usable = [one for one in objects if one.deletable == deletable and not one.invalid]
    own = [one for one in usable if one.owner == account]
    own_certified = [one for one in own if one.certified_epoch is not None]
    own_registered = [one for one in own if one.certified_epoch is None]
    others = [] if deletable else [one for one in usable if one.certified_epoch is not None]
    choices = (
        *(
            [one for one in some if one.end_period >= end_period]
            for some in (own_certified, own_registered, others)
        ),
        own_certified,
        own_registered,
    )
    chosen = next(filter(None, choices), None)
    return max(chosen, key=lambda one: (one.end_period, one.object_id)) if chosen else None


async def waiting_object(
    ledger: ClientLedger, metadata: BlobMetadata, periods: int, deletable: bool, progress: Progress
) -> tuple[BlobRecord | None, int]:
    """Return (object, id): the account's object that waits for a certificate, and up to which id all objects are known.

    The object is registered for `periods` periods from now at least; None when there is none.
    """
    state, _ = await current_committee(ledger, progress)
    await ledger.drain()
    found = await ledger.blob_objects(metadata.root, metadata.length)
    own = [one for one in found.objects if one.owner == ledger.account and one.certified_epoch is None]
    best = best_object(own, ledger.account, state.period + periods, deletable)
    lasts = best is not None and best.end_period >= state.period + periods
    return best if lasts else None, found.known_up_to


async def registered_meanwhile(ledger: ClientLedger, refused: LedgerRefused) -> BlobRecord:
    """Return the object that is the reason why the contract refused to register a blob once more.

    `refused` is raised when it has another reason, or when the endpoint, which is behind, does not tell of the object
    within BEHIND_PATIENCE_S.
    """
    if refused.reason != "RegisteredMeanwhile":
        raise refused
    object_id, pauses = int(str(refused.arguments["objectId"])), Pauses(BEHIND_PATIENCE_S)
    while True:
        try:
            return await ledger.blob_object(object_id)
        except LedgerRefused as unknown:
            if unknown.reason != "UnknownObject" or not await pauses.pause():
                raise refused from None


async def extend_until(ledger: ClientLedger, object_id: int, until: int) -> tuple[int, Transaction | None]:
    """Extend an object so that it lasts to the period `until`; return its end before, and the transaction.

    The transaction is None if the object lasts as long already. When the contract refuses because the object has
    another end than the endpoint told (`EndMoved`), the extension is tried again with the end that the contract names.
    """
    await ledger.drain()
    end = (await ledger.blob_object(object_id)).end_period
    for left in reversed(range(EXTENSION_TRIES)):
        if end >= until:
            break
        try:
            return end, await ledger.extend_blob(object_id, until - end, known_end=end)
        except LedgerRefused as refused:
            if refused.reason != "EndMoved" or not left:
                raise
            end = int(str(refused.arguments["endPeriod"]))
    return end, None


class Purchase:
    """The payments on chain for one encoded blob: registration, certification, extension."""

    def __init__(
        self, ledger: ClientLedger, storing: Storing, blob: EncodedBlob | LargeBlob, progress: Progress
    ) -> None:
        self._ledger = ledger
        self._storing = storing
        self._blob = blob
        self._progress = progress

    async def store(self, periods: int, deletable: bool, force: bool) -> StoredBlob:
        """Have the blob certified for `periods` periods; with `force` by a new object, whatever there is.

        Raises `NotCertified` and `NotExtended`, which name the object, for whatever fails after a payment;
        `LedgerError` before.
        """
        state, _ = await current_committee(self._ledger)
        end_period = state.period + periods
        async with self._ledger.only_payer(self._blob.metadata.root):
            found = await self._paid_for(periods, end_period, deletable, force)
        self._progress("register", 1, 1)
        if not isinstance(found, BlobRecord):
            object_id, registered = found
            try:
                return await self._new(object_id, registered, end_period, deletable)
            except NotCertified:
                moved = await self._moved(object_id, end_period, deletable)
                if moved is None:
                    raise
                found = moved
        stored = await self.certify(found)
        if found.end_period >= end_period:
            return stored
        return await self.extended(stored, end_period)

    async def certify(self, found: BlobRecord) -> StoredBlob:
        """Have a registered object certified; nothing is uploaded when it is already. Raises `NotCertified`."""
        epoch, gas, outcome = found.certified_epoch, 0, Outcome.FOUND
        if epoch is None:
            with self._naming(NotCertified, found.object_id):
                certified = await self._storing.certify_one(
                    Registered(self._blob, found.object_id, found.deletable)
                )
                epoch, gas = certified.epoch, certified.gas_used
            outcome = Outcome.CONTINUED
        self._progress("certify", 1, 1)
        return StoredBlob(
            blob_id=self._blob.blob_id,
            object_id=found.object_id,
            owner=found.owner,
            size_bytes=self._blob.length,
            certified_epoch=epoch,
            end_period=found.end_period,
            outcome=outcome,
            certify_gas=gas,
        )

    async def _paid_for(
        self, periods: int, end_period: int, deletable: bool, force: bool
    ) -> BlobRecord | tuple[int, Transaction]:
        """The object to go on with, or the one that is registered now, with its transaction."""
        if force:
            return await self._registered(periods, deletable, None)
        earlier, known_up_to = await self._earlier(end_period, deletable)
        if earlier is not None:
            return earlier
        try:
            return await self._registered(periods, deletable, known_up_to)
        except LedgerRefused as refused:
            return await registered_meanwhile(self._ledger, refused)

    async def _earlier(self, end_period: int, deletable: bool) -> tuple[BlobRecord | None, int]:
        """Wait until no transaction of the account is under way; return the object to go on with, if there is one.

        The second value is the id up to which the search knew all objects.
        """
        await self._ledger.drain()
        found = await self._ledger.blob_objects(self._blob.metadata.root, self._blob.length)
        return best_object(found.objects, self._ledger.account, end_period, deletable), found.known_up_to

    async def _moved(self, object_id: int, end_period: int, deletable: bool) -> BlobRecord | None:
        """Return the object to go on with if a reorganisation gave another blob the registered one's id; else None."""
        try:
            named = await self._ledger.blob_object(object_id)
            if (named.blob_id, named.owner) == (self._blob.blob_id, self._ledger.account):
                return None
            return (await self._earlier(end_period, deletable))[0]
        except LedgerError:
            return None

    async def _registered(
        self, periods: int, deletable: bool, known_up_to: int | None
    ) -> tuple[int, Transaction]:
        call = self._blob.metadata.root, self._blob.length, periods, deletable
        return await self._ledger.register_blob(*call, known_up_to=known_up_to)

    async def _new(
        self, object_id: int, registered: Transaction, end_period: int, deletable: bool
    ) -> StoredBlob:
        """Have the object certified that was just registered."""
        with self._naming(NotCertified, object_id):
            registered_as = Registered(self._blob, object_id, deletable)
            certified = await self._storing.certify_one(registered_as, registered.block.number)
        self._progress("certify", 1, 1)
        return StoredBlob(
            blob_id=self._blob.blob_id,
            object_id=object_id,
            owner=self._ledger.account or "",
            size_bytes=self._blob.length,
            certified_epoch=certified.epoch,
            end_period=await self._end_period(object_id, end_period),
            outcome=Outcome.REGISTERED,
            register_gas=registered.gas_used,
            certify_gas=certified.gas_used,
        )

    async def _end_period(self, object_id: int, expected: int) -> int:
        """An object's end as the chain has it: the period may have changed before the registration.

        All is paid and done by now, so a chain that does not answer is no error.
        """
        try:
            return (await self._ledger.blob_object(object_id)).end_period
        except LedgerError:
            return expected

    async def extended(self, stored: StoredBlob, end_period: int) -> StoredBlob:
        """Extend the object as far as it ends too early still: another process may have extended it meanwhile.

        Raises `NotExtended`.
        """
        with self._naming(NotExtended, stored.object_id):
            async with self._ledger.only_payer(self._blob.metadata.root):
                end, extended = await extend_until(self._ledger, stored.object_id, end_period)
        if extended is None:
            return replace(stored, end_period=end)
        outcome = Outcome.EXTENDED if stored.outcome is Outcome.FOUND else stored.outcome
        return replace(stored, end_period=end_period, outcome=outcome, extend_gas=extended.gas_used)

    @contextmanager
    def _naming(self, unfinished: type[PaidObjectError], object_id: int) -> Iterator[None]:
        """Name the object in whatever ends the work on it; a cancellation gets a note (PEP 678)."""
        try:
            yield
        except DryRun:
            raise
        except Exception as error:
            raise unfinished(self._blob.blob_id, object_id, error) from error
        except BaseException as stopped:
            stopped.add_note(str(unfinished(self._blob.blob_id, object_id, stopped)))
            raise
