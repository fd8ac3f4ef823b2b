"""The little of BCS (Binary Canonical Serialization) that the protocol needs."""

from __future__ import annotations

from storage.redstuff.errors import InvalidEncoding


def uleb128(number: int) -> bytes:
    """Return a length as bytes: seven bits a byte, least significant first."""
    encoded = bytearray()
    while number > 0x7F:
        encoded.append(number & 0x7F | 0x80)
        number >>= 7
    encoded.append(number)
    return bytes(encoded)


class Reader:
    """Reads a structure front to back; every method raises `InvalidEncoding` where the bytes end too early."""

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
            raise InvalidEncoding(f"{count} bytes expected at place {place}, {self.left_bytes} left")
        self._place = end
        return self._data[place:end]

    def unsigned(self, count: int) -> int:
        """Return the next `count` bytes as an integer, little-endian."""
        return int.from_bytes(self.view(count), "little")

    def uleb128(self, largest: int) -> int:
        """Read a length of at most `largest`, in its shortest form."""
        if self._place < self._size and self._data[self._place] <= min(largest, 0x7F):
            self._place += 1  # most lengths have one byte
            return self._data[self._place - 1]
        number = shift = 0
        while True:
            byte = self.unsigned(1)
            number |= (byte & 0x7F) << shift
            if number > largest or shift > 28:
                raise InvalidEncoding(f"a length over the limit of {largest}")
            if not byte & 0x80:
                if shift and not byte:
                    raise InvalidEncoding("a length not in its shortest form")
                return number
            shift += 7

    @property
    def left_bytes(self) -> int:
        """Bytes that are not read yet."""
        return self._size - self._place

    def end(self) -> None:
        """Raises `InvalidEncoding` when bytes are left."""
        if self.left_bytes:
            raise InvalidEncoding(f"{self.left_bytes} bytes too many")
