"""The end of an inconsistent blob: its proof, the signatures of members of whom one is correct, and the chain told.

Repair finds the proof (`storage.node.repair.InconsistentBlob`). Every member that is shown it checks it for itself and
signs; with the signatures of more than a third of the shards anyone can have the chain mark the blob invalid, and from
then on nobody keeps it, repairs it, or serves it (PROTOCOL sections 1, 2 and 4).
"""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from typing import Any

from committee import messages
from committee.bls import SecretKey
from committee.certificate import Confirmation, build
from committee.errors import CommitteeError, LedgerRefused
from committee.logs import Log
from committee.membership import Committee, Member
from storage.client.errors import name_failures
from storage.client.link import Transfer
from storage.node.chain import ChainView
from storage.node.confirmations import gather_confirmations, round_behind
from storage.node.peers import Peers
from storage.node.repair import InconsistentBlob
from storage.redstuff import blob_id_text

log = Log()

BLOBS_AT_ONCE = 8
"""A proof is as large as a sliver. Of more blobs than this no proof is kept: repair will meet them again."""
FIRST_RETRY_S = 1.0
LONGEST_RETRY_S = 60.0
ALREADY_INVALID = "InvalidBlob"
"""The contract's refusal when another member was first."""


class Invalidation:
    """The inconsistent blobs one node has met and the chain does not know of yet."""

    def __init__(self, view: ChainView, peers: Peers, secret: SecretKey) -> None:
        self._view = view
        self._peers = peers
        self._secret = secret
        self._met: dict[bytes, InconsistentBlob] = {}
        self._more = asyncio.Event()

    def take(self, blob: InconsistentBlob) -> None:
        """Take on a blob met by repair."""
        if len(self._met) < BLOBS_AT_ONCE:
            self._met.setdefault(blob.metadata.blob_id, blob)
            self._more.set()

    async def run(self) -> None:
        """Have blobs invalidated for ever."""
        retry_s = FIRST_RETRY_S
        self._more.set()
        while True:
            await self._more.wait()
            self._more.clear()
            met = list(self._met.items())
            done = await asyncio.gather(*(self._invalidate(blob) for _, blob in met))
            for (blob_id, _), is_done in zip(met, done, strict=True):
                if is_done:
                    del self._met[blob_id]
            if all(done):
                retry_s = FIRST_RETRY_S
            else:
                await asyncio.sleep(retry_s)
                retry_s = min(2 * retry_s, LONGEST_RETRY_S)
                self._more.set()

    async def _invalidate(self, blob: InconsistentBlob) -> bool:
        """Whether the chain knows, or need not; else it is to be tried again."""
        blob_id = blob.metadata.blob_id
        if self._view.is_invalid(blob_id) or not self._view.is_registered(blob_id):
            return True
        state = self._view.state
        if state.current is None:
            return False
        body = messages.invalid_blob_body(blob_id)
        domain = self._view.parameters.domain
        message = messages.encode(messages.Intent.INVALID_BLOB, state.epoch, body, domain)
        confirmations = await self._confirmations(state.current, blob, message)
        if not state.current.has_one_correct(state.current.weight_of({one.node_id for one in confirmations})):
            return False
        try:
            certificate = await asyncio.to_thread(build, state.current, message, confirmations, "one_correct")
            await self._view.ledger.invalidate_blob(blob_id, certificate)
        except LedgerRefused as error:
            if error.reason != ALREADY_INVALID:
                log.warning("invalidation refused; will try again", error=str(error))
                return False
        except CommitteeError as error:
            log.warning("invalidation not posted; will try again", error=str(error))
            return False
        log.warning("an inconsistent blob is invalid on chain", blob=blob_id_text(blob_id))
        return True

    async def _confirmations(
        self, current: Committee, blob: InconsistentBlob, message: bytes
    ) -> list[Confirmation]:
        """Return confirmations that hold, no more members being shown the proof than needed while all sign."""
        me, own = self._view.node_id, None
        if me in current.by_id:
            own = Confirmation(me, await asyncio.to_thread(self._secret.sign, message))

        def show(member: Member) -> tuple[Coroutine[Any, Any, tuple[bytes, bytes]], Transfer]:
            transfer = Transfer()
            client = self._peers.client(member)
            return client.inconsistency_proof(blob.metadata.blob_id, blob.proof, transfer), transfer

        confirmations, failures = await gather_confirmations(
            current, message, current.one_correct, own, round_behind(me, current), show
        )
        if failures:
            log.info("signatures against an inconsistent blob are missing", why=name_failures(failures))
        return confirmations
