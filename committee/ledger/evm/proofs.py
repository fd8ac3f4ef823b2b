"""The part of the EVM adapter for storage proofs."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from committee import bls
from committee.certificate import Certificate
from committee.ledger.evm.writer import Writer
from committee.ledger.proofs import MemberProof, Round
from committee.ledger.records import Transaction
from committee.opening import PLACES_ON_CHAIN, Opening


class ProofsWriter(Writer):
    """What members and keepers ask and send in a round of proofs."""

    async def proof_round(self, epoch: int) -> Round | None:
        """As `Ledger.proof_round`."""
        told = await self._reader.call(self._reader.proofs, "roundOf", epoch)
        if not told["count"]:
            return None
        return Round(
            inventory_root=told["inventory"],
            count=told["count"],
            weight=told["weight"],
            start_hash=told["startHash"],
            commit_by_s=told["commitBy"],
            draw_block=told["drawBlock"],
            draw=told["draw"] if told["answerBy"] else None,
            answer_by_s=told["answerBy"],
        )

    async def member_proof(self, epoch: int, node_id: int) -> MemberProof:
        """As `Ledger.member_proof`."""
        told = await self._reader.call(self._reader.proofs, "proofOf", epoch, node_id)
        answered = frozenset(place for place in range(PLACES_ON_CHAIN) if told["answered"] >> place & 1)
        return MemberProof(
            told["commitment"], answered, told["isProven"], told["isMissed"], told["isPunished"]
        )

    async def begin_round(
        self, root: bytes, count: int, weight: int, certificate: Certificate
    ) -> Transaction:
        """As `Ledger.begin_round`."""
        return await self._prove("begin", root, count, weight, *_signed(certificate))

    async def commit(self, epoch: int, root: bytes) -> Transaction:
        """As `Ledger.commit`."""
        return await self._prove("commit", epoch, root)

    async def draw(self) -> Transaction:
        """As `Ledger.draw`."""
        return await self._prove("draw")

    async def prove(self, node_id: int, certificate: Certificate) -> Transaction:
        """As `Ledger.prove`."""
        return await self._prove("prove", node_id, *_signed(certificate))

    async def answer(self, node_id: int, openings: Mapping[int, Opening]) -> Transaction:
        """As `Ledger.answer`."""
        return await self._prove(
            "answer", node_id, list(openings), [_argument(one) for one in openings.values()]
        )

    async def judge(self, node_id: int) -> Transaction:
        """As `Ledger.judge`."""
        return await self._prove("judge", node_id)

    async def _prove(self, function: str, *arguments: Any) -> Transaction:
        return (await self._send(self._reader.proofs, function, *arguments)).transaction


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
