"""An upload that was cut off is gone on with: nodes are sent only the slivers that they lack."""

from __future__ import annotations

import asyncio
import random
from typing import TYPE_CHECKING, Any

import pytest

from storage.client.client import Client
from storage.client.errors import NodeRefused, NodeUnreachable
from storage.client.failures import Reason
from storage.client.node_client import NodeClient
from storage.client.purchase import Outcome
from storage.redstuff import Axis, RedStuff
from tests.storage.client.conftest import Tap, UserLedger
from tests.storage.network import SHARDS

if TYPE_CHECKING:
    from tests.storage.network import Network

DATA = random.Random(5).randbytes(400_000)
BLOB = RedStuff(10).encode(DATA)
SLIVERS = 20
"""Both slivers of each of the 10 pairs."""


async def cut_off(network: Network, tap: Tap, after: int) -> None:
    """A store that is cancelled once nodes have stored `after` slivers; they have taken no others."""
    stored: list[str] = []

    async def hang_behind(name: str) -> None:
        if len(tap.asked) > after:
            await asyncio.Event().wait()

    def cancel(name: str, answer: Any) -> Any:
        stored.append(name)
        if len(stored) == after:
            storing.cancel()
        return answer

    tap.before, tap.change = hang_behind, cancel
    async with Client(UserLedger(network.chain)) as first:
        storing = asyncio.create_task(first.store(DATA, 3))
        with pytest.raises(asyncio.CancelledError):
            await storing
    tap.before, tap.change = None, lambda name, answer: answer
    tap.asked.clear()


@pytest.fixture
def put_slivers(monkeypatch: pytest.MonkeyPatch) -> Tap:
    return Tap(monkeypatch, "put_sliver")


async def test_what_nodes_have_stored_is_not_sent_again(
    network: Network, user: Client, put_slivers: Tap
) -> None:
    await cut_off(network, put_slivers, 14)
    assert (await user.store(DATA, 3)).outcome is Outcome.CONTINUED
    assert len(put_slivers.asked) == SLIVERS - 14
    await network.seen()
    assert all(network.is_complete(node_id, BLOB) for node_id in SHARDS)


async def test_a_new_upload_asks_no_node_what_it_has(user: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    questions = [Tap(monkeypatch, "has_metadata"), Tap(monkeypatch, "has_sliver")]
    await user.store(DATA, 3)
    assert [one.asked for one in questions] == [[], []]


async def test_a_node_without_the_metadata_is_asked_for_no_sliver(
    user: Client, ledger: UserLedger, monkeypatch: pytest.MonkeyPatch
) -> None:
    object_id, _ = await ledger.register_blob(BLOB.metadata.root, len(DATA), 3, False)
    questions = Tap(monkeypatch, "has_sliver")
    await user.certify(object_id, DATA)
    assert questions.asked == []


async def test_a_node_that_does_not_tell_what_it_has_is_sent_all_its_slivers(
    network: Network, user: Client, put_slivers: Tap, monkeypatch: pytest.MonkeyPatch
) -> None:
    await cut_off(network, put_slivers, 14)

    async def refuse(name: str) -> None:
        if name == "node-1":
            raise NodeRefused(name, "", 404, Reason.SLIVER_NOT_FOUND, "no such question")

    Tap(monkeypatch, "has_sliver").before = refuse
    await user.store(DATA, 3)
    assert put_slivers.asked.count("node-1") == 2 * len(SHARDS[1])


@pytest.fixture
def begun(monkeypatch: pytest.MonkeyPatch) -> list[bool]:
    """Whether each sliver was sent as one of which the node may have a part, in order."""
    told: list[bool] = []
    real = NodeClient.put_sliver

    async def put(node: NodeClient, *arguments: Any, is_begun: bool) -> None:
        told.append(is_begun)
        await real(node, *arguments, is_begun=is_begun)

    monkeypatch.setattr(NodeClient, "put_sliver", put)
    return told


async def test_nodes_are_asked_for_parts_of_slivers_only_after_an_earlier_upload(
    network: Network, user: Client, begun: list[bool], put_slivers: Tap
) -> None:
    await cut_off(network, put_slivers, 14)
    assert not any(begun)
    begun.clear()
    await user.store(DATA, 3)
    assert begun == [True] * (SLIVERS - 14)


async def test_a_sliver_is_gone_on_with_after_an_outage(
    user: Client, begun: list[bool], put_slivers: Tap
) -> None:
    lost: list[str] = []

    async def lose(name: str) -> None:
        if name == "node-1" and name not in lost:
            lost.append(name)
            raise NodeUnreachable(name, "", "the connection broke")

    put_slivers.before = lose
    await user.store(DATA, 3)
    assert begun.count(True) == 1


async def test_small_slivers_are_sent_without_a_question(
    user: Client, ledger: UserLedger, monkeypatch: pytest.MonkeyPatch
) -> None:
    small = DATA[:3000]
    object_id, _ = await ledger.register_blob(RedStuff(10).encode(small).metadata.root, len(small), 3, False)
    Tap(monkeypatch, "has_metadata").change = lambda name, answer: True
    questions = Tap(monkeypatch, "has_sliver")
    await user.certify(object_id, small)
    assert questions.asked == []


async def test_slivers_are_not_sent_again_to_members_that_stay_when_the_epoch_changes(
    network: Network, user: Client, ledger: UserLedger, put_slivers: Tap
) -> None:
    async def start() -> None:
        network.chain.start(SHARDS)
        await network.seen()

    answered: list[str] = []
    put_slivers.change = lambda name, answer: answered.append(name)
    ledger.before_certify = start
    assert (await user.store(DATA, 3)).certified_epoch == 2
    assert len(answered) <= SLIVERS


async def test_a_stored_sliver_is_told_and_one_of_a_blob_unknown_is_not(network: Network) -> None:
    node, pair = network.client(1), RedStuff(10).pair_of_shard(BLOB.blob_id, 0)
    assert not await node.has_metadata(BLOB.blob_id)
    assert not await node.has_sliver(BLOB.blob_id, pair, Axis.PRIMARY)
    await network.upload(BLOB)
    assert await node.has_metadata(BLOB.blob_id)
    assert await node.has_sliver(BLOB.blob_id, pair, Axis.PRIMARY)
