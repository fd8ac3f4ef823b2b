"""The benchmarks' own ways on the machine and on the command line."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import pytest

from benchmarks import bench_handover, bench_links, bench_proofs, bench_store, timing


@pytest.mark.skipif(sys.platform != "linux", reason="threads are pinned on Linux only")
def test_a_thread_that_has_ended_meanwhile_is_passed_over(monkeypatch: pytest.MonkeyPatch) -> None:
    gone = Path("/proc/self/task/999999999")
    listed = Path.iterdir

    def with_one_gone(path: Path) -> Iterator[Path]:
        yield gone
        yield from listed(path)

    monkeypatch.setattr(Path, "iterdir", with_one_gone)
    before = os.sched_getaffinity(0)
    with timing.on_core(min(before)):
        assert os.sched_getaffinity(0) == {min(before)}
    assert os.sched_getaffinity(0) == before


@pytest.mark.parametrize(
    "bench", [bench_handover, bench_links, bench_proofs, bench_store], ids=lambda one: one.__name__
)
@pytest.mark.parametrize(("word", "status"), [("--help", 0), ("nonsense", 2)])
def test_the_usage_names_the_parts(
    bench: ModuleType,
    word: str,
    status: int,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setattr(sys, "argv", [bench.__name__, word])
    with pytest.raises(SystemExit) as ended:
        bench.main()
    assert ended.value.code == status
    told = "".join(capsys.readouterr())
    assert f"usage: python -m {bench.__name__}" in told
    assert all(part in told for part in bench.PARTS)
