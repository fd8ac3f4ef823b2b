"""Rows of `results/handover.json` and their table."""

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


@dataclass(frozen=True)
class Row:
    """One figure at one place of the grid; `goal` is None where a figure is only told."""

    figure: str
    n: int
    size_bytes: int | None
    departed_shards: int | None
    value: float
    goal: str | None
    holds: bool | None


def row(
    figure: str,
    n: int,
    size_bytes: int | None,
    departed_shards: int | None,
    value: float,
    bound: Bound | None = None,
    goal: float = 0.0,
) -> Row:
    """A row whose goal is "at most 1.05" or the like. The value is compared as measured and rounded after."""
    rounded = round(value, 4)
    if bound is None:
        return Row(figure, n, size_bytes, departed_shards, rounded, None, None)
    holds = {"at most": value <= goal, "at least": value >= goal, "exactly": value == goal}[bound]
    return Row(figure, n, size_bytes, departed_shards, rounded, f"{bound} {goal:g}", holds)


def write(path: Path, rows: Sequence[Row]) -> None:
    """One row a line."""
    path.write_text("[\n" + ",\n".join(json.dumps(asdict(one), ensure_ascii=False) for one in rows) + "\n]\n")


def show(rows: Sequence[Row]) -> None:
    """All rows as a table, and how many reach their goals."""
    table = Table(title="Handover", title_justify="left")
    for name in ("figure", "n", "blob", "departed", "value", "goal", ""):
        table.add_column(name, justify="left" if name in ("figure", "goal", "") else "right")
    last = ""
    for one in rows:
        mark = {True: "[green]holds", False: "[red]falls short", None: "[dim]told"}[one.holds]
        table.add_row(
            one.figure if one.figure != last else "",
            str(one.n),
            "" if one.size_bytes is None else size(one.size_bytes),
            "" if one.departed_shards is None else str(one.departed_shards),
            f"{one.value:,.4g}" if one.value < 1000 else f"{one.value:,.0f}",
            one.goal or "",
            mark,
        )
        last = one.figure
    judged = [one for one in rows if one.holds is not None]
    console = Console(width=None if Console().is_terminal else 140)
    console.print(table)
    console.print(f"{sum(one.holds is True for one in judged)} of {len(judged)} rows reach their goal")


def size(size_bytes: int) -> str:
    """In KiB or MiB."""
    return f"{size_bytes / MIB:.4g} MiB" if size_bytes >= MIB else f"{size_bytes / KIB:.4g} KiB"
