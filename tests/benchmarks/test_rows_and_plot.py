"""Rows judge what was measured; plots are SVG that any reader takes."""

from __future__ import annotations

from pathlib import Path
from xml.etree import ElementTree

import pytest

from benchmarks.plot import Panel, Series, bytes_text, decades, svg
from benchmarks.rows import Row, row, together, write


def test_a_row_is_judged_before_it_is_rounded() -> None:
    assert row("x", 10, None, None, 1.050001, "at most", 1.05) == Row(
        "x", 10, None, None, 1.05, "at most 1.05", False
    )
    assert row("x", 10, None, None, 19.99999, "at least", 20).holds is False
    assert row("x", 10, None, None, 1.0000001, "exactly", 1).holds is False
    assert row("x", 10, None, None, 7).holds is None


def test_rows_that_differ_in_departed_shards_come_in_one_line() -> None:
    rows = [row("x", 10, 1, 1, 5), row("y", 10, 1, 1, 5), row("x", 10, 1, 2, 6), row("x", 10, 2, 1, 7)]
    assert [[one.value for one in line] for line in together(rows).values()] == [[5, 6], [5], [7]]


def test_rows_are_written_one_a_line(tmp_path: Path) -> None:
    write(tmp_path / "rows.json", [row("a ÷ b", 10, 1, 1, 0.5), row("c", 10, None, None, 2, "at most", 1)])
    lines = (tmp_path / "rows.json").read_text().splitlines()
    assert len(lines) == 4
    assert '"goal": "at most 1", "holds": false' in lines[2]


def test_a_plot_has_a_line_for_each_series_of_each_panel() -> None:
    series = [Series("ours & theirs", [(1, 1e3), (10, 1e6)]), Series("full", [(1, 5e9)])]
    drawing = ElementTree.fromstring(svg([Panel("a < b", "x", "y", series, log_x=True)] * 2))
    space = "{http://www.w3.org/2000/svg}"
    assert len(drawing.findall(f".//{space}polyline")) == 4
    texts = [one.text for one in drawing.iter(f"{space}text")]
    assert texts.count("ours & theirs") == 1
    assert texts.count("a < b") == 2
    for circle in drawing.iter(f"{space}circle"):
        assert 0 < float(circle.get("cx", "")) < 460
        assert 0 < float(circle.get("cy", "")) < 320


def test_a_plot_refuses_a_line_without_points() -> None:
    with pytest.raises(ValueError, match="points"):
        svg([Panel("a", "x", "y", [Series("s", [])])])


def test_ticks() -> None:
    assert decades(1e3, 1e6) == [1e3, 1e4, 1e5, 1e6]
    assert [bytes_text(count) for count in (1, 1e3, 1e7, 1e12, 1e15)] == [
        "1 B",
        "1 kB",
        "10 MB",
        "1 TB",
        "1 PB",
    ]
