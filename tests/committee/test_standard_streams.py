"""A standard stream that is closed: no file or socket that is opened later gets its number."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from committee import standard_streams
from localnet import cli
from storage.node import __main__ as node

OPEN = """
import json, os, sys
from committee import standard_streams
standard_streams.reserve()
opened = os.open(sys.argv[1], os.O_RDWR | os.O_CREAT)
os.write(1, b"out"), os.write(2, b"log")
with open(sys.argv[2], "w") as told:
    json.dump([opened, [stream is None for stream in (sys.stdin, sys.stdout, sys.stderr)]], told)
"""


@pytest.mark.parametrize("closed", [(), (2,), (0, 1, 2)])
def test_nothing_that_is_opened_later_is_a_standard_stream(tmp_path: Path, closed: tuple[int, ...]) -> None:
    def close() -> None:
        for descriptor in closed:
            os.close(descriptor)

    subprocess.run(
        [sys.executable, "-c", OPEN, str(tmp_path / "database"), str(tmp_path / "told")],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        preexec_fn=close,
        check=True,
        timeout=60,
    )
    opened, is_none = json.loads((tmp_path / "told").read_text())
    assert opened > 2
    assert is_none == [descriptor in closed for descriptor in (0, 1, 2)]
    assert (tmp_path / "database").read_bytes() == b""


class Reserved(Exception):
    pass


@pytest.mark.parametrize("main", [cli.main, node.main])
def test_the_programs_see_to_it_before_anything_else(
    monkeypatch: pytest.MonkeyPatch, main: object, tmp_path: Path
) -> None:
    def reserve() -> None:
        raise Reserved

    monkeypatch.setattr(standard_streams, "reserve", reserve)
    monkeypatch.setattr(sys, "argv", ["haulout", str(tmp_path)])
    assert callable(main)
    with pytest.raises(Reserved):
        main()
