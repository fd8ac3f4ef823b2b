"""One node in the rounds of storage proofs: what it does by itself, and what it signs and shows when asked."""

from __future__ import annotations

import asyncio
from typing import Any

from committee.bls import SecretKey
from storage.node.chain import ChainView
from storage.node.duties import Rota
from storage.node.peers import Peers
from storage.node.proving import OpeningPages, Proving, Term
from storage.node.rounds.auditing import Auditing
from storage.node.rounds.demands import Demands
from storage.node.rounds.looking import look_for_ever
from storage.node.rounds.prover import Prover
from storage.node.rounds.warning import Warnings
from storage.redstuff import RedStuff


class Rounds:
    """One node in the rounds of storage proofs; its HTTP interface sees it as `RoundsFace`."""

    def __init__(
        self,
        view: ChainView,
        rota: Rota,
        peers: Peers,
        code: RedStuff,
        secret: SecretKey,
        proving: Proving,
        keeps: bool,
    ) -> None:
        """`keeps` is the setting `keeper`: whether the node sends in its turn what any member may, and pays the gas."""
        self._view = view
        self._pages = OpeningPages(proving)
        self.auditing = Auditing(view, peers, code, secret, proving)
        self.prover = Prover(view, rota, peers, code, secret, proving, self._pages, keeps)
        self.demands = Demands(view, code, proving)
        self.warnings = Warnings(view, code, proving)

    async def run(self) -> None:
        """Make trees, follow rounds, answer demands and warn, for ever."""
        try:
            async with asyncio.TaskGroup() as tasks:
                for look in (
                    self.prover.make_trees,
                    self.prover.follow_round,
                    self.demands.answer,
                    self.warn,
                ):
                    tasks.create_task(look_for_ever(self._view, look))
        finally:
            await self.auditing.close()

    async def warn(self, term: Term) -> object:
        """As `Warnings.warn`, of the current round."""
        return await self.warnings.warn(term, self.prover.part)

    def health(self) -> dict[str, Any]:
        """As `RoundsFace.health`."""
        return self.prover.part.health()

    async def sign_inventory(self) -> tuple[bytes, bytes]:
        """As `RoundsFace.sign_inventory`."""
        return await self.auditing.sign_inventory()

    async def sign_proof(self, node_id: int, draw: bytes) -> tuple[bytes, bytes]:
        """As `RoundsFace.sign_proof`."""
        return await self.auditing.sign_proof(node_id, draw)

    def openings(self, draw: bytes, page: int) -> bytes | None:
        """As `RoundsFace.openings`."""
        term = Term.now(self._view)
        return None if term is None else self._pages.page(term, draw, page)

    def openings_size(self, draw: bytes, page: int) -> int:
        """As `RoundsFace.openings_size`."""
        term = Term.now(self._view)
        return 0 if term is None else self._pages.size_bytes(term, draw, page)
