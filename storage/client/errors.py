"""What can go wrong between a client and the storage nodes.

ClientError
├── NoCommittee               no epoch has been started
├── WrongBlob                 the data are not those of the registered blob, or its object does not live any more
├── UnknownBlob               a quorum of the nodes do not know the blob id
├── InvalidBlob               the blob was proven to be encoded inconsistently
├── BlobUnavailable           too few shards answer to read the blob
├── FileError                 a file cannot be read or written (`storage.client.files`)
├── NotEnoughConfirmations    too few shards confirm to certify the blob
├── ObjectEnded               a blob object's periods were over, or it was deleted, before it was certified
├── PaidObjectError           a blob object is paid for and what was asked is not done: `object_id`, `blob_id`, `cause`
│   ├── NotCertified          it is registered
│   └── NotExtended           it is certified, for fewer periods than asked
└── NodeError                 one node failed: `name`, `address`, `why`
    ├── NodeUnreachable       no answer
    │   ├── NodeStalled       no connection's fault: the request or its answer stopped moving
    │   ├── NodeUntrusted     its TLS certificate is refused
    │   └── NodeUnusable      no connection is made to its address
    ├── NodeRefused           an answer with an error: `reason`, `status`
    └── NodeLied              an answer that cannot be true or read
"""

from __future__ import annotations

from asyncio import CancelledError
from collections import Counter
from collections.abc import Mapping
from typing import NamedTuple

from committee.errors import HauloutError
from committee.untrusted import printable
from storage.client.failures import Reason
from storage.redstuff import blob_id_text

NO_ANSWER = "no answer"
MAX_WHY_CHARACTERS = 1000


class ClientError(HauloutError):
    """Root of all errors of `storage.client`."""


class NodeError(ClientError):
    """One node failed. Name, address and reason are the node's own text, or a stranger's: made printable here."""

    def __init__(self, name: str, address: str, why: str) -> None:
        name, address, why = printable(name), printable(address), printable(why, MAX_WHY_CHARACTERS)
        super().__init__(f"{name} ({address}): {why}")
        self.name = name
        self.address = address
        self.why = why


class NodeUnreachable(NodeError):
    """The node did not answer in time, or at all."""

    def __init__(self, name: str, address: str, detail: str) -> None:
        super().__init__(name, address, f"{NO_ANSWER} ({detail})")


class NodeStalled(NodeUnreachable):
    """The node was connected and stopped taking the request or giving its answer; asking again would take as long."""


class NodeUnusable(NodeUnreachable):
    """The client does not connect to the node's address: it is no address, not public, or this machine forbids it."""

    def __init__(self, name: str, address: str, detail: str) -> None:
        NodeError.__init__(self, name, address, f"its address is not used ({detail})")


class NodeUntrusted(NodeUnreachable):
    """The node's TLS certificate is not valid for its name, out of date, or of an authority that is not trusted."""

    def __init__(self, name: str, address: str, detail: str) -> None:
        NodeError.__init__(self, name, address, f"its TLS certificate is refused ({detail})")


class NodeRefused(NodeError):
    """The node answered with an error."""

    def __init__(
        self,
        name: str,
        address: str,
        status: int,
        reason: Reason | None,
        message: str,
        retry_after_s: float | None = None,
    ) -> None:
        super().__init__(name, address, f"{reason or status}: {message}")
        self.status = status
        self.reason = reason
        """None when the answer names no reason of the protocol's."""
        self.retry_after_s = retry_after_s
        """The answer's Retry-After; None without one."""


class NodeLied(NodeError):
    """The node's answer cannot be true, or cannot be read."""


class NodeFailure(NamedTuple):
    """Why a node failed, and the name by which to tell it. Names are not unique: failures are kept by node id."""

    name: str
    why: str


Failures = Mapping[int, NodeFailure]
"""Node id → failure."""


class NoCommittee(ClientError):
    """No epoch has been started."""


class WrongBlob(ClientError):
    """The data are not those of the blob that was registered, or its object does not live any more."""


class UnknownBlob(ClientError):
    """A quorum of the shards' owners do not know the blob id: no quorum can have certified it."""

    def __init__(self, blob: str, unknown_to: int, n_shards: int) -> None:
        super().__init__(
            f"no blob {blob}: nodes with {unknown_to} of {n_shards} shards do not know it; "
            "check the id, and that the blob was certified and has not expired"
        )


class InvalidBlob(ClientError):
    """Enough nodes find the blob invalid that a correct one is among them: its writer encoded it inconsistently."""

    def __init__(self, blob: str) -> None:
        super().__init__(
            f"blob {blob} is invalid: its writer was proven on chain to have encoded it inconsistently, and nobody "
            "keeps it; ask the writer to store it anew"
        )


class BlobUnavailable(ClientError):
    """Fewer shards can be reached than reading needs; the message and `failures` name the nodes that failed."""

    def __init__(self, blob: str, needed: int, n_shards: int, reachable: int, failures: Failures) -> None:
        super().__init__(
            f"{blob}: needed {needed} of {n_shards} shards, reachable {reachable}: {name_failures(failures)}"
        )
        self.failures = dict(failures)


class NotEnoughConfirmations(ClientError):
    """Fewer shards confirm than a certificate needs; the message and `failures` name the nodes that failed."""

    def __init__(self, needed: int, n_shards: int, confirmed: int, failures: Failures) -> None:
        super().__init__(
            f"needed {needed} of {n_shards} shards, reachable {confirmed}: {name_failures(failures)}"
        )
        self.failures = dict(failures)


class ObjectEnded(ClientError):
    """A blob object's periods were over, or it was deleted, before it was certified: it can serve nothing any more."""

    def __init__(self, end_period: int | None) -> None:
        """`end_period` is the first period in which it did not live; None of one that was deleted."""
        anew = "before it was certified: store the bytes anew, which pays for a new object"
        super().__init__(
            f"it was deleted {anew}"
            if end_period is None
            else f"its time was over when period {end_period} began, {anew}, and for more periods (--periods), or when "
            "one has just begun"
        )
        self.end_period = end_period


class PaidObjectError(ClientError):
    """A blob object is paid for, and what was asked of it failed: `cause` says why, `object_id` names it."""

    said = "is paid for"
    advice = "store the same bytes again"

    def __init__(self, blob_id: bytes, object_id: int, cause: BaseException) -> None:
        why = "it was cancelled" if isinstance(cause, CancelledError) else str(cause) or type(cause).__name__
        go_on = f"; to go on with the object and pay for it no second time, {self.advice}"
        super().__init__(
            f"blob {blob_id_text(blob_id)}, object {object_id}, {self.said}: {why}"
            f"{'' if isinstance(cause, ObjectEnded) else go_on}"
        )
        self.blob_id = blob_id
        self.object_id = object_id
        self.cause = cause

    @property
    def details(self) -> dict[str, object]:
        """What commands print beside the message."""
        return {"object_id": self.object_id, "blob_id": blob_id_text(self.blob_id)}


class NotCertified(PaidObjectError):
    """A blob object is registered and paid for, and could not be certified."""

    said = "is registered and paid for, and not certified"
    advice = "store the same bytes again, or certify the object"


class NotExtended(PaidObjectError):
    """A blob object is certified, and could not be extended to the period that was asked for."""

    said = "is certified, and could not be extended as far as asked"


def name_failures(failures: Failures) -> str:
    """Return which nodes failed and why, those of one reason together: "no answer from a, b; c, d: …".

    Nodes that share a name are told with their ids: "a (node 3), a (node 4)".
    """
    names = Counter(one.name for one in failures.values())
    told = sorted(
        (one.name if names[one.name] == 1 else f"{one.name} (node {node_id})", one.why)
        for node_id, one in failures.items()
    )
    silent = [name for name, why in told if why.startswith(NO_ANSWER)]
    by_reason: dict[str, list[str]] = {}
    for name, why in told:
        if not why.startswith(NO_ANSWER):
            by_reason.setdefault(why, []).append(name)
    others = [f"{', '.join(names_of)}: {why}" for why, names_of in by_reason.items()]
    return (
        "; ".join(([f"{NO_ANSWER} from {', '.join(silent)}"] if silent else []) + others)
        or "nobody was left to ask"
    )
