"""The entry of the `haulout` command, which is interrupted without a traceback also while the commands are imported.

Their imports take a second or more. So this module imports nothing large before Ctrl-C and SIGTERM are provided for.
"""

from __future__ import annotations

import contextlib
import os
import signal
import sys

from committee import standard_streams

INTERRUPTED = 130
"""The exit status, as in `committee.printing`, which may not be imported yet."""
LEAST_COLUMNS = 20
"""A narrower terminal shows nothing of a message in typer's box."""


def main() -> None:
    """Import the commands and run the one that is named; SIGTERM ends it as Ctrl-C does."""
    standard_streams.reserve()
    _forget_useless_widths()
    # Nothing here uses BLAS, which would start a thread for each processor when numpy is imported, also where a
    # container's limit of processes leaves no room for them.
    os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
    before = signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        from localnet.commands import main as run

        run()
    except KeyboardInterrupt:
        if sys.stderr is not None:
            with contextlib.suppress(OSError, ValueError):
                as_json = "--json" in sys.argv
                sys.stderr.write('{"error": "interrupted"}\n' if as_json else "haulout: interrupted\n")
        raise SystemExit(INTERRUPTED) from None
    finally:
        signal.signal(signal.SIGTERM, before)
        # Python still waits for threads that compute: Ctrl-C during that would make a traceback.
        signal.signal(signal.SIGINT, signal.SIG_DFL)


def _forget_useless_widths() -> None:
    """Remove widths from the environment in which help and errors would be written without their text, as COLUMNS=0."""
    for name in ("COLUMNS", "TERMINAL_WIDTH"):
        width = os.environ.get(name)
        if width is not None and not (width.isdecimal() and int(width[:9]) >= LEAST_COLUMNS):
            del os.environ[name]


if __name__ == "__main__":
    main()
