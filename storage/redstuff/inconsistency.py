"""The proof that a blob's writer lied: symbols, proven against their helpers' roots, that give a wrong sliver.

Layout (BCS): target index u16 LE ‖ ULEB128 count ‖ per symbol: helper index u16 LE ‖ ULEB128 length ‖ bytes ‖
Merkle proof.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from committee.bcs import uleb128
from storage.redstuff.bcs import Reader
from storage.redstuff.merkle import MerkleProof
from storage.redstuff.parameters import MAX_SHARDS, MAX_SYMBOL_BYTES, Axis


@dataclass(frozen=True, slots=True)
class ProvenSymbol:
    """A symbol of helper sliver `index`, with its proof in that sliver's tree."""

    index: int
    symbol: bytes = field(repr=False)
    proof: MerkleProof = field(repr=False)


@dataclass(frozen=True, slots=True)
class InconsistencyProof:
    """Proven symbols for sliver `target` of `axis`, as many as determine it."""

    axis: Axis
    target: int
    symbols: tuple[ProvenSymbol, ...]

    def to_bcs(self) -> bytes:
        """Return the proof in the layout above; the axis travels beside it."""
        parts = [self.target.to_bytes(2, "little"), uleb128(len(self.symbols))]
        for one in self.symbols:
            parts += [
                one.index.to_bytes(2, "little"),
                uleb128(len(one.symbol)),
                one.symbol,
                one.proof.to_bcs(),
            ]
        return b"".join(parts)

    @classmethod
    def from_bcs(cls, axis: Axis, encoded: bytes | memoryview) -> InconsistencyProof:
        """Read one; whether it holds, `RedStuff.verify_inconsistency_proof` says. Raises `InvalidEncoding`."""
        reader = Reader(encoded)
        target = reader.unsigned(2)
        symbols = []
        for _ in range(reader.uleb128(MAX_SHARDS)):
            index, size = reader.unsigned(2), reader.uleb128(MAX_SYMBOL_BYTES)
            symbols.append(ProvenSymbol(index, reader.take(size), MerkleProof.read(reader)))
        reader.end()
        return cls(axis, target, tuple(symbols))
