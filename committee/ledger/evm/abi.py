"""What the contracts' calls, events and errors look like in bytes, from their committed artifacts.

Structs are decoded to dicts by field name, so that nothing here depends on the order of a struct's fields.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from copy import copy
from dataclasses import dataclass
from functools import cached_property, lru_cache
from importlib import resources
from typing import Any

from eth_abi.abi import encode
from eth_abi.codec import ABIDecoder
from eth_abi.decoding import ContextFramesBytesIO, StringDecoder
from eth_abi.exceptions import DecodingError, EncodingError
from eth_abi.registry import registry
from eth_utils.abi import collapse_if_tuple, event_abi_to_log_topic, function_abi_to_4byte_selector
from eth_utils.address import to_checksum_address

from committee.errors import LedgerError

_ERROR_STRING = bytes.fromhex("08c379a0")
"""Selector of `Error(string)`, Solidity's `require` with a message."""
_PANIC = bytes.fromhex("4e487b71")
"""Selector of `Panic(uint256)`, Solidity's failed assertions."""
MAX_EVENT_BYTES = 2**16
"""Size limit of an event's data: 1000 shards attested take half of it."""
READ_TIMES = 8
"""Twice what the deepest of our structs needs."""


class _LenientStrings(StringDecoder):
    """Decodes strings with U+FFFD for each byte that is not UTF-8.

    Anyone can put such bytes on the chain; a decoder that raised for them would hide everything beside them.
    """

    @staticmethod
    def decoder_fn(data: bytes, handle_string_errors: str = "replace") -> str:
        return data.decode("utf-8", errors="replace")


class _ReadFewTimes(ContextFramesBytesIO):
    """Encoded values, of which a decoder may read few times as many bytes as there are (READ_TIMES).

    The ABI has pointers, which may all lead to the same bytes. So an answer of a quarter of a megabyte could decode to
    2000 members with the same 2000 shards each, or one of a megabyte to 400 strings of a megabyte. What our contracts
    encode has each value once, and a decoder reads it twice for each struct that it lies in.
    """

    def __init__(self, data: bytes) -> None:
        super().__init__(data)  # type: ignore[no-untyped-call]
        self._left_bytes = READ_TIMES * len(data)

    def read(self, size: int | None = -1, /) -> bytes:
        """Return the next bytes. Raises `DecodingError` when too many have been read."""
        data = super().read(size)
        self._left_bytes -= len(data)
        if self._left_bytes < 0:
            raise DecodingError("its pointers lead to the same values again and again")
        return data


class _Decoder(ABIDecoder):
    """Decodes what may be hostile, in a time and memory that its size limits."""

    stream_class = _ReadFewTimes


def _lenient_decoder() -> ABIDecoder:
    own = copy(registry)
    own.unregister_decoder("string")
    own.register_decoder("string", _LenientStrings, label="string")
    return _Decoder(own)


_DECODER = _lenient_decoder()


@dataclass(frozen=True, slots=True)
class Log:
    """One decoded event."""

    name: str
    arguments: dict[str, Any]


class ContractAbi:
    """One contract: encodes calls to it, decodes what it answers and tells."""

    def __init__(self, name: str, abi: Sequence[Mapping[str, Any]], bytecode: bytes = b"") -> None:
        self.name = name
        self.bytecode = bytecode
        self._entries = abi
        self._functions = {entry["name"]: entry for entry in abi if entry["type"] == "function"}

    @cached_property
    def selectors(self) -> dict[str, bytes]:
        """The four bytes that call each function."""
        return {name: function_abi_to_4byte_selector(entry) for name, entry in self._functions.items()}  # type: ignore[arg-type]

    @cached_property
    def events(self) -> dict[bytes, Mapping[str, Any]]:
        """Events by the first topic of their logs."""
        return {
            event_abi_to_log_topic(entry): entry  # type: ignore[arg-type]
            for entry in self._entries
            if entry["type"] == "event"
        }

    @cached_property
    def errors(self) -> dict[bytes, Mapping[str, Any]]:
        """Custom errors by their four bytes."""
        return {
            function_abi_to_4byte_selector({**entry, "type": "function"}): entry  # type: ignore[arg-type]
            for entry in self._entries
            if entry["type"] == "error"
        }

    def encode_call(self, function: str, *arguments: Any) -> bytes:
        """Return the call data. Raises `LedgerError` for an argument that does not fit its type."""
        inputs = self._functions[function]["inputs"]
        return self.selectors[function] + _encode(f"{self.name}.{function}", inputs, arguments)

    def encode_deployment(self, **arguments: Any) -> bytes:
        """Return the creation code with the constructor's arguments, by name. Raises `LedgerError`."""
        inputs: Sequence[Mapping[str, Any]] = next(
            (entry["inputs"] for entry in self._entries if entry["type"] == "constructor"), []
        )
        values = [arguments[one["name"]] for one in inputs]
        return self.bytecode + _encode(f"creation of {self.name}", inputs, values)

    def decode_result(self, function: str, data: bytes) -> Any:
        """Return what a call returned: one value, or a tuple of several. Raises `LedgerError` for anything else."""
        outputs = self._functions[function]["outputs"]
        try:
            values = _decode(outputs, data)
        except (DecodingError, OverflowError) as error:
            raise LedgerError(f"{self.name}.{function} answered what is not its result: {error}") from error
        return values[0] if len(values) == 1 else tuple(values)

    def decode_log(self, topics: Sequence[bytes], data: bytes) -> Log | None:
        """Return the event; None when it is not one of this contract's."""
        declaration = self.events.get(topics[0]) if topics else None
        if declaration is None:
            return None
        indexed = [one for one in declaration["inputs"] if one["indexed"]]
        others = [one for one in declaration["inputs"] if not one["indexed"]]
        if len(data) > MAX_EVENT_BYTES:
            raise LedgerError(
                f"{self.name}: a log of {len(data)} bytes, more than any {declaration['name']} has"
            )
        try:
            values = dict(zip((one["name"] for one in others), _decode(others, data), strict=True))
            for one, topic in zip(indexed, topics[1:], strict=True):
                values[one["name"]] = _decode([one], topic)[0]
        except (DecodingError, OverflowError, ValueError) as error:
            raise LedgerError(f"{self.name}: a log that is not its {declaration['name']}: {error}") from error
        return Log(declaration["name"], values)


class ErrorDecoder:
    """Reverts → the contract's own error name and arguments, over several contracts."""

    def __init__(self, contracts: Iterable[ContractAbi]) -> None:
        self._errors = {
            selector: entry for contract in contracts for selector, entry in contract.errors.items()
        }

    def decode(self, data: bytes) -> tuple[str, dict[str, object]]:
        """Return (name, arguments by name) of a revert; bytes are given as hex. Never raises."""
        selector, payload = data[:4], data[4:]
        try:
            if selector == _ERROR_STRING:
                return "Error", {"message": _DECODER.decode(["string"], payload)[0]}
            if selector == _PANIC:
                return "Panic", {"code": _DECODER.decode(["uint256"], payload)[0]}
            if selector in self._errors:
                inputs = self._errors[selector]["inputs"]
                values = _decode(inputs, payload)
                names = [one["name"] or f"argument{place}" for place, one in enumerate(inputs)]
                return self._errors[selector]["name"], {
                    name: "0x" + value.hex() if isinstance(value, bytes) else value
                    for name, value in zip(names, values, strict=True)
                }
        except (DecodingError, OverflowError):
            pass
        return ("UnknownError", {"data": "0x" + data.hex()}) if data else ("Reverted", {})


@lru_cache(maxsize=16)
def load_contract(name: str) -> ContractAbi:
    """Return a contract's committed artifact. Raises `LedgerError` when it is missing."""
    path = resources.files("contracts") / "evm" / "artifacts" / f"{name}.json"
    try:
        artifact = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise LedgerError(f"no artifact {path}: run node build.mjs in contracts/evm") from None
    return ContractAbi(name, artifact["abi"], bytes.fromhex(artifact["bytecode"].removeprefix("0x")))


def _encode(action: str, inputs: Sequence[Mapping[str, Any]], arguments: Sequence[Any]) -> bytes:
    try:
        return encode([collapse_if_tuple(one) for one in inputs], arguments)  # type: ignore[arg-type]
    except EncodingError as error:
        raise LedgerError(f"{action}: {error}") from error


def _decode(outputs: Sequence[Mapping[str, Any]], data: bytes) -> list[Any]:
    values = _DECODER.decode([collapse_if_tuple(one) for one in outputs], data)  # type: ignore[arg-type]
    return [_named(one["type"], one, value) for one, value in zip(outputs, values, strict=True)]


def _named(kind: str, declaration: Mapping[str, Any], value: Any) -> Any:
    """Return a decoded value with structs as dicts and addresses in their checksummed form."""
    if kind.endswith("]"):
        element = kind[: kind.rindex("[")]
        if not element.startswith(("tuple", "address")):
            return value
        return [_named(element, declaration, one) for one in value]
    if kind == "tuple":
        return {
            one["name"]: _named(one["type"], one, part)
            for one, part in zip(declaration["components"], value, strict=True)
        }
    return to_checksum_address(value) if kind == "address" else value
