"""Files of a node's trees that the disk cannot read: damage like any other, by which they are made anew."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

from committee.files import NotRegular, open_regular
from storage.node.store.files import LOST


@contextlib.contextmanager
def opened_to_read(path: Path) -> Iterator[BinaryIO]:
    """Open a file as long as the block lasts. Raises `FileNotFoundError`, `NotRegular`, and `OSError` as the disk does.

    Where the content is lost, as behind a bad sector, or may not be read, the file goes, so that it is made anew, and
    `ValueError` is raised.
    """
    try:
        with os.fdopen(open_regular(path), "rb") as file:
            yield file
    except (FileNotFoundError, NotRegular):
        raise
    except OSError as error:
        if error.errno not in LOST and not isinstance(error, PermissionError):
            raise
        with contextlib.suppress(OSError):
            path.unlink()
        raise ValueError(f"{path} cannot be read: {error.strerror}") from error
