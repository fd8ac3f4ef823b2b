"""Committees of the tests, in Python and as the Move package keeps them."""

from __future__ import annotations

from functools import cache

from committee import bls, certificate
from committee.bls import SecretKey
from committee.certificate import Certificate
from committee.membership import Committee, Member
from localnet.sui_double.move.natives.registry import SUI
from localnet.sui_double.move.values import Value
from tests.contracts.sui.double import Transaction

EPOCH = 7


def committee_of(weights: tuple[int, ...]) -> Committee:
    members, first = [], 0
    for place, weight in enumerate(weights):
        shards = tuple(range(first, first + weight))
        members.append(Member(2 * place + 1, f"m{place}", "", secret(place).public_key, shards))
        first += weight
    return Committee(EPOCH, first, tuple(members))


@cache
def secret(place: int) -> SecretKey:
    return SecretKey(1000 + place)


def in_move(transaction: Transaction, committee: Committee) -> Value:
    """Return the same committee as the package keeps it."""
    members = []
    for member in committee.members:
        compressed = transaction.call("bls12381", "g1_from_bytes", member.public_key, package=SUI)
        key = transaction.call("bls12381", "g1_to_uncompressed_g1", compressed, package=SUI)
        members.append(transaction.call("committee", "new_member", member.node_id, key, list(member.shards)))
    return transaction.call("committee", "new", committee.epoch, members)


def signed_by(committee: Committee, places: set[int], message: bytes) -> Certificate:
    """Return a certificate by the members at these places, whatever they weigh."""
    ids = frozenset(committee.members[place].node_id for place in places)
    signature = bls.aggregate([secret(place).sign(message) for place in sorted(places)])
    return Certificate(EPOCH, message, certificate.bitmap_of(ids, committee), signature)
