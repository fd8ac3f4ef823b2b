"""Named places at which a test may kill the node; empty in production.

A process is armed by its environment alone, read once when it starts: `HAULOUT_FAIL_POINT=handover.page-stored:2` has
it kill itself, by SIGKILL and so without goodbye or clean-up, when it comes to that place for the second time. Nothing
that arrives over the network can arm one.
"""

from __future__ import annotations

import os
import signal
from collections import Counter

ENVIRONMENT = "HAULOUT_FAIL_POINT"

REBUILDER = (
    "handover.begun",
    "handover.blob-metadata-fetched",
    "handover.blob-metadata-stored",
    "handover.page-wanted",
    "handover.page-received",
    "handover.page-verified",
    "handover.page-stored",
    "handover.symbols-wanted",
    "handover.symbols-received",
    "handover.slivers-rebuilt",
    "handover.slivers-stored",
    "handover.blob-filled",
    "handover.digest-made",
    "handover.attestation-wanted",
    "handover.attestation-sent",
    "handover.complete",
    "handover.shard-to-drop",
    "handover.shard-dropped",
    "prefetch.begun",
    "prefetch.complete",
)
"""Places at the node that fills its shards; those in `storage.node.repair` are passed by healing too."""
SOURCE = ("source.page-asked", "source.page-allowed", "source.page-read")
"""Places at the old owner of a shard that is transferred."""
HELPER = ("helper.symbols-asked", "helper.symbols-read")
"""Places at a node that gives symbols."""
PROVER = (
    "proofs.inventory-made",
    "proofs.pairs-read",
    "proofs.tree-made",
    "proofs.trees-made",
    "proofs.inventory-certified",
    "proofs.round-begun",
    "proofs.commitment-kept",
    "proofs.commitment-wanted",
    "proofs.commitment-sent",
    "proofs.draw-sent",
    "proofs.page-made",
    "proofs.pages-made",
    "proofs.proof-certified",
    "proofs.proof-sent",
    "proofs.answer-wanted",
    "proofs.answer-sent",
    "proofs.demand-answer-wanted",
    "proofs.demand-answered",
    "proofs.judgement-sent",
)
"""Places at a member in a round of storage proofs."""
AUDITOR = ("proofs.page-judged", "proofs.proof-signed")
"""Places at the fellow that judges what a member shows."""
NAMES = frozenset((*REBUILDER, *SOURCE, *HELPER, *PROVER, *AUDITOR))


class UnknownFailPoint(Exception):
    """The environment names a place that there is not."""


def _read(text: str) -> tuple[str, int]:
    """Return (name, k), where the process is killed when it comes to the place the `k`th time; ("", 0) for no text.

    The text is `name` or `name:k`; `k` is 1 where it is not given.
    """
    if not text:
        return "", 0
    name, _, hit = text.partition(":")
    if name not in NAMES or not ((hit.isascii() and hit.isdigit()) or hit == ""):
        raise UnknownFailPoint(f"{ENVIRONMENT}={text!r}: no such fail point")
    return name, int(hit or 1)


_ARMED, _HIT = _read(os.environ.get(ENVIRONMENT, ""))
_passed: Counter[str] = Counter()


def fail_point(name: str) -> None:
    """Kill the process if HAULOUT_FAIL_POINT names this place, and the process has come to it as often as it says."""
    if name != _ARMED:
        return
    _passed[name] += 1
    if _passed[name] >= _HIT:
        os.kill(os.getpid(), signal.SIGKILL)
