"""A node's part in storage proofs: the trees that it commits to, kept in files, and openings made from them."""

from storage.node.proving.opening_pages import OpeningPages
from storage.node.proving.progress import Progress
from storage.node.proving.proving import Incomplete, Proving
from storage.node.proving.term import Term

__all__ = ["Incomplete", "OpeningPages", "Progress", "Proving", "Term"]
