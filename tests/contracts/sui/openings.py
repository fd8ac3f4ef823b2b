"""Openings of storage proofs as the Move package has them."""

from __future__ import annotations

from collections.abc import Callable

from committee.opening import Opening
from localnet.sui_double.move.values import Ref, Value
from localnet.sui_double.transactions import PURE_BYTES_LIMIT


def in_move(call: Callable[..., Value], opening: Opening) -> Ref:
    """Return an opening as a transaction makes it: the symbol in parts that arguments can be as long as."""
    first, *more = parts(opening.symbol)
    made = call(
        *("opening", "new", opening.index, opening.offset, list(opening.inventory_path), opening.blob_root),
        *(opening.blob_length, first, list(opening.sliver_path), opening.other_root),
        *(list(opening.blob_path), list(opening.commitment_path)),
    )
    shown = Ref([made], 0)
    for part in more:
        call("opening", "append_symbol", shown, part)
    return shown


def parts(symbol: bytes) -> list[bytes]:
    longest = PURE_BYTES_LIMIT - 3  # beside the bytes of the length
    return [symbol[start : start + longest] for start in range(0, len(symbol), longest)] or [b""]
