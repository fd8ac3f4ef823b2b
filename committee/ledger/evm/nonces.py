"""Gives out the nonces of one account: to all its senders in a process, and to all processes of a user's machine.

In an event loop a lock and a counter are shared. Between threads and processes there is a lock file, held from the
reading of a nonce until the endpoint has the transaction that takes it:

    {temporary folder}/haulout-{user id}/{chain id}-{account}.lock      content: which counter held it last

A counter that did not hold the file last reads its next nonce from the chain. The file names no nonce: one that is
left over from another chain with the same id, as local ones have, would make transactions wait for ever.

Where no such file can be made (a read-only machine, a folder of another user's) there is no lock between processes;
then, as between machines, a sender that comes too late takes the next nonce.
"""

from __future__ import annotations

import asyncio
import contextlib
import fcntl
import os
import random
import secrets
import stat
import tempfile
from collections.abc import AsyncIterator
from pathlib import Path
from typing import ClassVar
from weakref import WeakValueDictionary

from committee.errors import LedgerUnavailable

LOCK_LIMIT_S = 60.0
"""No sender waits longer for the others of its account."""
FIRST_POLL_S = 0.002
LONGEST_POLL_S = 0.05
TOKEN_BYTES = 16
OPENED_AGAIN = 100
"""Tries to open a lock file whose folder another process removes each time; each removal is one sender's end."""


class Nonces:
    """The counter of one account on one chain, shared by all its senders in one event loop.

    `next` and `under_way` are to be used within `turn` only.
    """

    _shared: ClassVar[WeakValueDictionary[tuple[int, str, int, int], Nonces]] = WeakValueDictionary()

    def __init__(self, chain_id: int, account: str) -> None:
        self.next: int | None = None
        """None when it is to be read from the chain."""
        self.mined = 0
        """Number of the account's transactions known to be mined; an endpoint that is behind may tell fewer."""
        self.under_way: set[int] = set()
        self._account = account
        self._name = f"{chain_id}-{account.lower()}.lock"
        self._lock = asyncio.Lock()
        self._token = secrets.token_hex(TOKEN_BYTES).encode()

    @classmethod
    def of(cls, chain_id: int, account: str) -> Nonces:
        """The one counter of an account in this event loop, of this process and of no parent it was forked from."""
        key = chain_id, account, os.getpid(), id(asyncio.get_running_loop())
        return cls._shared.setdefault(key, cls(chain_id, account))

    @contextlib.asynccontextmanager
    async def turn(self) -> AsyncIterator[None]:
        """While inside, nothing else on this machine takes a nonce of the account.

        Raises `LedgerUnavailable` after `LOCK_LIMIT_S`.
        """
        async with self._lock:
            file = await self._acquire()
            if file is None:
                yield
                return
            try:
                if os.pread(file, 2 * TOKEN_BYTES, 0) != self._token:
                    self.next = None
                    os.pwrite(file, self._token, 0)
                yield
            finally:
                _release(file)

    def close(self) -> None:
        """Remove the lock file, if this counter held it last and nothing holds it now, and the folder if empty."""
        file = _open(self._name)
        if file is None:
            return
        with contextlib.suppress(OSError):
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            if os.pread(file, 2 * TOKEN_BYTES, 0) in (self._token, b"") and _is_there(file, self._name):
                (_folder() / self._name).unlink()
                _folder().rmdir()
        _release(file)

    async def _acquire(self) -> int | None:
        """The lock file, locked; None where there can be none."""
        clock = asyncio.get_running_loop().time
        began, poll_s = clock(), FIRST_POLL_S
        while True:
            file = _open(self._name)
            if file is None:
                return None
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                if _is_there(file, self._name):
                    return file
                os.close(file)
                continue  # it was removed before the lock was taken: another one may be there
            except BlockingIOError:
                os.close(file)
            waited_s = clock() - began
            if waited_s >= LOCK_LIMIT_S:
                raise LedgerUnavailable(
                    f"nothing was sent: other senders of {self._account} on this machine have held "
                    f"{_folder() / self._name} for {waited_s:.0f} s; try again, or end the one that hangs"
                )
            await asyncio.sleep(poll_s * random.uniform(0.5, 1))  # noqa: S311 (no secret)
            poll_s = min(2 * poll_s, LONGEST_POLL_S)


def _folder() -> Path:
    return Path(tempfile.gettempdir(), f"haulout-{os.getuid()}")


def _open(name: str) -> int | None:
    """The lock file, made if need be; None where there can be none that only this user can hold."""
    folder = _folder()
    for _ in range(OPENED_AGAIN):
        try:
            folder.mkdir(0o700, exist_ok=True)
            found = folder.lstat()
            if not stat.S_ISDIR(found.st_mode) or found.st_uid != os.getuid() or found.st_mode & 0o022:
                return None
            return os.open(folder / name, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
        except FileNotFoundError:
            continue
        except OSError:
            return None
    return None


def _is_there(file: int, name: str) -> bool:
    """Whether the open file is still the one of that name."""
    with contextlib.suppress(FileNotFoundError):
        return os.path.samestat(os.fstat(file), (_folder() / name).stat())
    return False


def _release(file: int) -> None:
    # Unlocked, and not only closed: a child forked meanwhile has the file open too.
    with contextlib.suppress(OSError):
        fcntl.flock(file, fcntl.LOCK_UN)
    os.close(file)
