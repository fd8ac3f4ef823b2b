"""Reading the whole state of the chain anew, into the store's second table, which then takes the place of the first.

First the objects that live, page by page: at one block while the endpoints keep its state, and then at a newer one.
Then what happened since the epoch started is followed over them, as over any objects, until the block of the last page:
it tells which of them were live at the start, and brings back those that were and have been deleted since. Both go on
where they were after a failure and a restart; nothing of it is held in memory but a page or a stretch of blocks.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

from committee.errors import LedgerError, LedgerRefused, LedgerReorganised, LedgerStateGone
from committee.ledger import BlobRecord, BlockMark, EpochStarted, EpochState, Event, NodeLedger
from committee.ledger.follower import Step
from committee.logs import Log
from storage.node.chain import notes
from storage.node.chain.changes import BlobObject, Change, Draft, object_events
from storage.node.chain.rows import TABLES, Rows, id_bytes, object_of
from storage.node.chain.store import ChainStore
from storage.node.sqlite import StoreError

log = Log()

PROGRESS = "reading"
"""The note of how far the reading has come."""
KEPT_AT_ONCE = 50_000
"""Objects written in one transaction, which take some 25 MB. Rows come in no order, so that each transaction writes
most of the file's pages: of the few rows that fall on one, the fewer the larger the file is."""
MOST_TOLD = 10_000
"""Most objects whose changes are told as events of their own."""


@dataclass(frozen=True, slots=True)
class Progress:
    """How far a reading has come."""

    start: BlockMark
    """The block that started the epoch; before the first epoch, the block at which the reading began."""
    at: BlockMark
    """The block of the newest page."""
    cursor: int
    """The cursor of the next page."""
    is_paged: bool
    """Whether all pages are read."""
    followed: BlockMark
    """The block until which events are followed."""
    ejected: Mapping[int, int]
    """Node id → epoch of its newest ejection, of those behind the start."""
    invalidated: Mapping[bytes, int] = field(default_factory=dict)
    """As `Draft.invalidated`, of all blocks followed: an object of the blob may be brought back later."""
    is_confirmed: bool = True
    """Whether no part of it rests on one of several endpoints alone. Such a part is compared with others later, but
    only by the run that has read it."""

    def note(self) -> bytes:
        """Return the note, as `read` takes it."""
        values = {
            **{
                name: [mark.number, mark.hash.hex()]
                for name, mark in (("start", self.start), ("at", self.at), ("followed", self.followed))
            },
            "cursor": str(self.cursor),
            "is_paged": self.is_paged,
            "is_confirmed": self.is_confirmed,
            "ejected": list(self.ejected.items()),
            "invalidated": [[blob_id.hex(), block] for blob_id, block in self.invalidated.items()],
        }
        return json.dumps(values).encode()

    @classmethod
    def read(cls, note: bytes) -> Progress:
        """Return the progress of a note."""
        values = notes.parse(note)
        start, at, followed = (
            BlockMark(values[name][0], bytes.fromhex(values[name][1])) for name in ("start", "at", "followed")
        )
        ejected = dict(values["ejected"])
        invalidated = {bytes.fromhex(blob_id): block for blob_id, block in values["invalidated"]}
        is_paged, is_confirmed = bool(values["is_paged"]), bool(values["is_confirmed"])
        return cls(start, at, int(values["cursor"]), is_paged, followed, ejected, invalidated, is_confirmed)


@dataclass(frozen=True, slots=True)
class Whole:
    """The state at the block to which the reading has come; the objects are in the store's other table."""

    state: EpochState
    ejected: Mapping[int, int]
    """Node id → epoch of its newest ejection, of those behind the epoch's start."""


@dataclass(frozen=True, slots=True)
class _Objects:
    """The objects of the table that is read into, as a `Known`; for the store's thread."""

    store: ChainStore
    table: int

    def of(self, blob_id: bytes) -> list[BlobObject]:
        return self._found("blob_id = ?", blob_id)

    def by_id(self, object_id: int) -> BlobObject | None:
        found = self._found("object_id = ?", id_bytes(object_id))
        return found[0] if found else None

    def _found(self, where: str, value: bytes) -> list[BlobObject]:
        with self.store.reading() as connection:
            statement = f"SELECT * FROM {TABLES[self.table]} WHERE {where}"  # noqa: S608 (names from above)
            return [object_of(row) for row in connection.execute(statement, (value,))]


class ReadingAnew:
    """One reading of the whole state, begun now or by an earlier run."""

    def __init__(self, ledger: NodeLedger, store: ChainStore) -> None:
        self._ledger = ledger
        self._store = store
        self._table = 1 - store.table

    async def read(self, head: BlockMark) -> Whole:
        """Read on, or from the beginning at `head`. Raises `LedgerError` and `StoreError`."""
        state: EpochState | None = None
        progress = await self._store.in_thread(self._progress)
        if progress is None or not await self._leads_on(progress, head):
            state = await self._ledger.epoch_state(head, is_followed=True)
            start = state.started_block or head
            progress = Progress(start, head, 0, False, start, {})
            await self._keep(progress, (), is_new=True)
        else:
            log.info("going on reading the chain's state", block=progress.at.number)
        try:
            progress = await self._read_pages(progress)
            while True:
                progress = await self._follow(progress)
                if state is not None and state.block == progress.at:
                    return Whole(state, progress.ejected)
                try:
                    state = await self._ledger.epoch_state(progress.at, is_followed=True)
                except LedgerStateGone:
                    progress = replace(progress, at=await self._newer(progress.at))
        except Exception as error:
            if isinstance(error, LedgerReorganised) or not isinstance(error, LedgerError | StoreError):
                await self._store.in_thread(self._forget)  # no later try could go on from it
            raise

    async def _leads_on(self, progress: Progress, head: BlockMark) -> bool:
        """Return whether an earlier reading can go on; else it begins again. Raises `LedgerUnavailable`."""
        if not progress.is_confirmed or (progress.at.number >= head.number and progress.at != head):
            return False
        try:
            if progress.at != head:
                await self._ledger.stretch(progress.at, head)
        except LedgerReorganised:
            return False
        return True

    def events(self, state: EpochState) -> list[Event]:
        """Tell what became of the view's objects, as events of the state's block.

        Of more than MOST_TOLD the epoch's start is told in their place, upon which all blobs are looked at.
        """
        mine, other = TABLES[self._store.table], TABLES[self._table]
        statement = f"""
            SELECT new.*, old.* FROM {other} AS new LEFT JOIN {mine} AS old USING (blob_id, object_id)
            WHERE new.deleted_block IS NULL AND (
                old.owner IS NULL OR (old.invalid_block IS NULL) != (new.invalid_block IS NULL)
                OR old.end_period != new.end_period OR old.certified_epoch IS NOT new.certified_epoch)
            ORDER BY length(new.object_id), new.object_id LIMIT {MOST_TOLD + 1}"""  # noqa: S608 (names from above)
        with self._store.reading() as connection:
            found = connection.execute(statement).fetchall()
        if len(found) > MOST_TOLD:
            return [EpochStarted(state.block, state.epoch, state.period)]
        half = len(found[0]) // 2 if found else 0
        pairs = ((object_of(row[half:]) if row[half + 1] else None, object_of(row[:half])) for row in found)
        return list(object_events(pairs, state))

    def finish(self, change: Change) -> None:
        """Have what was read take the place of all that the store had."""

        def write(writing: Rows) -> None:
            for table in ("ejection", "mark"):
                writing.remove(table)
            writing.remove("note", "name = ?", PROGRESS)
            self._store.write(writing, self._table, change, owes_state=False)

        self._store.use_table(self._table, write)
        with self._store.writing() as writing:
            writing.clear(1 - self._table)

    # the objects that live

    async def _read_pages(self, progress: Progress) -> Progress:
        read: list[BlobObject] = []
        try:
            while not progress.is_paged:
                try:
                    records, cursor = await self._ledger.live_page(
                        progress.cursor, progress.at, is_followed=True
                    )
                except LedgerStateGone:
                    progress = replace(progress, at=await self._newer(progress.at))
                    continue
                progress = replace(progress, cursor=cursor, is_paged=cursor == 0)
                read += [_since(one, progress.start.number, progress.invalidated) for one in records]
                if progress.is_paged or len(read) >= KEPT_AT_ONCE:
                    await self._keep(progress, read)
                    read.clear()
        except LedgerError:
            await self._keep(progress, read)  # endpoints that fail often would not be got through otherwise
            raise
        return progress

    async def _newer(self, mark: BlockMark) -> BlockMark:
        """Return a newer settled block. Raises `LedgerStateGone` when there is none, or `mark` was replaced."""
        head = await self._ledger.head()
        if head.number <= mark.number:
            raise LedgerStateGone(f"no endpoint has the state of block {mark.number}, the newest settled one")
        await self._ledger.stretch(mark, head)
        return head

    # what happened since the epoch started

    async def _follow(self, progress: Progress) -> Progress:
        while progress.followed.number < progress.at.number:
            stretch = await self._ledger.stretch(progress.followed, progress.at)
            draft = Draft(_Objects(self._store, self._table), has_read=True)
            step = Step(stretch.marks, tuple(stretch.events), None)
            change = await self._store.in_thread(draft.follow, step)
            progress = replace(
                progress,
                followed=stretch.marks[-1],
                ejected={**progress.ejected, **change.ejected},
                invalidated={**progress.invalidated, **draft.invalidated},
            )
            objects = dict(change.objects)
            for one in await self._brought_back(draft, progress):
                objects[one.record.object_id] = one
            await self._keep(progress, list(objects.values()))
        return progress

    async def _brought_back(self, draft: Draft, progress: Progress) -> list[BlobObject]:
        """Return the objects that no page had: deleted since the start, or moved between pages by an extension."""
        found: list[BlobObject] = []
        start = progress.start
        for record in await self._ledger.lost_objects(sorted(draft.gone), start) if draft.gone else ():
            block = draft.gone[record.object_id]
            one = _since(replace(record, deleted=True), start.number, progress.invalidated)
            found.append(replace(one, deleted_block=block))
        for object_id, certified_block in draft.unknown.items():
            if object_id in draft.gone:
                continue
            try:
                one = _since(await self._ledger.blob_object(object_id), start.number, progress.invalidated)
            except LedgerRefused:
                continue  # deleted in a later block, which has still to be followed
            found.append(one if certified_block is None else replace(one, certified_block=certified_block))
        return found

    # the store's thread

    def _progress(self) -> Progress | None:
        with self._store.reading() as connection:
            found = connection.execute("SELECT value FROM note WHERE name = ?", (PROGRESS,)).fetchone()
        return Progress.read(found[0]) if found else None

    async def _keep(self, progress: Progress, objects: Sequence[BlobObject], *, is_new: bool = False) -> None:
        progress = replace(progress, is_confirmed=self._ledger.is_confirmed)
        await self._store.in_thread(self._save, progress, objects, is_new)

    def _save(self, progress: Progress, objects: Sequence[BlobObject], is_new: bool) -> None:
        with self._store.writing() as writing:
            if is_new:
                writing.clear(self._table)
            # Rows lie in the order of blobs: so each page of the file is changed once, and in turn.
            writing.put_objects(self._table, sorted(objects, key=lambda one: one.record.blob_id))
            writing.put("note", [(PROGRESS, progress.note())])

    def _forget(self) -> None:
        with self._store.writing() as writing:
            writing.remove("note", "name = ?", PROGRESS)


def _since(record: BlobRecord, start: int, invalidated: Mapping[bytes, int]) -> BlobObject:
    """Return an object that was certified, and became invalid, before the epoch began, unless events say otherwise."""
    return BlobObject(
        record,
        certified_block=None if record.certified_epoch is None else start,
        invalid_block=invalidated.get(record.blob_id, start) if record.invalid else None,
    )
