"""The same openings through Python and Solidity, honest ones and changed ones: the same verdict, by the same name."""

from __future__ import annotations

import random
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, closing
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import pytest

from committee import bls
from committee.certificate import bitmap_of
from committee.errors import LedgerRefused
from committee.ledger import EpochState
from committee.ledger.evm.abi import ErrorDecoder, load_contract
from committee.ledger.evm.account import AccountKey
from committee.ledger.evm.reader import Contract
from committee.ledger.evm.rpc import Rpc
from committee.ledger.evm.sender import Sender
from storage.proofs.commitment import root_over, salt_of
from storage.proofs.draw import ON_CHAIN, Position, drawn_place, line_length, position_at
from storage.proofs.inventory import Inventory
from storage.proofs.opening import Commitment, Opening, WrongOpening, judge
from tests.storage.proofs.members import HonestMember, member

if TYPE_CHECKING:
    from tests.committee.ledger.conftest import Launch, Network

LENGTHS = (0, 1000, 30_000)
INVENTORY = 10
"""The intent (PROTOCOL section 2)."""


@dataclass(frozen=True)
class MemberOnChain(HonestMember):
    """A member that has all that it should, with the salt that it has on a chain."""

    salted: bytes = bytes(32)

    @property
    def salt(self) -> bytes:
        """The member's salt."""
        return self.salted


class Proofs:
    """The contract of one network's storage proofs."""

    def __init__(self, network: Network) -> None:
        self._network = network
        self._abi = load_contract("Proofs")
        self._address = network.deployment.proofs

    async def call(self, function: str, *arguments: Any) -> Any:
        """Ask a view."""
        reader = self._network.operator._reader
        return await reader.call(Contract(self._abi, self._address), function, *arguments)

    async def send(self, key: AccountKey, function: str, *arguments: Any) -> None:
        """Send a transaction."""
        async with self._sender(key) as sender:
            await sender.send(function, self._address, self._abi.encode_call(function, *arguments))

    async def refusal(self, function: str, *arguments: Any) -> str:
        """Return the name of the error that a transaction would fail with; empty if it would not."""
        async with self._sender(self._network.key) as sender:
            try:
                await sender.plan(function, self._address, self._abi.encode_call(function, *arguments))
            except LedgerRefused as refused:
                return refused.reason
        return ""

    @asynccontextmanager
    async def _sender(self, key: AccountKey) -> AsyncIterator[Sender]:
        rpc, chain_id = Rpc(self._network.chain.rpc_url), self._network.deployment.chain_id
        try:
            with closing(Sender(rpc, key, chain_id, ErrorDecoder([self._abi]))) as sender:
                yield sender
        finally:
            await rpc.close()


def argument(opening: Opening) -> tuple[Any, ...]:
    """Return an opening as the contract takes it."""
    return (
        opening.index,
        opening.offset,
        list(opening.inventory_path),
        opening.blob_root,
        opening.blob_length,
        opening.symbol,
        list(opening.commitment_path),
        list(opening.sliver_path),
        opening.other_root,
        list(opening.blob_path),
    )


def changed_paths(path: tuple[bytes, ...], choose: random.Random) -> list[tuple[bytes, ...]]:
    """A path with a node more, a node less, and another node."""
    place = choose.randrange(len(path))
    before, behind = path[:place], path[place + 1 :]
    return [(*path, bytes(32)), (*before, *behind), (*before, choose.randbytes(32), *behind)]


def changed(opening: Opening, choose: random.Random) -> list[Opening]:
    """Openings with one change each."""
    flipped = bytes([opening.symbol[0] ^ 1]) + opening.symbol[1:]
    return [
        *(replace(opening, index=opening.index ^ bits) for bits in (1, 2, 3)),
        *(replace(opening, offset=opening.offset + more) for more in (2, 1 << 40)),
        replace(opening, blob_root=choose.randbytes(32)),
        replace(opening, blob_length=opening.blob_length + 1),
        replace(opening, symbol=flipped),
        replace(opening, symbol=opening.symbol + bytes(2)),
        replace(opening, other_root=choose.randbytes(32)),
        *(replace(opening, inventory_path=path) for path in changed_paths(opening.inventory_path, choose)),
        *(replace(opening, sliver_path=path) for path in changed_paths(opening.sliver_path, choose)),
        *(replace(opening, blob_path=path) for path in changed_paths(opening.blob_path, choose)),
        *(replace(opening, commitment_path=path) for path in changed_paths(opening.commitment_path, choose)),
    ]


def verdict(
    honest: HonestMember, commitment: Commitment, inventory: Inventory, opening: Opening, position: Position
) -> str:
    """The name of the rule that an opening breaks; empty if it holds."""
    try:
        judge(honest.code, inventory, commitment, opening, position)
    except WrongOpening as error:
        return type(error).__name__
    return ""


async def begin(network: Network, proofs: Proofs, state: EpochState, inventory: Inventory) -> None:
    """Begin a round, by all members."""
    assert state.current is not None
    header = bytes([INVENTORY, 1, 3]) + state.epoch.to_bytes(4, "little") + network.deployment.domain
    signing = [node for node in network.nodes if node.node_id in state.current.by_id]
    signature = bls.aggregate([node.secret.sign(header + inventory.to_bytes()) for node in signing])
    bitmap = bitmap_of(frozenset(node.node_id for node in signing), state.current)
    signed = bitmap, bls.g2_to_eip2537(signature)
    await proofs.send(network.key, "begin", inventory.root, inventory.count, inventory.weight, *signed)


@pytest.mark.parametrize("seed", range(2))
async def test_openings_have_the_same_verdict_on_chain(launch: Launch, seed: int) -> None:
    network = await launch((40, 30, 20, 10))
    state, proofs, node = await network.begin_epoch(), Proofs(network), network.nodes[seed]
    assert state.current is not None
    shards = state.current.shards_of(node.node_id)
    blobs = member(10, LENGTHS, shards, seed)
    await network.chain.mine(
        1 + 300 * seed
    )  # with the second seed `blockhash` reaches no further, and EIP-2935 does
    await begin(network, proofs, state, blobs.inventory)

    assert state.started_block is not None
    assert (await proofs.call("roundOf", state.epoch))["startHash"] == state.started_block.hash
    salt = salt_of(state.epoch, node.node_id, node.secret.public_key, state.started_block.hash)
    assert await proofs.call("saltOf", node.node_id) == salt
    honest = MemberOnChain(blobs.code, blobs.blobs, blobs.shards, salt)
    root = root_over([honest.shard_root(shard) for shard in shards])
    await proofs.send(node.key, "commit", state.epoch, root)

    await network.chain.increase_time((await proofs.call("windows"))[0])
    await proofs.send(network.key, "draw")
    await network.chain.mine(5)
    await proofs.send(network.key, "draw")
    draw = (await proofs.call("roundOf", state.epoch))["draw"]
    inventory, commitment = honest.inventory, Commitment(root, salt, shards, {})
    length = line_length(honest.code, len(shards), inventory.weight)
    places = [drawn_place(draw, node.node_id, number, length) for number in range(ON_CHAIN)]
    assert places[5] == await proofs.call("positionOf", node.node_id, 5)

    choose, told = random.Random(seed), set()
    positions = [position_at(honest.code, inventory.weight, place) for place in places]
    openings = [honest.opening(position) for position in positions]
    for number, (position, opening) in enumerate(zip(positions, openings, strict=True)):
        others = changed(opening, choose)
        for shown in (
            opening,
            choose.choice(openings),
            *(others if number == 0 else choose.sample(others, 3)),
        ):
            expected = verdict(honest, commitment, inventory, shown, position)
            arguments = node.node_id, [number], [argument(shown)]
            assert await proofs.refusal("answer", *arguments) == expected, shown
            told.add(expected)
    assert told >= {"", "WrongPath", "NotInInventory", "WrongSymbolSize", "NotOfTheBlob", "NotCommitted"}

    await proofs.send(network.key, "answer", node.node_id, list(range(ON_CHAIN)), [*map(argument, openings)])
    assert (await proofs.call("proofOf", state.epoch, node.node_id))["isProven"]
