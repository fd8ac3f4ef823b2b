"""What a member does in a round of proofs unasked: begin, commit, draw, prove, answer, judge (PROTOCOL section 8).

Two tasks run side by side. One makes the trees of the epoch's inventory and of the shards, which takes as long as
reading them. One follows the round (`committee.ledger.proofs.round_step`) and sends what is this node's to send: its
own commitment, proof and answers, and in its turn (`storage.node.duties`) what any member may: to begin, draw, judge.
What fails is tried again at the next look, while that can still be done.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from functools import partial
from typing import Any

from committee import messages
from committee.bls import SecretKey
from committee.certificate import Certificate, MemberSignature
from committee.ledger import EpochState
from committee.ledger.proofs import Round, RoundStep, round_step
from committee.logs import ChangesOnly, Log
from committee.membership import Committee, Member
from committee.opening import COMMITMENT_BYTES, NOTHING_OPENED, PLACES_ON_CHAIN
from storage.node.chain import ChainView
from storage.node.duties import Rota
from storage.node.fail_points import fail_point
from storage.node.peers import Peers
from storage.node.proving import Incomplete, OpeningPages, Proving, Term
from storage.node.rounds.own_part import OwnPart
from storage.node.rounds.sending import Sending
from storage.node.signatures import TooFewSignatures, gather_certificate, round_behind
from storage.node.store import StoreError
from storage.node.threads import finished_or_told
from storage.proofs import Position, positions
from storage.redstuff import RedStuff

log = Log()

LONGEST_ROUND_S = 600
"""Longest time in which all members have had a turn."""
LEAST_ROUND_S = 60
"""A round whose windows have less time together is not begun: a loaded machine would have honest members miss it."""

BEGIN_PART = 18
"""A round begins once the epoch's handover is done, so that gained shards are in it, but waits no longer than this part
of a period."""

BEGIN_TURNS = 384
"""Nor longer than this many turns of 8 blocks: the chain tells the hash of the block that started the epoch for 8191
blocks, and a turn has more blocks than 8 where these come faster than 2 a second."""


def begins_at_s(state: EpochState, period_s: int, turn_s: int) -> int:
    """Return since when, in the chain's seconds, the round of the current epoch is to begin.

    A turn of `turn_s` seconds is that of `committee.rota.turn_length_s`.
    """
    latest_s = state.started_at_s + min(period_s // BEGIN_PART, BEGIN_TURNS * turn_s)
    return min(state.last_handover_done_s, latest_s) if state.handover_done else latest_s


def fellows_asked_until_s(round_: Round, now_s: int) -> int:
    """Return until when, in the chain's seconds, a member that asks fellows to sign now may wait for them.

    Who asks before `prove_by_s` may wait until then; who asks in the first half of the time for answers, until the
    middle of that time, to answer on chain if there is no certificate. In the second half a member answers on chain
    first and asks fellows afterwards, until `answer_by_s`.
    """
    middle_s = (round_.prove_by_s + round_.answer_by_s) // 2
    return next((end_s for end_s in (round_.prove_by_s, middle_s) if now_s < end_s), round_.answer_by_s)


class Prover:
    """Makes a node's trees, and sends its part of each round; what any member may send, only if the node `keeps`."""

    def __init__(
        self,
        view: ChainView,
        rota: Rota,
        peers: Peers,
        code: RedStuff,
        secret: SecretKey,
        proving: Proving,
        pages: OpeningPages,
        keeps: bool,
    ) -> None:
        self._view = view
        self._rota = rota
        self._peers = peers
        self._code = code
        self._secret = secret
        self._proving = proving
        self._pages = pages
        self._has_account = view.ledger.account is not None
        self._keeps = keeps
        self.part = OwnPart()
        self._tried: dict[str, int] = {}
        """Task → the number of this node's turn in which it last tried it."""
        self._sending = Sending()
        self._changes = ChangesOnly()

    def _own_part(self, term: Term) -> OwnPart:
        """Return the part in the round of this epoch; in a new epoch it begins anew, and so do the turns tried."""
        if self.part.epoch != term.epoch:
            self.part, self._tried = OwnPart(term.epoch), {}
        return self.part

    # the trees

    async def make_trees(self, term: Term) -> object:
        """Make the trees of the current epoch that can be made; return the term and the shards that lack slivers."""
        part = self._own_part(term)
        await asyncio.to_thread(self._proving.forget_others, term)
        inventory = await asyncio.to_thread(self._proving.inventory, term)
        lacking = []
        for shard in term.shards if inventory.count else ():
            try:
                await finished_or_told(partial(self._proving.shard_root, term, shard))
            except Incomplete:
                lacking.append(shard)
        part.lacking = tuple(lacking)
        if inventory.count and not lacking:
            fail_point("proofs.trees-made")
        return term, lacking

    # the round

    async def follow_round(self, term: Term) -> object:
        """Do what the round waits for, as far as it is this node's; return the step and the block that draws."""
        state, ledger, part = self._view.state, self._view.ledger, self._own_part(term)
        if state.current is None or state.epoch != term.epoch:
            return None
        await self._rota.measure()
        turn_s = self._rota.length_s
        round_, now_s = await ledger.proof_round(term.epoch), await ledger.chain_time_s()
        step, part.until_s = round_step(round_, now_s)
        part.step = step
        if round_ is None:
            if turn_s is not None:
                part.begins_at_s = begins_at_s(state, self._view.parameters.period_duration_s, turn_s)
                await self._begin(term, state.current, now_s - part.begins_at_s)
            return step
        match step:
            case RoundStep.COMMIT:
                await self._commit(term, round_, now_s)
            case RoundStep.DRAW:
                await self._draw(term, round_, now_s - round_.commit_by_s)
            case RoundStep.PROVE | RoundStep.ANSWER if round_.draw is not None:
                await self._prove(term, state.current, round_, round_.draw, now_s)
            case RoundStep.JUDGE if not part.is_over:
                await self._judge(term, state.current, now_s - round_.answer_by_s - 1)
        # A block that is to draw is waited for closely, too.
        return step, round_.draw_block

    async def _begin(self, term: Term, current: Committee, waited_s: int) -> None:
        """In this node's turn: have the inventory certified. While too few fellows sign it tries again at each look."""
        inventory, task = await asyncio.to_thread(self._proving.made_inventory, term), f"begin {term.epoch}"
        if not inventory or not inventory.count:
            return
        round_s = (await self._view.ledger.proof_terms()).round_s
        if round_s < LEAST_ROUND_S:
            self._changes.warning("rounds of storage proofs are too short to begin any", seconds=round_s)
            return
        if not self._take_turn(task, waited_s):
            return
        certificate = await self._certificate(
            *(current, messages.Intent.INVENTORY, inventory.body()),
            lambda member: self._peers.client(member).inventory(),
        )
        if certificate is None:
            self._tried.pop(task, None)  # nothing was sent
            return
        if self._view.state.epoch != term.epoch:
            return
        fail_point("proofs.inventory-certified")
        begin = self._view.ledger.begin_round
        sending = begin(inventory.root, inventory.count, inventory.weight, certificate)
        await self._sending.send("begun a round of proofs", sending, epoch=term.epoch, blobs=inventory.count)
        fail_point("proofs.round-begun")

    async def _commit(self, term: Term, round_: Round, now_s: int) -> None:
        """Commit to all shards; in the window's second half to those whose trees are made."""
        part, window_s = self._own_part(term), (await self._view.ledger.proof_terms()).commit_window_s
        is_late = 2 * (round_.commit_by_s - now_s) <= window_s
        if part.lacking != () and not is_late:
            return
        if part.lacking != ():
            self._changes.warning(
                "not all that this node should store is there to commit to; what is missing fails the proof",
                shards=part.lacking,
                commit_by=round_.commit_by_s,
            )
        root = await asyncio.to_thread(partial(self._proving.commit, term, to_all=not is_late))
        part.note(await self._view.ledger.member_proof(term.epoch, self._view.node_id))
        if not self._has_account:
            return
        if root is not None and part.commitment != root[:COMMITMENT_BYTES]:
            fail_point("proofs.commitment-wanted")
            sending = self._view.ledger.commit(term.epoch, root)
            await self._sending.send("committed to what is stored", sending, epoch=term.epoch)
            fail_point("proofs.commitment-sent")

    async def _draw(self, term: Term, round_: Round, waited_s: int) -> None:
        """In this node's turn: fix the block that draws, or tell its hash."""
        newest = await self._view.ledger.newest()
        if newest.number > round_.draw_block and self._take_turn(
            f"draw {round_.draw_block} in {term.epoch}", waited_s
        ):
            await self._sending.send("drew what is to be proven", self._view.ledger.draw(), epoch=term.epoch)
            fail_point("proofs.draw-sent")

    async def _prove(self, term: Term, current: Committee, round_: Round, draw: bytes, now_s: int) -> None:
        """Show fellows what was drawn and post their certificate; if it is late, answer on chain."""
        me, ledger, part = self._view.node_id, self._view.ledger, self._own_part(term)
        part.note(await ledger.member_proof(term.epoch, me))
        is_answering = now_s >= round_.prove_by_s
        if not part.is_committed and not part.is_proven and is_answering:
            await self._excuse(term, round_)
        if part.is_proven or not part.is_committed:
            return
        places = list(positions(self._code, draw, me, len(term.shards), round_.weight))
        until_s = fellows_asked_until_s(round_, now_s)
        if self._has_account and until_s == round_.answer_by_s:
            await self._answer(term, places)
            if (await ledger.member_proof(term.epoch, me)).is_proven:
                return
        certificate = None
        try:
            async with asyncio.timeout(max(1, until_s - now_s)):
                certificate = await self._shown(term, current, draw, places)
        except TimeoutError:
            log.info("fellows take longer than there is time to ask them", epoch=term.epoch)
        if certificate is not None:
            fail_point("proofs.proof-certified")
            await self._sending.send("proved what is stored", ledger.prove(me, certificate), epoch=term.epoch)
            fail_point("proofs.proof-sent")
        elif is_answering and self._has_account:
            await self._answer(term, places)

    async def _shown(
        self, term: Term, current: Committee, draw: bytes, places: list[Position]
    ) -> Certificate | None:
        """Make the openings of all places, and return a quorum's certificate that it has judged them; None without."""
        me, part = self._view.node_id, self._own_part(term)
        try:
            await finished_or_told(partial(self._pages.make, term, part.commitment, draw, places))
            fail_point("proofs.pages-made")
        except (Incomplete, StoreError) as error:  # on chain it can be answered without files
            self._changes.warning("what was drawn cannot all be shown", why=str(error))
        if not self._has_account:
            return None
        return await self._certificate(
            *(current, messages.Intent.PROOF, messages.proof_body(me, draw)),
            lambda member: self._peers.client(member).proof(me, draw),
        )

    async def _answer(self, term: Term, places: list[Position]) -> None:
        """Answer on chain the places that are not answered yet, as far as they can be."""
        part, openings = self._own_part(term), {}
        for place in set(range(PLACES_ON_CHAIN)) - part.answered:
            try:
                openings[place] = await asyncio.to_thread(
                    self._proving.opening, term, part.commitment, places[place]
                )
            except (Incomplete, StoreError) as error:
                self._changes.warning("a place cannot be answered", place=place, why=str(error))
        if openings:
            fail_point("proofs.answer-wanted")
            sending = self._view.ledger.answer(self._view.node_id, openings)
            await self._sending.send("answered on chain what was drawn", sending, places=sorted(openings))
            fail_point("proofs.answer-sent")

    async def _excuse(self, term: Term, round_: Round) -> None:
        """Show the chain, without a commitment, that this node need not have any of its shards."""
        held = await self._view.ledger.held_since(term.shards)
        if self._has_account and not any(one.was_in_time(round_.commit_by_s) for one in held.values()):
            left = set(range(PLACES_ON_CHAIN)) - self._own_part(term).answered
            openings = dict.fromkeys(left, NOTHING_OPENED)
            sending = self._view.ledger.answer(self._view.node_id, openings)
            await self._sending.send("showed that there was nothing to prove yet", sending, epoch=term.epoch)

    async def _judge(self, term: Term, current: Committee, waited_s: int) -> None:
        """In this node's turn: have members that have not proven miss the round."""
        ledger, part = self._view.ledger, self._own_part(term)
        if not self._take_turn(f"judge {term.epoch}", waited_s):
            part.note(await ledger.member_proof(term.epoch, self._view.node_id))
            return
        part.is_over = True
        for member in current.members:
            proof = await ledger.member_proof(term.epoch, member.node_id)
            if not proof.is_proven and not proof.is_missed:
                part.is_over = False
                named = {"member": member.name, "member_id": member.node_id}
                await self._sending.send("judged a member", ledger.judge(member.node_id), **named)
                fail_point("proofs.judgement-sent")

    # what they have in common

    def _take_turn(self, task: str, waited_s: float) -> bool:
        """Whether it is this node's turn with a task, in which it has not tried it yet."""
        turn = self._rota.turn(task, waited_s, longest_round_s=LONGEST_ROUND_S)
        if not self._keeps or turn is None or not self._rota.is_mine(turn):
            return False
        if self._tried.get(task) == turn.number:
            return False
        self._tried[task] = turn.number
        return True

    async def _certificate(
        self,
        current: Committee,
        intent: messages.Intent,
        body: bytes,
        ask: Callable[[Member], Coroutine[Any, Any, tuple[bytes, bytes]]],
    ) -> Certificate | None:
        """Return a quorum's certificate of a message, this node's signature in it; None while too few members sign."""
        message = messages.encode(intent, current.epoch, body, self._view.parameters.domain)
        own = MemberSignature(self._view.node_id, await asyncio.to_thread(self._secret.sign, message))
        try:
            return await gather_certificate(
                *(current, message, own, round_behind(self._view.node_id, current)),
                lambda member: (ask(member), None),
            )
        except TooFewSignatures as error:
            log.info("too few members sign yet", about=intent.name.lower(), why=str(error))
            return None
