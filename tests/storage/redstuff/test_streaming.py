"""Encoding from a file makes the same bytes as encoding in memory, and needs no memory for all of them."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from typer.testing import CliRunner

from storage.cli import app
from storage.redstuff import Axis, RedStuff, TooLarge, blob_id_text, streaming

Content = Callable[[int, int], bytes]


@pytest.mark.parametrize("threads", [1, 2])
@pytest.mark.parametrize(
    ("n", "size"), [(4, 0), (4, 1), (7, 10_000), (10, 333_333), (31, 9_000), (100, 400_000)]
)
def test_a_streamed_blob_is_the_same(
    n: int, size: int, threads: int, tmp_path: Path, content: Content, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(streaming, "BAND_BYTES", 100_000)
    data, code = content(size, n), RedStuff(n, threads=threads)
    expected = code.encode(data)
    path = tmp_path / "blob"
    path.write_bytes(data)
    with path.open("rb") as file:
        assert code.encode_file(file, tmp_path / "slivers") == expected.metadata
        assert code.blob_id(file) == expected.blob_id
    for axis in Axis:
        for index in range(n):
            sliver = (tmp_path / "slivers" / f"{axis.label}-{index:04}").read_bytes()
            assert sliver == expected.sliver(axis, index)
    assert len(list((tmp_path / "slivers").iterdir())) == 2 * n


def test_a_file_too_large_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "blob"
    with path.open("wb") as file:
        file.truncate(RedStuff(4).max_blob_bytes + 1)
    with path.open("rb") as file, pytest.raises(TooLarge):
        RedStuff(4).encode_file(file, tmp_path / "slivers")
    assert not (tmp_path / "slivers").exists()


def test_blob_id_command_prints_the_id(tmp_path: Path, content: Content) -> None:
    path = tmp_path / "blob"
    path.write_bytes(content(5000, 1))
    name = blob_id_text(RedStuff(10).blob_id(content(5000, 1)))
    plain = CliRunner().invoke(app, ["blob-id", str(path), "--shards", "10"])
    assert (plain.exit_code, plain.stdout) == (0, name + "\n")
    as_json = CliRunner().invoke(app, ["blob-id", str(path), "--shards", "10", "--json"])
    assert json.loads(as_json.stdout) == {"blob_id": name, "size_bytes": 5000, "n_shards": 10}


PEAK = """
import resource, sys
from pathlib import Path
from storage.redstuff import RedStuff
with open(sys.argv[1], "rb") as file:
    RedStuff(1000, threads=2).encode_file(file, Path(sys.argv[2]))
print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024)
"""


def peak(path: Path, folder: Path) -> int:
    arguments = [sys.executable, "-c", PEAK, str(path), str(folder)]
    return int(subprocess.run(arguments, check=True, capture_output=True, text=True).stdout)


@pytest.mark.slow
def test_a_gibibyte_is_encoded_in_bounded_memory(tmp_path: Path, content: Content) -> None:
    path = tmp_path / "blob"
    part = content(1 << 26, 5)
    with path.open("wb") as file:
        for _ in range(16):
            file.write(part)
    assert peak(path, tmp_path / "slivers") < 1.5 * (1 << 30) + (512 << 20)
