"""BCS as the grid's structures have it: what cannot be read is `InvalidEncoding`."""

from __future__ import annotations

from typing import ClassVar

from committee import bcs
from storage.redstuff.errors import InvalidEncoding


class Reader(bcs.Reader):
    """Reads a structure front to back; every method raises `InvalidEncoding` where the bytes end too early."""

    error: ClassVar[type[Exception]] = InvalidEncoding
