"""What a person sees of a demo: steps, lines, and one live line for what is under way."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from types import TracebackType

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, SpinnerColumn, TextColumn
from rich.table import Table

from committee.printing import size_text
from localnet.demo_results import DemoResult, RoundResult
from localnet.network import TOKEN
from storage.node.handover.report import TransitionReport
from storage.redstuff import Parameters

LINE_INTERVAL_S = 1.0
"""Least time between two lines of one progress where there is no terminal."""


class Screen:
    """A `Narrator` on a terminal; without one it prints plain lines. A context manager."""

    def __init__(self, console: Console, clock: Callable[[], float] = time.monotonic) -> None:
        self._console = console
        self._progress = Progress(
            SpinnerColumn(),
            TextColumn("{task.description}"),
            BarColumn(bar_width=30),
            MofNCompleteColumn(),
            TextColumn("[dim]{task.fields[note]}"),
            console=console,
            transient=True,
        )
        self._task = self._progress.add_task("", total=None, visible=False, note="")
        self._steps = 0
        self._clock = clock
        self._name = ""
        """Name of the progress under way."""
        self._since = 0.0
        """When it began, or when a line was last printed of it."""
        self._told: int | None = None
        """How far it was by that line; None before the first."""

    def __enter__(self) -> Screen:
        self._progress.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._progress.stop()

    def step(self, title: str) -> None:
        """A new part of the story."""
        self._steps += 1
        self._console.print(f"\n[bold]{self._steps}. {title}[/bold]")

    def say(self, text: str) -> None:
        """One line of it."""
        self._print(f"   {text}")

    def _print(self, text: str) -> None:
        """Print whole lines where no terminal folds them, for programs that read or search them."""
        self._console.print(text, highlight=False, soft_wrap=not self._console.is_terminal)

    def progress(self, name: str, done: int, total: int, note: str = "") -> None:
        """Show the live line; without a terminal a plain one at a change, at most one a second.

        Where any of that was to be seen for a second, its last state stays as a line, unless it is one step alone.
        """
        now = self._clock()
        if name != self._name:
            self._name, self._since, self._told = name, now, None
        if self._console.is_terminal:
            self._progress.update(
                self._task, description=name, completed=done, total=total, visible=done < total, note=note
            )
        is_due = now - self._since >= LINE_INTERVAL_S
        is_line = (
            is_due or self._told is not None if done >= total else is_due and not self._console.is_terminal
        )
        if is_line and done != self._told:
            self._told, self._since = done, now
            self.say(f"{name}: {done} of {total}" + (f", {note}" if note else ""))

    def result(self, result: DemoResult) -> None:
        """Print the transition reports, the checks and the verdict."""
        for change in result.changes:
            self._console.print(_report_table(change.report, change.seconds))
        self.say(_explanation(Parameters(result.first.n_shards)))
        self._console.print(_proofs_table(result.rounds))
        for check in result.checks:
            mark = "[green]holds[/green]" if check.holds else "[red]FAILS[/red]"
            self._print(f"   {mark}  {check.statement} [dim]({check.detail})[/dim]")


class Silence:
    """A `Narrator` that tells nothing."""

    def step(self, title: str) -> None:
        """Nothing."""

    def say(self, text: str) -> None:
        """Nothing."""

    def progress(self, name: str, done: int, total: int, note: str = "") -> None:
        """Nothing."""


def _report_table(report: TransitionReport, seconds: float) -> Table:
    table = Table(title=f"Handover into epoch {report.epoch}, {seconds:.1f} s", title_justify="left")
    table.add_column("what")
    table.add_column("shards", justify="right")
    table.add_column("size", justify="right")
    table.add_column("note")
    saved = 1 - (report.transferred_bytes + report.rebuilt_bytes) / max(report.full_reencode_bytes, 1)
    fetched = report.received_bytes - report.transferred_bytes
    departed = report.departed_shards
    rows = [
        ("kept", report.kept_shards, 0, "no byte moved"),
        ("transferred", report.transferred_shards, report.transferred_bytes, "copied from the old owner"),
        ("rebuilt", report.rebuilt_shards, report.rebuilt_bytes, "from one symbol of each helper"),
        ("  fetched over the network", None, fetched, "from other members"),
        (
            "  from its own disk",
            None,
            report.rebuilt_bytes - fetched,
            "the rebuilder helps itself",
        ),
        ("lower bound", departed, report.lower_bound_bytes, "(p+s)·t for each departed pair"),
        ("whole-blob repair", departed, report.whole_blob_repair_bytes, "p·s·t for each departed pair"),
        ("full re-encode", None, report.full_reencode_bytes, f"{saved:.0%} of it saved"),
    ]
    for what, shards, size_bytes, note in rows:
        table.add_row(what, "" if shards is None else str(shards), size_text(size_bytes), note)
    return table


def _proofs_table(rounds: Sequence[RoundResult]) -> Table:
    table = Table(title="Storage proofs with a member that cheats", title_justify="left")
    for name in ("epoch", "proven to fellows", "proven on chain", "missed, and earns nothing", "fined"):
        table.add_column(name)
    for one in rounds:
        fined = ", ".join(f"{name}: {amount / TOKEN:g} tokens" for name, amount in one.fined.items())
        on_chain = len(one.on_chain)
        counts = (one.epoch, len(one.proven) - on_chain, on_chain)
        table.add_row(*map(str, counts), ", ".join(one.missed), fined or "nobody")
    return table


def _explanation(shape: Parameters) -> str:
    """Return what the table's letters stand for."""
    n, p, s = shape.n_shards, shape.p, shape.s
    return (
        f"A blob is a grid of p × s = {p} × {s} symbols of t bytes, extended to {n} × {n}. A shard holds a pair of it: "
        "a row's sliver (s symbols) and a column's (p symbols). The lower bound counts every symbol that enters a "
        "rebuild; fewer bytes are fetched, because some of them lie on the rebuilder's own disk."
    )
