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
from storage.redstuff import Axis, InconsistencyProof, blob_id_text

log = Log()

AT_ONCE = 16
"""Blobs of which signatures are gathered and posted at once."""
MOST_MET = 512
"""Blobs whose turns are waited for, each for minutes, and side by side: a writer may register bad blobs by the
thousand, and shards that lack their slivers are attested only when the last of them is invalid."""
PROOFS_BYTES = 64 * 2**20
"""Bytes of the proofs that are kept meanwhile, each as large as a sliver, unless a single one is larger. Blobs beyond
these two limits are left alone: repair will meet them again."""
REST_S = 1.0
"""Pause between two looks at the blobs whose turn is to come."""
LONGEST_ROUND_S = 600
"""A member that alone has met a blob is not kept waiting for longer, however many members come before it."""
ALREADY_INVALID = "InvalidBlob"
"""The contract's refusal when another member was first."""


@dataclass
class _Met:
    """An inconsistent blob that repair has met."""

    blob_id: bytes
    axis: Axis
    proof: bytes
    """Its BCS, a fraction of the memory that the proof itself takes."""
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
        self._at_work: set[bytes] = set()
        """Blobs of which signatures are being gathered or posted."""
        self._more = asyncio.Event()

    def take(self, blob: InconsistentBlob) -> None:
        """Take on a blob met by repair."""
        blob_id = blob.metadata.blob_id
        if blob_id in self._met or len(self._met) >= MOST_MET:
            return
        proof = blob.proof.to_bcs()
        if self._met and sum(len(one.proof) for one in self._met.values()) + len(proof) > PROOFS_BYTES:
            return
        self._met[blob_id] = _Met(blob_id, blob.proof.axis, proof, time.monotonic())
        self._more.set()

    async def run(self) -> None:
        """Have blobs invalidated for ever, each in this node's turn, so that none waits for another one's."""
        async with asyncio.TaskGroup() as work:
            while True:
                self._more.clear()
                for met in list(self._met.values()):
                    self._look(work, met)
                    await asyncio.sleep(0)  # there may be hundreds
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(REST_S if self._met else None):
                        await self._more.wait()

    def _look(self, work: asyncio.TaskGroup, met: _Met) -> None:
        """Forget a blob that needs nothing any more; begin to have it invalidated, once in each turn of this node."""
        if met.blob_id in self._at_work or self._met.get(met.blob_id) is not met:
            return  # seen to, or forgotten since the round of looks began
        if self._view.is_invalid(met.blob_id) or not self._view.is_registered(met.blob_id):
            del self._met[met.blob_id]
            return
        waited_s = time.monotonic() - met.at_s
        turn = self._rota.turn(f"invalidate {met.blob_id.hex()}", waited_s, longest_round_s=LONGEST_ROUND_S)
        if turn is None or not self._rota.is_mine(turn) or turn.number == met.tried_in:
            return
        if len(self._at_work) < AT_ONCE:
            met.tried_in = turn.number
            self._at_work.add(met.blob_id)
            work.create_task(self._see_to(met))

    async def _see_to(self, met: _Met) -> None:
        try:
            if await self._invalidate(met):
                del self._met[met.blob_id]
        finally:
            self._at_work.discard(met.blob_id)
            self._more.set()  # there is room for the next

    async def _invalidate(self, met: _Met) -> bool:
        """Gather signatures and post them; return whether the chain has the blob invalid, else try again."""
        blob_id, state = met.blob_id, self._view.state
        if state.current is None:
            return False
        body = messages.invalid_blob_body(blob_id)
        domain = self._view.parameters.domain
        message = messages.encode(messages.Intent.INVALID_BLOB, state.epoch, body, domain)
        try:
            certificate = await self._certificate(state.current, met, message)
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

    async def _certificate(self, current: Committee, met: _Met, message: bytes) -> Certificate:
        """Return the certificate of members of whom one is correct. Raises `TooFewSignatures`."""
        me, own = self._view.node_id, None
        if me in current.by_id:
            own = MemberSignature(me, await asyncio.to_thread(self._secret.sign, message))
        proof = await asyncio.to_thread(InconsistencyProof.from_bcs, met.axis, met.proof)

        def show(member: Member) -> tuple[Coroutine[Any, Any, tuple[bytes, bytes]], Transfer]:
            transfer = Transfer()
            client = self._peers.client(member)
            return client.inconsistency_proof(met.blob_id, proof, transfer), transfer

        return await gather_certificate(current, message, own, round_behind(me, current), show, "one_correct")
