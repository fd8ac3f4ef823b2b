"""What members' operators and users ask and push by commands that other tests do not type, against a real chain."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from committee.errors import LedgerError, LedgerRefused
from tests.committee.ledger.conftest import DEADLINE_S, EPOCH_S
from tests.committee.ledger.test_commands import TOKEN, Shell, shell
from tests.committee.ledger.test_space_commands import PRICED, certify, shells

if TYPE_CHECKING:
    from tests.committee.ledger.conftest import Launch

LENGTH = 100_000


async def test_a_node_is_offered_withdrawn_offered_again_and_accepted(launch: Launch, tmp_path: Path) -> None:
    network = await launch((40, 30, 20, 10))
    owner = Shell(network.chain.rpc_url, tmp_path / "deployment.json", network.nodes[0].key, tmp_path)
    other = await shell(network, tmp_path)
    with pytest.raises(LedgerError, match="name the account that the node is offered to"):
        await owner.run("node", "transfer", "1")
    await owner.run("node", "transfer", "1", other.account)
    await owner.run("node", "transfer", "1", "--cancel")
    with pytest.raises(LedgerRefused, match="NotOffered"):
        await other.run("node", "accept", "1")
    assert (await owner.run("node", "transfer", "1", other.account))["next_owner"] == other.account
    assert (await owner.run("node", "status", "1"))["owner"] == owner.account
    assert (await other.run("node", "accept", "1"))["owner"] == other.account
    assert (await other.run("node", "status", "1"))["owner"] == other.account


async def test_members_vote_and_anyone_has_the_votes_counted(launch: Launch, tmp_path: Path) -> None:
    network = await launch((40, 30, 20, 10), PRICED)
    await network.begin_epoch()
    someone = await shell(network, tmp_path)
    words = ("node", "vote", "--price", str(2 * TOKEN), "--write-price", "3", "--capacity", str(2**40))
    for node in network.nodes:
        operator = Shell(network.chain.rpc_url, tmp_path / "deployment.json", node.key, tmp_path)
        assert (await operator.run(*words))["price_per_mib_period"] == 2 * TOKEN
    with pytest.raises(LedgerRefused, match="NoQuorum"):
        await someone.run("epoch", "decide")  # the votes count from the next period on
    await network.hand_over(await network.begin_epoch())
    decided = await someone.run("epoch", "decide")
    assert decided["price_per_mib_period"] == 2 * TOKEN
    assert (await someone.run("epoch", "status"))["price_per_mib_period"] == 2 * TOKEN
    with pytest.raises(LedgerRefused, match="AlreadyDecided"):
        await someone.run("epoch", "decide")


async def test_a_shard_has_an_owner_in_every_epoch_that_was(launch: Launch, tmp_path: Path) -> None:
    network = await launch((40, 30, 20, 10))
    someone = await shell(network, tmp_path)
    owners = {}
    for epoch in (1, 2, 3, 4):
        state = await network.begin_epoch()
        await network.hand_over(state)
        assert state.current is not None
        owners[epoch] = state.current.owner_of[3]
    for epoch, member in owners.items():
        told = await someone.run("epoch", "owner", "3", "--epoch", str(epoch))
        assert (told["node_id"], told["name"]) == (member.node_id, member.name)
    assert (await someone.run("epoch", "owner", "3"))["epoch"] == 4
    with pytest.raises(LedgerRefused, match="WrongEpoch"):
        await someone.run("epoch", "owner", "3", "--epoch", "6")
    with pytest.raises(LedgerError, match="no shard has the number 10: they are 0 to 9"):
        await someone.run("epoch", "owner", "10")


async def test_what_is_owed_is_told_until_it_is_paid(launch: Launch, tmp_path: Path) -> None:
    network = await launch((40, 30, 20, 10), PRICED)
    state = await network.begin_epoch()
    user = await shell(network, tmp_path, tokens=100)
    with pytest.raises(LedgerError, match="no period is over yet"):
        await user.run("epoch", "owed")
    await user.run("space", "reserve", "10", "--periods", "1")
    await network.begin_epoch()
    told = await user.run("epoch", "owed")
    assert state.current is not None
    assert told == {
        "period": 1,
        "nodes": [
            {"node_id": node_id, "owed": TOKEN * member.weight}
            for node_id, member in sorted(state.current.by_id.items())
        ],
    }
    await user.run("epoch", "pay", "1", "2")
    left = {
        one["node_id"]: one["owed"] for one in (await user.run("epoch", "owed", "--period", "1"))["nodes"]
    }
    assert [left[1], left[2]] == [0, 0] < [left[3], left[4]]


async def test_an_ejected_member_is_replaced_by_a_command(launch: Launch, tmp_path: Path) -> None:
    network = await launch((40, 30, 20, 10))
    await network.begin_epoch()
    someone = await shell(network, tmp_path)
    with pytest.raises(LedgerRefused, match="NothingToReplace"):
        await someone.run("epoch", "replace")
    await network.eject(4)
    await someone.run("epoch", "replace")
    state = await network.operator.epoch_state(await network.operator.newest())
    assert state.next is not None
    assert 4 not in state.next.by_id


async def test_live_blobs_are_listed_page_by_page(launch: Launch, tmp_path: Path) -> None:
    network = await launch((40, 30, 20, 10), PRICED)
    await network.begin_epoch()
    owner, other = await shells(network, tmp_path)
    ids = []
    for number, who in enumerate((owner, other, owner)):
        file = tmp_path / f"file-{number}"
        file.write_bytes(bytes([number]))
        ids.append((await who.run("blob", "register", str(file), "--deletable"))["object_id"])
    await owner.run("blob", "delete", str(ids[0]))
    told = await owner.run("blob", "list")
    assert [one["object_id"] for one in told["objects"]] == ids[1:]
    assert "next" not in told
    mine = await owner.run("blob", "list", "--owner", owner.account)
    assert [one["object_id"] for one in mine["objects"]] == ids[2:]
    assert mine["objects"][0]["owner"] == owner.account


async def test_a_long_list_goes_on_where_it_ended(
    launch: Launch, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    network = await launch((40, 30, 20, 10), PRICED)
    await network.begin_epoch()
    owner, _ = await shells(network, tmp_path)
    for number in range(3):
        (tmp_path / "file").write_bytes(bytes([number]))
        await owner.run("blob", "register", str(tmp_path / "file"))
    monkeypatch.setattr("committee.ledger.evm.reader.PAGE_ITEMS", 2)
    first = await owner.run("blob", "list", "--most", "1")
    second = await owner.run("blob", "list", "--after", str(first["next"]))
    assert [one["object_id"] for one in (*first["objects"], *second["objects"])] == [3, 2, 1]
    assert "next" not in second


async def test_a_blob_is_paid_back_when_the_epochs_have_stood_still(launch: Launch, tmp_path: Path) -> None:
    network = await launch((40, 30, 20, 10), PRICED)
    await network.begin_epoch()
    owner = await shell(network, tmp_path, tokens=100)
    file = tmp_path / "file"
    file.write_bytes(b"a blob")
    registered = await owner.run("blob", "register", str(file), "--periods", "6")
    await certify(network, registered["object_id"])
    paid = 100 * TOKEN - await network.operator.balance(owner.account)
    with pytest.raises(LedgerRefused, match="NotStalled"):
        await owner.run("blob", "refund", str(registered["object_id"]))
    await network.chain.increase_time(4 * (EPOCH_S + DEADLINE_S) + 1)
    await owner.run("blob", "refund", str(registered["object_id"]))
    assert 100 * TOKEN - await network.operator.balance(owner.account) == paid // 6
    assert (await network.operator.blob_object(registered["object_id"])).end_period == 2
