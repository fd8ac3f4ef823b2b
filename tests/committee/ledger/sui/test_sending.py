"""Transactions of an account: sent once through lost answers, outages and kills, and never two of one version."""

from __future__ import annotations

import asyncio
import random
import secrets
import signal
import sys
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from committee.errors import LedgerError, LedgerRefused, LedgerUnavailable, TransactionUnknown
from committee.key_files import write_secret
from committee.ledger.sui.deployment import SuiDeployment
from committee.ledger.sui.gas import Gassing
from committee.ledger.sui.grpc import SuiRpc
from committee.ledger.sui.keys import SuiKey
from committee.ledger.sui.objects import Objects
from committee.ledger.sui.outcomes import Failure, Outcome, refusal_of
from committee.ledger.sui.package import Package
from committee.ledger.sui.sending import Sent, SuiSender
from committee.ledger.sui.signed import Signed
from localnet.sui_double.rpc.server import SuiDouble
from tests.committee.ledger.sui.accounts import Account, Submitted, epoch_of
from tests.committee.ledger.sui.registered import newest
from tests.contracts.sui.network import Network
from tests.localnet.sui_double.packages import needs_framework

pytestmark = [needs_framework, pytest.mark.usefixtures("short_pauses")]

KILLED = Path(__file__).parent / "killed.py"


async def test_transaction_succeeds_in_a_checkpoint(
    network: Network, account: Account, sender: SuiSender
) -> None:
    sent = await sender.send("registry.changeNetworkAddress", account.move("http://moved.example:1"))
    assert sent.transaction.block == newest(network)
    assert sent.transaction.gas_used == 1_000_000
    ((type_, contents),) = sent.outcome.events
    event = account.package.decode(account.package.type("registry", "NetworkAddressChanged"), contents)
    assert type_.endswith("::registry::NetworkAddressChanged")
    assert event["network_address"] == "http://moved.example:1"
    assert sender._signed.open() == []


async def test_refusal_has_the_errors_name_and_nothing_is_sent(
    account: Account, sender: SuiSender, submitted: Submitted
) -> None:
    with pytest.raises(
        LedgerRefused, match=r"refused move: InvalidNetworkAddress \(module=registry\)"
    ) as refused:
        await sender.send("move", account.move("nowhere"))
    assert "give scheme, host and port" in refused.value.hint
    assert submitted.handed_over == []


async def test_abort_that_no_simulation_has_seen_is_refused(
    account: Account, sender: SuiSender, monkeypatch: pytest.MonkeyPatch
) -> None:
    hand_over = sender._hand_over

    async def late(signed: Signed) -> Any:
        account.replace_operator()
        return await hand_over(signed)

    monkeypatch.setattr(sender, "_hand_over", late)
    with pytest.raises(LedgerRefused, match="refused move: NotOperator"):
        await sender.send("move", account.move("http://moved.example:1"))
    monkeypatch.undo()
    await sender.send("pay", account.pay(7))


async def test_lost_answer_is_looked_up_before_anything_is_sent(
    double: SuiDouble,
    account: Account,
    sender: SuiSender,
    submitted: Submitted,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    asked: list[str] = []
    ask = SuiRpc.ask

    async def recorded(self: SuiRpc, method: Any, *rest: Any, **more: Any) -> Any:
        asked.append(method.name)
        return await ask(self, method, *rest, **more)

    monkeypatch.setattr(SuiRpc, "ask", recorded)
    double.faults.lost_answers = 1
    await sender.send("pay", account.pay(11))
    assert account.paid() == [11]
    assert len(submitted.handed_over) == 1
    sent_at = asked.index("ExecuteTransaction")
    assert asked[sent_at + 1] == "GetTransaction"
    assert asked.count("ExecuteTransaction") == 1


async def test_transaction_that_did_not_arrive_is_sent_again_as_it_is(
    account: Account, sender: SuiSender, submitted: Submitted
) -> None:
    submitted.losses = 2
    await sender.send("pay", account.pay(12))
    assert account.paid() == [12]
    assert len(submitted.handed_over) == 3
    assert len(set(submitted.handed_over)) == 1


async def test_end_that_stays_unknown_holds_up_the_account(
    double: SuiDouble,
    account: Account,
    sender: SuiSender,
    submitted: Submitted,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("committee.ledger.sui.sending.RESULT_LIMIT_S", 0.0)

    async def lost(_: Signed) -> Any:
        raise LedgerUnavailable("the answer is lost")

    with monkeypatch.context() as patched:
        patched.setattr(sender, "_hand_over", lost)
        with pytest.raises(
            TransactionUnknown, match=r"pay: the end of transaction .* is not known"
        ) as unknown:
            await sender.send("pay", account.pay(13))
        with pytest.raises(TransactionUnknown) as again:
            await sender.send("pay", account.pay(14))
    assert again.value.transaction == unknown.value.transaction
    monkeypatch.setattr("committee.ledger.sui.sending.RESULT_LIMIT_S", 5.0)
    await sender.send("pay", account.pay(14))
    assert account.paid() == [13, 14]
    submitted.check()


@pytest.mark.parametrize(
    "place", ["sending", *(pytest.param(one, marks=pytest.mark.slow) for one in ("signing", "sent"))]
)
async def test_killed_process_loses_nothing_and_repeats_nothing(
    double: SuiDouble, account: Account, submitted: Submitted, place: str
) -> None:
    """Killed by SIGKILL while it signs, before it sends what it has signed, or before it has the answer."""
    account.folder.mkdir()
    secret = secrets.token_bytes(32)
    write_secret(account.folder / "account.key", secret)
    account.key = SuiKey(secret)
    account.network.chain.fund(account.key.address)
    ids = (account.network.chain.id, account.network.package)
    arguments = (double.url, *(id_.hex() for id_ in ids), str(account.folder), place, "21")
    process = await asyncio.create_subprocess_exec(sys.executable, KILLED, *arguments)
    assert await process.wait() == -signal.SIGKILL
    assert account.paid() == ([21] if place == "sent" else [])
    following = account.sender()
    await following.drain()
    assert account.paid() == ([] if place == "signing" else [21])
    await following.send("pay", account.pay(22))
    assert account.paid()[-1] == 22
    submitted.check()
    following.close()


async def test_many_coins_become_one(network: Network, account: Account, sender: SuiSender) -> None:
    for _ in range(20):
        network.chain.fund(account.key.address, mist=10**6)
    await sender.send("pay", account.pay(51))
    (coin,) = coins(account)
    assert int.from_bytes(coin.contents[32:], "little") == 1000 * 10**9 + 20 * 10**6 - 51 - 10**6


def coins(account: Account) -> list[Any]:
    owned = account.network.chain.objects.owned_by(account.key.address)
    return [one for one in owned if one.type.name == "Coin"]


@pytest.mark.parametrize("mist", [(), (999_999,), (1_000_001, 5)])
async def test_account_that_cannot_pay_is_told_what_it_lacks(
    network: Network, rpc: SuiRpc, package: Package, account: Account, tmp_path: Path, mist: tuple[int, ...]
) -> None:
    account.key = SuiKey.generate()
    for amount in mist:
        network.chain.fund(account.key.address, amount)
    poor = account.sender()
    with pytest.raises(LedgerRefused, match=rf"InsufficientFunds .*balance_mist={sum(mist)}"):
        await poor.send("pay", account.pay(1))
    poor.close()


async def test_price_that_is_beyond_belief_is_not_paid(
    network: Network, account: Account, submitted: Submitted, monkeypatch: pytest.MonkeyPatch
) -> None:
    dear = SuiDouble(network.chain)
    monkeypatch.setattr(dear._service, "get_epoch", epoch_of(0, price=100_001))
    async with dear:
        account.rpc = SuiRpc(dear.url, network.chain.id)
        sender = account.sender()
        with pytest.raises(LedgerUnavailable, match="a gas price of 100001 MIST"):
            await sender.send("pay", account.pay(1))
        sender.close()
        await account.rpc.close()
    assert submitted.handed_over == []


async def test_object_of_another_account_is_not_used(account: Account, sender: SuiSender) -> None:
    account.cap = account.owner_cap
    with pytest.raises(LedgerRefused, match="NotOwner"):
        await sender.send("move", account.move("http://moved.example:1"))


async def test_endpoint_that_tells_of_a_used_version_is_waited_for(
    account: Account, sender: SuiSender, submitted: Submitted, monkeypatch: pytest.MonkeyPatch
) -> None:
    owned, told = Objects.owned, []

    async def behind(self: Objects, *arguments: Any) -> Any:
        told.append(await owned(self, *arguments))
        return told[0] if len(told) < 4 else told[-1]

    async def simulated(_: Gassing, data: bytes, budget: int) -> Outcome:
        return Outcome(data, None, 10**6, 10**6, (), (), None)

    monkeypatch.setattr(Objects, "owned", behind)
    monkeypatch.setattr(Gassing, "_simulated", simulated)
    await sender.send("pay", account.pay(61))
    await sender.send("pay", account.pay(62))
    assert account.paid() == [61, 62]
    assert len(told) > 3
    submitted.check()
    monkeypatch.setattr("committee.ledger.sui.sending.BEHIND_LIMIT_S", 0.0)
    told[:] = told[:1]
    with pytest.raises(LedgerUnavailable, match="told no newer version within 0 s"):
        await sender.send("pay", account.pay(63))


async def test_transaction_waits_for_its_checkpoint(
    network: Network, double: SuiDouble, account: Account, sender: SuiSender, monkeypatch: pytest.MonkeyPatch
) -> None:
    executed, in_checkpoint = asyncio.Event(), sender._in_checkpoint

    async def seen(*arguments: Any) -> Any:
        executed.set()
        return await in_checkpoint(*arguments)

    monkeypatch.setattr(sender, "_in_checkpoint", seen)
    double.faults.checkpoint_lag = 1
    sending = asyncio.create_task(sender.send("pay", account.pay(71)))
    async with asyncio.timeout(20):
        await executed.wait()
    assert account.paid() == [71]
    assert not sending.done()
    double.faults.checkpoint_lag = 0
    assert (await sending).transaction.block == newest(network)
    monkeypatch.setattr("committee.ledger.sui.sending.RESULT_LIMIT_S", 0.05)
    double.faults.checkpoint_lag = 1
    with pytest.raises(TransactionUnknown, match="was executed, and is in no checkpoint within"):
        await sender.send("pay", account.pay(72))


async def test_tasks_and_processes_of_an_account_take_turns(
    account: Account, sender: SuiSender, submitted: Submitted
) -> None:
    """Two senders of one folder stand for two processes."""
    second = account.sender()
    drafts = [(one, account.pay(100 + number)) for number in range(5) for one in (sender, second)]
    sent: list[Sent] = await asyncio.gather(*(one.send("pay", draft) for one, draft in drafts))
    assert len({one.transaction.hash for one in sent}) == 10
    assert len(account.paid()) == 10
    submitted.check()
    second.close()


@pytest.fixture
async def second_double(network: Network) -> AsyncIterator[SuiDouble]:
    async with SuiDouble(network.chain) as double:
        yield double


@pytest.mark.parametrize("steps", [12, pytest.param(300, marks=pytest.mark.slow)])
async def test_each_payment_is_made_once_through_faults_and_kills(
    network: Network,
    double: SuiDouble,
    second_double: SuiDouble,
    account: Account,
    deployment: SuiDeployment,
    submitted: Submitted,
    monkeypatch: pytest.MonkeyPatch,
    steps: int,
) -> None:
    """Payments of different amounts, of which each is made at most once, and exactly once if its sender said so."""
    monkeypatch.setattr("committee.ledger.sui.sending.RESULT_LIMIT_S", 0.3)
    draw = random.Random(steps)
    account.rpc = SuiRpc([double.url, second_double.url], deployment.chain)
    sender, succeeded = account.sender(), []
    for amount in range(1, steps + 1):
        for endpoint in (double, second_double):
            endpoint.faults.lost_answers = draw.choice((0, 0, 1, 3))
            endpoint.faults.is_down = draw.random() < 0.2
            endpoint.faults.checkpoint_lag = draw.choice((0, 0, 1))
        sending = asyncio.create_task(sender.send("pay", account.pay(amount)))
        if draw.random() < 0.3:
            await asyncio.sleep(draw.random() * 0.05)
            sending.cancel()
        (outcome,) = await asyncio.gather(sending, return_exceptions=True)
        if isinstance(outcome, Sent):
            succeeded.append(amount)
        elif not isinstance(outcome, (LedgerError, asyncio.CancelledError)):
            raise outcome
        if draw.random() < 0.3:
            sender.close()
            sender = account.sender()
    for endpoint in (double, second_double):
        endpoint.faults.is_down, endpoint.faults.lost_answers = False, 0
    await sender.drain()
    paid = account.paid()
    assert len(set(paid)) == len(paid), "none is made twice"
    assert set(succeeded) <= set(paid)
    assert len(succeeded) > steps // 4
    submitted.check()
    sender.close()
    await account.rpc.close()


@pytest.mark.parametrize(
    ("failure", "told"),
    [
        (Failure("Aborted", 13, (b"package", "registry")), "KeyInUse (module=registry)"),
        (
            Failure("Aborted", 9999, (b"package", "registry")),
            "Aborted (module=0x7061636b616765::registry, code=9999)",
        ),
        (Failure("Aborted", 2, (bytes(2), "balance")), "Aborted (module=0x0000::balance, code=2)"),
        (Failure("OutOfGas", None, None), "OutOfGas"),
    ],
)
def test_failures_have_names(package: Package, failure: Failure, told: str) -> None:
    if failure.place == (b"package", "registry") and failure.code == 13:
        failure = Failure(failure.kind, failure.code, (package.id, "registry"))
    assert str(refusal_of("move", failure, package)) == f"the contract refused move: {told}"
