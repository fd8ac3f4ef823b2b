"""`haulout proofs …` and `haulout node proofs`, against a real chain."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from committee.errors import LedgerError, LedgerRefused
from committee.ledger import EpochState
from committee.ledger.proofs import Round, RoundStep, round_step
from committee.messages import Intent
from committee.opening import Opening
from storage.client.errors import NodeRefused
from storage.client.failures import Reason
from storage.client.inventories import NotLocated
from storage.client.member_client import MemberClient
from storage.client.proof_answers import CannotAnswer
from storage.proofs import EntryProof, entries_of
from storage.proofs.inventory import inventory_of
from storage.redstuff import MerkleProof, Parameters, blob_id_text, parse_blob_id
from storage.redstuff.merkle import leaf_hash
from tests.committee.ledger import proving as proving_round
from tests.committee.ledger.conftest import Network
from tests.committee.ledger.test_commands import TOKEN, Shell, shell
from tests.committee.ledger.test_space_commands import PRICED, certify

if TYPE_CHECKING:
    from tests.committee.ledger.conftest import Launch

GRID = Parameters(10)
LENGTHS = (77, 3000, 40_000)
BOND = 100 * TOKEN
ASKED, IDLE = 2, 4
"""Nodes with three and with one of ten shards."""


class Scene:
    """A network with blobs, the second epoch of which has a round, and an account with tokens for two bonds."""

    def __init__(self, network: Network, asker: Shell, blob_ids: list[str]) -> None:
        self.network = network
        self.asker = asker
        self.blob_ids = blob_ids
        """By ascending id."""
        self.state: EpochState

    @classmethod
    async def made(cls, network: Network, folder: Path) -> Scene:
        await network.begin_epoch()
        asker = await shell(network, folder, tokens=250)
        told = []
        for length in LENGTHS:
            (folder / "file").write_bytes(bytes(length))
            told.append(await asker.run("blob", "register", str(folder / "file"), "--periods", "5"))
            await certify(network, told[-1]["object_id"])
        scene = cls(network, asker, [one["blob_id"] for one in told])
        scene.state = await network.begin_epoch()
        await network.hand_over(scene.state)
        return scene

    async def begin(self) -> None:
        sizes = {
            parse_blob_id(blob_id): GRID.symbol_size(length)
            for blob_id, length in zip(self.blob_ids, LENGTHS, strict=True)
        }
        self.entries = list(entries_of(sorted(sizes.items())))
        inventory = inventory_of(self.entries)
        self.weight = inventory.weight
        certificate = self.network.sign(self.state, Intent.INVENTORY, inventory.body())
        sent = inventory.root, inventory.count, inventory.weight
        await self.network.operator.begin_round(*sent, certificate)

    async def pass_time(self, until_s: int) -> None:
        await self.network.chain.increase_time(until_s - await self.network.operator.chain_time_s())

    async def status(self) -> dict[str, Any]:
        return await self.asker.run("proofs", "status")

    async def node(self, node_id: int) -> dict[str, Any]:
        """The node's newest epoch."""
        told = await self.asker.run("node", "proofs", str(node_id))
        assert [one["epoch"] for one in told["epochs"]] == [2, 1]
        newest: dict[str, Any] = told["epochs"][0]
        return {**newest, "misses_in_a_row": told["misses_in_a_row"], "next_step": told["next_step"]}


@pytest.fixture
async def scene(launch: Launch, tmp_path: Path) -> Scene:
    return await Scene.made(await launch((40, 30, 20, 10), PRICED), tmp_path)


async def test_a_demand_names_a_symbol_that_the_member_should_have(
    scene: Scene, monkeypatch: pytest.MonkeyPatch
) -> None:
    asker, node = scene.asker, str(ASKED)
    with pytest.raises(LedgerError, match="has not begun"):
        await asker.run("proofs", "demand", node, "--random")
    assert (await asker.run("proofs", "demands", node))["demands"] == []
    await scene.begin()
    assert scene.state.current is not None
    entry, shards = scene.entries[1], scene.state.current.shards_of(ASKED)
    named = ("--blob", blob_id_text(entry.blob_id), "--shard", str(shards[2]), "--symbol", "9")
    demand = ("proofs", "demand", node)
    for words in (
        (),
        named[:4],
        (*named, "--random"),
        ("--position", "1", "--random"),
        (*named[2:], "--random"),
    ):
        with pytest.raises(AssertionError, match="give --blob, --shard and --symbol"):
            await asker.run(*demand, *words)
    with pytest.raises(LedgerError, match="which has"):
        await asker.run(*demand, *named[:2], "--shard", "999", *named[4:])
    with pytest.raises(LedgerError, match="they are 0 to 10"):
        await asker.run(*demand, *named[:4], "--symbol", "11")
    with pytest.raises(LedgerError, match=f"they are 0 to {3 * 11 * scene.weight - 1}"):
        await asker.run(*demand, "--position", str(3 * 11 * scene.weight))
    with pytest.raises(LedgerError, match="no member"):
        await asker.run("proofs", "demand", "99", "--random")

    async def shown(client: MemberClient, blob_id: bytes) -> EntryProof:
        nodes = [leaf_hash(one.leaf()) for one in scene.entries]
        return EntryProof(entry, 1, MerkleProof.of(nodes, 1).siblings)

    async def denied(client: MemberClient, blob_id: bytes) -> EntryProof:
        raise NodeRefused(client.name, client.address, 404, Reason.METADATA_NOT_FOUND, "it is not there")

    monkeypatch.setattr(MemberClient, "entry_of", denied)
    with pytest.raises(NotLocated, match="not in the inventory of epoch 2"):
        await asker.run(*demand, *named)
    monkeypatch.setattr(MemberClient, "entry_of", shown)
    made = await asker.run(*demand, *named)
    place = (2 * 11 + 9) * scene.weight + entry.offset
    assert (made["position"], made["shard"], made["symbol"]) == (place, shards[2], 9)
    assert made["bond"] == BOND
    (listed,) = (await asker.run("proofs", "demands", node))["demands"]
    assert (listed["asker"], listed["position"]) == (asker.account, place)
    assert listed["answer_by_s"] == made["answer_by_s"]
    assert (await scene.node(ASKED))["open_demands"] == 1
    with pytest.raises(LedgerRefused, match="AlreadyDemanded"):
        await asker.run(*demand, "--random")
    with pytest.raises(LedgerRefused, match="TooEarly"):
        await asker.run("proofs", "judge-demand", node)


async def test_who_is_late_is_judged_and_fined(scene: Scene) -> None:
    asker, node = scene.asker, str(ASKED)
    assert (await scene.status())["next_step"] == "begin"
    await scene.begin()
    await scene.network.nodes[0].ledger.commit(2, b"\x07" * 32)
    told = await scene.status()
    assert (told["next_step"], told["by_s"], told["blobs"]) == ("commit", told["commit_by_s"] - 1, 3)
    assert [one["committed"] for one in told["members"]] == [True, False, False, False]
    assert [one["shards"] for one in told["members"]] == [4, 3, 2, 1]
    made = await asker.run("proofs", "demand", node, "--position", "5")
    assert made["position"] == 5
    with pytest.raises(LedgerRefused, match="TooEarly"):
        await asker.run("proofs", "draw")
    await scene.pass_time(told["commit_by_s"])
    assert (await scene.status())["next_step"] == "draw"
    assert not (await asker.run("proofs", "draw"))["drawn"]
    await scene.network.chain.mine(4)
    assert (await asker.run("proofs", "draw"))["drawn"]
    told = await scene.status()
    assert (told["next_step"], told["by_s"]) == ("prove", told["prove_by_s"] - 1)
    await scene.pass_time(max(told["answer_by_s"], made["answer_by_s"]) + 1)
    assert (await scene.status())["next_step"] == "judge"
    judged = await asker.run("proofs", "judge", str(IDLE))
    assert (judged["missed"], judged["punished"]) == (True, False)
    shown = await scene.node(IDLE)
    assert (shown["missed"], shown["misses_in_a_row"], shown["fined"]) == (True, 1, 0)

    await asker.run("epoch", "pay", node)
    stake = (await scene.network.operator.node(ASKED)).stake
    assert (await asker.run("proofs", "judge-demand", node))["punished"]
    assert await scene.network.operator.balance(asker.account) >= BOND
    shown = await scene.node(ASKED)
    assert (shown["punished"], shown["open_demands"]) == (True, 0)
    assert shown["fined"] == stake // 100
    assert (await scene.network.operator.node(ASKED)).stake == stake - shown["fined"]
    with pytest.raises(LedgerRefused, match="NotDemanded"):
        await asker.run("proofs", "judge-demand", node)
    member = (await scene.status())["members"][ASKED - 1]
    assert (member["punished"], member["misses_in_a_row"]) == (True, 0)


async def test_a_bond_comes_back_when_the_epoch_has_ended(scene: Scene) -> None:
    await scene.begin()
    await scene.asker.run("proofs", "demand", str(IDLE), "--random")
    with pytest.raises(LedgerRefused, match="EpochNotOver"):
        await scene.asker.run("proofs", "reclaim", str(IDLE), "--epoch", "2")
    before = await scene.network.operator.balance(scene.asker.account)
    await scene.network.begin_epoch()
    told = await scene.asker.run("proofs", "reclaim", str(IDLE))
    assert told["epoch"] == 2
    assert await scene.network.operator.balance(scene.asker.account) == before + BOND
    past = await scene.asker.run("proofs", "status", "--epoch", "1")
    assert (past["next_step"], past["by_s"], len(past["members"])) == ("over", None, 4)
    with pytest.raises(LedgerError, match="epoch 4 has not begun"):
        await scene.asker.run("proofs", "status", "--epoch", "4")


@pytest.fixture
async def proving(launch: Launch) -> proving_round.Round:
    """A round that has begun, of a node with about half of ten shards and real slivers."""
    return await proving_round.begin(await launch([5, 3, 2]))


async def test_an_account_answers_what_was_drawn_of_a_node(
    proving: proving_round.Round, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    other, node = await shell(proving.network, tmp_path), str(proving.node.node_id)
    with pytest.raises(CannotAnswer, match="not drawn yet"):
        await other.run("proofs", "answer", node)
    draw = await proving.draw()

    async def shown(client: MemberClient, asked: bytes, page: int) -> list[Opening]:
        assert (asked, page) == (draw, 0)
        return [proving.honest.opening(proving.position(draw, place)) for place in range(40)]

    async def wrong(client: MemberClient, asked: bytes, page: int) -> list[Opening]:
        return (await shown(client, asked, page))[::-1]

    monkeypatch.setattr(MemberClient, "openings", wrong)
    with pytest.raises(CannotAnswer, match=r"place \d+ is wrong"):
        await other.run("proofs", "answer", node)
    monkeypatch.setattr(MemberClient, "openings", shown)
    planned = await other.run("proofs", "answer", node, "--dry-run")
    assert len(planned["transactions"]) == 1
    told = await other.run("proofs", "answer", node)
    assert (told["answered"], told["proven"], len(told["transactions"])) == (16, True, 1)


async def test_an_account_answers_a_demand_of_a_node(
    proving: proving_round.Round, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asker, node = await shell(proving.network, tmp_path, tokens=100), str(proving.node.node_id)
    asked_for = ("proofs", "answer", node, "--demand", asker.account)
    with pytest.raises(CannotAnswer, match="no open demand"):
        await asker.run(*asked_for)
    await asker.run("proofs", "demand", node, "--position", "4321")

    async def shown(client: MemberClient, position: int) -> Opening:
        return proving.honest.opening(proving.position_at(position))

    monkeypatch.setattr(MemberClient, "opening_at", shown)
    assert (await asker.run(*asked_for))["position"] == 4321
    assert (await asker.run("proofs", "demands", node))["demands"] == []


@pytest.mark.parametrize(
    ("now_s", "step", "by_s"),
    [
        (99, RoundStep.COMMIT, 99),
        (100, RoundStep.DRAW, None),
        (110, RoundStep.PROVE, 199),
        (199, RoundStep.PROVE, 199),
        (200, RoundStep.ANSWER, 300),
        (300, RoundStep.ANSWER, 300),
        (301, RoundStep.JUDGE, None),
    ],
)
def test_what_a_round_waits_for(now_s: int, step: RoundStep, by_s: int | None) -> None:
    draw = bytes(32) if now_s > 100 else None
    times = (200, 300) if draw else (0, 0)
    found = Round(bytes(32), 1, 2, bytes(32), 100, 0, draw, *times)
    assert round_step(found, now_s) == (step, by_s)
    assert round_step(None, now_s) == (RoundStep.BEGIN, None)
