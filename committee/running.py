"""Run a command's asynchronous work to its end, or until Ctrl-C, SIGTERM or the terminal's end."""

from __future__ import annotations

import asyncio
import signal
import threading
from collections.abc import Callable, Coroutine
from typing import Any, TypeVar

from committee.errors import CommitteeError

Result = TypeVar("Result")


def stop_signals() -> tuple[signal.Signals, ...]:
    """Return the signals that stop work in good order.

    SIGHUP, which says that the terminal is gone, is one of them unless it is ignored, as `nohup` has it.
    """
    is_detached = signal.getsignal(signal.SIGHUP) == signal.SIG_IGN
    return (signal.SIGINT, signal.SIGTERM) if is_detached else (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


class Interrupted(CommitteeError):
    """Ctrl-C, SIGTERM or SIGHUP ended the work; `notes` is what the work says of things left undone."""

    def __init__(self, notes: tuple[str, ...] = ()) -> None:
        self.notes = notes
        super().__init__("; ".join(("interrupted", *notes)))


def run(work: Coroutine[Any, Any, Result], on_stop: Callable[[], None] = lambda: None) -> Result:
    """Return what the work returns. A signal to stop cancels it, so that it cleans up first, and calls `on_stop`.

    A second Ctrl-C or SIGTERM ends it at once. Outside the main thread signals are left alone. Raises `Interrupted`
    when the work was cancelled, with the notes that its cancellation carries.
    """

    async def cancellable() -> Result:
        task, loop = asyncio.ensure_future(work), asyncio.get_running_loop()
        signals = stop_signals()

        def stop() -> None:
            for number in signals:
                loop.remove_signal_handler(number)
            # SIGHUP comes twice when a terminal goes: shells pass it on.
            signal.signal(signal.SIGHUP, signal.SIG_IGN)
            on_stop()
            task.cancel()

        if threading.current_thread() is threading.main_thread():
            for number in signals:
                loop.add_signal_handler(number, stop)
        return await task

    try:
        return asyncio.run(cancellable())
    except (KeyboardInterrupt, asyncio.CancelledError) as stopped:
        raise Interrupted(tuple(_notes(stopped))) from None


def _notes(error: BaseException | None) -> list[str]:
    """Return the notes of an error and of those that led to it."""
    notes: list[str] = []
    while error is not None:
        notes.extend(note for note in getattr(error, "__notes__", ()) if note not in notes)
        error = error.__cause__ or error.__context__
    return notes
