"""A round of storage proofs on a real chain, by the rules that nodes have in Python, and what it costs in gas.

All bytes of the one blob are the same, so that its grid is made of one symbol: gas depends on the symbol's size alone.
"""

from __future__ import annotations

import hashlib
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager, closing
from dataclasses import dataclass
from typing import Any

from committee import bls
from committee.bls import SecretKey
from committee.certificate import bitmap_of
from committee.ledger import EpochState
from committee.ledger.evm import AccountKey, Deployment, EvmLedger
from committee.ledger.evm.abi import ErrorDecoder, load_contract
from committee.ledger.evm.reader import Contract
from committee.ledger.evm.rpc import Rpc
from committee.ledger.evm.sender import Sender
from committee.opening import COMMITMENT_BYTES, PLACES_ON_CHAIN, Opening
from localnet.chain import LocalChain
from storage.proofs.commitment import salt_of, symbol_node
from storage.proofs.draw import Position, drawn_position, position_at, position_count, symbols_in_pair
from storage.proofs.inventory import Inventory, entries_of, inventory_of
from storage.proofs.opening import Commitment, judge
from storage.redstuff import MerkleProof, Parameters
from storage.redstuff.merkle import leaf_hash, root_of_hashes

SYMBOL_BYTES = 302
INVENTORY, PROOF = 10, 11
"""Intents (PROTOCOL section 2)."""


@dataclass(frozen=True, slots=True)
class UniformBlob:
    """A blob whose symbols are all the same, alone in an inventory."""

    grid: Parameters
    symbol: bytes

    @property
    def length(self) -> int:
        """The blob's bytes."""
        return self.grid.p * self.grid.s * len(self.symbol)

    @property
    def sliver(self) -> list[bytes]:
        """The nodes of any sliver's leaves."""
        return [leaf_hash(self.symbol)] * self.grid.n_shards

    @property
    def pairs(self) -> list[bytes]:
        """The nodes of the leaves of the blob's tree."""
        return [leaf_hash(root_of_hashes(self.sliver) * 2)] * self.grid.n_shards

    @property
    def blob_id(self) -> bytes:
        """The blob's id."""
        named = b"\x01" + self.length.to_bytes(8, "little") + root_of_hashes(self.pairs)
        return hashlib.blake2b(named, digest_size=32).digest()

    @property
    def inventory(self) -> Inventory:
        """The inventory with this blob alone."""
        return inventory_of(entries_of([(self.blob_id, len(self.symbol))]))

    def leaves(self, salt: bytes) -> list[bytes]:
        """Return the nodes of any pair's leaves in a member's commitment."""
        return [symbol_node(salt, self.symbol)] * symbols_in_pair(self.grid)

    def commitment(self, salt: bytes, shards: int) -> bytes:
        """Return the commitment of a member with so many shards."""
        return root_of_hashes([root_of_hashes(self.leaves(salt))] * shards)

    def opening(self, salt: bytes, shards: list[int], position: Position) -> Opening:
        """Return what the member with these shards opens at a position."""
        pair = self.grid.pair_of_shard(self.blob_id, shards[position.shard_number])
        number = position.symbol if position.symbol < self.grid.s else position.symbol - self.grid.s
        root = root_of_hashes(self.leaves(salt))
        trees = (
            (self.leaves(salt), position.symbol),
            ([root], 0),
            ([root] * len(shards), position.shard_number),
        )
        return Opening(
            index=0,
            offset=0,
            blob_root=root_of_hashes(self.pairs),
            blob_length=self.length,
            inventory_path=(),
            symbol=self.symbol,
            sliver_path=MerkleProof.of(self.sliver, number).siblings,
            other_root=root_of_hashes(self.sliver),
            blob_path=MerkleProof.of(self.pairs, pair).siblings,
            commitment_path=tuple(
                sibling for nodes, place in trees for sibling in MerkleProof.of(nodes, place).siblings
            ),
        )


class Round:
    """The round of the current epoch of a deployment, and what its transactions cost."""

    def __init__(
        self,
        chain: LocalChain,
        ledger: EvmLedger,
        deployment: Deployment,
        key: AccountKey,
        secrets: Mapping[int, SecretKey],
        operators: Mapping[int, AccountKey],
    ) -> None:
        self.gas: dict[str, int] = {}
        self._chain = chain
        self._ledger = ledger
        self._deployment = deployment
        self._key = key
        self._secrets = secrets
        self._operators = operators
        self._abi = load_contract("Proofs")

    async def run(self) -> None:
        """Fill `gas`. One member proves by its fellows' certificate, another one answers each place."""
        state = await self._ledger.epoch_state()
        assert state.current is not None
        proving, answering = state.current.members[-1], state.current.members[-2]
        blob = UniformBlob(Parameters((await self._ledger.parameters()).n_shards), b"\xa5" * SYMBOL_BYTES)
        inventory = blob.inventory
        bitmap, signature = self._certificate(state, INVENTORY, inventory.body())
        begun = (inventory.root, inventory.count, inventory.weight, bitmap, signature)
        self.gas["begin"] = await self._send(self._key, "begin", *begun)
        salt = await self._salt(state, answering.node_id, answering.public_key)
        shards = list(answering.shards)
        for node_id in (answering.node_id, proving.node_id):
            operator = self._operators[node_id]
            await self._chain.fund(operator.address)
            root = blob.commitment(salt, len(shards))
            self.gas["commit"] = await self._send(operator, "commit", state.epoch, root)
        draw = await self._draw(state.epoch)
        body = proving.node_id.to_bytes(32, "big") + draw
        bitmap, signature = self._certificate(state, PROOF, body)
        self.gas["prove"] = await self._send(self._key, "prove", proving.node_id, bitmap, signature)
        length = position_count(blob.grid, len(shards), inventory.weight)
        openings = []
        for number in range(PLACES_ON_CHAIN):
            place = drawn_position(draw, answering.node_id, number, length)
            position = position_at(blob.grid, inventory.weight, place)
            opening = blob.opening(salt, shards, position)
            root = blob.commitment(salt, len(shards))[:COMMITMENT_BYTES]
            commitment = Commitment(root, salt, shards, {})
            judge(blob.grid, inventory, commitment, opening, position)
            openings.append(as_argument(opening))
        one, others = (answering.node_id, [0], openings[:1]), list(range(1, PLACES_ON_CHAIN))
        self.gas["answer"] = await self._send(self._key, "answer", *one)
        gas = await self._send(self._key, "answer", answering.node_id, others, openings[1:])
        self.gas["answer others"] = gas // len(others)
        for node_id in (proving.node_id, answering.node_id):
            if not (await self._call("proofOf", state.epoch, node_id))["isProven"]:
                raise AssertionError(f"node {node_id} has not proven")

    async def _salt(self, state: EpochState, node_id: int, public_key: bytes) -> bytes:
        """Return the member's salt by the rule, which must be the contract's."""
        salt_seed = (await self._call("roundOf", state.epoch))["startHash"]
        salt = salt_of(state.epoch, node_id, public_key, salt_seed)
        if salt != await self._call("saltOf", node_id):
            raise AssertionError("the contract has another salt")
        return salt

    async def _draw(self, epoch: int) -> bytes:
        commit_s, _, _, _ = await self._call("windows")
        await self._chain.increase_time(commit_s)
        await self._send(self._key, "draw")
        await self._chain.mine(5)
        self.gas["draw"] = await self._send(self._key, "draw")
        return bytes((await self._call("roundOf", epoch))["draw"])

    def _certificate(self, state: EpochState, intent: int, body: bytes) -> tuple[bytes, bytes]:
        """Return bitmap and signature of all members, the signature in the contract's form."""
        assert state.current is not None
        header = bytes([intent, 1, 3]) + state.epoch.to_bytes(4, "little")
        message = header + self._deployment.domain + body
        members = state.current.members
        signatures = [self._secrets[member.node_id].sign(message) for member in members]
        bitmap = bitmap_of(frozenset(member.node_id for member in members), state.current)
        return bitmap, bls.g2_to_eip2537(bls.aggregate(signatures))

    async def _call(self, function: str, *arguments: Any) -> Any:
        return await self._ledger._reader.call(
            Contract(self._abi, self._deployment.proofs), function, *arguments
        )

    async def _send(self, account: AccountKey, function: str, *arguments: Any) -> int:
        async with self._sender(account) as sender:
            data = self._abi.encode_call(function, *arguments)
            receipt = await sender.send(f"Proofs.{function}", self._deployment.proofs, data)
            return receipt.transaction.gas_used

    @asynccontextmanager
    async def _sender(self, account: AccountKey) -> AsyncIterator[Sender]:
        rpc = Rpc(self._chain.rpc_url)
        try:
            with closing(
                Sender(rpc, account, self._deployment.chain_id, ErrorDecoder([self._abi]))
            ) as sender:
                yield sender
        finally:
            await rpc.close()


def as_argument(opening: Opening) -> tuple[Any, ...]:
    """Return an opening as the contract's `Opening`."""
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
