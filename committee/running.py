"""Run a command's asynchronous work to its end, or until Ctrl-C or SIGTERM."""

from __future__ import annotations

import asyncio
import signal
import threading
from collections.abc import Callable, Coroutine
from typing import Any, TypeVar

from committee.errors import CommitteeError

Result = TypeVar("Result")

STOP_SIGNALS = (signal.SIGINT, signal.SIGTERM)


class Interrupted(CommitteeError):
    """Ctrl-C or SIGTERM ended the work; `notes` is what the work says of things left undone."""

    def __init__(self, notes: tuple[str, ...] = ()) -> None:
        self.notes = notes
        super().__init__("; ".join(("interrupted", *notes)))


def run(work: Coroutine[Any, Any, Result], on_stop: Callable[[], None] = lambda: None) -> Result:
    """Return what the work returns. Ctrl-C and SIGTERM cancel it, so that it cleans up first, and call `on_stop`.

    A second signal ends it at once. Outside the main thread signals are left alone. Raises `Interrupted` when the
    work was cancelled, with the notes that its cancellation carries.
    """

    async def cancellable() -> Result:
        task, loop = asyncio.ensure_future(work), asyncio.get_running_loop()

        def stop() -> None:
            for number in STOP_SIGNALS:
                loop.remove_signal_handler(number)
            on_stop()
            task.cancel()

        if threading.current_thread() is threading.main_thread():
            for number in STOP_SIGNALS:
                loop.add_signal_handler(number, stop)
        return await task

    try:
        return asyncio.run(cancellable())
    except (KeyboardInterrupt, asyncio.CancelledError) as stopped:
        raise Interrupted(tuple(_notes(stopped))) from None


def _notes(error: BaseException | None) -> list[str]:
    """The notes of an error and of those that led to it."""
    notes: list[str] = []
    while error is not None:
        notes.extend(note for note in getattr(error, "__notes__", ()) if note not in notes)
        error = error.__cause__ or error.__context__
    return notes
