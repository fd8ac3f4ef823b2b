"""What a node keeps of the chain, whole: for tests that look at all of it."""

from __future__ import annotations

import contextlib
from dataclasses import dataclass
from pathlib import Path

from committee.ledger import BlobRecord
from storage.node.chain import ChainView, pages
from storage.node.chain.changes import BlobObject, Change
from storage.node.chain.conditions import Condition
from storage.node.chain.rows import TABLES, object_of
from storage.node.chain.saved import Saved
from storage.node.chain.store import ChainStore
from storage.node.sqlite import StoreDamaged

DOMAIN = bytes(range(32))
NOTHING_OVER = Condition("0", ())


@dataclass(frozen=True)
class Kept:
    """All that a file has."""

    saved: Saved
    objects: tuple[BlobObject, ...]
    """By object id."""


def objects_in(store: ChainStore) -> tuple[BlobObject, ...]:
    """All objects that a store has, by object id."""
    with store.reading() as connection:
        rows = connection.execute(f"SELECT * FROM {TABLES[store.table]}").fetchall()
        return tuple(sorted(map(object_of, rows), key=lambda one: one.record.object_id))


def records_of(view: ChainView, blob_id: bytes) -> tuple[BlobRecord, ...]:
    """All objects that name a blob, by object id."""
    return tuple(one.record for one in view._store.of(blob_id))


def whole(store: ChainStore, domain: bytes = DOMAIN) -> Kept | None:
    """What a store that is opened and checked has; None when there is nothing, or when it is damaged."""
    saved = store.open(domain)
    if saved is None:
        return None
    try:
        while not store.is_whole:
            store.tidy(NOTHING_OVER)
        return Kept(saved, objects_in(store))
    except StoreDamaged:
        assert not store.is_whole
        store.make_anew(domain)
        return None


def kept(folder: Path, domain: bytes = DOMAIN) -> Kept | None:
    """What the file in a folder has."""
    with contextlib.closing(ChainStore(folder)) as store:
        return whole(store, domain)


def put(store: ChainStore, *changes: Change, owes_state: bool = False) -> None:
    """Write changes one after the other."""
    for change in changes:
        with store.writing({one.record.blob_id for one in change.objects.values()}) as writing:
            store.write(writing, store.table, change, owes_state=owes_state)


def live_blobs(view: ChainView) -> list[bytes]:
    """All ids of live blobs."""
    return [blob_id for page in pages(view.live_blobs) for blob_id in page]


def inventory(view: ChainView) -> list[bytes]:
    """All blobs of the epoch's inventory."""
    return [blob_id for page in pages(view.inventory) for blob_id in page]


def live_at_start(view: ChainView) -> list[bytes]:
    """All ids of blobs that were live when the epoch started."""
    return [blob_id for page in pages(view.live_at_start) for blob_id in page]
