"""Storage proofs over HTTP: signatures for an inventory and for fellows' proofs, and openings shown to fellows."""

from __future__ import annotations

from functools import partial

from aiohttp import web

from committee.messages import DRAW_BYTES
from storage.client import proof_wire, wire
from storage.client.failures import Reason
from storage.node.budgets import Line
from storage.node.face import NodeFace, Refusal
from storage.node.http.admission import Admission
from storage.node.http.blobs import bcs_answer, json_answer
from storage.node.http.parsing import hexadecimal, number
from storage.node.http.turns import REQUESTER
from storage.redstuff import InvalidEncoding, parse_blob_id

AUDITS_IN_LINE = 256
"""Requests that wait for audits at once."""


class ProofHandlers:
    """The handlers for one node's fellow members."""

    def __init__(self, node: NodeFace, admission: Admission) -> None:
        self._rounds = node.rounds
        self._admission = admission
        self._audits = Line(AUDITS_IN_LINE)

    def routes(self) -> list[web.RouteDef]:
        """Return the routes of this interface: method, path and handler."""
        return [
            web.get("/v1/inventory", self.inventory),
            web.get("/v1/inventory/{blob_id}", self.entry),
            # HEAD would cost as much work, and its sender nothing.
            web.get("/v1/openings/at/{position}", self.opening_at, allow_head=False),
            web.get("/v1/openings/{draw}/{page}", self.openings, allow_head=False),
            web.get("/v1/members/{node_id}/proof/{draw}", self.proof),
        ]

    async def inventory(self, request: web.Request) -> web.Response:
        """Sign the inventory of the current epoch."""
        async with self._admission.turn(request):
            return json_answer(wire.signed(*await self._rounds.sign_inventory()))

    async def entry(self, request: web.Request) -> web.Response:
        """A blob's place in that inventory."""
        blob_id = parse_blob_id(request.match_info["blob_id"])
        return bcs_answer(await self._admission.looked_up(request, self._rounds.entry_of, blob_id))

    async def openings(self, request: web.Request) -> web.Response:
        """A page of what this node shows of a draw."""
        draw, page = _draw(request), number(request.match_info["page"], "page")
        if page >= proof_wire.PAGES:
            raise InvalidEncoding(f"page: {page}, not below {proof_wire.PAGES}")
        size_bytes = await self._admission.looked_up(request, self._rounds.openings_size, draw, page)
        if not size_bytes:
            raise Refusal(503, Reason.UNAVAILABLE, "nothing is shown of this draw yet")

        def read() -> bytes:
            shown = self._rounds.openings(draw, page)
            if shown is None:
                raise Refusal(503, Reason.UNAVAILABLE, "nothing is shown of this draw any more")
            return shown

        return bcs_answer(await self._admission.bulk(request, size_bytes, read))

    async def opening_at(self, request: web.Request) -> web.Response:
        """The opening of one position, for a demand that another is to answer in this node's place."""
        position = number(request.match_info["position"], "position")
        found = await self._admission.looked_up(request, self._rounds.symbol_at, position)
        self._admission.refuse_blocked(request, found.blob_id)
        size_bytes = found.symbol_bytes + proof_wire.MAX_FRAME_BYTES
        make = partial(self._rounds.opening_at, position)
        return bcs_answer(await self._admission.bulk(request, size_bytes, make, found.pair_bytes))

    async def proof(self, request: web.Request) -> web.Response:
        """Audit a fellow member, and sign that it has shown all that was drawn."""
        node_id, draw = number(request.match_info["node_id"], "node id"), _draw(request)
        with self._audits.place(request[REQUESTER]):
            return json_answer(wire.signed(*await self._rounds.sign_proof(node_id, draw)))


def _draw(request: web.Request) -> bytes:
    return hexadecimal(request.match_info["draw"], "draw", DRAW_BYTES)
