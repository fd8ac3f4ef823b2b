"""What members ask of each other about members: signs of life, and signatures that eject a silent member."""

from __future__ import annotations

import asyncio
from weakref import WeakValueDictionary

from aiohttp import web

from committee.messages import NONCE_BYTES
from storage.client import wire
from storage.node.budgets import Line, Pool
from storage.node.face import NodeFace
from storage.node.http.admission import Admission
from storage.node.http.blobs import json_answer
from storage.node.http.parsing import hexadecimal, number
from storage.node.http.turns import REQUESTER, Turns
from storage.redstuff import InvalidEncoding

FETCHED_AT_ONCE = 8
"""Signs of one member's life that are waited for at once."""
FETCHES_IN_LINE = 64
"""Requests that wait for that, a member."""
EJECTIONS_IN_LINE = 256
"""Requests for ejections at once: while a member is silent, each waits until its fellows were asked for a sign."""


class MemberHandlers:
    """The handlers for one node's fellow members."""

    def __init__(self, node: NodeFace, admission: Admission) -> None:
        self._node = node
        self._admission = admission
        self._ejections = Line(EJECTIONS_IN_LINE)
        self._fetching: WeakValueDictionary[int, Turns] = WeakValueDictionary()
        """Node id → turns of the questions about this member, so that one that hangs takes no turn of the others'."""

    def routes(self) -> list[web.RouteDef]:
        """Return the routes of this interface: method, path and handler."""
        member = "/v1/members/{node_id}"
        return [
            web.get("/v1/sign_of_life/{nonce}", self.sign_of_life),
            web.get(f"{member}/sign_of_life/{{nonce}}", self.members_sign_of_life),
            web.get(f"{member}/ejection/{{deadline}}", self.ejection),
        ]

    async def sign_of_life(self, request: web.Request) -> web.Response:
        """Answer with this node's signature of a number that the asking node has made up."""
        nonce = _nonce(request)
        async with self._admission.turn(request):
            return json_answer(wire.signed(*await asyncio.to_thread(self._node.sign_of_life, nonce)))

    async def members_sign_of_life(self, request: web.Request) -> web.Response:
        """Answer with another member's signature of the asking node's number, for a node that it does not answer."""
        node_id, nonce = number(request.match_info["node_id"], "node id"), _nonce(request)
        turns = self._fetching.get(node_id) or Turns(
            Pool(FETCHED_AT_ONCE, is_divided=True, for_members=True), FETCHES_IN_LINE
        )
        self._fetching[node_id] = turns
        async with turns.turn(request):
            return json_answer(wire.signed(*await self._node.fetch_sign_of_life(node_id, nonce)))

    async def ejection(self, request: web.Request) -> web.Response:
        """Sign the ejection of a member that this node finds silent, and that no fellow shows to be alive."""
        node_id = number(request.match_info["node_id"], "node id")
        deadline_s = number(request.match_info["deadline"], "deadline")
        if deadline_s >= 1 << 64:
            raise InvalidEncoding("deadline: it has at most 64 bits")
        with self._ejections.place(request[REQUESTER]):
            return json_answer(wire.signed(*await self._node.sign_ejection(node_id, deadline_s)))


def _nonce(request: web.Request) -> bytes:
    return hexadecimal(request.match_info["nonce"], "nonce", NONCE_BYTES)
