"""The grid's errors.

RedStuffError
├── TooLarge             the blob does not fit the largest symbol of this shard count
├── WrongSize            bytes whose number is not what length and shard count ask for
├── TooFewShards         fewer slivers or symbols than decoding needs
├── RootMismatch         a sliver whose symbols do not hash to its root; `indices` says which
├── InconsistentBlob     slivers that are all right and yet do not belong to one blob: its writer lied
├── InvalidProof         a Merkle or inconsistency proof that does not prove what it claims
├── InvalidEncoding      bytes that are not the structure they claim to be
└── KernelsUnavailable   this process may not compile the grid's code, or is told to use a kind that is not known
"""

from __future__ import annotations

from collections.abc import Iterable

from committee.errors import HauloutError


class RedStuffError(HauloutError):
    """Root of all errors of `storage.redstuff`."""


class TooLarge(RedStuffError):
    """The blob is longer than `p·s·65534` bytes."""


class WrongSize(RedStuffError):
    """Bytes whose number is not what the blob's length and the shard count ask for."""


class TooFewShards(RedStuffError):
    """Fewer slivers or symbols than needed, or fewer than four shards."""


class RootMismatch(RedStuffError):
    """Slivers that do not hash to their roots."""

    def __init__(self, message: str, indices: Iterable[int] = ()) -> None:
        super().__init__(message)
        self.indices = tuple(indices)


class InconsistentBlob(RedStuffError):
    """The blob's writer lied: its slivers hash to their roots and yet contradict each other. A reader finds it.

    Who repairs it proves it to others (`storage.node.repair.rebuild.InconsistentBlob`).
    """


class InvalidProof(RedStuffError):
    """A Merkle or inconsistency proof that does not hold."""


class InvalidEncoding(RedStuffError):
    """Bytes that are not the structure they claim to be."""


class KernelsUnavailable(RedStuffError):
    """The grid's code cannot be had in this process; the message says why and what to do."""
