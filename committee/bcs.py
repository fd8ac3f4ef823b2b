"""BCS (Binary Canonical Serialization): what the protocol and the ledger on Sui need of it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

LARGEST_LENGTH = 2**31 - 1


class InvalidBcs(ValueError):
    """Bytes that are not the value that they are to be."""


class Reader:
    """Reads a structure front to back; every method raises `error` where the bytes end too early."""

    error: ClassVar[type[Exception]] = InvalidBcs

    def __init__(self, data: bytes | memoryview) -> None:
        self._data = memoryview(data)
        self._size = len(data)
        self._place = 0

    def take(self, count: int) -> bytes:
        """Return the next `count` bytes."""
        return bytes(self.view(count))

    def view(self, count: int) -> memoryview:
        """Return the next `count` bytes, not copied."""
        place, end = self._place, self._place + count
        if end > self._size:
            raise self.error(f"{count} bytes expected at place {place}, {self.left_bytes} left")
        self._place = end
        return self._data[place:end]

    def unsigned(self, count: int) -> int:
        """Return the next `count` bytes as an integer, little-endian."""
        return int.from_bytes(self.view(count), "little")

    def uleb128(self, largest: int = LARGEST_LENGTH) -> int:
        """Return a length, or the number of a variant, of at most `largest`. It must be in its shortest form."""
        if self._place < self._size and self._data[self._place] <= min(largest, 0x7F):
            self._place += 1  # most lengths have one byte
            return self._data[self._place - 1]
        number = shift = 0
        while True:
            byte = self.unsigned(1)
            number |= (byte & 0x7F) << shift
            if number > largest or shift > 28:
                raise self.error(f"a length over the limit of {largest}")
            if not byte & 0x80:
                if shift and not byte:
                    raise self.error("a length not in its shortest form")
                return number
            shift += 7

    @property
    def left_bytes(self) -> int:
        """Bytes that are not read yet."""
        return self._size - self._place

    def end(self) -> None:
        """Raise `error` when bytes are left."""
        if self.left_bytes:
            raise self.error(f"{self.left_bytes} bytes too many")


def uleb128(number: int) -> bytes:
    """Return a length, or the number of a variant, as bytes: seven bits a byte, least significant first."""
    encoded = bytearray()
    while number > 0x7F:
        encoded.append(number & 0x7F | 0x80)
        number >>= 7
    encoded.append(number)
    return bytes(encoded)


def u16(value: int) -> bytes:
    """Return an integer from 0 to 2^16 - 1 as bytes. Raises `OverflowError` for any other."""
    return value.to_bytes(2, "little")


def u32(value: int) -> bytes:
    """Return an integer from 0 to 2^32 - 1 as bytes. Raises `OverflowError` for any other."""
    return value.to_bytes(4, "little")


def u64(value: int) -> bytes:
    """Return an integer from 0 to 2^64 - 1 as bytes. Raises `OverflowError` for any other."""
    return value.to_bytes(8, "little")


def sequence(content: bytes) -> bytes:
    """Return bytes behind their number."""
    return uleb128(len(content)) + content


def text(content: str) -> bytes:
    """Return a text in UTF-8, behind the number of its bytes."""
    return sequence(content.encode())


def listed(items: Sequence[bytes]) -> bytes:
    """Return values that are in BCS already, behind their number."""
    return uleb128(len(items)) + b"".join(items)
