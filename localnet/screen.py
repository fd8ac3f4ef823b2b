"""What a person sees of a demo: steps, lines, and one live line for what is under way."""

from __future__ import annotations

from types import TracebackType

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, SpinnerColumn, TextColumn
from rich.table import Table

from localnet.demo import DemoResult
from storage.node.handover.report import TransitionReport


class Screen:
    """A `Narrator` on a terminal; without one it prints plain lines. A context manager."""

    def __init__(self, console: Console) -> None:
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
        self._console.print(f"   {text}", highlight=False)

    def progress(self, name: str, done: int, total: int, note: str = "") -> None:
        """Show the live line; what has ended vanishes from it."""
        self._progress.update(
            self._task, description=name, completed=done, total=total, visible=done < total, note=note
        )

    def result(self, result: DemoResult) -> None:
        """The transition report, the checks and the verdict."""
        self._console.print(_report_table(result.report, result.handover_seconds))
        for check in result.checks:
            mark = "[green]holds[/green]" if check.holds else "[red]FAILS[/red]"
            self._console.print(f"   {mark}  {check.statement} [dim]({check.detail})[/dim]", highlight=False)


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
    table.add_column("MiB", justify="right")
    table.add_column("note")
    saved = 1 - (report.transferred_bytes + report.rebuilt_bytes) / max(report.full_reencode_bytes, 1)
    rows = [
        ("kept", report.kept_shards, 0, "no byte moved"),
        ("transferred", report.transferred_shards, report.transferred_bytes, "copied from the old owner"),
        ("rebuilt", report.rebuilt_shards, report.rebuilt_bytes, "from one symbol of each helper"),
        (
            "of it on the wire",
            None,
            report.received_bytes - report.transferred_bytes,
            "own slivers help free",
        ),
        ("lower bound", report.departed_shards, report.lower_bound_bytes, "(p+s)·t a departed pair"),
        (
            "whole-blob repair",
            report.departed_shards,
            report.whole_blob_repair_bytes,
            "the blob for each pair",
        ),
        ("full re-encode", None, report.full_reencode_bytes, f"{saved:.0%} of it saved"),
    ]
    for what, shards, size_bytes, note in rows:
        table.add_row(what, "" if shards is None else str(shards), f"{size_bytes / 2**20:,.1f}", note)
    return table
