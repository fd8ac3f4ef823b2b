"""Signs of life: proof that a member is alive which needs no trust in the node that hands it on.

A member that does not answer this node may answer others. Before this node signs its ejection it asks the fellows to
have the member sign a number that this node has just made up. A fellow that the member answers hands the signature on;
none that lies can make one up, or use an old one. So a member that answers any correct fellow stays, and a dead one is
ejected whatever some fellows say.
"""

from __future__ import annotations

import asyncio
import secrets
import time
from dataclasses import dataclass

from committee import bls, messages
from committee.bls import SecretKey
from committee.errors import InvalidMessage
from committee.membership import Member
from storage.client.errors import NodeError
from storage.client.failures import Reason
from storage.node.chain import ChainView
from storage.node.face import Refusal
from storage.node.peers import Peers

MEMBER_LIMIT_S = 15.0
"""Time limit for the member to sign; no more than the contract's patience."""
FELLOW_LIMIT_S = 20.0
"""Time limit for a fellow to bring a signature: within that for which a node waits for its own question's answer."""
NONE_FOUND_S = 5.0
"""Time for which it is remembered that no fellow brought a sign: all nodes that ask for one ejection share it."""


@dataclass
class _Sought:
    """What is known of a member's life through its fellows."""

    lock: asyncio.Lock
    at: float | None = None
    """When the last search ended."""
    witness: str | None = None
    """Which of them brought a sign then."""


class SignsOfLife:
    """Gives other nodes signs of this node's life, and gets signs of other members' lives."""

    def __init__(self, view: ChainView, peers: Peers, secret: SecretKey) -> None:
        self._view = view
        self._peers = peers
        self._secret = secret
        self._sought: dict[int, _Sought] = {}

    def give(self, nonce: bytes) -> tuple[bytes, bytes]:
        """Return (message, signature): this node's sign of life for a nonce."""
        body = messages.sign_of_life_body(self._view.node_id, nonce)
        message = messages.encode(
            messages.Intent.SIGN_OF_LIFE, self._view.state.epoch, body, self._view.parameters.domain
        )
        return message, self._secret.sign(message)

    async def fetch(self, node_id: int, nonce: bytes) -> tuple[bytes, bytes]:
        """Return a fellow member's sign of life, as the member gave it. Raises `Refusal`.

        Only a message that says what was asked, with a signature of the right length, is handed on, and a failure is
        told in constant words: a member names its own address, and this node must not tell a stranger what answers
        there. The signature is not verified; the node that asked does that.
        """
        current = self._view.state.current
        if current is None or node_id not in current.by_id or node_id == self._view.node_id:
            raise Refusal(404, Reason.INVALID_REQUEST, f"node {node_id} is no fellow member")
        member = current.by_id[node_id]
        limit_s = min(MEMBER_LIMIT_S, self._view.parameters.patience_s)
        try:
            message, signature = await self._peers.watch_client(member).sign_of_life(nonce, limit_s)
        except NodeError as error:
            raise _no_sign(member) from error
        if not self._is_sign(message, node_id, nonce) or len(signature) != bls.SIGNATURE_BYTES:
            raise _no_sign(member)
        return message, signature

    async def is_given(self, member: Member) -> bool:
        """Return whether the member signs a new nonce for this node itself."""
        nonce = secrets.token_bytes(messages.NONCE_BYTES)
        limit_s = min(MEMBER_LIMIT_S, self._view.parameters.patience_s)
        try:
            message, signature = await self._peers.watch_client(member).sign_of_life(nonce, limit_s)
        except NodeError:
            return False
        return await self._holds(member, nonce, message, signature)

    async def witness(self, member: Member) -> str | None:
        """Return the name of a fellow that brings a sign of the member's life; None when no fellow does.

        A sign counts for the contract's patience, as an answer to this node would: until then no fellow is asked again.
        """
        sought = self._sought.setdefault(member.node_id, _Sought(asyncio.Lock()))
        async with sought.lock:
            counts_s = NONE_FOUND_S if sought.witness is None else self._view.parameters.patience_s
            if sought.at is None or time.monotonic() - sought.at >= counts_s:
                sought.witness = await self._ask_fellows(member)
                # Not when it began: a fellow that hangs makes the search longer than it counts.
                sought.at = time.monotonic()
            return sought.witness

    def forget(self, members: frozenset[int]) -> None:
        """Forget what was found out about all but these members."""
        self._sought = {node_id: one for node_id, one in self._sought.items() if node_id in members}

    async def _ask_fellows(self, member: Member) -> str | None:
        """Ask all fellows at once; return the name of the first that brings a sign that holds."""
        current = self._view.state.current
        fellows = current.members if current else ()
        asked = [
            asyncio.create_task(self._bring(fellow, member))
            for fellow in fellows
            if fellow.node_id not in (member.node_id, self._view.node_id)
        ]
        try:
            for done in asyncio.as_completed(asked):
                witness = await done
                if witness is not None:
                    return witness
            return None
        finally:
            for task in asked:
                task.cancel()
            await asyncio.gather(*asked, return_exceptions=True)

    async def _bring(self, fellow: Member, member: Member) -> str | None:
        """The fellow's name, if it brings a sign of the member's life."""
        nonce = secrets.token_bytes(messages.NONCE_BYTES)
        try:
            message, signature = await self._peers.watch_client(fellow).members_sign_of_life(
                member.node_id, nonce, FELLOW_LIMIT_S
            )
        except NodeError:
            return None
        return fellow.name if await self._holds(member, nonce, message, signature) else None

    async def _holds(self, member: Member, nonce: bytes, message: bytes, signature: bytes) -> bool:
        """Return whether the message is the member's sign of life for this nonce, signed by its key."""
        return self._is_sign(message, member.node_id, nonce) and await asyncio.to_thread(
            bls.verify, member.public_key, message, signature
        )

    def _is_sign(self, message: bytes, node_id: int, nonce: bytes) -> bool:
        """Return whether a message says that a node is alive, over this nonce, in this deployment; of any epoch."""
        try:
            told = messages.decode(message)
        except InvalidMessage:
            return False
        return (
            told.intent is messages.Intent.SIGN_OF_LIFE
            and told.domain == self._view.parameters.domain
            and told.body == messages.sign_of_life_body(node_id, nonce)
        )


def _no_sign(member: Member) -> Refusal:
    return Refusal(503, Reason.UNAVAILABLE, f"{member.name} gave no sign of life")
