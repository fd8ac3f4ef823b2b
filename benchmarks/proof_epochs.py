"""An honest member in many epochs of storage proofs: killed at random, its disk slow, a third of its fellows hostile.

The member is a node's own parts (chain view, store, trees, `Rounds`), and so are the audits of its honest fellows; they
call each other directly. The chain is in memory (`tests.memory_chain`), and its clock is the only one: what takes time,
such as a read of a slow disk, moves it on. What happens follows from a seed.

There are ten members with a shard each, of which as many are honest as a quorum needs. Each of the three hostile ones,
when asked to sign, refuses, stalls, or signs something else; it judges the member at every step, and demands symbols.
"""

from __future__ import annotations

import asyncio
import random
from collections import Counter
from contextlib import ExitStack, suppress
from dataclasses import dataclass, field, replace
from functools import cache
from pathlib import Path
from typing import Any, cast
from unittest.mock import patch

from benchmarks.proof_faults import Disk, Endpoint, Faults, Killed
from committee.bls import SecretKey
from committee.errors import LedgerError, LedgerRefused
from committee.ledger import BlobRecord, NodeLedger, Parameters
from committee.ledger.proofs import Round
from committee.membership import Member
from committee.opening import Opening
from storage.client import proof_wire
from storage.client.errors import NodeRefused, NodeUnreachable
from storage.client.failures import Reason
from storage.node.chain import ChainView
from storage.node.chain.conditions import over_in
from storage.node.chain.store import ChainStore
from storage.node.duties import Rota
from storage.node.face import Refusal
from storage.node.peers import Peers
from storage.node.proving import Incomplete, Proving, Term
from storage.node.rounds import Rounds
from storage.node.rounds.auditing import Auditing
from storage.node.store import NewSliver, StoreError
from storage.proofs import position_count
from storage.redstuff import Axis, RedStuff
from tests.memory_chain import MemoryChain
from tests.memory_chain.contracts import Contracts, Outcome

N_SHARDS = 10
NODE, SHARD = 1, 0
"""The honest member, and its shard."""
HOSTILE = (4, 7, 10)
HONEST_FELLOWS = (2, 3, 5, 6, 8, 9)
SHARDS = {node_id: (node_id - 1,) for node_id in range(1, N_SHARDS + 1)}
PERIOD_S = 18_000
"""Each window of a round has 1000 s then."""
LONGEST_PAUSE_S = 200
"""Chain time from one look of the node at its round to the next, which a real one makes every 30 s."""
LONGEST_DOWN_S = 200
"""Chain time that a restart takes."""
AWAY = 0.3
"""Share of the epochs in which one honest fellow audits nobody, so that no quorum signs."""
DRAWN = 0.2
"""Share of the steps at which an honest fellow has its turn to draw."""
DEMANDED = 0.05
"""Share of the steps at which a hostile fellow demands a symbol."""
INVALIDATED = 0.005
"""Share of the steps at which a blob is marked as invalid."""
PAGES = 1
"""Pages of openings that are shown to fellows and judged, of a real round's 16, so that an epoch takes less time."""
MOST_BLOBS = 6
FOREVER = 1 << 30
"""End of the one blob that is never deleted, so that no inventory is empty."""


@dataclass
class Lived:
    """What came of the epochs."""

    epochs: int = 0
    drawn: int = 0
    """Epochs in whose round positions were drawn."""
    restarts: int = 0
    certified: int = 0
    """Rounds that the node proved by its fellows' certificate."""
    answered: int = 0
    """Rounds that it proved by answers on chain."""
    misses: int = 0
    fined: int = 0
    """Stake that the node lost."""
    demands: int = 0
    unanswered: int = 0
    """Demands for which the node was judged."""
    hostile: Counter[str] = field(default_factory=Counter)
    """What hostile fellows did when asked to sign, and how often."""


@dataclass
class Fellow:
    """A fellow as a member asks it, in place of an HTTP client. Raises `NodeError`."""

    member: Member
    story: Story

    @property
    def is_hostile(self) -> bool:
        """Whether it is one of HOSTILE."""
        return self.member.node_id in HOSTILE

    async def inventory(self) -> tuple[bytes, bytes]:
        """Return (message, signature) for the inventory, as a member is asked for it over HTTP."""
        if self.is_hostile:
            return self._hostile()
        try:
            return await self.story.audits[self.member.node_id].sign_inventory()
        except Refusal as refusal:
            raise self._refused(refusal) from None

    async def proof(self, node_id: int, draw: bytes) -> tuple[bytes, bytes]:
        """Return (message, signature) for the proof of a node, as a member is asked for it over HTTP."""
        if self.is_hostile:
            return self._hostile()
        if self.member.node_id == self.story.away:
            raise NodeUnreachable(self.member.name, self.member.address, "it is away")
        try:
            return await self.story.audits[self.member.node_id].sign_proof(node_id, draw)
        except Refusal as refusal:
            raise self._refused(refusal) from None

    async def openings(self, draw: bytes, page: int) -> list[Opening]:
        """Return a page of openings; only the honest node is asked for them."""
        shown = await asyncio.to_thread(self.story.node.rounds.openings, draw, page)
        if shown is None:
            raise NodeUnreachable(self.member.name, self.member.address, "nothing is shown yet")
        return proof_wire.page_from_bcs(shown)

    def _refused(self, refusal: Refusal) -> NodeRefused:
        named = self.member.name, self.member.address
        return NodeRefused(*named, refusal.status, refusal.reason, str(refusal))

    def _hostile(self) -> tuple[bytes, bytes]:
        """Return what no certificate can be made of, or fail."""
        choose, chain = self.story.choose, self.story.chain
        how = choose.choice(("refused", "stalled", "signed another message", "gave garbage"))
        self.story.lived.hostile[how] += 1
        if how == "refused":
            raise self._refused(Refusal(400, Reason.INVALID_PROOF, "it lacks what it should have"))
        if how == "stalled":
            chain.time_s += choose.randint(1, 20)
            raise NodeUnreachable(self.member.name, self.member.address, "no answer in time")
        message = choose.randbytes(100)
        secret = secret_of(self.member.node_id)
        return message, choose.randbytes(96) if how == "gave garbage" else secret.sign(message)


@dataclass(frozen=True)
class Fellows:
    """`Peers` in a story."""

    story: Story

    def client(self, member: Member) -> Fellow:
        """Return what takes the place of the HTTP client of a member."""
        return Fellow(member, self.story)


class Node:
    """The honest member between two kills: all that a node makes anew from its folder when it starts."""

    def __init__(self, story: Story) -> None:
        self._open = ExitStack()
        self._chain_store = ChainStore(story.folder / "node")
        self._open.callback(self._chain_store.close)
        self.store = self._open.enter_context(Disk(story.folder / "node" / "store", story.faults))
        ledger = cast(NodeLedger, Endpoint(story.chain.ledger(name_of(NODE)), story.faults))
        self.view = ChainView(ledger, NODE, self._chain_store)
        secret, peers = secret_of(NODE), cast(Peers, Fellows(story))
        proofs = story.folder / "node" / "proofs"
        self.proving = Proving(proofs, self.view, self.store, story.code, secret.public_key)
        self.rounds = Rounds(
            *(self.view, Rota(self.view), peers, story.code, secret, self.proving),
            keeps=True,
        )

    def close(self) -> None:
        """Close the files, as the end of a process does."""
        self._open.close()

    async def look(self, choose: random.Random) -> None:
        """Do once what the node's tasks do for ever, in any order. Raises `Killed`."""
        with suppress(LedgerError):
            await self.view.refresh()
        while await self._chain_store.in_thread(
            self._chain_store.tidy, over_in(self.view.state.period, self.view.block.number)
        ):
            pass
        rounds = self.rounds
        looks = [rounds.prover.make_trees, rounds.prover.follow_round, rounds.demands.answer, rounds.warn]
        choose.shuffle(looks)
        for look in looks:
            term = Term.now(self.view)
            if term is not None and self.view.is_checked:
                with suppress(LedgerError, StoreError, Incomplete):
                    await look(term)


class Story:
    """The network, and what came of it so far."""

    def __init__(self, folder: Path, seed: int) -> None:
        self.folder = folder
        self.choose = random.Random(seed)
        self.code = RedStuff(N_SHARDS)
        self.chain = MemoryChain(Parameters(N_SHARDS, PERIOD_S, 600, 600, 500, bytes(range(32))))
        self.faults = Faults(self.chain, self.choose)
        self.lived = Lived()
        self.node: Node
        self.audits: dict[int, Auditing] = {}
        """Honest fellow → what it signs in the current epoch."""
        self.away: int | None = None
        """The honest fellow that audits nobody in this epoch."""
        for node_id in SHARDS:
            address = f"http://node-{node_id}.example:8000"
            self.chain.add_node(name_of(node_id), address, secret_of(node_id).public_key)
        self.chain.stand(dict.fromkeys(SHARDS, 1000))
        self._fellows_view = ChainView(self.chain.ledger(None), HONEST_FELLOWS[0])
        (folder / "node").mkdir()

    async def run(self, epochs: int) -> Lived:
        """Live through this number of epochs."""
        with patch.object(proof_wire, "PAGES", PAGES):
            return await self._run(epochs)

    async def _run(self, epochs: int) -> Lived:
        self.chain.start(SHARDS)
        await self._fellows_view.load()
        self.node = await self._started()
        try:
            self._store_blob(end_period=FOREVER)
            for _ in range(epochs):
                await self._epoch()
        finally:
            self.node.close()
        return self.lived

    async def _started(self) -> Node:
        """Return the node, made from its folder; one that cannot load anything yet is made again later."""
        while True:
            node = Node(self)
            try:
                await node.view.load()
            except (LedgerError, Killed):
                node.close()
            else:
                return node

    async def _restart(self) -> None:
        """Have the node be down for a while, and start it again."""
        self.lived.restarts += 1
        self.node.close()
        self._pass(LONGEST_DOWN_S)
        self.faults.begin_life()
        self.node = await self._started()

    async def _epoch(self) -> None:
        """Begin the next period, live through its round, and count what came of it."""
        choose, staked = self.choose, self.chain.nodes[NODE].stake
        self._change_blobs()
        self.chain.start(SHARDS)
        epoch = self.chain.state.epoch
        await self._fellows_view.refresh()
        await asyncio.gather(*(one.close() for one in self.audits.values()))
        self._begin_audits()
        self.away = choose.choice(HONEST_FELLOWS) if choose.random() < AWAY else None
        self.faults.begin_epoch()
        while not self._is_over(epoch):
            if choose.random() < INVALIDATED:
                self._invalidate()
            try:
                await self.node.look(choose)
            except Killed:
                await self._restart()
            self._pass(LONGEST_PAUSE_S)
            await self._fellows_view.refresh()
            await self._others_act()
        part = self.chain.contracts.part(epoch, NODE)
        lived = self.lived
        lived.epochs += 1
        lived.drawn += self._round is not None and self._round.draw is not None
        lived.answered += part.is_proven and bool(part.answered)
        lived.certified += part.is_proven and not part.answered
        lived.misses += part.is_missed
        lived.fined += staked - self.chain.nodes[NODE].stake
        self.chain.send("forget", _forget)

    @property
    def _round(self) -> Round | None:
        return self.chain.contracts.rounds.get(self.chain.state.epoch)

    def _is_over(self, epoch: int) -> bool:
        """Whether the node has proven or missed the round, its time is over, and no demand is open."""
        now, round_ = self.chain.contracts, self._round
        if now.demands or round_ is None or not round_.answer_by_s:
            return False
        part = now.part(epoch, NODE)
        return now.time_s > round_.answer_by_s and (part.is_proven or part.is_missed)

    def _pass(self, most_s: int) -> None:
        self.chain.time_s += self.choose.randint(1, most_s)
        self.chain.mine()

    async def _others_act(self) -> None:
        """Have an honest fellow draw in its turn; have hostile ones judge and demand, as far as the chain lets them."""
        if self.choose.random() < DRAWN:
            with suppress(LedgerRefused):
                await self.chain.ledger(name_of(HONEST_FELLOWS[0])).draw()
        for fellow in HOSTILE:
            ledger = self.chain.ledger(name_of(fellow))
            with suppress(LedgerRefused):
                await ledger.judge(NODE)
            with suppress(LedgerRefused):
                await ledger.judge_demand(NODE, name_of(fellow))
                self.lived.unanswered += 1
            if self.choose.random() < DEMANDED and self._round is not None and not self._is_late:
                end = position_count(self.code, len(SHARDS[NODE]), self._round.weight)
                with suppress(LedgerRefused):
                    await ledger.demand(NODE, self.choose.randrange(end))
                    self.lived.demands += 1

    @property
    def _is_late(self) -> bool:
        """Whether the round ends soon; an epoch would last for ever if there were new demands."""
        round_ = self._round
        return round_ is not None and bool(round_.answer_by_s) and self.chain.time_s > round_.prove_by_s

    def _begin_audits(self) -> None:
        """Give each honest fellow what it has in an epoch. They share a view, and the inventory's files."""
        view, peers = self._fellows_view, cast(Peers, Fellows(self))
        proving = Proving(self.folder / "fellows", view, self.node.store, self.code, bytes(48))
        term = Term.now(view)
        assert term is not None
        proving.forget_others(term)
        proving.inventory(term)
        for node_id in HONEST_FELLOWS:
            own = _OwnView(view, node_id)
            self.audits[node_id] = Auditing(
                *(cast(ChainView, own), peers, self.code, secret_of(node_id), proving)
            )

    # blobs

    def _change_blobs(self) -> None:
        """Store another blob, or delete one; others expire."""
        deletable, change = self._deletable(), self.choose.random()
        if change < 0.5 and len(deletable) < MOST_BLOBS:
            self._store_blob(self.chain.state.period + self.choose.randint(2, 20))
        elif change < 0.7 and deletable:
            self.chain.delete(self.choose.choice(deletable).object_id)

    def _invalidate(self) -> None:
        if deletable := self._deletable():
            self.chain.invalidate(self.choose.choice(deletable).blob_id)

    def _deletable(self) -> list[BlobRecord]:
        now = self.chain.contracts
        live = (one for one in now.records.values() if one.is_live(now.state.period))
        return [one for one in live if one.deletable and one.blob_id not in now.invalid]

    def _store_blob(self, end_period: int) -> None:
        blob = self.code.encode(self.choose.randbytes(self.choose.choice((100, 1000, 20_000))))
        number = self.chain.register(blob, end_period=end_period, deletable=end_period < FOREVER)
        self.node.store.put_metadata(blob.blob_id, blob.metadata.to_bcs())
        self.node.store.put_slivers(
            NewSliver(
                *(blob.blob_id, SHARD, axis),
                blob.sliver(axis, self.code.sliver_index(blob.blob_id, SHARD, axis)),
            )
            for axis in Axis
        )
        self.chain.certify(number)


@dataclass(frozen=True)
class _OwnView:
    """A view that fellows share, as one of them has it."""

    shared: ChainView
    node_id: int

    def __getattr__(self, name: str) -> Any:
        return getattr(self.shared, name)


def name_of(node_id: int) -> str:
    """Return a member's name, which its account has, too."""
    return f"node-{node_id}"


@cache
def secret_of(node_id: int) -> SecretKey:
    """Return the BLS key of a member; nobody has anything to protect here."""
    return SecretKey(0x9A00 + node_id)


def _forget(now: Contracts) -> Outcome:
    """A rule: forget the rounds before the current one, which would be copied with each transaction."""
    epoch = now.state.epoch
    parts = {key: part for key, part in now.parts.items() if key[0] == epoch}
    rounds = {epoch: now.rounds[epoch]} if epoch in now.rounds else {}
    return replace(now, parts=parts, rounds=rounds), ()
