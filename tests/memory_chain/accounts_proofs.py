"""The part of the chain's face for one account that is about storage proofs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from committee.certificate import Certificate
from committee.ledger import Transaction
from committee.ledger.proofs import Demand, Held, Means, MemberProof, ProofTerms, Round
from committee.opening import COMMITMENT_BYTES, Opening
from tests.memory_chain import proofs
from tests.memory_chain.accounts_space import AccountsSpace


class AccountsProofs(AccountsSpace):
    """A `MemoryChain` as one account sees it; None can only read. Every method is as in `Ledger`."""

    async def proof_terms(self) -> ProofTerms:
        """As `Ledger.proof_terms`."""
        return self.chain.contracts.proof_terms

    async def proof_round(self, epoch: int) -> Round | None:
        """As `Ledger.proof_round`."""
        return self.chain.contracts.rounds.get(epoch)

    async def member_proof(self, epoch: int, node_id: int) -> MemberProof:
        """As `Ledger.member_proof`."""
        part = self.chain.contracts.part(epoch, node_id)
        return MemberProof(
            commitment=part.commitment[:COMMITMENT_BYTES],
            answered=part.answered,
            is_proven=part.is_proven,
            is_missed=part.is_missed,
            is_punished=part.is_punished,
            open_demands=part.open_demands,
        )

    async def misses(self, node_id: int) -> int:
        """As `Ledger.misses`."""
        return self.chain.contracts.misses.get(node_id, 0)

    async def held_since(self, shards: Sequence[int]) -> dict[int, Held]:
        """As `Ledger.held_since`."""
        return {shard: proofs.held_since(self.chain.contracts, shard) for shard in shards}

    async def demands(self, node_id: int) -> tuple[Demand, ...]:
        """As `Ledger.demands`."""
        now = self.chain.contracts
        own = [one.demand for (epoch, _, _), one in now.demands.items() if epoch == now.state.epoch]
        found = (one for one in own if one.node_id == node_id)
        return tuple(sorted(found, key=lambda one: (one.answer_by_s, one.asker)))

    async def begin_round(
        self, root: bytes, count: int, weight: int, certificate: Certificate
    ) -> Transaction:
        """As `Ledger.begin_round`."""
        self._sender()
        return self.chain.send("Proofs.begin", proofs.begin, root, count, weight, certificate)

    async def commit(self, epoch: int, root: bytes) -> Transaction:
        """As `Ledger.commit`."""
        return self.chain.send("Proofs.commit", proofs.commit, self._sender(), epoch, root)

    async def draw(self) -> Transaction:
        """As `Ledger.draw`."""
        self._sender()
        return self.chain.send("Proofs.draw", proofs.draw, self.chain.hash_of)

    async def prove(self, node_id: int, certificate: Certificate) -> Transaction:
        """As `Ledger.prove`."""
        self._sender()
        return self.chain.send("Proofs.prove", proofs.prove, node_id, certificate)

    async def answer(self, node_id: int, openings: Mapping[int, Opening]) -> list[Transaction]:
        """As `Ledger.answer`; all in one transaction."""
        self._sender()
        return [self.chain.send("Proofs.answer", proofs.answer, node_id, openings)]

    async def means_to_answer(self, openings: Mapping[int, Opening]) -> Means:
        """As `Ledger.means_to_answer`: nothing costs anything here, unless a test says so."""
        self._sender()
        return self.chain.means

    async def judge(self, node_id: int) -> Transaction:
        """As `Ledger.judge`."""
        self._sender()
        return self.chain.send("Proofs.judge", proofs.judge_member, node_id)

    async def demand(self, node_id: int, position: int) -> Transaction:
        """As `Ledger.demand`; it costs nothing."""
        return self.chain.send("Proofs.demand", proofs.demand, self._sender(), node_id, position)

    async def answer_demand(self, node_id: int, asker: str, opening: Opening) -> Transaction:
        """As `Ledger.answer_demand`."""
        self._sender()
        return self.chain.send("Proofs.answerDemand", proofs.answer_demand, node_id, asker, opening)

    async def judge_demand(self, node_id: int, asker: str) -> Transaction:
        """As `Ledger.judge_demand`."""
        self._sender()
        return self.chain.send("Proofs.judgeDemand", proofs.judge_demand, node_id, asker)

    async def reclaim(self, epoch: int, node_id: int, asker: str) -> Transaction:
        """As `Ledger.reclaim`."""
        self._sender()
        return self.chain.send("Proofs.reclaim", proofs.reclaim, epoch, node_id, asker)
