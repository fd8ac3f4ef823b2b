"""Two providers that disagree, of which one is behind, or one makes blocks up."""

from __future__ import annotations

import json
import random
import time
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import aiohttp
import pytest

from committee.errors import ProvidersDisagree
from committee.ledger import BlockMark
from committee.ledger.evm import EvmLedger
from committee.ledger.evm.answers import Block
from committee.ledger.evm.settled import AT_THE_TIP_S
from tests.committee.ledger.following import STAKES, assert_as_fresh, fresh, register
from tests.committee.ledger.hostile import HostileProvider, no_secret
from tests.committee.ledger.hostile import session as session
from tests.committee.ledger.hostile import short_rests as short_rests

if TYPE_CHECKING:
    from tests.committee.ledger.conftest import Launch


def another_hash(_: random.Random, answer: Any) -> tuple[int, bytes, dict[str, str]]:
    for one in answer if isinstance(answer, list) else [answer]:
        if isinstance(one.get("result"), dict) and "parentHash" in one["result"]:
            one["result"]["hash"] = "0x" + "66" * 32
    return 200, json.dumps(answer).encode(), {}


@pytest.mark.parametrize("first", [True, False], ids=["the first lies", "the second lies"])
async def test_neither_of_two_providers_that_disagree_is_followed(
    launch: Launch, session: aiohttp.ClientSession, first: bool
) -> None:
    network = await launch(STAKES)
    await network.begin_epoch()
    async with HostileProvider(network.chain.rpc_url, session, random.Random(0)) as liar:
        urls = [liar.url, network.chain.rpc_url]
        ledger = EvmLedger.open(urls if first else urls[::-1], network.deployment, confirmations=0)
        async with ledger:
            view = await fresh(ledger)
            before = view.block
            await register(network, 1)
            liar.lie = another_hash
            with pytest.raises(ProvidersDisagree) as error:
                await view.refresh()
            no_secret(str(error.value))
            assert view.block == before
            assert view.chain_status.startswith("degraded: providers disagree")
            liar.lie = None
            await view.refresh()
            assert view.chain_status == "following"
            await assert_as_fresh(view, ledger)


@pytest.mark.parametrize("first", [True, False], ids=["the first lies", "the second lies"])
async def test_the_chains_time_is_told_by_each_provider(
    launch: Launch, session: aiohttp.ClientSession, first: bool
) -> None:
    network = await launch(STAKES)

    def next_century(_: random.Random, answer: Any) -> tuple[int, bytes, dict[str, str]]:
        if isinstance(answer["result"], dict):
            answer["result"]["timestamp"] = hex(2**32)
        return 200, json.dumps(answer).encode(), {}

    async with HostileProvider(network.chain.rpc_url, session, random.Random(0)) as liar:
        urls = [liar.url, network.chain.rpc_url]
        async with EvmLedger.open(urls if first else urls[::-1], network.deployment) as ledger:
            (told_s, again_s) = await ledger.chain_times_s()
            assert told_s == again_s == await ledger.chain_time_s()
            liar.lie = next_century
            assert set(await ledger.chain_times_s()) == {told_s, 2**32}
            liar.lie, liar.is_down = None, True
            assert await ledger.chain_times_s() == (told_s,)
    async with EvmLedger.open(network.chain.rpc_url, network.deployment) as ledger:
        assert await ledger.chain_times_s() == (told_s,)


async def test_a_second_provider_that_is_down_or_behind_holds_nothing_up(
    launch: Launch, session: aiohttp.ClientSession
) -> None:
    network = await launch(STAKES)
    await network.begin_epoch()

    def behind(_: random.Random, answer: Any) -> tuple[int, bytes, dict[str, str]]:
        result = answer.get("result")
        if isinstance(result, dict) and int(result["number"], 16) > stuck_at:
            answer["result"] = None
        return 200, json.dumps(answer).encode(), {}

    async with HostileProvider(network.chain.rpc_url, session, random.Random(0)) as second:
        urls = [network.chain.rpc_url, second.url]
        async with EvmLedger.open(urls, network.deployment, confirmations=0) as ledger:
            view = await fresh(ledger)
            stuck_at, second.lie = view.block.number, behind
            for number in range(3):
                await register(network, number)
                await view.refresh()
            assert view.block.number == stuck_at + 3
            second.lie, second.is_down = None, True
            await register(network, 4)
            await view.refresh()
            await assert_as_fresh(view, network.operator)


def far_ahead(_: random.Random, answer: Any) -> tuple[int, bytes, dict[str, str]]:
    if isinstance(answer, dict) and "parentHash" in (answer.get("result") or {}):
        answer["result"]["number"] = hex(2**62)
    return 200, json.dumps(answer).encode(), {}


async def test_a_block_far_ahead_that_one_of_two_providers_makes_up_is_not_followed(
    launch: Launch, session: aiohttp.ClientSession
) -> None:
    """No other provider ever has it, so none would contradict it, and the node would wait there for ever."""
    network = await launch(STAKES)
    await network.begin_epoch()
    async with HostileProvider(network.chain.rpc_url, session, random.Random(0)) as liar:
        urls = [liar.url, network.chain.rpc_url]
        async with EvmLedger.open(urls, network.deployment, confirmations=0) as ledger:
            liar.lie = far_ahead
            assert await ledger.head() == await network.operator.head()


@pytest.mark.parametrize(("age_s", "is_held_back"), [(AT_THE_TIP_S / 2, True), (2 * AT_THE_TIP_S, False)])
async def test_the_newest_block_that_two_providers_have_is_followed(
    launch: Launch, monkeypatch: pytest.MonkeyPatch, age_s: float, is_held_back: bool
) -> None:
    """One that is behind by hours, as its newest block tells, holds nothing back."""
    network = await launch(STAKES)
    await network.begin_epoch()
    async with EvmLedger.open(network.chain.rpc_url, network.deployment, confirmations=0) as ledger:
        newest = await ledger._reader.block("latest")
        earlier = await ledger._reader.block(newest.mark.number - 1)
        tip = replace(earlier, timestamp_s=int(time.time() - age_s))

        async def opinion(number: int) -> tuple[str, BlockMark] | None:
            return ("http://second", earlier.mark) if number == earlier.mark.number else None

        async def block(which: int | str) -> Block:
            return tip

        monkeypatch.setattr(ledger._reader, "second_opinion", opinion)
        monkeypatch.setattr(ledger._reader, "second_block", block)
        assert await ledger.head() == (earlier if is_held_back else newest).mark


async def test_a_provider_that_is_ahead_with_a_chain_of_its_own_is_found_out_later(
    launch: Launch, session: aiohttp.ClientSession, monkeypatch: pytest.MonkeyPatch
) -> None:
    network = await launch(STAKES)
    await network.begin_epoch()
    async with EvmLedger.open(network.chain.rpc_url, network.deployment, confirmations=0) as ledger:
        forged = BlockMark((await ledger.head()).number + 1, b"f" * 32)
        opinions: dict[int, BlockMark] = {}

        async def opinion(number: int) -> tuple[str, BlockMark] | None:
            return ("http://second", opinions[number]) if number in opinions else None

        monkeypatch.setattr(ledger._reader, "second_opinion", opinion)
        ledger._settled._unconfirmed = None
        await ledger._settled._compare(forged)  # the second one is not there yet
        opinions[forged.number] = BlockMark(forged.number, b"t" * 32)
        with pytest.raises(ProvidersDisagree):
            await ledger._settled._compare(BlockMark(forged.number + 5, b"g" * 32))
        newest = BlockMark(forged.number + 6, b"h" * 32)
        opinions[newest.number] = newest
        await ledger._settled._compare(newest)
        assert ledger._settled._unconfirmed is None
