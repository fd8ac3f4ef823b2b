"""Have numba compile our kernels where a program has switched it off.

NUMBA_DISABLE_JIT lets a program debug functions of its own. The kernels consist of vector instructions: there is no
Python to run in their place.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

VARIABLE = "NUMBA_DISABLE_JIT"


@contextmanager
def compiling() -> Iterator[None]:
    """Let numba compile what is declared or compiled in the block."""
    switched = os.environ.pop(VARIABLE, None)  # numba reads it when it is imported, and at each compilation
    try:
        from numba.core import config as untyped

        config: Any = untyped
        before, config.DISABLE_JIT = config.DISABLE_JIT, 0
        try:
            yield
        finally:
            config.DISABLE_JIT = before
    finally:
        if switched is not None:
            os.environ[VARIABLE] = switched
            config.reload_config()
