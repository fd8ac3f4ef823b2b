"""`haulout space …`, and what `haulout blob …` does with reservations and owners, against a real chain."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from committee import messages
from committee.errors import LedgerError, LedgerRefused, LedgerUnavailable
from committee.ledger import MEBIBYTE
from committee.ledger.evm import DeploymentParameters, space
from committee.messages import Intent
from committee.printing import PAID, CommandFailed
from storage.client import space_cli
from tests.committee.ledger.conftest import DEADLINE_S, EPOCH_S
from tests.committee.ledger.test_commands import TOKEN, Shell, shell

if TYPE_CHECKING:
    from tests.committee.ledger.conftest import Launch, Network

PRICED = DeploymentParameters(10, EPOCH_S, DEADLINE_S, 30, price_per_mib_period=TOKEN, write_price_per_mib=0)


async def shells(network: Network, folder: Path) -> tuple[Shell, Shell]:
    """Two accounts with 100 tokens each."""
    for name in ("owner", "other"):
        (folder / name).mkdir()
    owner = await shell(network, folder / "owner", tokens=100)
    return owner, await shell(network, folder / "other", tokens=100)


async def listed(owner: Shell) -> list[tuple[Any, ...]]:
    """(id, mebibytes, first period, end) of each reservation."""
    told = await owner.run("space", "list")
    assert told["owner"] == owner.account
    return [
        (one["resource_id"], one["size_bytes"] // MEBIBYTE, one["start_period"], one["end_period"])
        for one in told["reservations"]
    ]


async def certify(network: Network, object_id: int) -> None:
    state, record = await network.operator.epoch_state(), await network.operator.blob_object(object_id)
    body = messages.blob_body(record.blob_id)
    await network.operator.certify_blob(object_id, network.sign(state, Intent.BLOB, body))


async def test_space_from_its_reservation_to_a_blob(
    launch: Launch, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    network = await launch((40, 30, 20, 10), PRICED)
    await network.begin_epoch()
    owner, other = await shells(network, tmp_path)
    reserved = await owner.run("space", "reserve", "3", "--periods", "6")
    assert (reserved["resource_id"], reserved["size_bytes"]) == (1, 3 * MEBIBYTE)
    assert await network.operator.balance(owner.account) == 82 * TOKEN
    assert (await owner.run("space", "split", "1", "--mebibytes", "1"))["new_resource_id"] == 2
    assert (await owner.run("space", "split", "1", "--period", "4"))["new_resource_id"] == 3
    assert await listed(owner) == [(1, 1, 1, 4), (2, 2, 1, 7), (3, 1, 4, 7)]
    all_three = await network.operator.reservations(owner.account)
    with monkeypatch.context() as limited:
        limited.setattr(space, "IDS_PER_PAGE", 1)
        assert await network.operator.reservations(owner.account) == all_three
        limited.setattr(space, "MOST_RESERVATIONS", 2)
        with pytest.raises(LedgerError, match="has more than 2 reservations"):
            await network.operator.reservations(owner.account)
        limited.setattr(space, "MOST_PAGES", 2)
        with pytest.raises(LedgerUnavailable, match="more than 2 reservations of all accounts"):
            await network.operator.reservations(owner.account)
    for words in ((), ("--mebibytes", "1", "--period", "4")):
        with pytest.raises(AssertionError, match="one of them"):
            await owner.run("space", "split", "2", *words)

    file = tmp_path / "file"
    file.write_bytes(b"content")
    registered = await owner.run("blob", "register", str(file), "--reservation", "1")
    assert registered["object_id"] == 1
    await certify(network, 1)
    await owner.run("blob", "extend", "1", "--reservation", "3")
    status = await owner.run("blob", "status", registered["blob_id"])
    assert status["objects"][0]["end_period"] == 7
    with pytest.raises(AssertionError, match="one of them"):
        await owner.run("blob", "extend", "1", "--reservation", "2", "--periods", "1")

    await owner.run("blob", "transfer", "1", other.account)
    status = await owner.run("blob", "status", registered["blob_id"])
    assert status["objects"][0]["owner"] == other.account
    await owner.run("space", "transfer", "2", other.account)
    assert (await listed(owner), await listed(other)) == ([], [(2, 2, 1, 7)])
    assert (await owner.run("space", "list", "--owner", other.account))["reservations"] != []
    await other.run("space", "split", "2", "--mebibytes", "1")
    await other.run("space", "merge", "4", "2")
    assert await listed(other) == [(4, 2, 1, 7)]
    with pytest.raises(LedgerRefused, match="NotOwner"):
        await owner.run("space", "transfer", "4", owner.account)
    assert await network.operator.balance(owner.account) == 82 * TOKEN, "only reserving was paid"


async def test_anyone_extends_a_blob_and_a_payment_is_one_transaction(launch: Launch, tmp_path: Path) -> None:
    network = await launch((40, 30, 20, 10), PRICED)
    await network.begin_epoch()
    owner, other = await shells(network, tmp_path)
    file = tmp_path / "file"
    file.write_bytes(b"content")
    planned = await owner.run("blob", "register", str(file), "--dry-run")
    assert [one["action"] for one in planned["transactions"]] == ["Blobs.reserveAndRegister"]
    before = int(await network.chain.request("eth_blockNumber"), 16)
    await owner.run("blob", "register", str(file))
    assert int(await network.chain.request("eth_blockNumber"), 16) == before + 1
    await certify(network, 1)
    await other.run("blob", "extend", "1", "--until", "5")
    record = await network.operator.blob_object(1)
    assert (record.owner, record.end_period) == (owner.account, 5)
    assert await network.operator.balance(other.account) == 97 * TOKEN


async def test_a_reservation_is_refunded_at_a_standstill(launch: Launch, tmp_path: Path) -> None:
    network = await launch((40, 30, 20, 10), PRICED)
    await network.begin_epoch()
    owner = await shell(network, tmp_path, tokens=100)
    await owner.run("space", "reserve", "3", "--periods", "6")
    with pytest.raises(LedgerRefused, match="NotStalled") as refused:
        await owner.run("space", "refund", "1")
    assert refused.value.hint
    await network.chain.increase_time(4 * (EPOCH_S + DEADLINE_S) + 1)
    await owner.run("space", "refund", "1")
    assert await network.operator.balance(owner.account) == 97 * TOKEN
    assert await listed(owner) == [(1, 3, 1, 2)]


async def test_space_that_is_reserved_again_after_a_lost_answer_is_not_paid_twice(launch: Launch) -> None:
    network = await launch((40, 30, 20, 10), PRICED)
    await network.begin_epoch()
    user = await network.account()
    assert user.account is not None
    await network.operator.mint(user.account, 100 * TOKEN)
    await user.reserve_space(3 * MEBIBYTE, 2)
    with pytest.raises(
        CommandFailed, match=r"nothing was sent: .* reservation 1 of as much .*--again"
    ) as stopped:
        await space_cli.reserve(user, 3, 2)
    assert stopped.value.status == PAID
    assert await user.balance(user.account) == 94 * TOKEN
    # Not the same: another size, another time, or one that is meant.
    for mebibytes, periods, again in ((4, 2, False), (3, 1, False), (3, 2, True)):
        await space_cli.reserve(user, mebibytes, periods, again=again)
    assert await user.balance(user.account) == 94 * TOKEN - (8 + 3 + 6) * TOKEN
    assert len(await user.reservations(user.account)) == 4
