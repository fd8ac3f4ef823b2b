"""Rows of `results/handover.json` and `results/links.json`, and their table."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Literal

from rich.console import Console
from rich.table import Table

KIB, MIB = 1 << 10, 1 << 20
Bound = Literal["at most", "at least", "exactly"]
Line = tuple[str, int, int | None, str | None, str]
"""Figure, n, blob, goal and remark: what a line of the table shows but for its values."""


@dataclass(frozen=True)
class Row:
    """One figure at one place of the grid; `goal` is None where a figure is only told, and `remark` may say why."""

    figure: str
    n: int
    size_bytes: int | None
    departed_shards: int | None
    value: float
    goal: str | None
    holds: bool | None
    remark: str = ""


def row(
    figure: str,
    n: int,
    size_bytes: int | None,
    departed_shards: int | None,
    value: float,
    bound: Bound | None = None,
    goal: float = 0.0,
    remark: str = "",
) -> Row:
    """A row whose goal is "at most 1.05" or the like. The value is compared as measured and rounded after."""
    rounded = round(value, 4)
    if bound is None:
        return Row(figure, n, size_bytes, departed_shards, rounded, None, None, remark)
    holds = {"at most": value <= goal, "at least": value >= goal, "exactly": value == goal}[bound]
    return Row(figure, n, size_bytes, departed_shards, rounded, f"{bound} {goal:g}", holds, remark)


def write(path: Path, rows: Sequence[Row]) -> None:
    """One row a line."""
    path.write_text("[\n" + ",\n".join(json.dumps(asdict(one), ensure_ascii=False) for one in rows) + "\n]\n")


def show(rows: Sequence[Row], title: str = "Handover") -> None:
    """All rows as a table, those that differ only in the departed shards in one line; how many reach their goals."""
    table = Table(title=title, title_justify="left")
    for name in ("figure", "n", "blob", "departed", "value", "goal", ""):
        table.add_column(name, justify="left" if name in ("figure", "goal", "") else "right")
    last = ""
    for (figure, n, size_bytes, goal, remark), lines in together(rows).items():
        holds = None if goal is None else all(one.holds for one in lines)
        mark = {True: "[green]holds", False: "[red]falls short", None: "[dim]told"}[holds]
        table.add_row(
            figure if figure != last else "",
            str(n),
            "" if size_bytes is None else size(size_bytes),
            ", ".join(str(one.departed_shards) for one in lines if one.departed_shards is not None),
            ", ".join(f"{one.value:,.4g}" if one.value < 1000 else f"{one.value:,.0f}" for one in lines),
            " ".join(filter(None, (goal, remark))),
            mark,
        )
        last = figure
    judged = [one for one in rows if one.holds is not None]
    console = Console(width=None if Console().is_terminal else 150)
    console.print(table)
    console.print(f"{sum(one.holds is True for one in judged)} of {len(judged)} rows reach their goal")


def together(rows: Sequence[Row]) -> dict[Line, list[Row]]:
    """Each line's rows, in the order they come."""
    lines: dict[Line, list[Row]] = {}
    for one in rows:
        lines.setdefault((one.figure, one.n, one.size_bytes, one.goal, one.remark), []).append(one)
    return lines


def size(size_bytes: int) -> str:
    """In KiB or MiB."""
    return f"{size_bytes / MIB:.4g} MiB" if size_bytes >= MIB else f"{size_bytes / KIB:.4g} KiB"
