"""Trees in files: the same root and paths as in memory, and nothing half made."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from storage.node.proving import tree_file
from storage.node.proving.tree_file import TreeFile
from storage.redstuff import MerkleProof
from storage.redstuff.merkle import leaf_hash, root_of_hashes


def leaves(count: int) -> list[bytes]:
    return [leaf_hash(bytes([i % 256, i // 256])) for i in range(count)]


@pytest.mark.parametrize("count", [0, 1, 2, 3, 4, 5, 7, 8, 9, 31, 32, 33, 100])
def test_a_tree_in_a_file_is_that_in_memory(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, count: int
) -> None:
    monkeypatch.setattr(tree_file, "NODES_AT_ONCE", 4)
    nodes = leaves(count)
    tree = TreeFile.make(tmp_path / "5.tree", iter(nodes))
    for one in (tree, TreeFile(tree.path)):
        assert (one.count, one.root()) == (count, root_of_hashes(nodes))
        for index in range(count):
            assert one.siblings(index) == MerkleProof.of(nodes, index).siblings


def test_a_file_appears_whole_or_not_at_all(tmp_path: Path) -> None:
    def failing() -> Iterator[bytes]:
        yield from leaves(3)
        raise RuntimeError("test")

    TreeFile.make(tmp_path / "5.tree", leaves(2))
    with pytest.raises(RuntimeError):
        TreeFile.make(tmp_path / "5.tree", failing())
    assert [one.name for one in tmp_path.iterdir()] == ["5.tree"]
    assert TreeFile(tmp_path / "5.tree").count == 2


@pytest.mark.parametrize("cut", [1, 32, 100])
def test_a_file_that_lost_its_end_is_refused(tmp_path: Path, cut: int) -> None:
    path = TreeFile.make(tmp_path / "5.tree", leaves(9)).path
    path.write_bytes(path.read_bytes()[:-cut])
    with pytest.raises(ValueError, match="no tree of 9 leaves"):
        TreeFile(path)


def test_a_root_that_is_not_over_its_nodes_is_refused(tmp_path: Path) -> None:
    path = TreeFile.make(tmp_path / "5.tree", leaves(9)).path
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(content)
    with pytest.raises(ValueError, match="damaged"):
        TreeFile(path)


def test_a_count_of_another_tree_is_refused(tmp_path: Path) -> None:
    path = TreeFile.make(tmp_path / "5.tree", leaves(9)).path
    path.write_bytes((2**64 - 1).to_bytes(8, "little") + path.read_bytes()[8:])
    with pytest.raises(ValueError, match="no tree"):
        TreeFile(path)
