"""What becomes of a transaction that was not seen to succeed: cancelled, overtaken or expired."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pytest

from committee.ledger.sui.grpc import SuiRpc
from committee.ledger.sui.sending import SuiSender
from committee.ledger.sui.signed import Signed
from localnet.sui_double.rpc.server import SuiDouble
from tests.committee.ledger.sui.accounts import Account, Submitted, epoch_of
from tests.contracts.sui.network import Network
from tests.localnet.sui_double.packages import needs_framework

pytestmark = [needs_framework, pytest.mark.usefixtures("short_pauses")]


async def test_cancelled_transaction_is_brought_to_its_end(
    account: Account, sender: SuiSender, submitted: Submitted, monkeypatch: pytest.MonkeyPatch
) -> None:
    begun = asyncio.Event()

    async def hang(_: Signed) -> Any:
        begun.set()
        await asyncio.Event().wait()

    with monkeypatch.context() as patched:
        patched.setattr(sender, "_hand_over", hang)
        sending = asyncio.create_task(sender.send("pay", account.pay(23)))
        await begun.wait()
        sending.cancel()
        with pytest.raises(asyncio.CancelledError) as cancelled:
            await sending
    assert "(pay) may still be executed" in cancelled.value.__notes__[0]
    await sender.send("pay", account.pay(24))
    assert account.paid() == [23, 24]
    submitted.check()


async def test_version_that_another_machine_used_is_seen(
    account: Account, sender: SuiSender, tmp_path: Path, submitted: Submitted, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of two folders each knows nothing of the other: the transaction that comes too late is put together anew."""
    stranger, hand_over = account.sender(tmp_path / "elsewhere"), sender._hand_over
    overtaking = [account.pay(31), account.pay(32)]

    async def late(signed: Signed) -> Any:
        if overtaking:
            for draft in overtaking:
                await stranger._end(await stranger._sign("pay", draft), was_sent=False)
            overtaking.clear()
        return await hand_over(signed)

    monkeypatch.setattr(sender, "_hand_over", late)
    await sender.send("pay", account.pay(33))
    assert account.paid() == [31, 32, 33]
    assert sender._signed.open() == []
    stranger.close()


async def test_executed_transaction_is_not_taken_for_overtaken(
    account: Account, sender: SuiSender, tmp_path: Path
) -> None:
    """An endpoint that does not know a transaction any more still shows what became of its objects."""
    stranger = account.sender(tmp_path / "elsewhere")
    late = await stranger._sign("pay", account.pay(34))
    signed = await sender._sign("pay", account.pay(35))
    await sender._end(signed, was_sent=False)
    await sender.send("pay", account.pay(36))
    await sender.send("pay", account.pay(37))
    assert not await sender._is_overtaken(signed)
    assert await stranger._is_overtaken(late)
    stranger.close()


async def test_expired_transaction_frees_its_versions(
    network: Network,
    account: Account,
    sender: SuiSender,
    submitted: Submitted,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    hand_over = sender._hand_over

    async def too_late(signed: Signed) -> Any:
        network.chain.advance_epoch()
        monkeypatch.setattr(sender, "_hand_over", hand_over)
        return await hand_over(signed)

    monkeypatch.setattr(sender, "_hand_over", too_late)
    await sender.send("pay", account.pay(41))
    assert account.paid() == [41]
    first, second = submitted.handed_over
    assert first != second, "the one that expired, and one of the next epoch with the same coin"


async def test_transaction_expires_by_the_word_of_all_endpoints(
    network: Network, double: SuiDouble, account: Account, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One endpoint alone that tells of a later epoch gives no version free."""
    epoch = network.chain.epoch
    liars = [SuiDouble(network.chain) for _ in range(2)]
    for liar in liars:
        monkeypatch.setattr(liar._service, "get_epoch", epoch_of(epoch + 1))
    async with liars[0] as first, liars[1] as second:
        for urls, is_expired in (([first.url, double.url], False), ([first.url, second.url], True)):
            account.rpc = SuiRpc(urls, network.chain.id)
            sender = account.sender()
            signed = Signed(bytes(32), "pay", b"data", b"signature", epoch)
            assert await sender._is_expired(signed) == is_expired
            sender.close()
            await account.rpc.close()
