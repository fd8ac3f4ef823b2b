"""BCS (Binary Canonical Serialization): the bytes of a value of a Move type."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, TypeAlias

from localnet.sui_double.move.errors import BadBytes
from localnet.sui_double.move.reader import Reader, uleb_bytes
from localnet.sui_double.move.types import (
    ADDRESS_BYTES,
    BYTES,
    INTEGER_BYTES,
    Datatype,
    Scalar,
    Type,
    Vector,
    type_name,
)
from localnet.sui_double.move.values import Value

if TYPE_CHECKING:
    from localnet.sui_double.move.modules import Modules

Encoder: TypeAlias = Callable[[Value, bytearray], None]
"""Appends a value's bytes."""
Decoder: TypeAlias = Callable[[Reader], Value]
"""Reads a value; raises `BadBytes`."""


class Codec:
    """Encodes and decodes values by their types. A type's functions are built once."""

    def __init__(self, modules: Modules) -> None:
        self._modules = modules
        self._encoders: dict[Type, Encoder] = {}
        self._decoders: dict[Type, Decoder] = {}

    def encode(self, type_: Type, value: Value) -> bytes:
        """Return the bytes of a value of this type."""
        encoded = bytearray()
        self._encoder(type_)(value, encoded)
        return bytes(encoded)

    def decode(self, type_: Type, data: bytes) -> Value:
        """Return the value of these bytes. Raises `BadBytes` unless they are its one form, with nothing after it."""
        reader = Reader(data)
        value = self._decoder(type_)(reader)
        if not reader.at_end:
            raise BadBytes(f"{reader.end - reader.position} bytes follow a {type_name(type_)}")
        return value

    def _encoder(self, type_: Type) -> Encoder:
        found = self._encoders.get(type_)
        if found is None:
            found = self._encoders[type_] = self._make_encoder(type_)
        return found

    def _decoder(self, type_: Type) -> Decoder:
        found = self._decoders.get(type_)
        if found is None:
            found = self._decoders[type_] = self._make_decoder(type_)
        return found

    def _make_encoder(self, type_: Type) -> Encoder:
        if isinstance(type_, Scalar):
            return _scalar_encoder(type_)
        if type_ == BYTES:
            return _encode_bytes
        if isinstance(type_, Vector):
            return _vector_encoder(self._encoder(type_.element))
        if isinstance(type_, Datatype):
            if self._modules.is_enum(type_):
                variants = [
                    _struct_encoder([self._encoder(field) for field in fields])
                    for fields in self._modules.variants(type_)
                ]
                return _enum_encoder(variants)
            return _struct_encoder([self._encoder(field) for field in self._modules.fields(type_)])
        raise TypeError(f"a value of {type_name(type_)} has no bytes")

    def _make_decoder(self, type_: Type) -> Decoder:
        if isinstance(type_, Scalar):
            return _scalar_decoder(type_)
        if type_ == BYTES:
            return lambda reader: bytearray(reader.take(reader.uleb()))
        if isinstance(type_, Vector):
            return _vector_decoder(self._decoder(type_.element))
        if isinstance(type_, Datatype):
            if self._modules.is_enum(type_):
                return _enum_decoder(
                    [[self._decoder(field) for field in fields] for fields in self._modules.variants(type_)]
                )
            fields = [self._decoder(field) for field in self._modules.fields(type_)]
            return lambda reader: [field(reader) for field in fields]
        raise TypeError(f"a value of {type_name(type_)} has no bytes")


def _scalar_encoder(type_: Scalar) -> Encoder:
    if type_ is Scalar.BOOL:
        return lambda value, encoded: encoded.append(value)
    if type_ is Scalar.ADDRESS:
        return lambda value, encoded: encoded.extend(value)
    if type_ is Scalar.SIGNER:
        raise TypeError("a signer has no bytes")
    width = INTEGER_BYTES[type_]
    return lambda value, encoded: encoded.extend(value.to_bytes(width, "little"))


def _encode_bytes(value: Value, encoded: bytearray) -> None:
    encoded += uleb_bytes(len(value))
    encoded += value


def _vector_encoder(element: Encoder) -> Encoder:
    def encode(value: Value, encoded: bytearray) -> None:
        encoded += uleb_bytes(len(value))
        for part in value:
            element(part, encoded)

    return encode


def _struct_encoder(fields: list[Encoder]) -> Encoder:
    def encode(value: Value, encoded: bytearray) -> None:
        for field, part in zip(fields, value, strict=True):
            field(part, encoded)

    return encode


def _enum_encoder(variants: list[Encoder]) -> Encoder:
    def encode(value: Value, encoded: bytearray) -> None:
        encoded.append(value[0])
        variants[value[0]](value[1:], encoded)

    return encode


def _scalar_decoder(type_: Scalar) -> Decoder:
    if type_ is Scalar.BOOL:
        return _decode_bool
    if type_ is Scalar.ADDRESS:
        return lambda reader: reader.take(ADDRESS_BYTES)
    if type_ is Scalar.SIGNER:
        raise TypeError("a signer has no bytes")
    width = INTEGER_BYTES[type_]
    return lambda reader: reader.integer(width)


def _decode_bool(reader: Reader) -> bool:
    number = reader.byte()
    if number > 1:
        raise BadBytes(f"{number} where a bool is expected")
    return bool(number)


def _vector_decoder(element: Decoder) -> Decoder:
    return lambda reader: [element(reader) for _ in range(reader.uleb())]


def _enum_decoder(variants: list[list[Decoder]]) -> Decoder:
    def decode(reader: Reader) -> Value:
        tag = reader.uleb()
        if tag >= len(variants):
            raise BadBytes(f"variant {tag} of an enum that has {len(variants)}")
        return [tag, *(field(reader) for field in variants[tag])]

    return decode
