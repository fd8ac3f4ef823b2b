"""Ports for what is about to listen on this machine."""

from __future__ import annotations

import secrets
import socket
from itertools import count, islice

from committee.errors import HauloutError

FIRST, LAST = 20_000, 32_767
"""Below those that outgoing connections take, so that a port stays free until a process listens there."""
TRIES = 100

_COUNT = LAST - FIRST + 1
_places = count(secrets.randbelow(_COUNT))
"""One after the other, from a place of this process's own: another process that looks at the same time, and listens no
sooner than this one, looks elsewhere."""


class NoFreePort(HauloutError):
    """None of those tried is free."""


def free_port() -> int:
    """Return a port of 127.0.0.1 on which nothing listens now; each time another one."""
    for place in islice(_places, TRIES):
        port = FIRST + place % _COUNT
        try:
            socket.create_server(("127.0.0.1", port)).close()
        except OSError:
            continue
        return port
    raise NoFreePort("no free port: end what else listens on this machine")
