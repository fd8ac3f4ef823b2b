"""Gather members' signatures over one message into a certificate.

The message is of an ejection, an invalidation, an inventory or a storage proof. (A blob's writer gathers confirmations
itself: `storage.client.uploading`.)

No more members are asked than are needed while all sign. A member that fails, signs wrongly or keeps the node waiting
is replaced by the next one (`storage.client.overtaking`), and none is waited for once the others' signatures are
enough.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Coroutine, Sequence
from typing import Any

from committee import bls
from committee.certificate import Certificate, MemberSignature, Need, build, votes_needed
from committee.errors import HauloutError
from committee.membership import Committee, Member
from storage.client.errors import NodeError, NodeFailure, NodeLied, name_failures
from storage.client.link import Transfer
from storage.client.overtaking import Requests

Ask = Callable[[Member], tuple[Coroutine[Any, Any, tuple[bytes, bytes]], Transfer | None]]
"""Returns the request that a member is to answer by (message, signature), and its part of a link's traffic if large."""


class TooFewSignatures(HauloutError):
    """Members that weigh too little signed a message; says what they weigh and why each other member did not."""


async def gather_certificate(
    committee: Committee,
    message: bytes,
    own: MemberSignature | None,
    members: Sequence[Member],
    ask: Ask,
    need: Need = "quorum",
) -> Certificate:
    """Return the certificate of a message: the signatures of `members`, which are asked in their order, and `own`.

    Raises `TooFewSignatures` when all members have been asked and those that signed weigh less than is needed.
    """
    needed = votes_needed(committee, need)
    signed = {} if own is None else {own.node_id: own}
    failures: dict[int, NodeFailure] = {}
    untried = deque(members)
    async with Requests[Member, MemberSignature]() as requests:
        while committee.weight_of(set(signed)) < needed:
            expected = set(signed) | {member.node_id for member in requests.expected}
            while untried and committee.weight_of(expected) < needed:
                member = untried.popleft()
                answer, transfer = ask(member)
                requests.send(member, _signature(member, message, answer), transfer)
                expected.add(member.node_id)
            if not requests:
                weight = committee.weight_of(set(signed))
                why = f"members with {weight} shards signed, {needed} are needed: {name_failures(failures)}"
                raise TooFewSignatures(why)
            for member, answered in await requests.answered():
                try:
                    signed[member.node_id] = answered.result()
                except NodeError as error:
                    failures[member.node_id] = NodeFailure(member.name, error.why)
    return await asyncio.to_thread(build, committee, message, list(signed.values()), need)


def round_behind(node_id: int, committee: Committee) -> list[Member]:
    """Return a committee's other members, those after `node_id` first, so that several nodes ask different members."""
    others = [one for one in committee.members if one.node_id != node_id]
    return sorted(others, key=lambda one: (one.node_id < node_id, one.node_id))


async def _signature(
    member: Member, message: bytes, answer: Coroutine[Any, Any, tuple[bytes, bytes]]
) -> MemberSignature:
    """Return the member's signature over the message, checked. Raises `NodeError`."""
    signed, signature = await answer
    if signed != message:
        raise NodeLied(member.name, member.address, "signed another message")
    if not await asyncio.to_thread(bls.verify, member.public_key, message, signature):
        raise NodeLied(member.name, member.address, "its signature does not hold")
    return MemberSignature(member.node_id, signature)
