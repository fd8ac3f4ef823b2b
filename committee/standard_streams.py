"""Standard input, output and error of a process, any of which may be closed when it starts."""

from __future__ import annotations

import os


def reserve() -> None:
    """Open /dev/null in place of each of the descriptors 0, 1 and 2 that is closed.

    A file or socket opened later would get such a number, and what anything writes to standard output or error would
    go into it: into a database, a sliver, an answer. To be called before anything else is opened. `sys.stdin`,
    `sys.stdout` and `sys.stderr` stay None, so that commands still tell a closed one.
    """
    for descriptor in (0, 1, 2):
        try:
            os.fstat(descriptor)
        except OSError:
            nowhere = os.open(os.devnull, os.O_RDWR)  # gets the lowest free number, which is this one
            os.set_inheritable(nowhere, True)
