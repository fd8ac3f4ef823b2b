"""Store encoded blobs: upload their sliver pairs to the committee, gather confirmations, certify on chain."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TypeVar

from committee import messages
from committee.certificate import MemberSignature, build, build_many
from committee.errors import (
    FinalityUnknown,
    LedgerError,
    LedgerNotSettled,
    LedgerRefused,
    NotEnoughWeight,
)
from committee.ledger import ClientLedger, EpochState
from committee.membership import Committee, Member
from storage.client.errors import (
    NoCommittee,
    NodeError,
    NodeFailure,
    NotEnoughConfirmations,
    ObjectEnded,
)
from storage.client.node_client import NodeClient
from storage.client.outages import Outages
from storage.client.settling import Settling, until_chain_settles, while_finality_is_unknown
from storage.client.uploading import Item, Uploading
from storage.client.waiting import Progress, no_progress
from storage.redstuff import EncodedBlob, LargeBlob, RedStuff

LATE_S = 30.0
"""How long nodes are waited for that take in a block later than others: two blocks of a slow chain."""
TOO_LATE = "WrongEpoch"
"""The contract's error for a certificate of an epoch that is over, its handover done."""
ALREADY_CERTIFIED = "AlreadyCertified"
"""The contract's error for a certificate of an object that has one."""


async def current_committee(
    ledger: ClientLedger, progress: Progress = no_progress
) -> tuple[EpochState, Committee]:
    """Return the settled state of the epoch and its committee. Raises `NoCommittee` before the first epoch.

    A first epoch that has started in a block which is not settled yet is waited for.
    """
    try:
        state = await while_finality_is_unknown(ledger.epoch_state, progress)
        if state.current is not None:
            return state, state.current
    except FinalityUnknown:
        raise
    except LedgerNotSettled:
        pass
    newest = await ledger.newest()
    state = await ledger.epoch_state(newest)
    if state.current is None:
        raise NoCommittee("epoch 0: no committee has been started yet; select and start an epoch first")
    await until_chain_settles(ledger, newest.number, progress)
    return state, state.current


@dataclass(frozen=True)
class Registered:
    """A blob and its object, which is to be certified."""

    blob: EncodedBlob | LargeBlob = field(repr=False)
    object_id: int
    deletable: bool

    def item(self, epoch: int, domain: bytes) -> Item:
        """Return what the members of an epoch are to store and sign."""
        object_id = self.object_id if self.deletable else None
        body = messages.blob_body(self.blob.blob_id, object_id)
        return Item(self.blob, object_id, messages.encode(messages.Intent.BLOB, epoch, body, domain))


@dataclass(frozen=True)
class Certified:
    """What is told of an object's certificate."""

    epoch: int
    gas_used: int
    """This object's part of the certification's gas; 0 when another process or an earlier try certified it."""


@dataclass(frozen=True)
class Confirmed:
    """A blob that a quorum has confirmed; each of the confirmations was checked."""

    committee: Committee
    message: bytes
    confirmations: Sequence[MemberSignature]


Result = TypeVar("Result")
Places = dict[int, Result]
"""Place of a blob among those that are stored together → something of it."""


class Storing:
    """Uploads encoded blobs to the members of the current committee, and certifies them."""

    def __init__(
        self,
        ledger: ClientLedger,
        node: Callable[[Member], NodeClient],
        code: RedStuff,
        progress: Progress,
    ) -> None:
        self._ledger = ledger
        self._node = node
        self._code = code
        self._progress = progress

    async def certify_one(self, registered: Registered, registered_block: int | None = None) -> Certified:
        """Certify one object; raise what kept it from being certified."""
        (certified,) = await self.certify([registered], registered_block)
        if isinstance(certified, Exception):
            raise certified
        return certified

    async def certify(
        self, objects: Sequence[Registered], registered_block: int | None = None
    ) -> list[Certified | Exception]:
        """Upload blobs and certify their objects; return the certificate of each, or what kept it from having one.

        Nodes that have not taken in the block of their registration are waited for: `registered_block`. Without it they
        were registered by an earlier try: nodes are waited for up to the newest block, and are sent only large slivers
        that they do not have from that try. Gathers new certificates if the epoch ended meanwhile.

        A blob has `NotEnoughConfirmations` naming the members that failed, or the chain's refusal, or `ObjectEnded`
        where its object does not live any more. Raises `LedgerError` when the chain does not answer.
        """
        is_resumed = registered_block is None
        block = (await self._ledger.newest()).number if registered_block is None else registered_block
        results: Places[Certified | Exception] = {}
        left = list(range(len(objects)))
        while left:
            gathered = await self._gather({place: objects[place] for place in left}, block, is_resumed)
            confirmed = {place: one for place, one in gathered.items() if isinstance(one, Confirmed)}
            results |= {place: one for place, one in gathered.items() if isinstance(one, Exception)}
            results |= await self._post(objects, confirmed)
            late = [place for place in confirmed if _is_too_late(results[place])]
            now = (await current_committee(self._ledger))[1].epoch if late else 0
            left, is_resumed = [one for one in late if now > confirmed[one].committee.epoch], True
        failed = [place for place in results if isinstance(results[place], Exception)]
        results |= await self._ended({place: objects[place].object_id for place in failed})
        return [results[place] for place in range(len(objects))]

    async def _ended(self, failed: Places[int]) -> Places[ObjectEnded]:
        """Return the failure of those of the objects that failed which do not live any more."""
        if not failed:
            return {}
        try:
            period = (await self._ledger.epoch_state(await self._ledger.newest())).period
            records = await asyncio.gather(*map(self._ledger.blob_object, failed.values()))
        except LedgerError:
            return {}
        return {
            place: ObjectEnded(None if one.deleted else one.end_period)
            for place, one in zip(failed, records, strict=True)
            if not one.is_registered(period)
        }

    # confirmations

    async def _gather(
        self, objects: Places[Registered], block: int, is_resumed: bool
    ) -> Places[Confirmed | Exception]:
        """Upload to the current committee and gather confirmations; try again if the epoch changed meanwhile."""
        state, committee = await current_committee(self._ledger)
        gathered: Places[Confirmed | Exception] = {}
        left = objects
        while left:
            outages = Outages({one.node_id: self._node(one) for one in committee.members}, self._progress)
            settling = Settling(max(block, state.block.number), self._ledger, self._progress, outages)
            told = await self._upload(committee, left, settling, is_resumed)
            gathered |= told
            left = {place: left[place] for place, one in told.items() if isinstance(one, Exception)}
            if left:
                before = committee.epoch
                state, committee = await current_committee(self._ledger)
                if committee.epoch == before:
                    break
                is_resumed = True
        return gathered

    async def _upload(
        self, committee: Committee, objects: Places[Registered], settling: Settling, is_resumed: bool
    ) -> Places[Confirmed | Exception]:
        """Give every member its pairs of all blobs; return the confirmations of those that a quorum has confirmed.

        Once a quorum has confirmed each blob, the other members get as long again as the quorum took: at least a
        second, and at most LATE_S more than has passed since the first node had settled the registration. Then they are
        left to repair their slivers themselves.
        """
        loop = asyncio.get_running_loop()
        began = loop.time()
        items = {one.item(committee.epoch, self._ledger.domain): place for place, one in objects.items()}
        tally = _Tally(committee, list(items))

        async def upload_to(member: Member) -> tuple[Member, dict[Item, MemberSignature | NodeError]]:
            node = self._node(member)
            uploading = Uploading(node, member, self._code, settling, is_resumed=is_resumed)
            return member, await uploading.confirmations(list(items))

        pending = {asyncio.create_task(upload_to(member)) for member in committee.members}
        deadline: float | None = None
        try:
            while pending:
                left = None if deadline is None else max(0.0, deadline - loop.time())
                done, pending = await asyncio.wait(pending, timeout=left, return_when=asyncio.FIRST_COMPLETED)
                if not done:
                    break
                for task in done:
                    tally.add(*task.result())
                self._progress("upload", tally.least_weight, committee.n_shards)
                if deadline is None and committee.is_quorum(tally.least_weight):
                    now = loop.time()
                    uploading_s = now - settling.ready_at if settling.ready_at is not None else 0.0
                    deadline = now + max(1.0, min(now - began, uploading_s + LATE_S))
        finally:
            for task in pending:
                task.cancel()
            await asyncio.gather(*pending, return_exceptions=True)
        return {place: tally.outcome(item) for item, place in items.items()}

    # certificates

    async def _post(
        self, objects: Sequence[Registered], confirmed: Places[Confirmed]
    ) -> Places[Certified | Exception]:
        """Certify objects, those of one committee together; one by one where the chain refuses them together."""
        by_epoch: dict[int, Places[Confirmed]] = {}
        for place, one in confirmed.items():
            by_epoch.setdefault(one.committee.epoch, {})[place] = one
        results: Places[Certified | Exception] = {}
        for some in by_epoch.values():
            if len(some) > 1:
                try:
                    results |= await self._post_together(objects, some)
                    continue
                except LedgerRefused as refused:
                    if refused.reason == TOO_LATE:
                        results |= dict.fromkeys(some, refused)
                        continue  # else each fails for its own reason alone
            for place, one in some.items():
                results[place] = await self._post_one(objects[place].object_id, one)
        return results

    async def _post_together(
        self, objects: Sequence[Registered], confirmed: Places[Confirmed]
    ) -> Places[Certified | Exception]:
        """Certify objects of one committee in as few transactions as their signers allow. Raises `LedgerError`."""
        committee = next(iter(confirmed.values())).committee
        told = [(one.message, one.confirmations) for one in confirmed.values()]
        certificates = await asyncio.to_thread(build_many, committee, told)
        by_object = {
            objects[place].object_id: one for place, one in zip(confirmed, certificates, strict=True)
        }
        sent = await self._ledger.certify_blobs(by_object)
        gas_used = sum(one.gas_used for one in sent) // len(confirmed)
        return {place: Certified(committee.epoch, gas_used) for place in confirmed}

    async def _post_one(self, object_id: int, confirmed: Confirmed) -> Certified | Exception:
        """Certify one object, or return why not."""
        try:
            told = confirmed.committee, confirmed.message, confirmed.confirmations
            certificate = await asyncio.to_thread(build, *told)
            certified = await self._ledger.certify_blob(object_id, certificate)
            return Certified(certificate.epoch, certified.gas_used)
        except LedgerRefused as refused:
            if refused.reason == ALREADY_CERTIFIED:
                return Certified(int(str(refused.arguments["epoch"])), 0)
            return refused
        except NotEnoughWeight as error:
            return error


class _Tally:
    """What members of a committee have answered about each of several blobs."""

    def __init__(self, committee: Committee, items: Sequence[Item]) -> None:
        self._committee = committee
        self._confirmations: dict[Item, list[MemberSignature]] = {one: [] for one in items}
        self._failures: dict[Item, dict[int, NodeFailure]] = {one: {} for one in items}

    def add(self, member: Member, answers: Mapping[Item, MemberSignature | NodeError]) -> None:
        """Count a member's answer about each of several blobs."""
        for item, answer in answers.items():
            if isinstance(answer, NodeError):
                self._failures[item][member.node_id] = NodeFailure(member.name, answer.why)
            else:
                self._confirmations[item].append(answer)

    def weight(self, item: Item) -> int:
        """The shards of the members that have confirmed a blob."""
        return self._committee.weight_of({one.node_id for one in self._confirmations[item]})

    @property
    def least_weight(self) -> int:
        """The least `weight` of any of the blobs."""
        return min(map(self.weight, self._confirmations))

    def outcome(self, item: Item) -> Confirmed | NotEnoughConfirmations:
        """Return a blob's confirmations if they are a quorum, else the error that says why each is missing."""
        weight, needed = self.weight(item), self._committee.quorum
        if weight >= needed:
            return Confirmed(self._committee, item.message, self._confirmations[item])
        return NotEnoughConfirmations(needed, self._committee.n_shards, weight, self._failures[item])


def _is_too_late(result: Certified | Exception) -> bool:
    return isinstance(result, LedgerRefused) and result.reason == TOO_LATE
