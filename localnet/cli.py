"""The entry of the `haulout` command, which is interrupted without a traceback also while the commands are imported.

Their imports take a second or more. So this module imports nothing large before Ctrl-C and SIGTERM are provided for.
"""

from __future__ import annotations

import contextlib
import signal
import sys

from committee import standard_streams

INTERRUPTED = 130
"""The exit status, as in `committee.printing`, which may not be imported yet."""


def main() -> None:
    """Import the commands and run the one that is named; SIGTERM ends it as Ctrl-C does."""
    standard_streams.reserve()
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


if __name__ == "__main__":
    main()
