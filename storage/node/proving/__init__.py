"""A node's part in storage proofs: the trees that it commits to, kept in files, and openings made from them."""

from storage.node.proving.opening_pages import OpeningPages
from storage.node.proving.proving import Incomplete, Progress, Proving, Term

__all__ = ["Incomplete", "OpeningPages", "Progress", "Proving", "Term"]
