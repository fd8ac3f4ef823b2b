"""One node in the rounds of storage proofs: what it does by itself, and what it signs and shows when asked."""

from __future__ import annotations

import asyncio
from typing import Any

from committee.bls import SecretKey
from storage.client.failures import Reason
from storage.client.proof_wire import entry_proof_to_bcs, opening_to_bcs
from storage.node.chain import ChainView
from storage.node.duties import Rota
from storage.node.face import Refusal, SymbolAt
from storage.node.peers import Peers
from storage.node.proving import Incomplete, OpeningPages, Proving, Term
from storage.node.rounds.auditing import Auditing
from storage.node.rounds.demands import Demands
from storage.node.rounds.looking import look_for_ever
from storage.node.rounds.prover import Prover
from storage.node.rounds.warning import Warnings
from storage.proofs import Inventory, Position, position_at, symbols_in_pair
from storage.proofs.draw import position_count
from storage.redstuff import RedStuff, blob_id_text


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
        self._code = code
        self._proving = proving
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
        """Warn of what may keep this node from proving in the current round (`Warnings.warn`)."""
        return await self.warnings.warn(term, self.prover.part)

    def health(self) -> dict[str, Any]:
        """Return what `/v1/health` and the metrics say of the node's part in the current round, at once."""
        return self.prover.part.health()

    async def sign_inventory(self) -> tuple[bytes, bytes]:
        """Return (message, signature) for the inventory of the current epoch. Raises `Refusal` until it is made."""
        return await self.auditing.sign_inventory()

    async def sign_proof(self, node_id: int, draw: bytes) -> tuple[bytes, bytes]:
        """Return (message, signature) for a fellow that has shown what was drawn. Raises `Refusal`."""
        return await self.auditing.sign_proof(node_id, draw)

    def entry_of(self, blob_id: bytes) -> bytes:
        """Return a blob's entry in the inventory with its path to the root. Blocks; raises `Refusal`, `StoreError`."""
        term = self._made()[0]
        try:
            found = self._proving.entry_of(term, blob_id)
        except Incomplete as error:
            raise Refusal(503, Reason.UNAVAILABLE, "the inventory is being made anew") from error
        if found is None:
            told = f"blob {blob_id_text(blob_id)} is not in the inventory of epoch {term.epoch}"
            raise Refusal(404, Reason.METADATA_NOT_FOUND, told)
        return entry_proof_to_bcs(found)

    def openings(self, draw: bytes, page: int) -> bytes | None:
        """Return a page of what the node shows of a draw; None while it is not made. Blocks; raises `StoreError`."""
        term = Term.now(self._view)
        return None if term is None else self._pages.page(term, draw, page)

    def symbol_at(self, position: int) -> SymbolAt:
        """Return what is at a position of the node's line. Blocks. Raises `Refusal` and `StoreError`."""
        return self._symbol_at(position)[2]

    def opening_at(self, position: int) -> bytes:
        """Return the opening of a position of the node's line. Blocks. Raises `Refusal` and `StoreError`."""
        term, place, _ = self._symbol_at(position)
        try:
            return opening_to_bcs(self._proving.demanded(term, place))
        except Incomplete as error:
            raise Refusal(404, Reason.SLIVER_NOT_FOUND, f"this node cannot open it: {error}") from error

    def _made(self) -> tuple[Term, Inventory]:
        """Return the current term and its inventory. Raises `Refusal` until that is made."""
        term = Term.now(self._view)
        if term is None:
            raise Refusal(404, Reason.INVALID_REQUEST, "this node is no member of the current committee")
        inventory = self._proving.made_inventory(term)
        if inventory is None:
            raise Refusal(503, Reason.UNAVAILABLE, f"the inventory of epoch {term.epoch} is being made")
        return term, inventory

    def _symbol_at(self, position: int) -> tuple[Term, Position, SymbolAt]:
        term, inventory = self._made()
        line = position_count(self._code, len(term.shards), inventory.weight)
        if position >= line:
            raise Refusal(400, Reason.INDEX_OUT_OF_RANGE, f"position: {position}, not below {line}")
        place = position_at(self._code, inventory.weight, position)
        entry = self._proving.entry_at(term, place.offset)
        if entry is None:
            raise Refusal(503, Reason.UNAVAILABLE, "the inventory is being made anew")
        pair_bytes = symbols_in_pair(self._code) * entry.symbol_size
        return term, place, SymbolAt(position, entry.blob_id, entry.symbol_size, pair_bytes)

    def openings_size(self, draw: bytes, page: int) -> int:
        """Return the bytes of a page of openings; 0 while it is not made. Blocks."""
        term = Term.now(self._view)
        return 0 if term is None else self._pages.size_bytes(term, draw, page)
