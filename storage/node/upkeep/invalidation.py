"""The end of an inconsistent blob: its proof, the signatures of members of whom one is correct, and the chain told.

Repair finds the proof (`storage.node.repair.InconsistentBlob`). Every member that is shown it checks it for itself and
signs; with the signatures of more than a third of the shards anyone can have the chain mark the blob invalid, and from
then on nobody keeps it, repairs it, or serves it (PROTOCOL sections 1, 2 and 4). A member that has met such a blob
gathers and posts the signatures in its turn, so that members which met it at the same time do not all do so.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import Coroutine
from dataclasses import dataclass
from typing import Any

from committee import messages
from committee.bls import SecretKey
from committee.certificate import Certificate, MemberSignature
from committee.errors import CommitteeError, LedgerRefused
from committee.logs import Log
from committee.membership import Committee, Member
from storage.client.link import Transfer
from storage.node.chain import ChainView
from storage.node.duties import Rota
from storage.node.peers import Peers
from storage.node.repair import InconsistentBlob
from storage.node.signatures import TooFewSignatures, gather_certificate, round_behind
from storage.redstuff import blob_id_text

log = Log()

BLOBS_AT_ONCE = 8
"""A proof is as large as a sliver. Of more blobs than this no proof is kept: repair will meet them again."""
REST_S = 1.0
"""Pause between two looks at the blobs whose turn is to come."""
LONGEST_ROUND_S = 600
"""A member that alone has met a blob is not kept waiting for longer, however many members come before it."""
ALREADY_INVALID = "InvalidBlob"
"""The contract's refusal when another member was first."""


@dataclass
class _Met:
    """An inconsistent blob that repair has met."""

    blob: InconsistentBlob
    at_s: float
    """When repair met the blob, by this machine's clock."""
    tried_in: int | None = None
    """The number of this node's turn in which it last tried to have the blob invalidated."""


class Invalidation:
    """The inconsistent blobs one node has met and the chain does not know of yet."""

    def __init__(self, view: ChainView, rota: Rota, peers: Peers, secret: SecretKey) -> None:
        self._view = view
        self._rota = rota
        self._peers = peers
        self._secret = secret
        self._met: dict[bytes, _Met] = {}
        self._more = asyncio.Event()

    def take(self, blob: InconsistentBlob) -> None:
        """Take on a blob met by repair."""
        if len(self._met) < BLOBS_AT_ONCE:
            self._met.setdefault(blob.metadata.blob_id, _Met(blob, time.monotonic()))
            self._more.set()

    async def run(self) -> None:
        """Have blobs invalidated for ever, each in this node's turn."""
        while True:
            self._more.clear()
            met = list(self._met.items())
            done = await asyncio.gather(*(self._see_to(one) for _, one in met))
            for (blob_id, _), is_done in zip(met, done, strict=True):
                if is_done:
                    del self._met[blob_id]
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(REST_S if self._met else None):
                    await self._more.wait()

    async def _see_to(self, met: _Met) -> bool:
        """Have a blob invalidated, once in each turn of this node; return whether that is done, or not needed."""
        blob_id = met.blob.metadata.blob_id
        if self._view.is_invalid(blob_id) or not self._view.is_registered(blob_id):
            return True
        waited_s = time.monotonic() - met.at_s
        turn = self._rota.turn(f"invalidate {blob_id.hex()}", waited_s, longest_round_s=LONGEST_ROUND_S)
        if turn is None or not self._rota.is_mine(turn) or turn.number == met.tried_in:
            return False
        met.tried_in = turn.number
        return await self._invalidate(met.blob)

    async def _invalidate(self, blob: InconsistentBlob) -> bool:
        """Gather signatures and post them; return whether the chain has the blob invalid, else try again."""
        blob_id, state = blob.metadata.blob_id, self._view.state
        if state.current is None:
            return False
        body = messages.invalid_blob_body(blob_id)
        domain = self._view.parameters.domain
        message = messages.encode(messages.Intent.INVALID_BLOB, state.epoch, body, domain)
        try:
            certificate = await self._certificate(state.current, blob, message)
            await self._view.ledger.invalidate_blob(blob_id, certificate)
        except TooFewSignatures as error:
            log.info(
                "an inconsistent blob is not invalidated yet", blob=blob_id_text(blob_id), why=str(error)
            )
            return False
        except LedgerRefused as error:
            if error.reason != ALREADY_INVALID:
                log.warning("invalidation refused; will try again", error=str(error))
                return False
        except CommitteeError as error:
            log.warning("invalidation not posted; will try again", error=str(error))
            return False
        log.warning("an inconsistent blob is invalid on chain", blob=blob_id_text(blob_id))
        return True

    async def _certificate(self, current: Committee, blob: InconsistentBlob, message: bytes) -> Certificate:
        """Return the certificate of members of whom one is correct. Raises `TooFewSignatures`."""
        me, own = self._view.node_id, None
        if me in current.by_id:
            own = MemberSignature(me, await asyncio.to_thread(self._secret.sign, message))

        def show(member: Member) -> tuple[Coroutine[Any, Any, tuple[bytes, bytes]], Transfer]:
            transfer = Transfer()
            client = self._peers.client(member)
            return client.inconsistency_proof(blob.metadata.blob_id, blob.proof, transfer), transfer

        return await gather_certificate(current, message, own, round_behind(me, current), show, "one_correct")
