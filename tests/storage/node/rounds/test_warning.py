"""What a node warns of before it misses a proof: the rules, and that log, health and metrics have them in time."""

from __future__ import annotations

import re
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest

from committee.ledger.evm.proofs import ANSWERS_GAS, answers_gas, opening_gas
from committee.ledger.proofs import Means
from storage.node.proving import Incomplete, Progress, Proving, Term
from storage.node.rounds.warning import lacking_slivers, little_ether, mean_opening, slow_trees
from storage.proofs import Inventory
from storage.redstuff import Parameters
from tests.storage.node.handovers import BLOBS, MOVED
from tests.storage.node.rounds.test_rounds import ALL, CHEAT, delete

if TYPE_CHECKING:
    from tests.storage.node.rounds.conftest import Rounds

ETHER = 10**18


def test_shards_that_lack_slivers_are_named() -> None:
    assert lacking_slivers(()) is None
    assert "lack slivers: 3, 8;" in str(lacking_slivers((3, 8)))


@pytest.mark.parametrize(
    ("done", "read", "spent_s", "left_s", "is_slow"),
    [
        (0, 0, 0.0, 10, False),  # not begun
        (0, 0, 11.0, 10, True),  # nothing read for longer than is left
        (100, 100, 100.0, 10, False),  # all done
        (50, 50, 10.0, 10, False),
        (50, 50, 10.1, 10, True),
        (50, 10, 3.0, 10, True),  # the others were there before a restart
        (99, 99, 1.0, 0, True),
        (99, 99, 1.0, -5, True),
    ],
)
def test_trees_are_slow_when_the_pace_so_far_does_not_do(
    done: int, read: int, spent_s: float, left_s: float, is_slow: bool
) -> None:
    told = slow_trees(Progress(done, 100, read, spent_s), left_s)
    assert (told is not None) == is_slow
    assert told is None or f"{done} of 100" in told


def test_ether_is_little_when_it_does_not_pay_for_the_answers() -> None:
    assert little_ether(Means(5, 5)) is None
    told = str(little_ether(Means(ETHER // 100, ETHER // 2)))
    assert "has 0.01 ether" in told
    assert "up to 0.5 at" in told


def test_the_mean_opening_has_the_paths_of_a_real_one() -> None:
    opening = mean_opening(Parameters(10), Inventory(bytes(32), 3, 100), 4)
    paths = opening.inventory_path, opening.sliver_path, opening.blob_path, opening.commitment_path
    assert [len(path) for path in paths] == [2, 4, 4, 4 + 2 + 2]
    assert len(opening.symbol) == 34
    assert answers_gas({0: opening, 1: opening}) == ANSWERS_GAS + 2 * opening_gas(opening)


async def test_a_node_tells_how_many_pairs_its_trees_have(rounds: Rounds) -> None:
    node = rounds.network.running[1]
    await rounds.committed(1)
    term = Term.now(node.view)
    assert term is not None
    count = len(BLOBS)
    progress = node.proving.progress(term, term.shards, count)
    assert progress.done == progress.total == count * len(term.shards)
    assert progress.read >= progress.done
    assert progress.spent_s > 0


async def test_pairs_of_a_tree_that_was_not_finished_are_not_counted(rounds: Rounds) -> None:
    node = rounds.network.running[1]
    await rounds.committed(1)
    term = Term.now(node.view)
    assert term is not None
    other = replace(term, start=replace(term.start, hash=b"\x01" * 32))
    with pytest.raises(Incomplete):
        node.proving.shard_root(other, term.shards[0])
    progress = node.proving.progress(other, term.shards, len(BLOBS))
    assert progress.done == 0


async def test_a_node_warns_of_what_it_lacks_until_it_has_it(
    rounds: Rounds, caplog: pytest.LogCaptureFixture
) -> None:
    node = rounds.network.running[CHEAT]
    delete(node, 1)
    await rounds.next_epoch(MOVED)
    await rounds.until(lambda: "slivers: 8, 9;" in "".join(node.rounds.health()["warnings"]))
    assert "this node may miss its storage proof" in caplog.text
    text = await rounds.network.client(CHEAT).metrics()
    assert re.search(r"^haulout_proof_warnings 1\.0$", text, re.MULTILINE)
    assert (await rounds.network.client(CHEAT).health())["proofs"]["warnings"]
    assert "haulout_proof_warnings 0.0" in await rounds.network.client(1).metrics()


async def test_a_node_warns_of_little_ether_until_it_has_enough(rounds: Rounds) -> None:
    node = rounds.network.running[1]
    rounds.chain.means = Means(ETHER, 2 * ETHER)
    await rounds.until(lambda: "has 1 ether" in "".join(node.rounds.health()["warnings"]))
    rounds.chain.means = Means(2 * ETHER, 2 * ETHER)
    await rounds.until(lambda: not node.rounds.health()["warnings"])
    await rounds.committed(*ALL)


async def test_a_node_warns_of_trees_that_will_be_late(
    rounds: Rounds, monkeypatch: pytest.MonkeyPatch
) -> None:
    node = rounds.network.running[1]
    monkeypatch.setattr(Proving, "progress", lambda *_: Progress(done=1, total=10_000, read=1, spent_s=60.0))
    await rounds.until(lambda: "1 of 10000 sliver pairs" in "".join(node.rounds.health()["warnings"]))
    await rounds.drawn()
    await rounds.until(lambda: not node.rounds.health()["warnings"])
