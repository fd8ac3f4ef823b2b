"""A store as version 4 wrote it: larger slivers in files of their own, smaller ones in their rows."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable
from contextlib import closing
from pathlib import Path

from xxhash import xxh3_64_digest

from storage.node.store import NewSliver, SliverKey

INLINE_BYTES = 4096
SCHEMA = """
CREATE TABLE metadata (blob_id BLOB PRIMARY KEY, bcs BLOB NOT NULL, checksum BLOB NOT NULL);
CREATE TABLE sliver (
    shard INTEGER NOT NULL, axis INTEGER NOT NULL, blob_id BLOB NOT NULL,
    size INTEGER NOT NULL, checksum BLOB NOT NULL, inline BLOB, PRIMARY KEY (shard, axis, blob_id));
CREATE INDEX sliver_of_blob ON sliver (blob_id, axis, shard, size);
CREATE INDEX sliver_in_file ON sliver (shard, axis, blob_id, size) WHERE inline IS NULL;
CREATE TABLE tally (
    epoch INTEGER NOT NULL, shard INTEGER NOT NULL, blob_id BLOB NOT NULL, way TEXT NOT NULL,
    slivers INTEGER NOT NULL, symbol_bytes INTEGER NOT NULL, received_bytes INTEGER NOT NULL,
    wasted_bytes INTEGER NOT NULL, PRIMARY KEY (epoch, shard, blob_id, way)) WITHOUT ROWID;
CREATE TABLE bookmark (name TEXT PRIMARY KEY, value BLOB NOT NULL) WITHOUT ROWID;
PRAGMA user_version = 4;
"""


def old_file(folder: Path, key: SliverKey) -> Path:
    """Return where a sliver's file lies."""
    blob = key.blob_id.hex()
    return folder / "slivers" / str(key.shard) / key.axis.label / blob[:2] / blob


def make_old_store(folder: Path, slivers: Iterable[NewSliver], metadata: dict[bytes, bytes]) -> None:
    """Write a store with these slivers, their tallies, metadata and one bookmark, "place"."""
    for name in ("slivers", "incoming", "dropped"):
        (folder / name).mkdir(parents=True)
    (folder / "lock").touch()
    with closing(sqlite3.connect(folder / "index.sqlite")) as index, index:
        index.execute("PRAGMA synchronous=OFF")
        index.executescript(SCHEMA)
        for one in slivers:
            symbols, is_inline = bytes(one.symbols), len(one.symbols) <= INLINE_BYTES
            inline = symbols if is_inline else None
            row = (one.shard, one.axis, one.blob_id, len(symbols), xxh3_64_digest(symbols), inline)
            index.execute("INSERT INTO sliver VALUES (?, ?, ?, ?, ?, ?)", row)
            if not is_inline:
                path = old_file(folder, SliverKey(one.blob_id, one.shard, one.axis))
                path.parent.mkdir(parents=True, exist_ok=True)
                path.write_bytes(symbols)
            if one.tally is not None:
                values = (1, one.shard, one.blob_id, "rebuilt", 1, one.tally.symbol_bytes, 0, 0)
                index.execute("INSERT INTO tally VALUES (?, ?, ?, ?, ?, ?, ?, ?)", values)
        for blob_id, bcs in metadata.items():
            index.execute("INSERT INTO metadata VALUES (?, ?, ?)", (blob_id, bcs, xxh3_64_digest(bcs)))
        index.execute("INSERT INTO bookmark VALUES ('place', x'01')")
