"""What a node's record of the chain has, but for the blob objects."""

from __future__ import annotations

import sqlite3
from collections.abc import Mapping
from dataclasses import dataclass

from committee.ledger import BlockMark, EpochState, Parameters
from storage.node.chain import notes


@dataclass(frozen=True, slots=True)
class Saved:
    """What a file has, but for the objects."""

    marks: tuple[BlockMark, ...]
    ejected: Mapping[int, int]
    state: EpochState
    parameters: Parameters | None
    owes_state: bool
    """Whether the state is older than the newest mark, and has changed since."""
    is_confirmed: bool
    """As `Change.is_confirmed`."""
    missing: frozenset[int] = frozenset()
    """As `Change.missing`."""


def read_saved(connection: sqlite3.Connection, found: Mapping[str, bytes]) -> Saved:
    """Return what is saved but for the objects. Raises any exception for what was not saved so."""
    marks = connection.execute("SELECT number, hash FROM mark ORDER BY number").fetchall()
    if not marks:
        raise ValueError("a state without a checkpoint")
    return Saved(
        marks=tuple(BlockMark(number, digest) for number, digest in marks),
        ejected=dict(connection.execute("SELECT node_id, epoch FROM ejection").fetchall()),
        state=notes.state(found["state"]),
        parameters=notes.parameters(found["parameters"]) if "parameters" in found else None,
        owes_state=found["owes_state"] != bytes(1),
        is_confirmed=found["confirmed"] != bytes(1),
        missing=notes.shards(found.get("missing", b"")),
    )
