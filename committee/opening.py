"""An opening of storage proofs, as members show it to their fellows and to the chain (PROTOCOL section 8)."""

from __future__ import annotations

from dataclasses import dataclass, field

PLACES_ON_CHAIN = 16
"""Places that a member opens on chain where a quorum has not certified it, the first of all (`IProofs.PLACES`)."""
COMMITMENT_BYTES = 24
"""Bytes of a commitment's root that the chain keeps, the first ones."""


@dataclass(frozen=True, slots=True)
class Opening:
    """A symbol, and how it hangs together with the inventory, with its blob's id and with the commitment."""

    index: int
    """The blob's number in the inventory."""
    offset: int
    """The blob's offset in the inventory."""
    blob_root: bytes
    """Root of the blob; where no symbol is shown, of a blob that is invalid by now, its id instead."""
    blob_length: int
    inventory_path: tuple[bytes, ...] = field(repr=False)
    symbol: bytes = field(repr=False)
    sliver_path: tuple[bytes, ...] = field(repr=False)
    """From the symbol to the root of its sliver, whose tree is over `n` symbols."""
    other_root: bytes = field(repr=False)
    """The root of the pair's other sliver."""
    blob_path: tuple[bytes, ...] = field(repr=False)
    """From the pair to the blob's root."""
    commitment_path: tuple[bytes, ...] = field(repr=False)
    """From the symbol to the member's commitment. In the answer to a demand it is empty, or, for a shard that was
    attested too late for the round, leads to the root that was attested."""


NOTHING_OPENED = Opening(0, 0, bytes(32), 0, (), b"", (), bytes(32), (), ())
"""What is shown of a place whose shard the member need not have."""
