"""What a member signs for its fellows in a round of storage proofs: the inventory, and openings it has found right.

A fellow whose openings are drawn asks for a signature. This node then fetches all of them from it, judges each by the
rules (`storage.proofs`), and signs that the fellow proved. An audit is made once: it goes on when the fellow that waits
for it hangs up, its signature is kept, and an audit that failed is not begun again at once. Fellows are audited in the
order in which they asked, `AUDITS_AT_ONCE` at a time. An audit that takes longer than `AUDIT_S` gives way to the next
fellow: its own is answered 503, and when it asks again, the audit goes on with the page at which it was.
"""

from __future__ import annotations

import asyncio
import math
import time
from collections.abc import Sequence
from dataclasses import dataclass, field

from committee import messages
from committee.bls import SecretKey
from committee.errors import LedgerError
from committee.ledger.proofs import Round
from committee.logs import Log
from committee.membership import Member
from committee.opening import Opening
from storage.client import proof_wire
from storage.client.errors import NodeError
from storage.client.failures import Reason
from storage.client.proof_answers import commitment_of
from storage.node.chain import ChainView
from storage.node.face import Refusal
from storage.node.fail_points import fail_point
from storage.node.peers import Peers
from storage.node.proving import Proving, Term
from storage.node.rules import require_fellow
from storage.node.threads import cancelled
from storage.proofs import Commitment, Inventory, Position, WrongOpening, judge, positions
from storage.redstuff import RedStuff

log = Log()

AUDITS_AT_ONCE = 4
AUDIT_S = 60.0
"""An audit takes one of these places for so long at most: fellows that show their openings a byte at a time would else
take all of them for hours."""
FAILURE_KEPT_S = 5.0
"""Least time from an audit that failed until it is made again."""
LOOK_S = 1.0
"""Least time from the end of a look at the chain for a draw to the next look, for all requests together."""


@dataclass
class _Audit:
    """An audit of one fellow, which runs or has ended."""

    draw: bytes
    pages_judged: int = 0
    """Pages found right; what they are judged by is the same for ever."""
    is_shown: bool = False
    """Whether any of them shows a symbol."""
    task: asyncio.Task[bytes] = field(init=False)
    ended_s: float | None = None
    """When it ended, by the monotonic clock."""

    @property
    def is_to_be_made_again(self) -> bool:
        """Whether it failed, and that was a while ago."""
        has_failed = self.task.done() and (self.task.cancelled() or self.task.exception() is not None)
        return has_failed and self.ended_s is not None and time.monotonic() - self.ended_s >= FAILURE_KEPT_S


class Auditing:
    """What one member signs of the round of the current epoch."""

    def __init__(
        self, view: ChainView, peers: Peers, code: RedStuff, secret: SecretKey, proving: Proving
    ) -> None:
        self._view = view
        self._peers = peers
        self._code = code
        self._secret = secret
        self._proving = proving
        self._audits: dict[tuple[int, int], _Audit] = {}
        """(epoch, node id) → the audit."""
        self._free = asyncio.Semaphore(AUDITS_AT_ONCE)
        self._looking = asyncio.Lock()
        self._looked_s = -math.inf
        self._seen: tuple[int, Round | None] = 0, None
        """The epoch, and its round, of the last look."""

    async def close(self) -> None:
        """End the audits that run."""
        await cancelled([one.task for one in self._audits.values()])

    async def sign_inventory(self) -> tuple[bytes, bytes]:
        """Return (message, signature) for the current epoch's inventory. Raises `Refusal` until it is made."""
        term = Term.now(self._view)
        if term is None:
            raise Refusal(404, Reason.INVALID_REQUEST, "this node is no member of the current committee")
        made = await asyncio.to_thread(self._proving.made_inventory, term)
        if made is None or not self._view.is_checked:
            raise Refusal(503, Reason.UNAVAILABLE, f"the inventory of epoch {term.epoch} is being made")
        message = self._message(messages.Intent.INVENTORY, term.epoch, made.body())
        return message, await asyncio.to_thread(self._secret.sign, message)

    async def sign_proof(self, node_id: int, draw: bytes) -> tuple[bytes, bytes]:
        """Return (message, signature) for a fellow that has opened all that was drawn. Raises `Refusal`."""
        state = self._view.state
        was_ejected = self._view.was_ejected(node_id, state.epoch)
        fellow = require_fellow(state.current, self._view.node_id, node_id, was_ejected=was_ejected)
        message = self._message(messages.Intent.PROOF, state.epoch, messages.proof_body(node_id, draw))
        for key in [key for key in self._audits if key[0] != state.epoch]:
            self._audits.pop(key).task.cancel()
        key = (state.epoch, node_id)
        audit = self._audits.get(key)
        if audit is None or audit.draw != draw or audit.is_to_be_made_again:
            round_ = await self._drawn(state.epoch, draw)
            audit = self._audits.get(key)
            if audit is None or audit.draw != draw or audit.is_to_be_made_again:
                audit = self._audits[key] = self._begin(audit, fellow, state.epoch, round_, draw, message)
        await asyncio.wait([audit.task])
        if audit.task.cancelled():
            raise Refusal(503, Reason.UNAVAILABLE, f"epoch {state.epoch} is over, or was drawn anew")
        return message, audit.task.result()

    def _message(self, intent: messages.Intent, epoch: int, body: bytes) -> bytes:
        return messages.encode(intent, epoch, body, self._view.parameters.domain)

    def _begin(
        self, before: _Audit | None, fellow: Member, epoch: int, round_: Round, draw: bytes, message: bytes
    ) -> _Audit:
        """Begin an audit, in the place of the one `before`: where that has ended, if it was of the same draw."""
        audit = _Audit(draw)
        if before is not None:
            before.task.cancel()
            if before.draw == draw:
                audit.pages_judged, audit.is_shown = before.pages_judged, before.is_shown
        audit.task = asyncio.create_task(self._audited(audit, fellow, epoch, round_, message))

        def ended(task: asyncio.Task[bytes]) -> None:
            audit.ended_s = time.monotonic()
            if not task.cancelled():
                task.exception()  # requests that still wait for it raise it

        audit.task.add_done_callback(ended)
        return audit

    async def _drawn(self, epoch: int, draw: bytes) -> Round:
        """Return the epoch's round, which was drawn by `draw`. Raises `Refusal`."""
        if not self._has_seen(epoch, draw):
            async with self._looking:
                if not self._has_seen(epoch, draw) and time.monotonic() - self._looked_s >= LOOK_S:
                    await self._look(epoch)
        round_ = self._seen[1]
        if round_ is None or not self._has_seen(epoch, draw):
            raise Refusal(503, Reason.UNAVAILABLE, f"the chain does not show this draw in epoch {epoch}")
        return round_

    async def _look(self, epoch: int) -> None:
        """Look at the chain for the epoch's round. Raises `Refusal`."""
        try:
            self._seen = epoch, await self._view.ledger.proof_round(epoch)
        except LedgerError as error:
            raise Refusal(503, Reason.UNAVAILABLE, "the chain does not answer; try again later") from error
        finally:
            # Not when it began: those that have waited for a slow look would each make another one.
            self._looked_s = time.monotonic()

    def _has_seen(self, epoch: int, draw: bytes) -> bool:
        seen_epoch, round_ = self._seen
        return seen_epoch == epoch and round_ is not None and round_.draw == draw

    async def _audited(
        self, audit: _Audit, fellow: Member, epoch: int, round_: Round, message: bytes
    ) -> bytes:
        """Return this node's signature over a fellow's proof, once it has judged all openings. Raises `Refusal`."""
        async with self._free:
            try:
                async with asyncio.timeout(AUDIT_S):
                    proof, commitment = await commitment_of(self._view.ledger, fellow, epoch, round_)
                    if not any(proof.commitment):
                        raise Refusal(400, Reason.INVALID_PROOF, f"{fellow.name} has committed to nothing")
                    await self._judge(audit, fellow, round_, commitment)
                if not audit.is_shown:
                    # Only the chain can tell that a round without a symbol forgives no miss.
                    raise Refusal(400, Reason.INVALID_PROOF, f"{fellow.name} need not show a single symbol")
            except TimeoutError as error:
                told = f"{fellow.name} shows its openings slowly; they are looked at in turn with others"
                raise Refusal(503, Reason.UNAVAILABLE, told) from error
            except LedgerError as error:
                raise Refusal(
                    503, Reason.UNAVAILABLE, "the chain does not answer; try again later"
                ) from error
            except NodeError as error:
                raise Refusal(503, Reason.UNAVAILABLE, f"{fellow.name} does not show its openings") from error
            except WrongOpening as error:
                log.warning("a fellow's openings are wrong", member=fellow.name, error=str(error))
                raise Refusal(400, Reason.INVALID_PROOF, f"{fellow.name}: {error}") from error
        signature = await asyncio.to_thread(self._secret.sign, message)
        fail_point("proofs.proof-signed")
        return signature

    async def _judge(self, audit: _Audit, fellow: Member, round_: Round, commitment: Commitment) -> None:
        """Judge the pages that are not judged yet.

        Raises `NodeError`, or `WrongOpening` for the first opening that breaks a rule.
        """
        inventory = Inventory(round_.inventory_root, round_.count, round_.weight)
        draw, shards = audit.draw, len(commitment.shards)
        drawn = list(positions(self._code, draw, fellow.node_id, shards, inventory.weight))
        client = self._peers.client(fellow)
        for page in range(audit.pages_judged, proof_wire.PAGES):
            openings = await client.openings(draw, page)
            places = [drawn[place] for place in proof_wire.places_of(page)]
            shown = await asyncio.to_thread(self._judge_page, inventory, commitment, places, openings)
            audit.is_shown |= shown
            audit.pages_judged = page + 1
            fail_point("proofs.page-judged")

    def _judge_page(
        self,
        inventory: Inventory,
        commitment: Commitment,
        places: Sequence[Position],
        openings: Sequence[Opening],
    ) -> bool:
        shown = [
            judge(self._code, inventory, commitment, opening, position, self._view.is_invalid)
            for position, opening in zip(places, openings, strict=True)
        ]
        return any(shown)
