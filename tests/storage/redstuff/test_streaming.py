"""What is made of a large blob piece by piece is what a whole encoding makes, and takes little memory."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest
from typer.testing import CliRunner

from storage.cli import app
from storage.redstuff import Axis, RedStuff, TooLarge, blob_id_text, engine, streaming
from storage.redstuff.kernels import KINDS

Content = Callable[[int, int], bytes]
SHAPES = [(4, 0), (4, 1), (4, 10_000), (7, 10_000), (10, 333_333), (31, 9_000), (100, 400_000)]


@pytest.mark.parametrize("threads", [1, 2])
@pytest.mark.parametrize(("n", "size"), SHAPES)
def test_metadata_in_little_memory_is_the_same(
    n: int, size: int, threads: int, tmp_path: Path, content: Content, monkeypatch: pytest.MonkeyPatch
) -> None:
    for module, limit in ((streaming, "BAND_BYTES"), (engine, "GROUP_BYTES"), (streaming, "RIGHT_BYTES")):
        monkeypatch.setattr(module, limit, 100_000)
    data, code = content(size, n), RedStuff(n, threads=threads)
    expected = code.encode(data)
    path = tmp_path / "blob"
    path.write_bytes(data)
    with path.open("rb") as file:
        assert code.metadata_of_file(file) == expected.metadata
        assert code.blob_id(file) == expected.blob_id
    assert code.encode_large(data).metadata == expected.metadata


def test_columns_beyond_the_blob_are_hashed_in_several_turns(monkeypatch: pytest.MonkeyPatch) -> None:
    code = RedStuff(31)
    assert streaming.right_columns(code, 10_000) >= code.f
    monkeypatch.setattr(streaming, "RIGHT_BYTES", 1)
    assert 1 <= streaming.right_columns(code, 10_000) < code.f
    assert code.encode_large(bytes(10_000)).metadata == code.encode(bytes(10_000)).metadata


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(("n", "size"), SHAPES)
def test_slivers_made_in_pieces_are_the_same(n: int, size: int, kind: str, content: Content) -> None:
    code = RedStuff(n, kernels=kind)
    data, whole = content(size, n), RedStuff(n).encode(content(size, n))
    blob = code.encode_large(data)
    assert (blob.length, blob.blob_id) == (size, whole.blob_id)
    for axis in Axis:
        for index in range(n):
            sliver = blob.sliver(axis, index)
            expected = bytes(whole.sliver(axis, index))
            assert len(sliver) == len(expected)
            for most_bytes in (1, 1000, 2**20):
                pieces = [make() for make in sliver.pieces(most_bytes)]
                assert b"".join(pieces) == expected
                assert max(map(len, pieces)) <= max(most_bytes, code.symbol_size(size))
            for start in (1, code.symbol_size(size), len(expected) // 2, len(expected) - 1, len(expected)):
                assert b"".join(make() for make in sliver.pieces(1000, start)) == expected[start:]


def test_a_large_blob_is_not_copied_nor_written_to() -> None:
    code, data = RedStuff(7), bytes(100_000)
    first = code.encode_large(data).sliver(Axis.PRIMARY, 0)
    (make,) = first.pieces(2**20)
    assert make().readonly
    assert data == bytes(100_000)


def test_a_file_too_large_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "blob"
    with path.open("wb") as file:
        file.truncate(RedStuff(4).max_blob_bytes + 1)
    with path.open("rb") as file, pytest.raises(TooLarge):
        RedStuff(4).metadata_of_file(file)


def test_blob_id_command_prints_the_id(tmp_path: Path, content: Content) -> None:
    path = tmp_path / "blob"
    path.write_bytes(content(5000, 1))
    name = blob_id_text(RedStuff(10).blob_id(content(5000, 1)))
    plain = CliRunner().invoke(app, ["blob-id", str(path), "--shards", "10"])
    assert (plain.exit_code, plain.stdout) == (0, name + "\n")
    as_json = CliRunner().invoke(app, ["blob-id", str(path), "--shards", "10", "--json"])
    assert json.loads(as_json.stdout) == {"blob_id": name, "size_bytes": 5000, "n_shards": 10}
