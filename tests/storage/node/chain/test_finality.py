"""A chain that has blocks and settles none is noticed; one without blocks is not taken for it."""

from __future__ import annotations

import time
from types import SimpleNamespace
from typing import TYPE_CHECKING

import pytest

from storage.node.chain import finality, health, view
from storage.node.chain.finality import LONGEST_PAUSE_S, LOOK_S, STOPPED_S, Finality
from tests.logged import captured
from tests.storage.network import SHARDS

if TYPE_CHECKING:
    from tests.storage.network import Network

NODE = min(SHARDS)
DAY_S = 86_400


def test_a_chain_that_settles_blocks_is_not_looked_at() -> None:
    rule = Finality()
    for number in range(100):
        assert not rule.settled(number, number * STOPPED_S / 2)
        assert not rule.is_doubtful(number * STOPPED_S / 2)


def test_before_its_first_answer_a_chain_is_silent_since_the_start(monkeypatch: pytest.MonkeyPatch) -> None:
    """And not since the machine's: a node that is started anew may serve before the chain answers."""
    now_s = 5.0 * DAY_S
    monkeypatch.setattr(health, "time", SimpleNamespace(monotonic=lambda: now_s))
    chain = health.ChainHealth()
    now_s += 7
    assert (chain.behind_s, chain.unsettled_s) == (7, 7)


def test_a_chain_that_settles_nothing_is_told_once_and_so_is_its_recovery() -> None:
    rule, now_s = Finality(), 5 * STOPPED_S
    rule.settled(7, now_s)
    assert not rule.is_doubtful(now_s + STOPPED_S - 1)
    now_s += STOPPED_S
    news = []
    for newest in (80, 81, 82):
        assert rule.is_doubtful(now_s)
        news.append(rule.looked(newest, now_s))
        assert not rule.is_doubtful(now_s + LOOK_S - 1)
        now_s += LOOK_S
    assert (news, rule.has_stopped, rule.unsettled_s(now_s)) == (
        [False, True, False],
        True,
        STOPPED_S + 3 * LOOK_S,
    )
    assert not rule.settled(7, now_s)
    assert rule.settled(8, now_s)
    assert not rule.has_stopped


def test_a_chain_without_new_blocks_has_not_stopped_settling() -> None:
    rule = Finality()
    rule.settled(7, 0)
    assert not any(rule.looked(80, STOPPED_S + look * LOOK_S) for look in range(5))


@pytest.mark.parametrize(("block_s", "at_most"), [(384, 10_000), (12, 40_000), (0.25, 200_000)])
def test_a_chain_is_asked_as_often_as_it_settles_blocks(block_s: float, at_most: int) -> None:
    """rocket-pool/smartnode#126, livepeer/docs#63: a provider gives some 100 000 requests a day away."""
    rule, now_s, asked = Finality(), 1000.0, 0
    while now_s < 1000 + DAY_S:
        rule.settled(int(now_s // block_s), now_s)
        asked += 1
        now_s += rule.pause_s(0.5, now_s)
    assert DAY_S / LONGEST_PAUSE_S <= asked <= at_most


def test_a_chain_that_has_rested_is_asked_often_again_when_it_settles_often() -> None:
    rule, now_s = Finality(), 0.0
    rule.settled(1, now_s)
    assert rule.pause_s(0.5, now_s) == 0.5
    now_s += 3600
    assert rule.pause_s(0.5, now_s) == LONGEST_PAUSE_S
    for number in range(2, 12):
        rule.settled(number, now_s)
        now_s += 1
    assert rule.pause_s(0.5, now_s) < 2
    assert rule.pause_s(60, now_s) == 60


async def test_a_node_says_that_its_chain_settles_nothing(
    network: Network, monkeypatch: pytest.MonkeyPatch
) -> None:
    """sig-net/mpc#402: the settled block stays, and the newest one goes on."""
    passed_s, real = 0.0, time.monotonic
    for module in (view, health):
        monkeypatch.setattr(module, "time", SimpleNamespace(monotonic=lambda: real() + passed_s))
    network.hold(NODE)
    chain = network.running[NODE].view
    await network.until(lambda: chain.unsettled_s < STOPPED_S)
    with captured() as told:
        for _ in range(3):
            network.chain.mine()
            passed_s += finality.STOPPED_S
            looked = chain._health.finality._looked_s
            await network.until(lambda looked=looked: chain._health.finality._looked_s > looked)
        told_health = await network.client(NODE).health()
        network.let_go(NODE)
        await network.until(lambda: not chain._health.finality.has_stopped)
    assert told_health["chain"]["status"] == "degraded: the chain settles nothing"
    assert told_health["chain"]["unsettledSeconds"] >= 2 * STOPPED_S
    words = [one["event"] for one in told if "settles" in one["event"]]
    assert words == [
        "the chain settles nothing, though blocks come: what happens in them is not taken in",
        "the chain settles blocks again",
    ]
