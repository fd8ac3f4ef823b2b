"""The root of all errors of Haulout, and the committee's.

HauloutError                 raised as the errors of each folder, of which these are `committee`'s:
CommitteeError
├── ElectionError            stakes from which no committee can be elected
├── InvalidKey               a BLS key or point that must not be used
├── InvalidSignature         bytes that are no signature at all
├── InvalidMessage           bytes that are not the message they claim to be
├── InvalidAddress           a text that is no network address of a node
├── InvalidCertificate       a bitmap, signature or weight that does not hold
│   └── NotEnoughWeight      too few votes are good; `refused` names whose were bad
└── LedgerError              the chain refused, or did not answer
    ├── LedgerUnavailable    no answer within the limit; trying again may help
    │   ├── LedgerReorganised  the chain replaced blocks that were read
    │   ├── LedgerHistoryGone  no endpoint keeps the blocks behind a checkpoint any more
    │   ├── LedgerStateGone    no endpoint keeps the state of the block any more
    │   ├── ProvidersDisagree  two endpoints tell different settled blocks of one number
    │   ├── TransactionUnknown  a transaction was sent, and its end is not known
    │   └── LedgerNotSettled   the deployment is newer than the chain's settled block
    │       └── FinalityUnknown  the chain's endpoint tells no settled block at all
    └── LedgerRefused        the contract reverted; `reason` is its own error name
"""

from __future__ import annotations

import pickle
from collections.abc import Mapping
from typing import Any

from committee.hints import hint
from committee.untrusted import printable

INSUFFICIENT_FUNDS = "InsufficientFunds"
"""The reason of a refusal that is the chain's and no contract's: the account has too little for value and gas."""


class HauloutError(Exception):
    """Root of all errors of Haulout.

    Each pickles with its fields, whatever its constructor takes, and so gets through a process pool.
    """

    def __reduce__(self) -> tuple[Any, ...]:
        """As pickle takes it: the error is made anew past its constructor."""
        fields = {name: value if _pickles(value) else repr(value) for name, value in self.__dict__.items()}
        return _revived, (type(self), self.args, fields)


def _pickles(value: object) -> bool:
    try:
        pickle.dumps(value)
    except Exception:
        return False
    return True


def _revived(kind: type[BaseException], args: tuple[object, ...], fields: dict[str, object]) -> BaseException:
    error = kind.__new__(kind)
    error.args = args
    error.__dict__.update(fields)
    return error


class CommitteeError(HauloutError):
    """Root of all errors of `committee`.

    Where an error has `details`, commands print them beside its message.
    """


class ElectionError(CommitteeError):
    """No committee can be elected from these candidates; the message says why."""


class InvalidKey(CommitteeError):
    """A secret scalar or public key that must not be used."""


class InvalidSignature(CommitteeError):
    """Bytes that are no signature by anyone: not a point of the group, or the identity."""


class InvalidMessage(CommitteeError):
    """Bytes that are not the signed message they claim to be; the message names the field."""


class InvalidAddress(CommitteeError):
    """A text that is no network address of a node; the message says why."""


class InvalidCertificate(CommitteeError):
    """A certificate whose bitmap, signature or weight does not hold."""


class NotEnoughWeight(InvalidCertificate):
    """The good votes do not reach what is needed.

    `weight` and `needed` are in shards; `refused` are the node ids whose confirmations were bad, so that a
    collector can leave them out and go on.
    """

    def __init__(self, message: str, weight: int, needed: int, refused: tuple[int, ...] = ()) -> None:
        self.weight = weight
        self.needed = needed
        self.refused = refused
        super().__init__(message)


class LedgerError(CommitteeError):
    """The chain did not do what was asked."""


class LedgerUnavailable(LedgerError):
    """The chain gave no answer within the limit; nothing is known to have happened, try again."""


class LedgerReorganised(LedgerUnavailable):
    """The chain replaced blocks that were read before: what they told must be read anew."""


class LedgerHistoryGone(LedgerUnavailable):
    """No endpoint has the blocks that follow on a checkpoint any more: the whole state must be read anew."""


class LedgerStateGone(LedgerUnavailable):
    """No endpoint has the state of a block: it was replaced, or they keep that of the newest blocks only."""


class ProvidersDisagree(LedgerUnavailable):
    """Two endpoints tell different settled blocks of one number: neither is believed until they agree."""


class TransactionUnknown(LedgerUnavailable):
    """A transaction was handed over and its end is not known: it may still be mined. `transaction` is its hash."""

    def __init__(self, message: str, transaction: bytes) -> None:
        self.transaction = transaction
        super().__init__(message)

    @property
    def details(self) -> Mapping[str, object]:
        """What commands print beside the message."""
        return {"transaction": self.transaction}


class LedgerNotSettled(LedgerUnavailable):
    """The contracts are not in the chain's settled block yet; on a public chain they are some minutes later."""

    lacks_finality = False
    """Whether block 0 is told to be final, as it is for ever where a chain has no finality."""


class FinalityUnknown(LedgerNotSettled):
    """The endpoint tells no settled block: it was restarted and will tell one soon, or the chain has no finality."""

    lacks_finality = True


class LedgerRefused(LedgerError):
    """The contract reverted, or the account cannot pay (`InsufficientFunds`).

    `reason` is the contract's own error name, `arguments` its decoded arguments by name.
    """

    def __init__(
        self, action: str, reason: str, arguments: dict[str, object] | None = None, as_of: str = ""
    ) -> None:
        """`as_of` tells of which block this is, where that matters."""
        self.action = action
        self.reason = reason
        self.arguments = arguments or {}
        self.hint = hint(reason)
        """What to do about it; may be empty."""
        details = ", ".join(
            f"{name}={printable(value) if isinstance(value, str) else value}"
            for name, value in self.arguments.items()
        )
        refused = "the account cannot pay for" if reason == INSUFFICIENT_FUNDS else "the contract refused"
        message = f"{refused} {action}: {reason}" + (f" ({details})" if details else "")
        super().__init__(f"{message}, as of {as_of}" if as_of else message)

    @property
    def details(self) -> Mapping[str, object]:
        """Name → value of what commands print beside the message: the reason, and the hint if there is one."""
        told = {"reason": self.reason, "hint": self.hint}
        return {name: value for name, value in told.items() if value}
