"""The part of the EVM adapter for storage proofs: `ProofsLedger` by the contract `Proofs`."""

from __future__ import annotations

import asyncio
from collections.abc import Collection, Mapping
from typing import Any

from committee import bls
from committee.certificate import Certificate
from committee.errors import LedgerRefused, LedgerUnavailable
from committee.ledger.evm.estimates import TRANSACTION_GAS_LIMIT
from committee.ledger.evm.staking import StakingWriter
from committee.ledger.evm.together import both
from committee.ledger.proofs import Means, MemberProof, ProofTerms, Round
from committee.ledger.records import Transaction
from committee.opening import PLACES_ON_CHAIN, Opening

ANSWERS_GAS = 300_000
"""A little more gas than an answer takes beside its openings, for a member with a thousand shards."""
OPENING_GAS = 60_000
"""A little more gas than an opening takes beside what its bytes take."""
BYTE_GAS = 44
"""A little more gas than a byte of an opening takes: the floor price of calldata is 40 (EIP-7623). The usual price, 16,
and the two hashes of a symbol come to less."""
WORD_BYTES = 32
OPENING_WORDS = 17
"""Of an opening in calldata, its place included, without the contents of its lists."""


class ProofsWriter(StakingWriter):
    """What members and other accounts read and send in a round of storage proofs."""

    async def proof_terms(self) -> ProofTerms:
        """Return what the deployment has fixed for all rounds."""
        read, proofs = self._reader.call, self._reader.proofs
        bond, windows = await both(read(proofs, "bond"), read(proofs, "windows"))
        return ProofTerms(bond, *windows)

    async def proof_round(self, epoch: int) -> Round | None:
        """Return the round of an epoch, in the newest block; None when it has not begun."""
        told = await self._reader.call(self._reader.proofs, "roundOf", epoch)
        if not told["count"]:
            return None
        if told["weight"] < told["count"]:
            raise LedgerUnavailable(f"the {told['count']} blobs of a round weigh {told['weight']} bytes")
        prove_by_s = 0
        if told["answerBy"]:
            prove_by_s = told["answerBy"] - (await self.proof_terms()).answer_window_s
        return Round(
            inventory_root=told["inventory"],
            count=told["count"],
            weight=told["weight"],
            salt_seed=told["startHash"],
            commit_by_s=told["commitBy"],
            draw_block=told["drawBlock"],
            draw=told["draw"] if told["answerBy"] else None,
            prove_by_s=prove_by_s,
            answer_by_s=told["answerBy"],
        )

    async def member_proof(self, epoch: int, node_id: int) -> MemberProof:
        """Return a node's part in the round of an epoch, in the newest block."""
        told = await self._reader.call(self._reader.proofs, "proofOf", epoch, node_id)
        answered = frozenset(place for place in range(PLACES_ON_CHAIN) if told["answered"] >> place & 1)
        return MemberProof(
            commitment=told["commitment"],
            answered=answered,
            is_proven=told["isProven"],
            is_missed=told["isMissed"],
            is_punished=told["isPunished"],
            open_demands=told["openDemands"],
        )

    async def misses(self, node_id: int) -> int:
        """Return how many rounds a node has missed since it last proved; from the second one on it is punished."""
        return int(await self._reader.call(self._reader.proofs, "misses", node_id))

    async def fines(self, node_id: int, epochs: Collection[int]) -> dict[int, int]:
        """Return what a node was fined for storage proofs in these epochs, of those in which it was punished.

        Searches the logs back from the newest block for the epochs in which it was punished.
        """
        parts = await asyncio.gather(*(self.member_proof(epoch, node_id) for epoch in epochs))
        punished = {epoch for epoch, part in zip(epochs, parts, strict=True) if part.is_punished}
        return await self._reader.agreeing(lambda: self._fines(node_id, punished))

    async def _fines(self, node_id: int, epochs: Collection[int]) -> dict[int, int]:
        found: dict[int, int] = {}
        if not epochs:
            return found
        keys = [sorted(epochs), [node_id]]
        newest = (await self._reader.block("latest")).mark.number
        async for log, _ in self._reader.newest_first(
            self._reader.proofs, ["Punished"], keys, self._reader.first_block, newest
        ):
            found[log.arguments["epoch"]] = log.arguments["amount"]
            if found.keys() >= set(epochs):
                return found
        raise LedgerUnavailable(f"no logs tell what node {node_id} was fined in the epochs {sorted(epochs)}")

    async def begin_round(
        self, root: bytes, count: int, weight: int, certificate: Certificate
    ) -> Transaction:
        """Begin the current epoch's round with the inventory that a quorum certified, once."""
        return await self._transact("begin", root, count, weight, *_signed(certificate))

    async def commit(self, epoch: int, root: bytes) -> Transaction:
        """Commit the node that the account operates to what it stores; until `commit_by_s` the last one counts."""
        return await self._transact("commit", epoch, root)

    async def draw(self) -> Transaction:
        """Fix the block that draws the positions; behind it, draw them."""
        return await self._transact("draw")

    async def prove(self, node_id: int, certificate: Certificate) -> Transaction:
        """Post that a quorum of its fellows saw a member open what was drawn."""
        return await self._transact("prove", node_id, *_signed(certificate))

    async def answer(self, node_id: int, openings: Mapping[int, Opening]) -> list[Transaction]:
        """Open places, by their numbers, of a member on chain; in as many transactions as it takes."""
        return [
            await self._transact("answer", node_id, list(batch), [_argument(one) for one in batch.values()])
            for batch in batches(openings)
        ]

    async def means_to_answer(self, openings: Mapping[int, Opening]) -> Means:
        """Return what `answer` would take for these openings, by their sizes alone, and what the account has for it."""
        sender, gas = self._sending(), answers_gas(openings)
        has_wei, price_wei = await both(sender.newest_balance_wei(sender.account), sender.price_wei())
        return Means(has_wei, gas * price_wei)

    async def judge(self, node_id: int) -> Transaction:
        """Have a member that has not proven in time miss the round; its second miss in a row is punished."""
        return await self._judge("judge", node_id)

    async def demand(self, node_id: int, position: int) -> Transaction:
        """Demand that a member opens a position on chain, which is given by its number; the account pays the bond.

        Where nothing but the allowance is lacking, the bond is approved first.
        """
        async with self._spending:
            try:
                return await self._transact("demand", node_id, position)
            except LedgerRefused as refusal:
                await self._approve(self._reader.proofs, refusal)
                return await self._transact("demand", node_id, position)

    async def answer_demand(self, node_id: int, asker: str, opening: Opening) -> Transaction:
        """Answer an account's demand of a member until its deadline."""
        return await self._transact("answerDemand", node_id, asker, _argument(opening))

    async def judge_demand(self, node_id: int, asker: str) -> Transaction:
        """Have a member punished that has not answered an account's demand in time, while the epoch lasts."""
        return await self._judge("judgeDemand", node_id, asker)

    async def reclaim(self, epoch: int, node_id: int, asker: str) -> Transaction:
        """Give an account the bond of its demand back when the demand's epoch is over."""
        return await self._transact("reclaim", epoch, node_id, asker)

    async def _judge(self, function: str, node_id: int, *arguments: Any) -> Transaction:
        """Send a judgement of a node; pay it out first where its stake can only be slashed then."""
        try:
            return await self._transact(function, node_id, *arguments)
        except LedgerRefused as refusal:
            if refusal.reason != "NotSettled":
                raise
            await self._pay_out_first(node_id, int(str(refusal.arguments["needed"])))
            return await self._transact(function, node_id, *arguments)

    async def _transact(self, function: str, *arguments: Any) -> Transaction:
        """Call a function of the contract by a transaction."""
        return (await self._send(self._reader.proofs, function, *arguments)).transaction


def batches(openings: Mapping[int, Opening]) -> list[dict[int, Opening]]:
    """Return the openings, in their order, in batches of which each fits into a transaction (EIP-7825).

    The most of any symbols but the largest fit into one: 16 of 302 bytes among 1000 shards take 1.2 million gas, one of
    65 534 bytes takes 2.7 million.
    """
    found: list[dict[int, Opening]] = []
    left = 0
    for place, opening in openings.items():
        gas = opening_gas(opening)
        if gas > left:
            found.append({})
            left = TRANSACTION_GAS_LIMIT - ANSWERS_GAS
        found[-1][place] = opening
        left -= gas
    return found


def answers_gas(openings: Mapping[int, Opening]) -> int:
    """Return a little more gas than all the openings take, in as many transactions as `batches` makes of them."""
    return sum(ANSWERS_GAS + sum(map(opening_gas, batch.values())) for batch in batches(openings))


def opening_gas(opening: Opening) -> int:
    """Return a little more gas than an opening takes in an answer."""
    paths = (opening.inventory_path, opening.commitment_path, opening.sliver_path, opening.blob_path)
    words = OPENING_WORDS + sum(map(len, paths)) + -(-len(opening.symbol) // WORD_BYTES)
    return OPENING_GAS + words * WORD_BYTES * BYTE_GAS


def _signed(certificate: Certificate) -> tuple[bytes, bytes]:
    return certificate.bitmap, bls.g2_to_eip2537(certificate.signature)


def _argument(opening: Opening) -> tuple[Any, ...]:
    """Return an opening as the contract takes it (`IProofs.Opening`)."""
    return (
        *(opening.index, opening.offset, opening.inventory_path, opening.blob_root, opening.blob_length),
        *(
            opening.symbol,
            opening.commitment_path,
            opening.sliver_path,
            opening.other_root,
            opening.blob_path,
        ),
    )
