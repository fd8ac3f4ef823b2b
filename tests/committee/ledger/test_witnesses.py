"""One of two providers tells events or state that the chain does not have, in blocks and at blocks that it has."""

from __future__ import annotations

import json
import random
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, closing
from pathlib import Path
from typing import TYPE_CHECKING, Any

import aiohttp
import pytest

from committee.errors import LedgerUnavailable, ProvidersDisagree
from committee.ledger.evm import EvmLedger, witnesses
from committee.ledger.evm.abi import load_contract
from committee.ledger.evm.answers import RawLog
from committee.ledger.evm.history import log_bits
from committee.ledger.records import BlockMark
from storage.node.chain import ChainView
from storage.node.chain.store import ChainStore
from tests.committee.ledger.following import (
    LENGTH,
    STAKES,
    assert_as_fresh,
    certify,
    fresh,
    register,
    until_followed,
)
from tests.committee.ledger.hostile import HostileProvider
from tests.committee.ledger.hostile import session as session
from tests.committee.ledger.hostile import short_rests as short_rests

if TYPE_CHECKING:
    from tests.committee.ledger.conftest import Launch, Network


class Case:
    """A view that asks two providers, of which the first may lie and the second be down."""

    def __init__(
        self, network: Network, ledger: EvmLedger, first: HostileProvider, second: HostileProvider
    ) -> None:
        self.network, self.ledger, self.first, self.second = network, ledger, first, second
        self.blob_id = b""

    async def view(self, store: ChainStore | None = None) -> ChainView:
        """With one certified blob."""
        self.blob_id, object_id = await register(self.network, 1)
        await certify(self.network, self.blob_id, object_id)
        view = await fresh(self.ledger, store)
        assert view.is_live(self.blob_id)
        assert view.is_confirmed
        return view


@pytest.fixture
async def case(launch: Launch, session: aiohttp.ClientSession) -> AsyncIterator[Case]:
    network = await launch(STAKES)
    await network.begin_epoch()
    async with AsyncExitStack() as stack:
        first, second = [
            await stack.enter_async_context(HostileProvider(network.chain.rpc_url, session, random.Random(0)))
            for _ in range(2)
        ]
        ledger = EvmLedger.open([first.url, second.url], network.deployment, confirmations=0)
        yield Case(network, await stack.enter_async_context(ledger), first, second)


def forged(network: Network, number: int, blob_id: bytes) -> Callable[[random.Random, Any], Any]:
    """Tell, in the true block of this number, that the blob was found invalid; its bloom filter says so, too."""
    events = load_contract("Blobs").events
    topic = next(topic for topic, one in events.items() if one["name"] == "BlobInvalidated")
    subject = int.from_bytes(blob_id, "little").to_bytes(32, "big")
    address = network.deployment.blobs

    def lie(_: random.Random, answer: Any) -> tuple[int, bytes, dict[str, str]]:
        for one in answer if isinstance(answer, list) else [answer]:
            result = one.get("result")
            if isinstance(result, dict) and result.get("number") == hex(number) and "logsBloom" in result:
                log = RawLog(BlockMark(0, b""), 0, bytes.fromhex(address[2:]), (topic, subject), b"")
                result["logsBloom"] = "0x" + log_bits(log).to_bytes(256, "big").hex()
                lie.block = result["hash"]  # type: ignore[attr-defined]
            if isinstance(result, list) and hasattr(lie, "block"):
                place = {"blockNumber": hex(number), "blockHash": lie.block, "logIndex": "0x0"}
                topics = ["0x" + topic.hex(), "0x" + subject.hex()]
                result.append({"address": address, "topics": topics, "data": "0x" + "0" * 63 + "1", **place})
        return 200, json.dumps(answer).encode(), {}

    return lie


def is_confirmed(view: ChainView) -> bool:
    return view.is_confirmed


async def an_empty_block(case: Case) -> int:
    """Mine a block without transactions; return its number."""
    await case.network.chain.mine(1)
    return (await case.network.operator.newest()).number


async def test_an_event_that_one_of_two_providers_makes_up_in_a_true_block_is_not_taken_in(
    case: Case,
) -> None:
    view = await case.view()
    before = view.block
    case.first.lie = forged(case.network, await an_empty_block(case), case.blob_id)
    with pytest.raises(ProvidersDisagree):
        await view.refresh()
    assert view.block == before
    assert view.is_live(case.blob_id)
    case.first.lie = None
    await view.refresh()
    assert is_confirmed(view)
    await assert_as_fresh(view, case.ledger)


async def test_what_a_provider_makes_up_while_the_other_is_down_is_not_acted_on_and_read_anew(
    case: Case,
) -> None:
    view = await case.view()
    case.second.is_down = True
    case.first.lie = forged(case.network, await an_empty_block(case), case.blob_id)
    await view.refresh()
    assert view.is_invalid(case.blob_id), "else the lie is not one that is believed"
    assert not is_confirmed(view)
    case.first.lie, case.second.is_down = None, False
    await an_empty_block(case)
    await until_followed(view)
    assert view.is_live(case.blob_id)
    assert is_confirmed(view)
    await assert_as_fresh(view, case.ledger)


@pytest.mark.parametrize("is_second_back_first", [True, False])
async def test_what_was_unconfirmed_when_a_node_stopped_is_read_anew_by_its_next_start(
    case: Case, tmp_path: Path, is_second_back_first: bool
) -> None:
    store = ChainStore(tmp_path)
    with closing(store):
        view = await case.view(store)
        case.second.is_down = True
        case.first.lie = forged(case.network, await an_empty_block(case), case.blob_id)
        await view.refresh()
        assert view.is_invalid(case.blob_id) and not is_confirmed(view)
    case.first.lie = None
    case.second.is_down = not is_second_back_first
    urls = [case.first.url, case.second.url]
    async with EvmLedger.open(urls, case.network.deployment, confirmations=0) as ledger:
        with closing(ChainStore(tmp_path)) as store:
            view = await fresh(ledger, store)
            assert not view.is_invalid(case.blob_id)
            assert is_confirmed(view) == is_second_back_first
            case.second.is_down = False
            await an_empty_block(case)
            await until_followed(view)
            assert is_confirmed(view)
            await assert_as_fresh(view, ledger)


@pytest.mark.parametrize("is_lie_in_parameters", [False, True])
async def test_nothing_is_confirmed_by_reading_anew_what_cannot_be_taken_in(
    case: Case, monkeypatch: pytest.MonkeyPatch, is_lie_in_parameters: bool
) -> None:
    """The second endpoint is back, and the first one lies about the state, too; then it tells the truth again."""
    view = await case.view()
    case.second.is_down = True
    case.first.lie = forged(case.network, await an_empty_block(case), case.blob_id)
    await view.refresh()
    case.first.lie, case.second.is_down = None, False
    await an_empty_block(case)

    async def fail(*_: object, **__: object) -> None:
        raise ProvidersDisagree("test")

    with monkeypatch.context() as patch:
        patch.setattr(case.ledger, "parameters" if is_lie_in_parameters else "live_page", fail)
        with pytest.raises(ProvidersDisagree):
            await view.refresh()
    assert view.is_invalid(case.blob_id)
    assert not is_confirmed(view)
    await an_empty_block(case)
    await until_followed(view)
    assert is_confirmed(view)
    assert view.is_live(case.blob_id)


async def test_what_was_true_while_the_other_provider_was_down_is_confirmed_without_reading_all_anew(
    case: Case, monkeypatch: pytest.MonkeyPatch
) -> None:
    view = await case.view()
    case.second.is_down = True
    for number in range(2, 5):
        await register(case.network, number)
        await view.refresh()
    assert not is_confirmed(view)

    async def not_anew(*_: object) -> None:
        raise AssertionError("the state is read anew")

    monkeypatch.setattr(view, "_read_anew", not_anew)
    case.second.is_down = False
    await an_empty_block(case)
    await until_followed(view)
    assert is_confirmed(view)
    await assert_as_fresh(view, case.ledger)


async def test_too_many_unconfirmed_logs_are_confirmed_by_reading_all_anew(
    case: Case, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(witnesses, "MOST_LOGS", 2)
    view = await case.view()
    case.second.is_down = True
    for number in range(2, 6):
        await register(case.network, number)
        await view.refresh()
    case.second.is_down = False
    await an_empty_block(case)
    assert not is_confirmed(view)
    await until_followed(view)
    assert is_confirmed(view)
    await assert_as_fresh(view, case.ledger)


@pytest.mark.parametrize("is_of_blobs", [False, True], ids=["the epochs", "the blob objects"])
async def test_state_that_one_of_two_providers_makes_up_is_not_taken_in(
    case: Case, is_of_blobs: bool
) -> None:
    """A number is replaced by another one that could be right."""
    view = await case.view()
    started = view.state.started_block
    assert started is not None
    number = LENGTH if is_of_blobs else await case.network.operator.block_time_s(started.number)
    right, wrong = (one.to_bytes(32, "big").hex() for one in (number, number - 1))
    hits = 0

    def lie(_: random.Random, answer: Any) -> tuple[int, bytes, dict[str, str]]:
        nonlocal hits
        if case.first.method == "eth_call" and right in answer["result"]:
            hits += 1
            answer["result"] = answer["result"].replace(right, wrong)
        return 200, json.dumps(answer).encode(), {}

    case.first.lie = lie
    with pytest.raises(ProvidersDisagree):
        await fresh(case.ledger)
    assert hits


async def test_a_block_is_no_later_because_one_of_two_providers_says_so(case: Case) -> None:
    """Else one that lies has shards dropped before the grace of the last epoch's certificates is over."""
    view = await case.view()

    def lie(_: random.Random, answer: Any) -> tuple[int, bytes, dict[str, str]]:
        if case.first.method == "eth_getBlockByNumber":
            answer["result"]["timestamp"] = hex(2**40)
        return 200, json.dumps(answer).encode(), {}

    case.first.lie = lie
    assert await case.ledger.block_time_s(view.block.number) == 2**40
    with pytest.raises(ProvidersDisagree, match="header of block"):
        await case.ledger.block_time_s(view.block.number, is_followed=True)


async def test_a_registration_that_one_of_two_providers_denies_is_not_unknown(case: Case) -> None:
    """Else a node that starts without its folder would register again, which is paid for and refused."""
    node = case.network.nodes[1]
    assert node.ledger.account is not None

    def lie(_: random.Random, answer: Any) -> tuple[int, bytes, dict[str, str]]:
        if case.first.method == "eth_call":
            answer["result"] = "0x" + "00" * 32
        return 200, json.dumps(answer).encode(), {}

    case.first.lie = lie
    with pytest.raises(ProvidersDisagree, match=r"nodeOf"):
        await case.ledger.node_of(node.ledger.account)


async def test_a_node_of_another_operator_than_is_asked_for_is_no_answer(case: Case) -> None:
    node, another = case.network.nodes[1:3]
    account, others = node.ledger.account, another.ledger.account
    assert account is not None and others is not None
    true, false = (one[2:].lower() for one in (account, others))

    def lie(_: random.Random, answer: Any) -> tuple[int, bytes, dict[str, str]]:
        if case.first.method == "eth_call":
            answer["result"] = answer["result"].replace(true, false)
        return 200, json.dumps(answer).encode(), {}

    async with EvmLedger.open(case.first.url, case.network.deployment, confirmations=0) as alone:
        registered = await alone.node_of(account)
        assert registered is not None and registered.node_id == node.node_id
        case.first.lie = lie
        with pytest.raises(LedgerUnavailable, match="instead of node"):
            await alone.node_of(account)


async def test_pages_that_a_provider_makes_up_end_at_the_first_that_is_not_full(
    case: Case,
) -> None:
    """A page that names a next one without being full would lead on for ever."""
    await case.view()

    def lie(_: random.Random, answer: Any) -> tuple[int, bytes, dict[str, str]]:
        result = answer.get("result") if isinstance(answer, dict) else None
        if case.first.method == "eth_call" and isinstance(result, str) and len(result) > 1000:
            answer["result"] = result[:66] + (201).to_bytes(32, "big").hex() + result[130:]
        return 200, json.dumps(answer).encode(), {}

    async with EvmLedger.open(case.first.url, case.network.deployment, confirmations=0) as alone:
        assert await alone.nodes()
        case.first.lie = lie
        with pytest.raises(LedgerUnavailable, match="does not lead on"):
            await alone.nodes()
