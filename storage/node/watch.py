"""Members watch each other: one that is silent for the contract's patience is ejected by a quorum's certificate.

A member's silence begins with a request that it has not answered, not with its last answer: one that answers every
request just within the patience is slow and alive, however long the pauses between its answers. An answer is health in
the protocol's form that names the member's node id; after any other, an error or a proxy's page, the member is alive if
it signs a new nonce. Signing an ejection is each node's own judgement, and not its own experience alone: before a node
signs, its fellows may show it a sign of the member's life (`sign_of_life`), so that one that answers some members only
stays. What is signed counts until a deadline, in the chain's time, so that no certificate can be kept for later. The
signatures are gathered and posted by the member whose turn it is (`rota`), so that members do not all post at once. (A
node that is ejected and alive stands for election again: `candidacy`.)
"""

from __future__ import annotations

import asyncio
import time

from committee import messages
from committee.backoff import next_pause_s
from committee.bls import SecretKey
from committee.certificate import MemberSignature
from committee.errors import CommitteeError, LedgerError, LedgerRefused
from committee.logs import Log
from committee.membership import Committee, Member
from storage.client.errors import NodeError, NodeUnreachable
from storage.client.failures import Reason
from storage.node.chain import ChainView
from storage.node.clock import Clock
from storage.node.duties import Rota
from storage.node.face import Refusal
from storage.node.peers import Peers
from storage.node.rules import require_fellow, require_near, require_silent
from storage.node.sign_of_life import SignsOfLife
from storage.node.signatures import TooFewSignatures, gather_certificate, round_behind

log = Log()

FIRST_RETRY_S = 1.0
LONGEST_RETRY_S = 60.0
CHAIN_TIME_KEPT_S = 4.0
"""For how long the chain's time is known, by which deadlines are judged that anyone may name."""
ALREADY_EJECTED = "AlreadyEjected"
"""The contract's refusal when another member was first."""


class Watch:
    """The watch of one node over the other members of the current committee."""

    def __init__(
        self,
        view: ChainView,
        rota: Rota,
        peers: Peers,
        signs: SignsOfLife,
        secret: SecretKey,
        interval_s: float,
    ) -> None:
        self._view = view
        self._rota = rota
        self._peers = peers
        self._signs = signs
        self._secret = secret
        self._interval_s = interval_s
        self._asked_at: dict[int, float | None] = {}
        """Watched member → when the first request was made that it has not answered; None when there is none."""
        self._polls: dict[int, tuple[str, asyncio.Task[None]]] = {}
        """Member whose answer is outstanding → where it was asked, and the question: one that has moved is asked anew,
        and no member holds more than one connection."""
        self.clock = Clock()
        self._told: tuple[float, tuple[int, ...]] | None = None
        """When the chain told its time (of `time.monotonic`), and that time in seconds."""
        self._telling = asyncio.Lock()
        self._ejecting: set[int] = set()
        """Members against whom signatures are being gathered."""
        self._gone: set[tuple[int, int]] = set()
        """(epoch, node id) of ejections posted, by this node or another."""

    def silent_s(self, node_id: int) -> float:
        """Return for how long a member has not answered this node; 0 for a node that is not watched."""
        asked_at = self._asked_at.get(node_id)
        return 0.0 if asked_at is None else time.monotonic() - asked_at

    def silent_members(self) -> frozenset[int]:
        """The watched members silent for the contract's patience."""
        patience_s = self._view.parameters.patience_s
        return frozenset(node_id for node_id in self._asked_at if self.silent_s(node_id) >= patience_s)

    async def sign_ejection(self, node_id: int, deadline_s: int) -> tuple[bytes, bytes]:
        """(message, signature) that ejects a member this node finds silent too, and no fellow shows to be alive.

        Raises `Refusal` when the node is no member, answered within the contract's patience, or answers a fellow;
        when the deadline is over, or LONGEST_EJECTION_S or more ahead; and when the chain does not tell its time.
        """
        state = self._view.state
        was_ejected = self._view.was_ejected(node_id, state.epoch)
        member = require_fellow(state.current, self._view.node_id, node_id, was_ejected=was_ejected)
        message = self._message(node_id, deadline_s)
        patience_s = self._view.parameters.patience_s
        require_silent(member, self.silent_s(node_id), patience_s)
        witness = await self._signs.witness(member)
        if witness is not None:
            raise Refusal(400, Reason.MEMBER_ANSWERS, f"{member.name} answers {witness}")
        require_silent(member, self.silent_s(node_id), patience_s)
        try:
            chain_times_s = await self._chain_times_s()
        except LedgerError as error:
            raise Refusal(503, Reason.UNAVAILABLE, "the chain does not answer; try again later") from error
        require_near(deadline_s, chain_times_s)
        return message, await asyncio.to_thread(self._secret.sign, message)

    async def _chain_times_s(self) -> tuple[int, ...]:
        """Return the chain's time of at most CHAIN_TIME_KEPT_S ago; it is asked for once for all that wait for it."""
        async with self._telling:
            if self._told is None or time.monotonic() - self._told[0] >= CHAIN_TIME_KEPT_S:
                chain_times_s = await self._view.ledger.chain_times_s()
                # Not when it was asked: those that wait for a slow chain would each ask it anew.
                self._told = time.monotonic(), chain_times_s
            return self._told[1]

    async def run(self) -> None:
        """Watch for ever. Each member is asked on its own, so that a slow one hides no other."""
        async with asyncio.TaskGroup() as polls:
            while True:
                self._look(polls)
                await asyncio.sleep(self._interval_s)

    def _look(self, polls: asyncio.TaskGroup) -> None:
        """Begin what is to be done now, and forget the nodes that are no fellow members: they are asked no more."""
        current = self._view.state.current
        if current is None or self._view.node_id not in current.by_id:
            self._asked_at = {}
            self.clock.forget()
            return
        fellows = [one for one in current.members if one.node_id != self._view.node_id]
        self._asked_at = {one.node_id: self._asked_at.get(one.node_id) for one in fellows}
        self._signs.forget(self.silent_members())
        for fellow in fellows:
            address, poll = self._polls.get(fellow.node_id, ("", None))
            asked = self._peers.watch_client(fellow).address
            if address != asked:
                if poll is not None:
                    poll.cancel()
                poll = polls.create_task(self._poll(fellow))
                self._polls[fellow.node_id] = asked, poll
        for fellow in fellows:
            if fellow.node_id not in self._ejecting and self._is_my_turn(current, fellow):
                polls.create_task(self._eject(current, fellow))

    async def _poll(self, member: Member) -> None:
        """Ask once for the member's health; an answer of its own within the patience is in time."""
        if self._asked_at.get(member.node_id) is None:
            self._asked_at[member.node_id] = time.monotonic()
        try:
            is_alive = await self._is_alive(member)
        finally:
            if self._polls.get(member.node_id, ("", None))[1] is asyncio.current_task():
                del self._polls[member.node_id]
        if is_alive:
            self._asked_at[member.node_id] = None

    async def _is_alive(self, member: Member) -> bool:
        """Return whether the member itself answers (PROTOCOL section 5)."""
        client, asked_s = self._peers.watch_client(member), self.clock.now_s()
        try:
            health = await client.health(timeout_s=self._view.parameters.patience_s)
        except NodeUnreachable:
            return False
        except NodeError:
            return await self._signs.is_given(member)
        if health.get("nodeId") != member.node_id:
            return await self._signs.is_given(member)
        if self._view.state.current is not None:
            self.clock.note(self._view.state.current, member.node_id, asked_s, health.get("unixSeconds"))
        return True

    def _is_my_turn(self, current: Committee, member: Member) -> bool:
        done = (current.epoch, member.node_id) in self._gone
        if done or self._view.was_ejected(member.node_id, current.epoch):
            return False
        # By then the member has been silent to its other fellows too.
        patience_s = self._view.parameters.patience_s + 2 * self._interval_s
        waited_s = self.silent_s(member.node_id) - patience_s
        turn = self._rota.turn(f"eject {member.node_id}", waited_s, without=self.silent_members())
        return self._rota.is_mine(turn)

    async def _eject(self, current: Committee, member: Member) -> None:
        """Have a member ejected; what the chain does not take is tried again, while it is this node's turn."""
        retry_s = FIRST_RETRY_S
        self._ejecting.add(member.node_id)
        try:
            while not await self._gather_and_post(current, member):
                await asyncio.sleep(retry_s)
                retry_s = next_pause_s(retry_s, FIRST_RETRY_S, LONGEST_RETRY_S)
                if self._view.state.current is not current or not self._is_my_turn(current, member):
                    break
        finally:
            self._ejecting.discard(member.node_id)

    async def _gather_and_post(self, current: Committee, member: Member) -> bool:
        """Whether the chain has the ejection, or there is none to post now; else it is to be tried again."""
        try:
            deadline_s = await self._view.ledger.chain_time_s() + messages.EJECTION_LIFETIME_S
            message, signature = await self.sign_ejection(member.node_id, deadline_s)
        except LedgerError as error:
            log.warning("no ejection without the chain's time", **_named(member), error=str(error))
            return False
        except Refusal as refusal:
            log.info("no ejection", **_named(member), reason=str(refusal))
            return refusal.reason is not Reason.UNAVAILABLE
        own = MemberSignature(self._view.node_id, signature)
        fellows = [one for one in round_behind(self._view.node_id, current) if one != member]
        try:
            certificate = await gather_certificate(
                *(current, message, own, fellows),
                lambda one: (self._peers.watch_client(one).ejection(member.node_id, deadline_s), None),
            )
            reason = messages.EjectionReason.SILENT
            await self._view.ledger.eject(member.node_id, reason, deadline_s, certificate)
            log.info("ejected a silent member", **_named(member))
        except TooFewSignatures as error:
            log.info("no quorum to eject yet", **_named(member), why=str(error))
            return True
        except CommitteeError as error:
            if not isinstance(error, LedgerRefused) or error.reason != ALREADY_EJECTED:
                log.warning("ejection not posted; will try again", **_named(member), error=str(error))
                return False
        self._gone.add((current.epoch, member.node_id))
        return True

    def _message(self, node_id: int, deadline_s: int) -> bytes:
        return messages.encode(
            messages.Intent.EJECT,
            self._view.state.epoch,
            messages.eject_body(node_id, deadline_s),
            self._view.parameters.domain,
        )


def _named(member: Member) -> dict[str, str | int]:
    """Return what a log line names a member by: names are not unique."""
    return {"member": member.name, "member_id": member.node_id}
