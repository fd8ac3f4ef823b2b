"""Gives out the nonces of one account: to all its senders in a process, and to all processes of a user's machine.

In an event loop a lock and a counter are shared. Between threads and processes there is a lock file (`machine_lock`),
held from the reading of a nonce until the endpoint has the transaction that takes it:

    {chain id}-{account}.lock      content: which counter held it last

A counter that did not hold the file last reads its next nonce from the chain. The file names no nonce: one that is
left over from another chain with the same id, as local ones have, would make transactions wait for ever.

Where no such file can be made (a read-only machine, a folder of another user's) there is no lock between processes;
then, as between machines, a sender that comes too late takes the next nonce.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import secrets
from collections.abc import AsyncIterator
from typing import ClassVar
from weakref import WeakValueDictionary

from committee.errors import LedgerUnavailable
from committee.ledger import machine_lock

LOCK_LIMIT_S = 60.0
"""No sender waits longer for the others of its account."""
TOKEN_BYTES = 16


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
        """Return the counter of an account in this event loop: the process' own, not that of a forked parent."""
        key = chain_id, account, os.getpid(), id(asyncio.get_running_loop())
        return cls._shared.setdefault(key, cls(chain_id, account))

    @contextlib.asynccontextmanager
    async def turn(self) -> AsyncIterator[None]:
        """Keep all other senders on this machine from taking a nonce of the account, while inside.

        Where no lock file can be made, these are the senders of this event loop alone.

        Raises `LedgerUnavailable` after `LOCK_LIMIT_S`.
        """
        async with self._lock:
            try:
                file = await machine_lock.acquire(self._name, LOCK_LIMIT_S)
            except machine_lock.HeldTooLong as held:
                raise LedgerUnavailable(
                    f"nothing was sent: other senders of {self._account} on this machine have held {held}; try again, "
                    "or end the one that hangs"
                ) from None
            if file is None:
                yield
                return
            try:
                if os.pread(file, 2 * TOKEN_BYTES, 0) != self._token:
                    self.next = None
                os.pwrite(file, self._token, 0)  # each time: the file's age tells when it was used last
                yield
            finally:
                machine_lock.release(file)

    def close(self) -> None:
        """Remove the lock file, if this counter held it last and nothing holds it now, and abandoned ones.

        The folder goes with the last of them.
        """
        machine_lock.remove_abandoned()
        with contextlib.suppress(OSError):
            file = machine_lock.take(self._name, create=False)
            if file is None:
                return
            try:
                if os.pread(file, 2 * TOKEN_BYTES, 0) in (self._token, b""):
                    machine_lock.remove(self._name)
            finally:
                machine_lock.release(file)
