"""Storage proofs: inventory → commitment → draw → openings → verdict. Pure rules; no I/O, no chain (section 8)."""
