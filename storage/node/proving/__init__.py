"""A node's part in storage proofs: the trees that it commits to, kept in files, and openings made from them."""

from storage.node.proving.proving import Incomplete, Progress, Proving, Term
from storage.node.proving.shown import Shown

__all__ = ["Incomplete", "Progress", "Proving", "Shown", "Term"]
