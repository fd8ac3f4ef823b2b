"""Logs of the processes of a local network: their owner's alone to read."""

from __future__ import annotations

import os
import stat
from pathlib import Path
from typing import BinaryIO


def open_log(path: Path, is_new: bool = False) -> BinaryIO:
    """Open a log to be written on, or anew; only its owner may read the file, also if it was there before."""
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND | (os.O_TRUNC if is_new else 0), 0o600)
    try:
        if stat.S_ISREG(os.fstat(descriptor).st_mode):
            os.fchmod(descriptor, 0o600)
        return os.fdopen(descriptor, "wb", buffering=0)
    except BaseException:
        os.close(descriptor)
        raise
