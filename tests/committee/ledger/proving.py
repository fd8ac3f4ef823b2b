"""A round of storage proofs on a real chain, of a node with real slivers of real blobs."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

from committee.messages import Intent
from storage.proofs.commitment import salt_of
from storage.proofs.draw import Position, drawn_position, position_at, position_count
from storage.redstuff.merkle import root_of_hashes
from tests.storage.proofs.members import HonestMember, member

if TYPE_CHECKING:
    from committee.ledger import EpochState
    from tests.committee.ledger.conftest import Network, Node

LENGTHS = [0, 1, 77, 3000, 40_000]


class Round:
    """The round of the first epoch, of one node with blobs that it has, as they come to the contract."""

    def __init__(self, network: Network, state: EpochState, node: Node, honest: HonestMember) -> None:
        self.network = network
        self.state = state
        self.node = node
        self.honest = honest

    async def draw(self) -> bytes:
        """Commit the node, and have the positions drawn; return the draw."""
        ledger, epoch = self.node.ledger, self.state.epoch
        roots = [self.honest.shard_root(shard) for shard in self.honest.shards]
        await ledger.commit(epoch, root_of_hashes(roots))
        assert (await ledger.member_proof(epoch, self.node.node_id)).commitment == root_of_hashes(roots)[:24]
        before = await ledger.proof_round(epoch)
        assert before is not None
        await self.network.chain.increase_time(before.commit_by_s - await ledger.chain_time_s())
        await ledger.draw()
        fixed = await ledger.proof_round(epoch)
        assert fixed is not None
        assert fixed.draw is None
        await self.network.chain.mine(fixed.draw_block - (await ledger.newest()).number)
        sent = await ledger.draw()
        drawn = await ledger.proof_round(epoch)
        assert drawn is not None
        assert drawn.draw is not None
        drawn_s, terms = await ledger.block_time_s(sent.block.number), await ledger.proof_terms()
        assert drawn.prove_by_s == drawn_s + terms.prove_window_s
        assert drawn.answer_by_s == drawn.prove_by_s + terms.answer_window_s
        return drawn.draw

    @property
    def position_count(self) -> int:
        """How many positions the node has."""
        return position_count(self.honest.code, len(self.honest.shards), self.honest.inventory.weight)

    def position(self, draw: bytes, place: int) -> Position:
        """A drawn position, by Python's rules."""
        return self.position_at(drawn_position(draw, self.node.node_id, place, self.position_count))

    def position_at(self, number: int) -> Position:
        """The node's position of a number."""
        return position_at(self.honest.code, self.honest.inventory.weight, number)


async def begin(network: Network, blocks: int = 1, lengths: Sequence[int] = LENGTHS) -> Round:
    """Begin the first epoch and, that many blocks behind, its round, of a node with about half of ten shards.

    The inventory has blobs of these lengths.
    """
    state = await network.begin_epoch()
    await network.chain.mine(blocks)
    node = network.nodes[0]
    assert state.current is not None
    assert state.salt_seed is not None
    honest = member(state.current.n_shards, lengths, state.current.shards_of(node.node_id))
    salt = salt_of(state.epoch, node.node_id, node.secret.public_key, state.salt_seed)
    honest = replace(honest, salt=salt)
    assert await network.operator.proof_round(state.epoch) is None
    inventory = honest.inventory
    certificate = network.sign(state, Intent.INVENTORY, inventory.body())
    await network.operator.begin_round(inventory.root, inventory.count, inventory.weight, certificate)
    return Round(network, state, node, honest)
