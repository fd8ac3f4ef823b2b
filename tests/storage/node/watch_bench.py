"""A watch over peers and a ledger of the test's making."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from types import SimpleNamespace
from typing import Any, cast

import pytest

from committee import messages
from committee.bls import SecretKey
from committee.certificate import Certificate
from committee.errors import LedgerError, LedgerUnavailable
from committee.ledger import BlockMark
from committee.membership import Committee, Member
from storage.client.errors import NodeRefused, NodeUnreachable
from storage.client.failures import Reason
from storage.node import watch as watching
from storage.node.chain import ChainView
from storage.node.duties import Rota
from storage.node.peers import Peers
from storage.node.sign_of_life import SignsOfLife
from storage.node.watch import Watch

PATIENCE_S = 10
GRACE_S = PATIENCE_S + 2
"""The patience, and twice the interval between two questions."""
TURN_S = 8
DOMAIN = bytes(range(32))
SECRETS = {node_id: SecretKey(0xCAFE + node_id) for node_id in (1, 2, 3, 4)}
MEMBERS = {
    node_id: Member(node_id, f"node-{node_id}", f"http://{node_id}", SECRETS[node_id].public_key, shards)
    for node_id, shards in {1: (0, 1, 2), 2: (3, 4, 5), 3: (6, 7), 4: (8, 9)}.items()
}
COMMITTEE = Committee(3, 10, tuple(MEMBERS.values()))
ME, WATCHED = 1, 4
CHAIN_TIME_S = 5_000_000
DEADLINE_S = CHAIN_TIME_S + messages.EJECTION_LIFETIME_S
Answer = Callable[[], Awaitable[Any]]


class Bench:
    """Node 1's watch over three peers and a ledger, all of the test's making, and the clock."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.now = 1000.0
        monkeypatch.setattr(watching, "time", SimpleNamespace(monotonic=lambda: self.now))
        self.health: Answer = self.answer
        self.signers: set[int] = {2, 3}
        self.hanging: set[int] = set()
        """Members that never answer whether they find another one silent."""
        self.signs_as: dict[int, int] = {}
        """Member → the member whose key it signs with."""
        self.account: str | None = "0x1"
        self.ejected: list[tuple[int, Certificate]] = []
        self.refusals: list[LedgerError] = []
        """What is answered first to who posts an ejection."""
        self.pauses_s: list[float] = []
        self.is_chain_away = False
        self.other_times_s: tuple[int, ...] = ()
        """The chain's time as other endpoints tell it."""
        self.time_asked = 0
        """How often the chain was asked for its time."""
        self.view = SimpleNamespace(
            node_id=ME,
            parameters=SimpleNamespace(patience_s=PATIENCE_S, domain=DOMAIN),
            state=SimpleNamespace(current=COMMITTEE, epoch=3),
            ledger=self,
            was_ejected=lambda node_id, epoch: False,
        )
        peers = SimpleNamespace(watch_client=self.client)
        self.witness: str | None = None
        """The fellow that shows the watched member to be alive."""
        self.signs_itself = False
        """Whether the watched member signs a nonce when it is asked for that."""
        signs = SimpleNamespace(witness=self.find_witness, is_given=self.sign, forget=lambda members: None)
        self.view.state.started_block = BlockMark(100, bytes(32))
        self.view.state.started_at_s = 1000
        rota = Rota(cast(ChainView, self.view))
        rota._measured = (self.view.state.started_block, TURN_S)
        self.watch = Watch(
            cast(ChainView, self.view), rota, cast(Peers, peers), cast(SignsOfLife, signs), SECRETS[ME], 1.0
        )
        self.watch._asked_at = dict.fromkeys((2, 3, 4))

    # the peers

    def client(self, member: Member) -> Any:
        async def health(timeout_s: float) -> Any:
            assert timeout_s == PATIENCE_S
            return {"nodeId": member.node_id} | await self.health()

        async def ejection(node_id: int, deadline_s: int) -> tuple[bytes, bytes]:
            if member.node_id in self.hanging:
                await asyncio.Event().wait()
            if member.node_id not in self.signers:
                raise NodeRefused(member.name, member.address, 400, Reason.MEMBER_ANSWERS, "it answers me")
            message = messages.encode(
                messages.Intent.EJECT, 3, messages.eject_body(node_id, deadline_s), DOMAIN
            )
            return message, SECRETS[self.signs_as.get(member.node_id, member.node_id)].sign(message)

        return SimpleNamespace(address=member.address, health=health, ejection=ejection)

    async def answer(self) -> dict[str, Any]:
        return {}

    def answer_after(self, seconds: float) -> Answer:
        async def answer() -> dict[str, Any]:
            self.now += seconds
            assert WATCHED not in self.watch.silent_members()
            return {}

        return answer

    async def no_answer(self) -> Any:
        self.now += PATIENCE_S
        raise NodeUnreachable("node-4", "http://4", "test")

    async def sign(self, member: Member) -> bool:
        return self.signs_itself

    async def find_witness(self, member: Member) -> str | None:
        assert member.node_id == WATCHED
        return self.witness

    # the ledger

    async def chain_time_s(self) -> int:
        self.time_asked += 1
        if self.is_chain_away:
            raise LedgerUnavailable("no answer within 5 s")
        return CHAIN_TIME_S

    async def chain_times_s(self) -> tuple[int, ...]:
        return (await self.chain_time_s(), *self.other_times_s)

    async def eject(self, node_id: int, reason: int, deadline_s: int, certificate: Certificate) -> None:
        assert deadline_s == DEADLINE_S
        if self.refusals:
            raise self.refusals.pop(0)
        self.ejected.append((node_id, certificate))

    # doing

    async def pause(self, seconds: float) -> None:
        self.pauses_s.append(seconds)

    async def poll(self) -> None:
        await self.watch._poll(MEMBERS[WATCHED])
