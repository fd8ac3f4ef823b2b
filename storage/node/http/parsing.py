"""What a request names in its path and query; every function raises `InvalidEncoding` for what it cannot read."""

from __future__ import annotations

import re

from aiohttp import web

from storage.client import wire
from storage.client.failures import Reason
from storage.node.face import Refusal
from storage.redstuff import Axis, InvalidEncoding, parse_blob_id


def blob_id_of(request: web.Request) -> bytes:
    """Return the blob id in the path."""
    return parse_blob_id(request.match_info["blob_id"])


def sliver_path(request: web.Request, n_shards: int) -> tuple[bytes, int, Axis]:
    """Return (blob id, pair, axis) of the path to a sliver. Raises `Refusal` as `indices` does."""
    pair = indices(request.match_info["pair"], "pair", 1, n_shards)[0]
    return blob_id_of(request), pair, wire.read_axis(request.match_info["axis"])


def indices(text: str, name: str, most: int, n_shards: int) -> list[int]:
    """Return the numbers of pairs, slivers or shards, separated by commas: 1 to `most` of them, each once.

    Raises `Refusal` when they are more, or one is not below `n_shards`.
    """
    texts = text.split(",", most)
    if len(texts) > most:
        raise Refusal(400, Reason.SLIVER_COUNT_EXCEEDS_LIMIT, f"{name}: more than {most}")
    numbers = [number(one, name) for one in texts]
    if len(set(numbers)) != len(numbers):
        raise InvalidEncoding(f"{name}: each once")
    if max(numbers) >= n_shards:
        raise Refusal(400, Reason.INDEX_OUT_OF_RANGE, f"{name}: {max(numbers)}, not below {n_shards}")
    return numbers


def helper_shards(request: web.Request, n_shards: int) -> list[int] | None:
    """Return the shards whose slivers are to help; None for all that are here."""
    text = request.query.get("helperShards")
    return None if text is None else wire.read_ranges(text, n_shards)


def flag(request: web.Request, name: str) -> bool:
    """Return whether the query says that `name` is true."""
    text = request.query.get(name, "false")
    if text not in ("true", "false"):
        raise InvalidEncoding(f"{name}: {text[:40]!r} is neither true nor false")
    return text == "true"


def number(text: str, name: str) -> int:
    """Return a decimal number of at most 78 digits, which all numbers of 256 bits have."""
    if not (text.isascii() and text.isdigit() and len(text) <= 78):
        raise InvalidEncoding(f"{name}: {text[:40]!r} is no number")
    return int(text)


def object_number(text: str) -> int:
    """Return the id of a blob object, in decimal or as 0x and up to 64 hexadecimal digits."""
    if re.fullmatch("0x[0-9a-fA-F]{1,64}", text, re.ASCII):
        return int(text, 16)
    object_id = number(text, "object id")
    if object_id >= 1 << 256:
        raise InvalidEncoding("object id: it has at most 256 bits")
    return object_id


def hexadecimal(text: str, name: str, size_bytes: int) -> bytes:
    """Return `size_bytes` bytes, which a part of a path names."""
    try:
        named = bytes.fromhex(text)
    except ValueError:
        named = b""
    if len(named) != size_bytes or len(text) != 2 * size_bytes:
        raise InvalidEncoding(f"{name}: {size_bytes} bytes in hexadecimal are wanted")
    return named
