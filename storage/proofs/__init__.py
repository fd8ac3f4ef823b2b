"""Storage proofs: inventory → commitment → draw → openings → verdict. Pure rules; no I/O, no chain (section 8)."""

from storage.proofs.commitment import salt_of

__all__ = ["salt_of"]
