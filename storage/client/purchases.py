"""Pay for the storage of several encoded blobs together, each once; and store them in batches, however many there are.

As `Purchase` does for one: what an earlier try has paid for is found and gone on with. What is lacking is registered in
one transaction, uploaded together and certified together; what the chain refuses together is tried by halves, so that a
blob that fails holds up no other one.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import AsyncExitStack, contextmanager
from dataclasses import dataclass

from committee.errors import LedgerError, LedgerRefused
from committee.ledger import BlobRecord, ClientLedger, DryRun
from storage.client.errors import NotCertified, NotExtended
from storage.client.purchase import Outcome, Purchase, StoredBlob, best_object, registered_meanwhile
from storage.client.storing import Certified, Registered, Storing, current_committee
from storage.client.waiting import Progress
from storage.redstuff import BlobId, EncodedBlob, LargeBlob

MOST_NAMED = 20
"""Objects named when a store of many is cancelled."""


@dataclass(frozen=True)
class _Paid:
    """A blob object that is paid for, with which the store goes on."""

    record: BlobRecord
    gas_used: int = 0
    """This object's part of its registration, if that was just now."""
    block: int | None = None
    """The block of its registration, if that was just now."""


class Purchases:
    """What is paid on chain for different encoded blobs, in its order."""

    def __init__(
        self,
        ledger: ClientLedger,
        storing: Storing,
        blobs: Sequence[EncodedBlob | LargeBlob],
        progress: Progress,
    ) -> None:
        self._ledger = ledger
        self._storing = storing
        self._blobs: dict[bytes, EncodedBlob | LargeBlob] = {one.blob_id: one for one in blobs}
        self._progress = progress

    async def store(
        self, periods: int, deletable: bool, force: bool
    ) -> Mapping[bytes, StoredBlob | Exception]:
        """Have the blobs certified for `periods` periods; return what came of each, by blob id.

        That is an error as `Purchase.store` raises it. Raises `LedgerError` before anything is paid, and `DryRun`.
        """
        state, _ = await current_committee(self._ledger)
        end_period = state.period + periods
        results: dict[bytes, StoredBlob | Exception] = {}
        async with AsyncExitStack() as only_payer:
            for root in sorted(
                one.metadata.root for one in self._blobs.values()
            ):  # in one order: none waits for ever
                await only_payer.enter_async_context(self._ledger.only_payer(root))
            paid = await self._paid_for(periods, end_period, deletable, force)
        self._progress("register", 1, 1)
        results |= {blob_id: one for blob_id, one in paid.items() if isinstance(one, Exception)}
        objects = {blob_id: one for blob_id, one in paid.items() if isinstance(one, _Paid)}
        with self._naming(list(objects.values())):
            results |= await self._certified(objects)
        self._progress("certify", 1, 1)
        for blob_id, paid_for in objects.items():
            stored = results[blob_id]
            if paid_for.block is None and isinstance(stored, StoredBlob) and stored.end_period < end_period:
                results[blob_id] = await self._extended(stored, end_period)
        return results

    # payments

    async def _paid_for(
        self, periods: int, end_period: int, deletable: bool, force: bool
    ) -> dict[bytes, _Paid | Exception]:
        """Return, by blob id, the objects to go on with, or registered now, or why there is none."""
        paid: dict[bytes, _Paid | Exception] = {}
        known_up_to: int | None = None
        if not force:
            await self._ledger.drain()
            asked = [(one.metadata.root, one.length) for one in self._blobs.values()]
            found = await self._ledger.objects_of_blobs(asked)
            known_up_to = found[0].known_up_to
            for blob_id, objects in zip(self._blobs, found, strict=True):
                best = best_object(objects.objects, self._ledger.account, end_period, deletable)
                if best is not None:
                    paid[blob_id] = _Paid(best)
        left = [[blob_id for blob_id in self._blobs if blob_id not in paid]]
        while left:
            some = left.pop()
            if not some:
                continue
            try:
                paid |= await self._registered(some, periods, deletable, known_up_to)
            except LedgerRefused as refused:
                met = await self._met(refused, some)
                if met is not None:
                    paid[met.blob_id] = _Paid(met)
                    left.append([one for one in some if one != met.blob_id])
                elif len(some) == 1:
                    paid[some[0]] = refused
                else:
                    left += [some[len(some) // 2 :], some[: len(some) // 2]]
            except LedgerError as error:
                paid |= dict.fromkeys(some, error)
        return paid

    async def _registered(
        self, some: Sequence[bytes], periods: int, deletable: bool, known_up_to: int | None
    ) -> dict[bytes, _Paid]:
        """Register blobs in one transaction. Raises `LedgerError`."""
        blobs = [(self._blobs[one].metadata.root, self._blobs[one].length) for one in some]
        records, sent = await self._ledger.register_blobs(blobs, periods, deletable, known_up_to=known_up_to)
        gas_used = sent.gas_used // len(some)
        told = zip(some, records, strict=True)
        return {blob_id: _Paid(record, gas_used, sent.block.number) for blob_id, record in told}

    async def _met(self, refused: LedgerRefused, some: Sequence[bytes]) -> BlobRecord | None:
        """Return the object of one of the blobs for whose sake the contract refused them; None for other refusals."""
        try:
            met = await registered_meanwhile(self._ledger, refused)
        except LedgerError:
            return None
        return met if met.blob_id in some else None

    # certificates and ends

    async def _certified(self, objects: Mapping[bytes, _Paid]) -> dict[bytes, StoredBlob | Exception]:
        """Have registered objects certified; nothing is uploaded of those that are already."""
        results: dict[bytes, StoredBlob | Exception] = {}
        new = [blob_id for blob_id, one in objects.items() if one.block is not None]
        before = [
            blob_id
            for blob_id, one in objects.items()
            if one.block is None and one.record.certified_epoch is None
        ]
        blocks = [one.block for one in objects.values() if one.block is not None]
        for some, block in ((new, max(blocks, default=None)), (before, None)):
            if not some:
                continue
            registered = [
                Registered(self._blobs[one], objects[one].record.object_id, objects[one].record.deletable)
                for one in some
            ]
            try:
                told: Sequence[Certified | Exception] = await self._storing.certify(registered, block)
            except DryRun:
                raise
            except LedgerError as error:
                told = [error] * len(some)
            for blob_id, certified in zip(some, told, strict=True):
                results[blob_id] = self._stored(blob_id, objects[blob_id], certified)
        for blob_id, one in objects.items():
            if one.record.certified_epoch is not None:
                results[blob_id] = self._stored(blob_id, one, Certified(one.record.certified_epoch, 0))
        return results

    def _stored(
        self, blob_id: bytes, paid: _Paid, certified: Certified | Exception
    ) -> StoredBlob | Exception:
        record = paid.record
        if isinstance(certified, Exception):
            return NotCertified(blob_id, record.object_id, certified)
        outcome = Outcome.CONTINUED if record.certified_epoch is None else Outcome.FOUND
        return StoredBlob(
            blob_id=BlobId(blob_id),
            object_id=record.object_id,
            owner=record.owner,
            size_bytes=record.length,
            certified_epoch=certified.epoch,
            end_period=record.end_period,
            outcome=outcome if paid.block is None else Outcome.REGISTERED,
            register_gas=paid.gas_used,
            certify_gas=certified.gas_used,
        )

    async def _extended(self, stored: StoredBlob, end_period: int) -> StoredBlob | Exception:
        """Extend an object that an earlier try has paid for, if it ends too early."""
        blob = self._blobs[stored.blob_id]
        try:
            return await Purchase(self._ledger, self._storing, blob, self._progress).extended(
                stored, end_period
            )
        except NotExtended as error:
            return error

    @contextmanager
    def _naming(self, objects: Sequence[_Paid]) -> Iterator[None]:
        """Name in a cancellation (PEP 678) the objects that are paid for and may not be certified."""
        try:
            yield
        except Exception:
            raise
        except BaseException as stopped:
            ids = [one.record.object_id for one in objects if one.record.certified_epoch is None]
            if ids:
                more = f" and {len(ids) - MOST_NAMED} more" if len(ids) > MOST_NAMED else ""
                stopped.add_note(
                    f"blob objects {', '.join(map(str, ids[:MOST_NAMED]))}{more} are registered and paid for, and may "
                    "not be certified; to go on with them and pay for none a second time, store the same bytes again"
                )
            raise
