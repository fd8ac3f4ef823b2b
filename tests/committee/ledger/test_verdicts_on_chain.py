"""The same random inputs through Python and Solidity: the same blob ids, the same verdict on every certificate."""

from __future__ import annotations

import random
from typing import TYPE_CHECKING

import pytest

from committee import bls, certificate, messages
from committee.certificate import Certificate
from committee.errors import CommitteeError, LedgerRefused
from committee.ledger import EpochState
from committee.messages import Intent
from storage.redstuff import BlobMetadata
from tests.live_objects import live_objects

if TYPE_CHECKING:
    from tests.committee.ledger.conftest import Launch, Network


@pytest.mark.parametrize("seed", range(3))
async def test_blob_ids_are_those_of_the_chain(launch: Launch, seed: int) -> None:
    network = await launch((40, 30, 20, 10))
    await network.begin_epoch()
    choose = random.Random(seed)
    ids = []
    for _ in range(6):
        root, length = choose.randbytes(32), choose.choice([0, 1, choose.randrange(1 << 20)])
        await network.operator.register_blob(root, length, 1)
        ids.append(BlobMetadata.id_of(length, root))
    assert [one.blob_id for one in await live_objects(network.operator)] == ids


def spoilt(
    network: Network, state: EpochState, blob_id: bytes, choose: random.Random
) -> tuple[str, Certificate]:
    """A certificate by random members with a random change, and the change's name."""
    assert state.current is not None
    nodes = [node for node in network.nodes if node.node_id in state.current.by_id]
    signing = [node for node in nodes if choose.random() < 0.75]
    good = messages.encode(Intent.BLOB, state.epoch, messages.blob_body(blob_id), network.deployment.domain)
    message, claimed = good, frozenset(node.node_id for node in signing)
    change = choose.choice(
        [
            "nothing",
            "nothing",
            "other message",
            "other domain",
            "other epoch",
            "signer left out",
            "signer claimed",
        ]
    )
    match change:
        case "other message":
            body = messages.blob_body(choose.randbytes(32))
            message = messages.encode(Intent.BLOB, state.epoch, body, network.deployment.domain)
        case "other domain":
            message = messages.encode(
                Intent.BLOB, state.epoch, messages.blob_body(blob_id), choose.randbytes(32)
            )
        case "other epoch":
            message = messages.encode(
                Intent.BLOB, state.epoch + 1, messages.blob_body(blob_id), network.deployment.domain
            )
        case "signer left out":
            claimed = frozenset(list(claimed)[1:])
        case "signer claimed":
            claimed |= {choose.choice(nodes).node_id}
    signatures = [node.secret.sign(message) for node in signing] or [nodes[0].secret.sign(message)]
    bitmap = certificate.bitmap_of(claimed, state.current)
    if choose.random() < 0.2:
        change, bitmap = f"{change}, bitmap", choose.choice([bitmap + b"\x00", b"\xff", bitmap[:-1]])
    return change, Certificate(state.epoch, good, bitmap, bls.aggregate(signatures))


async def test_verdicts_on_certificates_are_those_of_the_chain(launch: Launch) -> None:
    network = await launch((40, 30, 20, 20, 20))
    state = await network.begin_epoch()
    assert state.current is not None
    choose = random.Random(7)
    verdicts = {True: 0, False: 0}
    for _ in range(40):
        root = choose.randbytes(32)
        object_id, _ = await network.operator.register_blob(root, 1, 1)
        change, posted = spoilt(network, state, BlobMetadata.id_of(1, root), choose)
        verdict = on_chain = True
        try:
            certificate.verify(posted, state.current, network.deployment.domain)
        except CommitteeError:
            verdict = False
        try:
            await network.operator.certify_blob(object_id, posted)
        except LedgerRefused:
            on_chain = False
        assert on_chain is verdict, change
        verdicts[verdict] += 1
    assert min(verdicts.values()) >= 5, "both verdicts are met often"
