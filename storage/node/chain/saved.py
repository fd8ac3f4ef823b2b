"""The part of a node's record of the chain that is not blob objects, as it is read at the opening."""

from __future__ import annotations

import sqlite3
from collections.abc import Mapping
from dataclasses import dataclass

from committee.ledger import BlockMark, EpochState, Parameters
from storage.node.chain import notes


@dataclass(frozen=True, slots=True)
class Saved:
    """All that a file holds but the objects."""

    marks: tuple[BlockMark, ...]
    ejected: Mapping[int, int]
    state: EpochState
    parameters: Parameters | None
    owes_state: bool
    """Whether the state is older than the newest mark, and has changed since."""
    is_confirmed: bool
    """Whether nothing in it hangs on the word of one of several endpoints."""
    missing: frozenset[int] = frozenset()
    """Shards of the epoch that are neither kept nor attested."""


def read_saved(connection: sqlite3.Connection, found: Mapping[str, bytes]) -> Saved:
    """Return all that is saved but the objects. Raises any exception for a file that no node has saved so."""
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
