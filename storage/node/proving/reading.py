"""How the files of trees and commitments are read back: what is damaged counts as not there, to be made anew."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

from committee.files import NotRegular, clear_away
from committee.opening import COMMITMENT_BYTES
from storage.node.proving.tree_file import TreeFile
from storage.node.proving.unreadable import opened_to_read
from storage.redstuff.merkle import root_of_hashes
from storage.redstuff.parameters import HASH_BYTES

Found = TypeVar("Found")


def nodes_under(path: Path, root: bytes, count: int) -> list[bytes]:
    """Return the `count` nodes in a file, whose root is `root` in its first COMMITMENT_BYTES.

    Raises `ValueError` when they are not, and `OSError`.
    """
    with opened_to_read(path) as file:
        kept = file.read(count * HASH_BYTES + 1)
    nodes = [kept[at : at + HASH_BYTES] for at in range(0, len(kept), HASH_BYTES)]
    if len(kept) != count * HASH_BYTES or root_of_hashes(nodes)[:COMMITMENT_BYTES] != root[:COMMITMENT_BYTES]:
        raise ValueError(f"{path} is damaged")
    return nodes


def root_in(path: Path) -> bytes:
    """Return the root of a tree in a file. Raises as `TreeFile`."""
    return TreeFile(path).root()


def existing(opened: Callable[[], Found]) -> Found | None:
    """Return the file that `opened` opens, or what it reads of one.

    None when it is to be made, as it is not there or damaged.
    """
    try:
        return opened()
    except NotRegular as error:
        clear_away(error.filename)
    except (FileNotFoundError, ValueError):
        pass
    return None
