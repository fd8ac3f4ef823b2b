"""Why a node confirms as permanent only what is registered so; Walrus' nodes do not mind (PROTOCOL section 6)."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from committee import messages
from committee.certificate import MemberSignature, build
from storage.client.errors import NodeRefused, UnknownBlob
from tests.storage.node.handovers import BLOBS

if TYPE_CHECKING:
    from tests.storage.network import Network


async def test_signatures_over_what_can_be_deleted_would_outlive_the_bytes(network: Network) -> None:
    blob, current = BLOBS[0], network.chain.state.current
    assert current is not None
    object_id = await network.upload(blob, deletable=True)
    for node_id in network.running:
        with pytest.raises(NodeRefused, match=r"NOT_REGISTERED: .* not registered as permanent object"):
            await network.client(node_id).confirmation(blob.blob_id, None)
    # Were they given all the same …
    domain = network.running[1].view.parameters.domain
    body = messages.blob_body(blob.blob_id)
    message = messages.encode(messages.Intent.BLOB, current.epoch, body, domain)
    signatures = [
        MemberSignature(node_id, node.secret.sign(message)) for node_id, node in network.running.items()
    ]
    network.chain.delete(object_id)
    for node_id in network.running:
        await network.until(network.has_nothing, node_id, blob.blob_id)
    # … the chain would certify by them what no node has any more.
    permanent = network.chain.register(blob.metadata)
    ledger = network.chain.ledger("writer")
    await ledger.certify_blob(permanent, build(current, message, signatures))
    await network.seen()
    assert all(node.view.is_live(blob.blob_id) for node in network.running.values())
    with pytest.raises(UnknownBlob):
        await network.read(blob.blob_id)
