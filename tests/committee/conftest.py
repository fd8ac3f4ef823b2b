"""Keys and committees for the tests of the committee's rules."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import pytest

from committee import messages
from committee.bls import SecretKey
from committee.certificate import MemberSignature
from committee.membership import Committee, Member
from committee.messages import Intent

# Ten secret scalars, those of Walrus' own certificate tests
# (MystenLabs/walrus, contracts/walrus/tests/test_utils.move, bls_secret_keys_for_testing).
SCALARS = (0xDEADBEEF, 0xBEEF, 0xCAFE, 0xC0DE, 0xC0FFEE, 0xDEAD, 0xDECADE, 0xDEC0DE, 0xFACE, 0xF00D)


@pytest.fixture(scope="session")
def secret_keys() -> tuple[SecretKey, ...]:
    """Ten keys; the key of node id `i` is at place `i - 1`."""
    return tuple(SecretKey(scalar) for scalar in SCALARS)


@pytest.fixture(scope="session")
def committee_of() -> Callable[[int, Mapping[int, Sequence[int]]], Committee]:
    """(epoch, node id → shards) → a committee whose keys nobody uses."""

    def build(epoch: int, shards: Mapping[int, Sequence[int]]) -> Committee:
        members = tuple(
            Member(node_id, f"node-{node_id}", f"http://node-{node_id}:1", bytes(48), tuple(held))
            for node_id, held in sorted(shards.items())
        )
        return Committee(epoch, sum(map(len, shards.values())), members)

    return build


@pytest.fixture(scope="session")
def signing_committee(secret_keys: tuple[SecretKey, ...]) -> Callable[[Sequence[int]], Committee]:
    """Weights of nodes 1, 2, … → their committee in epoch 5, with real keys."""

    def build(weights: Sequence[int]) -> Committee:
        members, first = [], 0
        for node_id, weight in enumerate(weights, start=1):
            key = secret_keys[node_id - 1].public_key
            shards = tuple(range(first, first + weight))
            members.append(Member(node_id, f"node-{node_id}", f"http://node-{node_id}:1", key, shards))
            first += weight
        return Committee(5, first, tuple(members))

    return build


@pytest.fixture(scope="session")
def domain() -> bytes:
    return bytes(range(32))


@pytest.fixture(scope="session")
def blob_message(domain: bytes) -> bytes:
    """A permanent blob's message in epoch 5."""
    return messages.encode(Intent.BLOB, 5, messages.blob_body(bytes([7]) * 32), domain)


@pytest.fixture(scope="session")
def confirm(secret_keys: tuple[SecretKey, ...]) -> Callable[[bytes, Sequence[int]], list[MemberSignature]]:
    """(message, node ids) → their confirmations."""

    def sign(message: bytes, node_ids: Sequence[int]) -> list[MemberSignature]:
        return [MemberSignature(node_id, secret_keys[node_id - 1].sign(message)) for node_id in node_ids]

    return sign
