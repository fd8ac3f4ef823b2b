"""Providers that lie in every place of every answer, alone and beside an honest one."""

from __future__ import annotations

import asyncio
import contextlib
import json
import random
import sys
import traceback
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import aiohttp
import pytest
import structlog

from committee.errors import LedgerError
from committee.ledger import BlockMark, Event
from committee.ledger.evm import AccountKey, EvmLedger
from committee.logs import send_to, to_standard_library
from storage.node import logs
from storage.node.chain import ChainView
from storage.node.chain.store import ChainStore
from tests.committee.ledger.following import STAKES, assert_as_fresh, certify, content, register
from tests.committee.ledger.hostile import LIES, UNREADABLE, HostileProvider, Lie, no_secret
from tests.committee.ledger.hostile import session as session
from tests.committee.ledger.hostile import short_rests as short_rests
from tests.live_objects import live_objects

if TYPE_CHECKING:
    from tests.committee.ledger.conftest import Launch, Network

HOLDER = "0x00000000000000000000000000000000000000AA"
Question = Callable[[EvmLedger], Awaitable[Any]]
QUESTIONS: dict[str, Question] = {
    "head": lambda ledger: ledger.head(),
    "parameters": lambda ledger: ledger.parameters(),
    "epoch_state": lambda ledger: ledger.epoch_state(),
    "nodes": lambda ledger: ledger.nodes(),
    "node": lambda ledger: ledger.node(2),
    "candidates": lambda ledger: ledger.candidates(),
    "live objects": live_objects,
    "blob_object": lambda ledger: ledger.blob_object(1),
    "attested_shards": lambda ledger: ledger.attested_shards(),
    "missing_shards": lambda ledger: ledger.missing_shards(1),
    "events": lambda ledger: ledger.events(3, 20),
    "stakes": lambda ledger: ledger.stakes(HOLDER),
    "balance": lambda ledger: ledger.balance(HOLDER),
    "quote": lambda ledger: ledger.quote(1000, 2),
    "absence": lambda ledger: ledger.absence(4),
    "chain_time_s": lambda ledger: ledger.chain_time_s(),
    "chain_times_s": lambda ledger: ledger.chain_times_s(),
}
CASES_A_LIE = 15
SLOW_CASES_A_LIE = 500


async def busy(launch: Launch) -> Network:
    """A network of whose state every question above asks something."""
    network = await launch(STAKES)
    await network.begin_epoch()
    for number in range(3):
        await certify(network, *await register(network, number))
    await network.hand_over(await network.begin_epoch())
    await network.nodes[3].ledger.leave()
    return network


def shapes_of(secret: bytes) -> tuple[str, ...]:
    """A secret as logs show one: in hex, as a number, as bytes."""
    return secret.hex(), str(int.from_bytes(secret, "big")), repr(secret)[2:-1]


async def lied_to(
    network: Network, session: aiohttp.ClientSession, lie: Lie, cases: int, *, alone: bool
) -> int:
    """Ask as many questions as `cases` of a liar; the number of those that got an answer."""
    chance = random.Random(f"{lie.__name__} {alone}")
    expected = {name: await ask(network.operator) for name, ask in QUESTIONS.items()}
    answered = 0
    async with HostileProvider(network.chain.rpc_url, session, chance) as liar:
        urls = [liar.url] if alone else [liar.url, network.chain.rpc_url]
        liar.lie = lie
        for _ in range(cases):
            name = chance.choice(list(QUESTIONS))
            async with EvmLedger.open(urls, network.deployment) as ledger:
                try:
                    answer = await QUESTIONS[name](ledger)
                except LedgerError as error:
                    told = "".join(traceback.format_exception(error))
                    no_secret(told + repr(error))
                    assert len(str(error)) < 2000
                    assert alone or lie not in UNREADABLE, (name, error)
                else:
                    answered += 1
                    assert lie not in UNREADABLE or answer == expected[name], name
        assert liar.asked
    return answered


@pytest.mark.parametrize("alone", [True, False], ids=["alone", "beside an honest one"])
async def test_a_liar_makes_no_other_error_than_the_ledgers(
    launch: Launch, session: aiohttp.ClientSession, alone: bool
) -> None:
    network = await busy(launch)
    for lie in LIES:
        answered = await lied_to(network, session, lie, CASES_A_LIE, alone=alone)
        assert alone or lie not in UNREADABLE or answered == CASES_A_LIE


@pytest.mark.slow
@pytest.mark.parametrize("lie", LIES)
@pytest.mark.parametrize("alone", [True, False], ids=["alone", "beside an honest one"])
async def test_a_liar_makes_no_other_error_in_thousands_of_cases(
    launch: Launch, session: aiohttp.ClientSession, lie: Lie, alone: bool
) -> None:
    await lied_to(await busy(launch), session, lie, SLOW_CASES_A_LIE, alone=alone)


async def test_a_liar_makes_senders_fail_with_the_ledgers_error_and_no_secret(
    launch: Launch, session: aiohttp.ClientSession, capfd: pytest.CaptureFixture[str]
) -> None:
    network = await launch()
    chance = random.Random(3)
    secret = network.key.to_bytes()
    logs.configure(as_json=True)
    try:
        async with HostileProvider(network.chain.rpc_url, session, chance) as liar:
            for place in range(21):
                liar.lie = LIES[place % len(LIES)]
                async with EvmLedger.open(liar.url, network.deployment, network.key) as ledger:
                    try:
                        await ledger.mint(HOLDER, 1)
                    except LedgerError as error:
                        structlog.get_logger().exception("not sent")
                        told = "".join(traceback.format_exception(error)) + repr(error)
                        no_secret(told, *shapes_of(secret))
    finally:
        structlog.reset_defaults()
        send_to(to_standard_library)
    told = capfd.readouterr().err
    assert "not sent" in told
    no_secret(told, *shapes_of(secret))


FEES = ("-0x1", "0x-1", "-1", -1, hex(10**14), "0x" + "f" * 64, None, "1e9")


async def test_fees_and_gas_that_cannot_be_right_are_not_bid(
    launch: Launch, session: aiohttp.ClientSession
) -> None:
    network = await launch()

    def lie_with(wrong: Any, methods: tuple[str, ...]) -> Lie:
        def lie(_: random.Random, answer: Any) -> tuple[int, bytes, dict[str, str]]:
            if liar.method == "eth_getBlockByNumber" and answer["result"]:
                answer["result"]["baseFeePerGas"] = wrong
            elif liar.method in methods:
                answer["result"] = wrong
            return 200, json.dumps(answer).encode(), {}

        return lie

    fee_methods = ("eth_maxPriorityFeePerGas", "eth_gasPrice", "eth_feeHistory")
    cases = [(fee, fee_methods) for fee in FEES] + [
        (gas, ("eth_estimateGas",)) for gas in ("0x0", "-0x5208", hex(1 << 30))
    ]
    async with HostileProvider(network.chain.rpc_url, session, random.Random(0)) as liar:
        for wrong, methods in cases:
            liar.lie = lie_with(wrong, methods)
            async with EvmLedger.open(liar.url, network.deployment, network.key) as ledger:
                with pytest.raises(LedgerError):
                    await ledger.mint(HOLDER, 1)
            assert "eth_sendRawTransaction" not in liar.asked
            urls = [liar.url, network.chain.rpc_url]
            async with EvmLedger.open(urls, network.deployment, network.key) as ledger:
                await ledger.mint(HOLDER, 1)
            liar.asked.clear()
    assert await network.operator.balance(HOLDER) == len(cases)


NONCES = ("-0x1", "0x-1", "-1", -1, hex(1 << 64), "0x" + "f" * 64, None, "one")


async def test_no_transaction_has_a_nonce_that_cannot_be_right(
    launch: Launch, session: aiohttp.ClientSession
) -> None:
    network = await launch()

    async with HostileProvider(network.chain.rpc_url, session, random.Random(0)) as liar:
        for wrong in NONCES:

            def lie(_: random.Random, answer: Any, wrong: Any = wrong) -> tuple[int, bytes, dict[str, str]]:
                if liar.method == "eth_getTransactionCount":
                    answer["result"] = wrong
                return 200, json.dumps(answer).encode(), {}

            liar.lie = lie
            async with EvmLedger.open(liar.url, network.deployment, network.key) as ledger:
                with pytest.raises(LedgerError):
                    await ledger.mint(HOLDER, 1)
            assert "eth_getTransactionCount" in liar.asked
            assert "eth_sendRawTransaction" not in liar.asked
            urls = [liar.url, network.chain.rpc_url]
            async with EvmLedger.open(urls, network.deployment, network.key) as ledger:
                await ledger.mint(HOLDER, 1)
            liar.asked.clear()
    assert await network.operator.balance(HOLDER) == len(NONCES)


BOMBS = (b"[" * 5_000_000, b'{"a":' * 1_000_000, b'[{"id":[]}]')
"""Answers that once ended the process."""


@pytest.mark.parametrize("beside", [False, True], ids=["alone", "beside an honest one"])
async def test_a_command_outlives_answers_that_no_reader_can_take(
    launch: Launch, session: aiohttp.ClientSession, tmp_path: Path, beside: bool
) -> None:
    """As a process of its own: what it must not do is die."""
    network = await launch(STAKES)
    await network.begin_epoch()
    manifest = tmp_path / "deployment.json"
    network.deployment.save(manifest)
    async with HostileProvider(network.chain.rpc_url, session, random.Random(0)) as liar:
        for bomb in BOMBS:

            def lie(_: random.Random, __: Any, bomb: bytes = bomb) -> tuple[int, bytes, dict[str, str]]:
                return 200, bomb, {}

            liar.lie = lie
            urls = ",".join([liar.url, network.chain.rpc_url] if beside else [liar.url])
            words = ("epoch", "status", "--json", "--rpc", urls, "--deployment", str(manifest))
            command = await asyncio.create_subprocess_exec(
                *(sys.executable, "-m", "localnet.cli", *words),
                stdout=asyncio.subprocess.PIPE,
                stderr=asyncio.subprocess.PIPE,
            )
            output, errors = await command.communicate()
            if beside:
                assert (command.returncode, json.loads(output)["epoch"]) == (0, 1), errors.decode()
            else:
                assert command.returncode == 1
                assert json.loads(errors)["error"]
            no_secret(output.decode() + errors.decode())


async def test_the_follower_outlives_every_lie_and_then_is_right(
    launch: Launch, session: aiohttp.ClientSession, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    network = await busy(launch)
    chance = random.Random(11)
    logs.configure(as_json=True)
    try:
        async with (
            HostileProvider(network.chain.rpc_url, session, chance) as liar,
            EvmLedger.open(liar.url, network.deployment, confirmations=0) as ledger,
        ):
            with contextlib.closing(ChainStore(tmp_path)) as store:
                view = ChainView(ledger, 1, store)
                await view.load()
                before = content(view)
                following = asyncio.create_task(view.follow(0.0))
                for place, lie in enumerate(UNREADABLE):
                    liar.lie = lie
                    await certify(network, *await register(network, 100 + place))
                    async with asyncio.timeout(20):
                        await liar.questions(6)
                    assert not following.done()
                assert content(view) != before or view.chain_status.startswith("degraded")
                liar.lie = None
                await view.refresh()
                await assert_as_fresh(view, network.operator)
                following.cancel()
    finally:
        structlog.reset_defaults()
        send_to(to_standard_library)
    no_secret(capfd.readouterr().err)


async def test_an_error_that_nobody_foresaw_makes_the_view_read_everything_anew(
    launch: Launch, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    network = await launch(STAKES)
    await network.begin_epoch()
    ledger = network.operator
    view = ChainView(ledger, 1)
    await view.load()

    def fail(event: Event) -> None:
        raise ZeroDivisionError

    view.subscribe(fail)
    told: list[Any] = []
    view.subscribe(told.append)
    blob_id, _ = await register(network, 1)
    with monkeypatch.context() as broken:
        broken.setattr(ledger, "stretch", lambda *_: 1 // 0)
        with pytest.raises(LedgerError, match="cannot be taken in: ZeroDivisionError"):
            await view.refresh()
        assert view.chain_status.startswith("degraded")
    with monkeypatch.context() as pages:
        read: list[int] = []
        live_page = ledger.live_page

        async def page(cursor: int, at: BlockMark, **options: Any) -> Any:
            read.append(cursor)
            return await live_page(cursor, at, **options)

        pages.setattr(ledger, "live_page", page)
        await view.refresh()
        assert read == [0]
    assert view.is_registered(blob_id)
    assert view.chain_status == "following"
    assert told
    await assert_as_fresh(view, ledger)


# what is shown


async def test_no_redirect_is_followed(launch: Launch, session: aiohttp.ClientSession) -> None:
    network = await launch()
    async with (
        HostileProvider(network.chain.rpc_url, session, random.Random(0)) as inner,
        HostileProvider(network.chain.rpc_url, session, random.Random(0)) as liar,
    ):
        for status in (301, 302, 303, 307, 308):
            liar.lie = lambda _, __, status=status: (status, b"", {"Location": inner.url})
            async with EvmLedger.open(liar.url, network.deployment) as ledger:
                with pytest.raises(LedgerError, match=f"redirect .HTTP {status}") as error:
                    await ledger.head()
                no_secret(str(error.value))
        assert inner.asked == []


def test_a_key_shows_nothing() -> None:
    key = AccountKey.generate()
    for text in (repr(key), str(key), f"{key}"):
        no_secret(text, *shapes_of(key.to_bytes()))
    with pytest.raises(LedgerError) as error:
        key.sign({"maxFeePerGas": -1})
    no_secret("".join(traceback.format_exception(error.value)), *shapes_of(key.to_bytes()))
