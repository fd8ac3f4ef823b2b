"""How a node shows another one which member it is, so that its requests come before strangers' (PROTOCOL section 6).

A credential is a header, `Authorization: Haulout BASE64`, of a signed message of intent 9. It names the node that is
asked, so that this node cannot use it with others, and the hour, so that one that was overheard serves for two hours at
most, and at this node alone. A node sends it only to a node that has answered it 503 or 451, no room or a blocked blob:
next to small symbols it weighs. It travels with each request, because a proxy mixes the requests of many clients on one
connection.
"""

from __future__ import annotations

import asyncio
import base64
import time

from committee import bls, messages
from committee.bls import SecretKey
from committee.errors import CommitteeError, InvalidMessage
from committee.membership import Member
from storage.node.budgets import Line, LineFull, Pool, Requester
from storage.node.chain import ChainView

SCHEME = "Haulout "
HOUR_S = 3600
HOURS_APART = 1
"""Hours by which the clocks of two nodes may differ."""
KEPT = 1024
"""Credentials that were checked, of some 400 bytes each: those that hold and, apart, those that do not."""
CHECKS_IN_LINE = 512
"""A check takes 2 ms; they are made one at a time."""


class Credentials:
    """The credentials of one node, and its check of others'."""

    def __init__(self, view: ChainView, secret: SecretKey) -> None:
        self._view = view
        self._secret = secret
        self._mine: dict[int, tuple[tuple[int, int], str]] = {}
        """Node id → (epoch, hour) and the header made for it."""
        self._held: dict[str, bytes] = {}
        """Header → the public key by which its signature holds; forged headers push none of these out."""
        self._forged: dict[str, None] = {}
        """Headers whose signatures do not hold."""
        self._checks, self._line = Pool(1), Line(CHECKS_IN_LINE)

    def header_for(self, node_id: int) -> str:
        """Return the header's value that shows this node to the node `node_id`."""
        now = self._view.state.epoch, _hour()
        known = self._mine.get(node_id)
        if known is None or known[0] != now:
            body = messages.member_request_body(node_id, self._view.node_id, now[1])
            message = messages.encode(
                messages.Intent.MEMBER_REQUEST, now[0], body, self._view.parameters.domain
            )
            signed = message + self._secret.sign(message)
            known = self._mine[node_id] = now, SCHEME + base64.b64encode(signed).decode()
        return known[1]

    async def member(self, header: str | None, stranger: Requester) -> Requester:
        """Return the member that a header's value shows, or `stranger` if it shows none; the check is its turn."""
        if header is None or not header.startswith(SCHEME):
            return stranger
        read = self._read(header)
        if read is None:
            return stranger
        member, message, signature = read
        if header not in self._held and header not in self._forged:
            try:
                with self._line.place(stranger):
                    async with self._checks.lent(1, stranger):
                        holds = await asyncio.to_thread(bls.verify, member.public_key, message, signature)
            except LineFull:
                return stranger
            except CommitteeError:
                holds = False  # a key that must not be used
            if holds:
                self._held[header] = member.public_key
            else:
                self._forged[header] = None
            for checked in (self._held, self._forged):
                if len(checked) > KEPT:
                    del checked[next(iter(checked))]
        is_shown = self._held.get(header) == member.public_key
        return Requester(str(member.node_id), is_member=True) if is_shown else stranger

    def _read(self, header: str) -> tuple[Member, bytes, bytes] | None:
        """(member, message, signature) of a header whose message would count now if the signature holds."""
        try:
            signed = base64.b64decode(header[len(SCHEME) :], validate=True)
            message, signature = signed[: -bls.SIGNATURE_BYTES], signed[-bls.SIGNATURE_BYTES :]
            told = messages.decode(message)
            if told.intent is not messages.Intent.MEMBER_REQUEST:
                return None
            asked_id, member_id, hour = messages.read_member_request(told.body)
        except (ValueError, InvalidMessage):
            return None
        is_meant = asked_id == self._view.node_id and told.domain == self._view.parameters.domain
        is_fresh = abs(told.epoch - self._view.state.epoch) <= 1 and abs(hour - _hour()) <= HOURS_APART
        state = self._view.state
        following = state.next.by_id if state.next else {}
        member = state.members().get(member_id) or following.get(member_id)
        return (member, message, signature) if is_meant and is_fresh and member is not None else None


def _hour() -> int:
    return int(time.time()) // HOUR_S
