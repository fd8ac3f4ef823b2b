"""Read masks: of a message, a client gets the fields that it named, and no others."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Any, TypeVar

import betterproto2

from localnet.sui_double.errors import InvalidTransaction

_M = TypeVar("_M", bound=betterproto2.Message)


def masked(message: _M, paths: Sequence[str]) -> _M:
    """Return a copy of a message with the fields at these paths, as `effects.status` or `*`.

    A path goes through lists into each of their messages. Raises `InvalidTransaction` for a path that there is not.
    """
    if "*" in paths:
        return message
    names = {field.name for field in dataclasses.fields(type(message))}  # type: ignore[arg-type]
    below: dict[str, list[str]] = {}
    for path in paths:
        first, _, rest = path.partition(".")
        if first not in names:
            raise InvalidTransaction(f"read mask: {type(message).__name__} has no field {first!r}")
        below.setdefault(first, []).append(rest or "*")
    kept = {name: _field(getattr(message, name), rest) for name, rest in below.items()}
    return type(message)(**kept)


def _field(value: Any, paths: Sequence[str]) -> Any:
    if isinstance(value, betterproto2.Message):
        return masked(value, paths)
    if isinstance(value, list):
        return [_field(element, paths) for element in value]
    return value
