"""The contracts on a real chain and the chain in memory, told the same: whatever one answers, the other must."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable, Sequence
from dataclasses import replace
from typing import Any, Protocol

from committee import messages
from committee.bls import SecretKey, proof_of_possession
from committee.certificate import Certificate
from committee.errors import LedgerRefused
from committee.ledger import Attestation, BlockMark, EpochState, NodeLedger, Transaction
from committee.ledger.evm import AccountKey, EvmLedger
from committee.ledger.reservations import SpaceLedger
from committee.messages import Intent
from storage.proofs import WrongOpening
from storage.redstuff import BlobMetadata
from tests.committee.ledger.conftest import Network, Node
from tests.live_objects import live_objects
from tests.memory_chain import MemoryChain

NOBODY = "0x00000000000000000000000000000000000000AA"
WRONG_OPENINGS = frozenset(one.__name__ for one in WrongOpening.__subclasses__())
NOWHERE = BlockMark(0, b"")
"""In place of all blocks: the two chains do not have the same."""


class BothLedgers(NodeLedger, SpaceLedger, Protocol):
    """What the two chains are asked alike."""


Telling = Callable[[BothLedgers], Awaitable[Any]]


class Twins:
    """Both chains. Every method tells both, and compares what they answer and what they then hold."""

    def __init__(self, network: Network, chain: MemoryChain) -> None:
        self.network = network
        self.chain = chain
        self._seen = 0, 0
        """The blocks whose events were compared."""
        self._roots: set[tuple[bytes, int]] = set()
        """Roots and lengths of the blobs that were registered."""
        self._owners: set[str] = set()
        """Accounts that have, or had, a reservation."""

    @classmethod
    async def deployed(cls, network: Network) -> Twins:
        """Before the first epoch."""
        real = network.operator
        began = (await real.epoch_state()).last_handover_done_s
        twins = cls(network, MemoryChain(await real.parameters(), began, await real.proof_terms()))
        await twins._compare()
        return twins

    @property
    def state(self) -> EpochState:
        return self.chain.state

    async def tell(self, sender: EvmLedger, telling: Telling) -> str | None:
        """Have an account do something on both; the error's name when they refuse."""
        real = await _outcome(telling(sender))
        self.chain.time_s = await sender.chain_time_s()
        faked = await _outcome(telling(self.chain.ledger(sender.account)))
        assert faked == real, f"the chain in memory: {faked}; the contracts: {real}"
        await self._compare()
        return real[1] if isinstance(real, tuple) else None

    async def anyone(self, telling: Telling) -> str | None:
        """The same, whoever it may be."""
        return await self.tell(self.network.operator, telling)

    # shorter to say

    async def join(self, stake: int) -> Node:
        """A new node, with a stake unless 0."""
        key, secret, place = AccountKey.generate(), SecretKey.generate(), len(self.network.nodes) + 1
        ledger = await self.network.account(key)
        assert ledger.account is not None
        proof = proof_of_possession(secret, ledger.account, self.chain.parameters.domain)
        sent = f"node-{place}", f"http://node-{place}:1", secret.public_key, proof
        assert await self.tell(ledger, lambda told: told.register_node(*sent)) is None
        node = Node(place, ledger, secret, key)
        self.network.nodes.append(node)
        if stake:
            await self.stake(node, stake)
        return node

    async def stake(self, node: Node, stake: int) -> None:
        assert node.ledger.account is not None
        amount = stake * Network.UNIT
        await self.network.operator.mint(node.ledger.account, amount)
        assert await self.tell(node.ledger, lambda told: told.stake(node.node_id, amount)) is None

    async def writer(self) -> EvmLedger:
        """An account that can pay."""
        account = await self.network.account()
        assert account.account is not None
        await self.network.operator.mint(account.account, 10**27)
        return account

    async def next_epoch(self) -> None:
        await self.network.chain.increase_time(self.chain.parameters.period_duration_s)
        assert await self.anyone(lambda told: told.select()) is None
        await self.network.chain.increase_time(self.chain.parameters.notice_s)
        assert await self.anyone(lambda told: told.start()) is None

    async def mine(self, blocks: int) -> None:
        """Blocks in which nothing happens."""
        await self.network.chain.mine(blocks)
        for _ in range(blocks):
            self.chain.mine()

    async def attest(self, node: Node, *shards: int, epoch: int | None = None) -> str | None:
        in_epoch = self.state.epoch if epoch is None else epoch
        attestations = [Attestation(shard, bytes([shard]) * 32, shard) for shard in shards]
        return await self.tell(node.ledger, lambda told: told.attest(in_epoch, attestations))

    def owed(self, node: Node) -> list[int]:
        """Shards that the node has to attest still."""
        assert self.state.current is not None
        return [one for one in self.state.current.shards_of(node.node_id) if one in self.chain.missing]

    async def hand_over(self) -> None:
        """All that is gained is attested."""
        for node in self.network.nodes:
            if shards := self.owed(node):
                assert await self.attest(node, *shards) is None

    def knows(self, root: bytes, length: int) -> None:
        """Compare the objects of this blob from now on."""
        self._roots.add((root, length))

    async def register(
        self, writer: EvmLedger, root: bytes, periods: int = 5, *, length: int = 1000, deletable: bool = False
    ) -> str | None:
        self.knows(root, length)
        return await self.tell(writer, lambda told: told.register_blob(root, length, periods, deletable))

    def certificate(
        self, object_id: int, node_ids: Sequence[int] | None = None, state: EpochState | None = None
    ) -> Certificate:
        """Of a blob object, by these members of the committee of `state`, the current one when None."""
        record = self.chain.records[object_id]
        body = messages.blob_body(record.blob_id, object_id if record.deletable else None)
        return self.network.sign(state or self.state, Intent.BLOB, body, node_ids)

    async def certify(self, object_id: int, certificate: Certificate | None = None) -> str | None:
        given = certificate or self.certificate(object_id)
        return await self.anyone(lambda told: told.certify_blob(object_id, given))

    async def invalidate(self, root: bytes, node_ids: Sequence[int], length: int = 1000) -> str | None:
        blob_id = BlobMetadata.id_of(length, root)
        certificate = self.network.sign(self.state, Intent.INVALID_BLOB, blob_id, node_ids)
        return await self.anyone(lambda told: told.invalidate_blob(blob_id, certificate))

    async def eject(
        self,
        node_id: int,
        node_ids: Sequence[int] | None = None,
        state: EpochState | None = None,
        lasts_s: int = 60,
    ) -> str | None:
        deadline_s = await self.network.operator.chain_time_s() + lasts_s
        body = messages.eject_body(node_id, deadline_s)
        certificate = self.network.sign(state or self.state, Intent.EJECT, body, node_ids)
        return await self.anyone(lambda told: told.eject(node_id, 1, deadline_s, certificate))

    # what they hold

    async def _compare(self) -> None:
        real, faked = self.network.operator, self.chain.ledger(None)
        assert await _told(faked, self._seen[1]) == await _told(real, self._seen[0])
        self._seen = (await real.head()).number, (await faked.head()).number
        for look in (_state, _blobs, _nodes, _candidates, _absences, _attested):
            assert await look(faked) == await look(real), look.__name__
        for object_id in sorted(self.chain.records)[-2:]:
            assert await faked.blob_object(object_id) == await real.blob_object(object_id)
        self._owners.update(one.owner for one in self.chain.contracts.reservations.values())
        assert await _reservations(faked, self._owners) == await _reservations(real, self._owners)
        roots = sorted(self._roots)
        # An invalid object, which is of no use to anybody, the contract tells also when it is expired.
        told = [
            [
                [one for one in found.objects if not one.invalid]
                for found in await ledger.objects_of_blobs(roots)
            ]
            for ledger in (faked, real)
        ]
        assert told[0] == told[1]
        for epoch in self.chain.contracts.rounds:
            node_ids = range(1, len(self.chain.nodes) + 1)
            assert await _proofs(faked, epoch, node_ids) == await _proofs(real, epoch, node_ids)
        for epoch in range(self.state.epoch + 2):
            refused_or_missing = await _missing(faked, epoch)
            assert refused_or_missing == await _missing(real, epoch), f"missing shards of epoch {epoch}"


async def _outcome(answer: Awaitable[Any]) -> Any:
    """(action, reason, arguments) when refused; else what was answered besides the transaction.

    A refused call is in no block, so nobody can tell the second at which the contracts refused it: the
    stake that an election needs, which falls each second, is left out. So are numbers of blocks, and in which way an
    opening is wrong.
    """
    try:
        given = await answer
    except LedgerRefused as refused:
        arguments = dict(refused.arguments)
        if refused.reason == "NotEnoughStake":
            del arguments["needed"]
        arguments.pop("drawBlock", None)
        if refused.reason in WRONG_OPENINGS:
            arguments.clear()
        return refused.action, refused.reason, arguments
    return given[0] if isinstance(given, tuple) and isinstance(given[1], Transaction) else None


async def _told(ledger: NodeLedger, since: int) -> list[Any]:
    head = await ledger.head()
    return [replace(event, block=NOWHERE) for event in await ledger.events(since + 1, head.number)]


async def _state(ledger: NodeLedger) -> Any:
    state = await ledger.epoch_state()
    started, salt_seed = (NOWHERE, bytes(32)) if state.started_block and state.salt_seed else (None, None)
    last_s = state.last_handover_done_s if state.handover_done else None
    state = replace(state, block=NOWHERE, started_block=started, salt_seed=salt_seed)
    return replace(state, last_handover_done_s=0), last_s


async def _blobs(ledger: NodeLedger) -> Any:
    records = await live_objects(ledger)
    assert [await ledger.blob_object(one.object_id) for one in records[-2:]] == records[-2:]
    return records


async def _reservations(ledger: SpaceLedger, owners: Iterable[str]) -> Any:
    return {owner: await ledger.reservations(owner) for owner in owners}


async def _nodes(ledger: NodeLedger) -> Any:
    nodes = await ledger.nodes()
    for one in nodes[-1:]:
        assert await ledger.node(one.node_id) == one
        assert await ledger.node_of(one.operator) == one
    return nodes, await _outcome(ledger.node(len(nodes) + 1)), await ledger.node_of(NOBODY)


async def _proofs(ledger: NodeLedger, epoch: int, node_ids: Iterable[int]) -> Any:
    """What depends on no hash, which the two chains do not have alike."""
    round_ = await ledger.proof_round(epoch)
    assert round_ is not None
    return (
        replace(
            round_,
            salt_seed=b"",
            draw_block=round_.draw_block != 0,
            draw=None if round_.draw is None else b"",
        ),
        [
            replace(part, commitment=bytes([any(part.commitment)]))
            for part in [await ledger.member_proof(epoch, node_id) for node_id in node_ids]
        ],
        [await ledger.demands(node_id) for node_id in node_ids],
        [await ledger.misses(node_id) for node_id in node_ids],
    )


async def _candidates(ledger: NodeLedger) -> Any:
    return await ledger.candidates()


async def _absences(ledger: NodeLedger) -> Any:
    absent = [one.node_id for one in await ledger.nodes() if not one.is_candidate]
    return {node_id: await ledger.absence(node_id) for node_id in absent}


async def _attested(ledger: NodeLedger) -> Any:
    return await ledger.attested_shards()


async def _missing(ledger: NodeLedger, epoch: int) -> Any:
    try:
        return await ledger.missing_shards(epoch)
    except LedgerRefused as refused:
        return refused.reason, refused.arguments
