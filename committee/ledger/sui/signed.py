"""What an account has signed: each transaction is on the disk before it is sent, with the versions that it uses.

    {folder}/sui-{chain}-{account}.sqlite

On Sui, of two transactions that use one version of an object neither may come through, and the object is locked for
the rest of the chain's epoch. So a version is written down with the digest of the one transaction that may use it, and
in the same write the transaction with its signature: what is not written is not sent, and what is written can be sent
again as it is, also after a kill. Only a transaction that has expired gives its versions up.

All that sends from an account must use one folder; a second one, on another machine too, knows nothing of what is
written here.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from enum import IntEnum
from pathlib import Path

from committee.errors import HauloutError, LedgerError
from committee.files import require_folder
from committee.ledger.sui.transactions import Version, transaction_digest

KEPT = 10_000
"""Transactions that are remembered, the newest ones and all whose end is not known. No endpoint is so far behind that
it tells of versions which older ones used."""
_SCHEMA = """
CREATE TABLE IF NOT EXISTS transactions (
    number INTEGER PRIMARY KEY AUTOINCREMENT, digest BLOB UNIQUE NOT NULL, action TEXT NOT NULL, data BLOB NOT NULL,
    signature BLOB NOT NULL, last_epoch INTEGER NOT NULL, state INTEGER NOT NULL
);
CREATE TABLE IF NOT EXISTS versions (
    object BLOB NOT NULL, version INTEGER NOT NULL, digest BLOB NOT NULL, PRIMARY KEY (object, version)
) WITHOUT ROWID;
CREATE INDEX IF NOT EXISTS versions_of ON versions (digest);
CREATE TRIGGER IF NOT EXISTS forget AFTER DELETE ON transactions BEGIN
    DELETE FROM versions WHERE digest = old.digest;
END;
"""


class End(IntEnum):
    """What is known of a signed transaction."""

    OPEN = 0
    """It may be executed still."""
    EXECUTED = 1
    OVERTAKEN = 2
    """Another transaction used a version of its objects: it can never be executed."""
    EXPIRED = 3
    """Its last epoch is over: it can never be executed, and its versions are free."""


class VersionUsed(HauloutError):
    """A version of an object is another transaction's; `end` is what is known of that one."""

    def __init__(self, version: Version, digest: bytes, end: End) -> None:
        self.version = version
        self.digest = digest
        self.end = end
        super().__init__(f"version {version.version} of the object 0x{version.id.hex()} is used")


@dataclass(frozen=True, slots=True)
class Signed:
    """A transaction as it is sent, however often."""

    digest: bytes
    action: str
    data: bytes
    signature: bytes
    last_epoch: int


class SignedTransactions:
    """The signed transactions of one account. Processes that share the folder share them."""

    def __init__(self, folder: Path, chain: bytes, account: bytes) -> None:
        """Open the file, or make it. Raises `LedgerError`."""
        self.path = folder / f"sui-{chain.hex()[:16]}-{account.hex()}.sqlite"
        with self._told():
            require_folder(folder)
            self._file = sqlite3.connect(self.path, isolation_level=None, timeout=10.0)
            try:
                self._file.execute("PRAGMA synchronous=EXTRA")
                self._file.executescript(_SCHEMA)
            except sqlite3.Error:
                self._file.close()
                raise

    def close(self) -> None:
        """Close the file."""
        self._file.close()

    def add(
        self,
        action: str,
        data: bytes,
        uses: Sequence[Version],
        last_epoch: int,
        sign: Callable[[bytes], bytes],
    ) -> Signed:
        """Return a transaction, signed and written down. Raises `VersionUsed`: nothing is signed then."""
        digest = transaction_digest(data)
        with self._told(), self._whole():
            for used in uses:
                self._take(used, digest)
            signature = sign(data)
            self._file.execute(
                "INSERT INTO transactions (digest, action, data, signature, last_epoch, state)"
                " VALUES (?, ?, ?, ?, ?, ?)",
                (digest, action, data, signature, last_epoch, End.OPEN),
            )
            self._file.execute(
                "DELETE FROM transactions WHERE state != ? AND number <= (SELECT MAX(number) FROM transactions) - ?",
                (End.OPEN, KEPT),
            )
        return Signed(digest, action, data, signature, last_epoch)

    def open(self) -> list[Signed]:
        """Return the transactions whose end is not known, the oldest first."""
        with self._told():
            rows = self._file.execute(
                "SELECT digest, action, data, signature, last_epoch FROM transactions WHERE state = ? ORDER BY number",
                (End.OPEN,),
            ).fetchall()
        return [Signed(*row) for row in rows]

    def uses_of(self, digest: bytes) -> list[tuple[bytes, int]]:
        """Return (object, version) of each version that a transaction uses."""
        with self._told():
            return self._file.execute(
                "SELECT object, version FROM versions WHERE digest = ? ORDER BY object", (digest,)
            ).fetchall()

    def note(self, digest: bytes, end: End) -> None:
        """Take note of a transaction's end."""
        with self._told():
            self._file.execute("UPDATE transactions SET state = ? WHERE digest = ?", (end, digest))

    def _take(self, used: Version, digest: bytes) -> None:
        """Write down that a version is a transaction's. Raises `VersionUsed` while it is another one's."""
        key = (used.id, used.version)
        row = self._file.execute(
            "SELECT v.digest, t.state FROM versions v JOIN transactions t ON t.digest = v.digest"
            " WHERE v.object = ? AND v.version = ?",
            key,
        ).fetchone()
        if row is not None and row[1] != End.EXPIRED:
            raise VersionUsed(used, row[0], End(row[1]))
        self._file.execute("INSERT OR REPLACE INTO versions VALUES (?, ?, ?)", (*key, digest))

    @contextmanager
    def _whole(self) -> Iterator[None]:
        """Write all of what is done inside, or nothing, before others read."""
        self._file.execute("BEGIN IMMEDIATE")
        try:
            yield
            self._file.execute("COMMIT")
        except BaseException:
            if self._file.in_transaction:
                self._file.execute("ROLLBACK")
            raise

    @contextmanager
    def _told(self) -> Iterator[None]:
        try:
            yield
        except (sqlite3.Error, OSError) as error:
            raise LedgerError(
                f"the account's signed transactions, {self.path}, cannot be read or written, and without them nothing "
                f"is sent: {error}"
            ) from None
