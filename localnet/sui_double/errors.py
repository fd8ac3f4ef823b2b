"""What the chain refuses, and how a transaction that it executed can fail.

ChainRefusal                 the transaction is not executed, and pays nothing
├── InvalidTransaction       its bytes, signature or inputs are not valid
└── ObjectConflict           another transaction has used the version of an object that it names

CommandFailure, a `HauloutError` of its own, is a command that failed; the effects name it.
"""

from __future__ import annotations

from committee.errors import HauloutError


class ChainRefusal(HauloutError):
    """The chain did not execute a transaction."""


class InvalidTransaction(ChainRefusal):
    """A transaction is malformed, not signed by its sender, or names inputs that do not exist or are not its own."""


class ObjectConflict(ChainRefusal):
    """The version of an object that a transaction names is not the newest: another transaction used that one."""


class CommandFailure(HauloutError):
    """A command of a transaction failed. `kind` is the name that Sui's `ExecutionErrorKind` has for it."""

    def __init__(self, kind: str, message: str) -> None:
        super().__init__(message)
        self.kind = kind
