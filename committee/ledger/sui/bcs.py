"""Numbers, lists and texts in BCS, the form of all values on Sui."""

from __future__ import annotations

ADDRESS_BYTES = 32
LARGEST_LENGTH = 2**31


class BadBcs(ValueError):
    """Bytes that are not the value that they are to be."""


class BcsReader:
    """Reads bytes forward. Every method raises `BadBcs` when they end too early."""

    __slots__ = ("_data", "_position")

    def __init__(self, data: bytes) -> None:
        self._data = data
        self._position = 0

    @property
    def left(self) -> int:
        """Number of bytes that are not read yet."""
        return len(self._data) - self._position

    def take(self, length: int) -> bytes:
        """Return the next bytes."""
        if length > self.left:
            raise BadBcs(f"{length} bytes are to follow, and {self.left} do")
        taken = self._data[self._position : self._position + length]
        self._position += length
        return taken

    def integer(self, length: int) -> int:
        """Return an unsigned integer of so many bytes."""
        return int.from_bytes(self.take(length), "little")

    def length(self) -> int:
        """Return a length or a variant's number: unsigned LEB128, in its shortest form only."""
        value = shift = 0
        while value < LARGEST_LENGTH:
            (byte,) = self.take(1)
            value |= (byte & 0x7F) << shift
            if byte < 0x80:
                if byte == 0 and shift > 0:
                    break
                return value
            shift += 7
        raise BadBcs("no length")

    def require_end(self) -> None:
        """Raise `BadBcs` unless all bytes are read."""
        if self.left:
            raise BadBcs(f"{self.left} bytes follow the value")


def u16(value: int) -> bytes:
    """Return a `u16`. Raises `OverflowError`; so below."""
    return value.to_bytes(2, "little")


def u32(value: int) -> bytes:
    """Return a `u32`."""
    return value.to_bytes(4, "little")


def u64(value: int) -> bytes:
    """Return a `u64`."""
    return value.to_bytes(8, "little")


def length(value: int) -> bytes:
    """Return a length or a variant's number, in unsigned LEB128."""
    encoded = bytearray()
    while value >= 0x80:
        encoded.append(value & 0x7F | 0x80)
        value >>= 7
    encoded.append(value)
    return bytes(encoded)


def sequence(content: bytes) -> bytes:
    """Return a `vector<u8>`."""
    return length(len(content)) + content


def text(content: str) -> bytes:
    """Return a `String`."""
    return sequence(content.encode())


def listed(items: list[bytes]) -> bytes:
    """Return a vector of elements that are in BCS already."""
    return length(len(items)) + b"".join(items)
