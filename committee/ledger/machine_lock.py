"""Lock files that all processes of a user share on one machine.

    {temporary folder}/haulout-{user id}/{name}

Where no such file can be made (a read-only machine, a folder of another user's) there is no lock. A process that is
killed leaves its files: `remove_abandoned` takes them away, of whichever name.
"""

from __future__ import annotations

import asyncio
import contextlib
import fcntl
import os
import random
import stat
import tempfile
import time
from collections.abc import AsyncIterator
from itertools import islice
from pathlib import Path

from committee.backoff import next_pause_s

FIRST_POLL_S = 0.002
LONGEST_POLL_S = 0.05
ABANDONED_S = 150.0
"""A lock file that nothing has held for this long is abandoned; no transaction is waited for as long."""
LOOKED_AT = 4096
"""The most files that one call of `remove_abandoned` looks at."""
OPENED_AGAIN = 100
"""Tries to open a lock file again when another process has removed its folder meanwhile."""


class HeldTooLong(Exception):
    """Another process holds the lock; the text is the file and for how long, in words."""


async def acquire(name: str, limit_s: float) -> int | None:
    """Wait for the lock; return its open file, for `release`, or None where there can be none. Raises `HeldTooLong`."""
    clock = asyncio.get_running_loop().time
    began, poll_s = clock(), FIRST_POLL_S
    while True:
        with contextlib.suppress(BlockingIOError):
            return take(name)
        waited_s = clock() - began
        if waited_s >= limit_s:
            raise HeldTooLong(f"{_folder() / name} for {waited_s:.0f} s")
        await asyncio.sleep(poll_s * random.uniform(0.5, 1))  # noqa: S311 (no secret)
        poll_s = next_pause_s(poll_s, FIRST_POLL_S, LONGEST_POLL_S)


@contextlib.asynccontextmanager
async def held(name: str, limit_s: float) -> AsyncIterator[None]:
    """Hold the lock, and remove its file afterwards. Raises `HeldTooLong`."""
    file = await acquire(name, limit_s)
    try:
        yield
    finally:
        if file is not None:
            remove(name)
            release(file)


def take(name: str, *, create: bool = True) -> int | None:
    """Return the lock's file, open and locked; None where there is none. With `create`, make a missing file.

    Raises `BlockingIOError` when another process holds it.
    """
    while True:
        file = _open(name, create)
        if file is None:
            return None
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(file)
            raise
        except OSError:  # a file system without locks
            os.close(file)
            return None
        if _is_there(file, name):
            return file
        os.close(file)  # it was removed before the lock was taken: another one may be there


def release(file: int) -> None:
    """Release the lock."""
    # Unlocked, and not only closed: a child forked meanwhile has the file open too.
    with contextlib.suppress(OSError):
        fcntl.flock(file, fcntl.LOCK_UN)
    os.close(file)


def remove(name: str) -> None:
    """Remove the file of a lock that is held, and the folder if it is empty then."""
    with contextlib.suppress(OSError):
        (_folder() / name).unlink()
        _folder().rmdir()


def remove_abandoned() -> None:
    """Remove the files of locks that nothing holds and nothing has used for ABANDONED_S.

    It is done under the lock: a process that has just opened such a file finds it gone, and opens another (`take`).
    A file that was used lately is not locked: its owner may be about to remove it, and would find it held.
    """
    with contextlib.suppress(OSError), os.scandir(_folder()) as entries:
        for name in [entry.name for entry in islice(entries, LOOKED_AT) if _is_old(entry)]:
            with contextlib.suppress(BlockingIOError):
                file = take(name, create=False)
                if file is None:
                    continue
                try:
                    if _is_abandoned(os.fstat(file)):
                        remove(name)
                finally:
                    release(file)


def _is_old(entry: os.DirEntry[str]) -> bool:
    with contextlib.suppress(FileNotFoundError):
        return _is_abandoned(entry.stat(follow_symlinks=False))
    return False


def _is_abandoned(found: os.stat_result) -> bool:
    return time.time() - found.st_mtime > ABANDONED_S


def _folder() -> Path:
    return Path(tempfile.gettempdir(), f"haulout-{os.getuid()}")


def _open(name: str, create: bool) -> int | None:
    """Return the lock file, open; None where there is none, or can be none that only this user can hold."""
    try:
        folder = _folder()
    except FileNotFoundError:  # there is no temporary folder that can be written
        return None
    flags = os.O_RDWR | os.O_NOFOLLOW | os.O_CLOEXEC | (os.O_CREAT if create else 0)
    for _ in range(OPENED_AGAIN):
        try:
            if create:
                folder.mkdir(0o700, exist_ok=True)
            found = folder.lstat()
            if not stat.S_ISDIR(found.st_mode) or found.st_uid != os.getuid() or found.st_mode & 0o022:
                return None
            return os.open(folder / name, flags, 0o600)
        except FileNotFoundError:
            if not create:
                return None
        except OSError:
            return None
    return None


def _is_there(file: int, name: str) -> bool:
    """Return whether the open file is still the one of that name."""
    with contextlib.suppress(FileNotFoundError):
        return os.path.samestat(os.fstat(file), (_folder() / name).stat())
    return False
