"""Requests for a whole shard by its new owner: which are granted, and how often (PROTOCOL section 6)."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager

from aiohttp import web

from committee import bls, messages
from committee.errors import CommitteeError
from storage.client.failures import Reason
from storage.node.budgets import Requester
from storage.node.chain import ChainView
from storage.node.face import Refusal
from storage.node.http.catching_up import CatchUp
from storage.node.http.turns import REQUESTER, Turns
from storage.node.rules import require_new_owner

SAME_REQUESTS = 3
"""Times that a shard's new owner gets the same page: an answer may be lost, or the owner's process be killed."""
REQUESTS_REMEMBERED = 2**14
"""Requests for pages whose number of answers is remembered, the latest ones; some 200 bytes each."""


class NewOwners:
    """The transfer requests that one node checks and answers."""

    def __init__(self, view: ChainView, catch_up: CatchUp, work: Turns) -> None:
        self._view = view
        self._catch_up = catch_up
        self._work = work
        self._answered: dict[bytes, int] = {}
        """Request → how often it was answered by this process; the latest ones."""

    async def request_of(
        self, request: web.Request, message: bytes, signature: bytes
    ) -> messages.ShardTransferRequest:
        """Return the transfer request of a shard's new owner, to the node that held the shard in the epoch before.

        The owner is the request's `REQUESTER` from then on. Raises `Refusal`.
        """
        try:
            decoded = messages.decode(message)
            if decoded.intent is not messages.Intent.SHARD_TRANSFER:
                raise _unauthorised("the message is no shard transfer request")
            if decoded.domain != self._view.parameters.domain:
                raise _unauthorised("the request is for another chain or deployment")
            wanted = messages.ShardTransferRequest.from_body(decoded.body)
            if decoded.epoch > self._view.state.epoch and self._view.committee(decoded.epoch) is None:
                await self._catch_up(request[REQUESTER])
            owner = require_new_owner(self._view.state, self._view.node_id, decoded.epoch, wanted)
            self._refuse_replayed(message)
            async with self._work.turn(request):
                holds = await asyncio.to_thread(bls.verify, wanted.public_key, message, signature)
            if not holds:
                raise _unauthorised("the signature does not hold")
        except CommitteeError as error:
            raise _unauthorised(str(error)) from error
        request[REQUESTER] = Requester(str(owner.node_id), is_member=True)
        return wanted

    @contextmanager
    def answering(self, message: bytes) -> Iterator[None]:
        """Count the request as answered, unless what makes its page, inside, fails. Raises `Refusal`."""
        self._refuse_replayed(message)
        self._answered[message] = self._answered.pop(message, 0) + 1
        if len(self._answered) > REQUESTS_REMEMBERED:
            del self._answered[next(iter(self._answered))]
        try:
            yield
        except BaseException:
            if message in self._answered:
                self._answered[message] -= 1
            raise

    def _refuse_replayed(self, message: bytes) -> None:
        """Refuse a transfer request that was answered SAME_REQUESTS times: it may have been overheard."""
        if self._answered.get(message, 0) >= SAME_REQUESTS:
            raise _unauthorised(f"this very request was answered {SAME_REQUESTS} times: it is replayed")


def _unauthorised(message: str) -> Refusal:
    return Refusal(403, Reason.REQUEST_UNAUTHORIZED, message)
