"""The epoch's state, the parameters and marks as the notes of a node's record of the chain: JSON, and read again."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import asdict
from typing import Any

from committee.ledger import BlockMark, EpochState, Parameters
from committee.membership import Committee, Member
from committee.untrusted import parse_json
from storage.redstuff.parameters import MAX_SHARDS, MIN_SHARDS

MAX_NOTE_BYTES = 2**26
"""Largest note, in bytes; the state of 1000 shards that were all left unattested takes some megabytes."""
MAX_NOTE_BRACKETS = 2**14
SHARD_BYTES = 2


def note(value: EpochState | Parameters | BlockMark) -> bytes:
    """Return the note of a value."""
    return json.dumps(asdict(value), default=_as_json).encode()


def parse(text: bytes) -> Any:
    """Return what the JSON of a note says. Raises `ValueError` when it is not JSON or too large."""
    if len(text) > MAX_NOTE_BYTES:
        raise ValueError(f"a note of {len(text)} bytes")
    return parse_json(text, MAX_NOTE_BRACKETS)


def parameters(text: bytes) -> Parameters:
    """Return the parameters of a note. Raises any exception for what `note` has not made."""
    values = parse(text)
    numbers = {name: value for name, value in values.items() if name != "domain"}
    if any(type(value) is not int for value in numbers.values()):
        raise TypeError("parameters that are no numbers")
    if not MIN_SHARDS <= numbers["n_shards"] <= MAX_SHARDS:
        raise ValueError("a number of shards that there cannot be")
    return Parameters(**numbers, domain=bytes.fromhex(values["domain"]))


def state(text: bytes) -> EpochState:
    """Return the epoch's state of a note. Raises any exception for what `note` has not made."""
    values = parse(text)
    return EpochState(
        block=mark(values["block"]),
        epoch=values["epoch"],
        period=values["period"],
        first_epoch=values["first_epoch"],
        started_at_s=values["started_at_s"],
        started_block=mark(values["started_block"]) if values["started_block"] else None,
        salt_seed=None if values["salt_seed"] is None else bytes.fromhex(values["salt_seed"]),
        handover_done=values["handover_done"],
        last_handover_done_s=values["last_handover_done_s"],
        regular_handover_done_s=values["regular_handover_done_s"],
        selected_at_s=values["selected_at_s"],
        next_is_replacement=values["next_is_replacement"],
        replaceable_at_s=values["replaceable_at_s"],
        previous=_committee(values["previous"]),
        current=_committee(values["current"]),
        next=_committee(values["next"]),
        unattested=dict(
            zip(map(int, values["unattested"]), _members(values["unattested"].values()), strict=True)
        ),
    )


def mark(values: Mapping[str, Any]) -> BlockMark:
    """Return the mark of a note's value."""
    return BlockMark(values["number"], bytes.fromhex(values["hash"]))


def shards_note(shards: frozenset[int]) -> bytes:
    """Return the note of some shards: two bytes each."""
    return b"".join(one.to_bytes(SHARD_BYTES, "big") for one in sorted(shards))


def shards(text: bytes) -> frozenset[int]:
    """Return the shards of a note."""
    places = range(0, len(text), SHARD_BYTES)
    return frozenset(int.from_bytes(text[place : place + SHARD_BYTES], "big") for place in places)


def _as_json(value: bytes) -> str:
    return value.hex()


def _committee(values: Mapping[str, Any] | None) -> Committee | None:
    if values is None:
        return None
    return Committee(values["epoch"], values["n_shards"], tuple(_members(values["members"])))


def _members(listed: Iterable[Mapping[str, Any]]) -> Iterable[Member]:
    for values in listed:
        key = bytes.fromhex(values["public_key"])
        yield Member(**{**values, "public_key": key, "shards": tuple(values["shards"])})
