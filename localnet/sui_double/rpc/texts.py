"""How the interface writes addresses, digests and types, and how clients may write them."""

from __future__ import annotations

import re

import base58

from localnet.sui_double.errors import InvalidTransaction
from localnet.sui_double.move.types import (
    ADDRESS_BYTES,
    Datatype,
    ModuleId,
    Scalar,
    Type,
    Vector,
    canonical_name,
)

_TOKEN = re.compile(r"0x[0-9a-fA-F]{1,64}|\w+|::|[<>,]")
_SCALARS = {scalar.value: scalar for scalar in Scalar}
_DEPTH_LIMIT = 16


def address_text(address: bytes) -> str:
    """Return an address with all of its digits."""
    return f"0x{address.hex()}"


def read_address(text: str | None) -> bytes:
    """Return the address of a text, which may lack leading zeros. Raises `InvalidTransaction`."""
    digits = (text or "").removeprefix("0x")
    if not re.fullmatch(r"[0-9a-fA-F]{1,64}", digits):
        raise InvalidTransaction(f"{text!r} is no address")
    return int(digits, 16).to_bytes(ADDRESS_BYTES, "big")


def digest_text(digest: bytes) -> str:
    """Return a digest in base 58."""
    return base58.b58encode(digest).decode()


def read_digest(text: str | None) -> bytes:
    """Return the digest of a text in base 58. Raises `InvalidTransaction`."""
    try:
        digest = base58.b58decode(text or "")
    except ValueError:
        digest = b""
    if len(digest) != ADDRESS_BYTES:
        raise InvalidTransaction(f"{text!r} is no digest")
    return digest


def type_text(type_: Type) -> str:
    """Return a type with addresses of 64 digits, as the interface writes it."""
    return re.sub(r"\b([0-9a-f]{64})::", r"0x\1::", canonical_name(type_))


def read_type(text: str) -> Type:
    """Return the type of a text such as `0x2::coin::Coin<0x2::sui::SUI>`. Raises `InvalidTransaction`."""
    tokens = _TOKEN.findall(text)
    if "".join(tokens) != re.sub(r"\s", "", text):
        raise InvalidTransaction(f"{text!r} is no type")
    try:
        type_, rest = _read(tokens, 0)
    except (IndexError, ValueError):
        raise InvalidTransaction(f"{text!r} is no type") from None
    if rest:
        raise InvalidTransaction(f"{text!r} is no type")
    return type_


def _read(tokens: list[str], depth: int) -> tuple[Type, list[str]]:
    """Return the type that the tokens begin with, and those after it."""
    if depth > _DEPTH_LIMIT:
        raise ValueError("a type that is nested too deeply")
    first, rest = tokens[0], tokens[1:]
    if first in _SCALARS:
        return _SCALARS[first], rest
    if first == "vector":
        (element,), rest = _read_arguments(rest, depth)
        return Vector(element), rest
    module, name = rest[1], rest[3]
    if rest[0] != "::" or rest[2] != "::" or not first.startswith("0x"):
        raise ValueError("no datatype")
    rest = rest[4:]
    arguments: tuple[Type, ...] = ()
    if rest[:1] == ["<"]:
        arguments, rest = _read_arguments(rest, depth)
    return Datatype(ModuleId(read_address(first), module), name, arguments), rest


def _read_arguments(tokens: list[str], depth: int) -> tuple[tuple[Type, ...], list[str]]:
    if tokens[0] != "<":
        raise ValueError("no type arguments")
    arguments: list[Type] = []
    rest = tokens
    while rest[0] in ("<", ","):
        argument, rest = _read(rest[1:], depth + 1)
        arguments.append(argument)
    if rest[0] != ">":
        raise ValueError("type arguments without an end")
    return tuple(arguments), rest[1:]
