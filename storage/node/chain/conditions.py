"""The rules for which blob objects count, as SQL conditions on their rows (`storage.node.chain.rows`). Pure."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Condition:
    """A rule for objects: an SQL condition on their rows, and its values."""

    where: str
    values: tuple[int, ...]


def live_in(period: int) -> Condition:
    """Objects for whose sake a blob is to be kept in a period (`BlobRecord.is_live`)."""
    return Condition(
        "certified_epoch IS NOT NULL AND invalid_block IS NULL AND deleted_block IS NULL AND end_period > ?",
        (period,),
    )


def registered_in(period: int) -> Condition:
    """Objects that have neither been deleted nor, in a period, expired, and are not invalid."""
    return Condition("deleted_block IS NULL AND end_period > ? AND invalid_block IS NULL", (period,))


def live_at(block: int, period: int) -> Condition:
    """Objects of an inventory: live, and valid, at the end of a block, of the period that runs since.

    An object that has ended is never extended, so its end of today also tells whether it had ended then.
    """
    return Condition(
        "certified_block <= ? AND (deleted_block IS NULL OR deleted_block > ?) "
        "AND (invalid_block IS NULL OR invalid_block > ?) AND end_period > ?",
        (block, block, block, period),
    )


def wanted_since(block: int, period: int) -> Condition:
    """Objects that meet `live_at` and have not become invalid since."""
    then = live_at(block, period)
    return Condition(f"{then.where} AND invalid_block IS NULL", then.values)


def over_in(period: int, start: int) -> Condition:
    """Objects that may be removed: expired, or deleted and not live at the end of block `start`.

    The epoch started in that block, and what was live then is still asked for.
    """
    return Condition(
        "end_period <= ? OR (deleted_block IS NOT NULL AND (deleted_block <= ? OR certified_block IS NULL "
        "OR certified_block > ?))",
        (period, start, start),
    )
