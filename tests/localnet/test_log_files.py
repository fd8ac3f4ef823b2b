"""Logs of a local network's processes."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from committee.files import NotRegular
from localnet.log_files import open_log


@pytest.mark.parametrize(("is_new", "content"), [(False, b"before\nafter\n"), (True, b"after\n")])
def test_only_its_owner_reads_a_log(tmp_path: Path, is_new: bool, content: bytes) -> None:
    path = tmp_path / "node.log"
    path.write_bytes(b"before\n")
    path.chmod(0o644)
    for one, expected in ((path, content), (tmp_path / "new.log", b"after\n")):
        with open_log(one, is_new) as log:
            log.write(b"after\n")
        assert one.stat().st_mode & 0o777 == 0o600
        assert one.read_bytes() == expected


def test_a_log_is_a_regular_file(tmp_path: Path) -> None:
    other = tmp_path / "other"
    other.write_bytes(b"before\n")
    (tmp_path / "link.log").symlink_to(other)
    os.mkfifo(tmp_path / "fifo.log")
    for name in ("link.log", "fifo.log"):
        with pytest.raises(NotRegular):
            open_log(tmp_path / name, is_new=True)
    assert other.read_bytes() == b"before\n"
