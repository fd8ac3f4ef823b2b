"""Logs of the processes of a local network: their owner's alone to read."""

from __future__ import annotations

import os
from pathlib import Path
from typing import BinaryIO

from committee.files import open_regular


def open_log(path: Path, is_new: bool = False) -> BinaryIO:
    """Open a log for appending, emptied first if `is_new`; only its owner may read it, also if it existed before.

    Raises `NotRegular` when something else than a regular file is there, and `OSError`.
    """
    descriptor = open_regular(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
    try:
        os.fchmod(descriptor, 0o600)
        if is_new:
            os.ftruncate(descriptor, 0)
        return os.fdopen(descriptor, "wb", buffering=0)
    except BaseException:
        os.close(descriptor)
        raise
