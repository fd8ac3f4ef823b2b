"""A cursor over bytes, for the binary format and for BCS."""

from __future__ import annotations

from localnet.sui_double.move.errors import BadBytes

U32_LIMIT = 2**32 - 1


class Reader:
    """Reads `data[position:end]` forward. Every method raises `BadBytes` when the bytes end too early."""

    __slots__ = ("data", "end", "position")

    def __init__(self, data: bytes, position: int = 0, end: int | None = None) -> None:
        self.data = data
        self.position = position
        self.end = len(data) if end is None else end
        if not 0 <= position <= self.end <= len(data):
            raise BadBytes(f"a range {position}..{self.end} in {len(data)} bytes")

    @property
    def at_end(self) -> bool:
        """Return whether all bytes are read."""
        return self.position >= self.end

    def byte(self) -> int:
        """Return the next byte."""
        if self.position >= self.end:
            raise BadBytes("the bytes end too early")
        value = self.data[self.position]
        self.position += 1
        return value

    def take(self, length: int) -> bytes:
        """Return the next `length` bytes."""
        stop = self.position + length
        if stop > self.end:
            raise BadBytes(f"{length} bytes wanted, {self.end - self.position} left")
        taken = self.data[self.position : stop]
        self.position = stop
        return taken

    def integer(self, length: int) -> int:
        """Return an unsigned little-endian integer of `length` bytes."""
        return int.from_bytes(self.take(length), "little")

    def uleb(self, limit: int = U32_LIMIT) -> int:
        """Return an unsigned LEB128 integer up to `limit`, in its shortest form only."""
        value = shift = 0
        while True:
            byte = self.byte()
            value |= (byte & 0x7F) << shift
            if value > limit:
                raise BadBytes(f"a number above {limit}")
            if byte < 0x80:
                if byte == 0 and shift > 0:
                    raise BadBytes("a number that is not in its shortest form")
                return value
            shift += 7


def uleb_bytes(value: int) -> bytes:
    """Return the unsigned LEB128 form of a number."""
    encoded = bytearray()
    while value >= 0x80:
        encoded.append(value & 0x7F | 0x80)
        value >>= 7
    encoded.append(value)
    return bytes(encoded)
