"""The turns as one node sees them: each task's order is drawn once in a committee."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import TYPE_CHECKING

import pytest

from committee.rota import draw_order
from storage.node import duties
from storage.node.duties import Rota

if TYPE_CHECKING:
    from tests.storage.conftest import OneNode


@pytest.fixture
def drawn(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The tasks whose order was drawn."""
    tasks: list[str] = []

    def draw(weights: Mapping[int, int], epoch: int, task: str) -> tuple[int, ...]:
        tasks.append(task)
        return draw_order(weights, epoch, task)

    monkeypatch.setattr(duties, "draw_order", draw)
    return tasks


@pytest.fixture
def rota(node: OneNode, monkeypatch: pytest.MonkeyPatch) -> Rota:
    """Turns of 8 s."""
    monkeypatch.setattr(Rota, "length_s", 8)
    return Rota(node.view)


def test_the_order_of_a_task_is_drawn_once_in_a_committee(
    node: OneNode, rota: Rota, drawn: list[str]
) -> None:
    current = node.view.state.current
    assert current is not None
    weights = {one.node_id: one.weight for one in current.members}
    for waited_s, place in ((0, 0), (9, 1), (1, 0)):
        turn = rota.turn("select", waited_s)
        assert turn is not None
        assert turn.node_id == draw_order(weights, current.epoch, "select")[place]
    assert drawn == ["select"]
    rota.turn("start", 0)
    rota.turn("select", 0, without=[1])
    assert drawn == ["select", "start", "select"]
    later = dataclasses.replace(current, epoch=current.epoch + 1)
    node.view.state = dataclasses.replace(node.view.state, current=later)
    turn = rota.turn("select", 0)
    assert turn is not None
    assert turn.node_id == draw_order(weights, later.epoch, "select")[0]
    assert drawn == ["select", "start", "select", "select"]


def test_no_more_orders_than_the_limit_are_kept(
    rota: Rota, drawn: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(duties, "ORDERS_KEPT", 2)
    for number in (1, 2, 3, 3, 2, 1):
        rota.turn(f"eject {number}", 0)
    assert drawn == ["eject 1", "eject 2", "eject 3", "eject 1"]


def test_there_are_no_turns_when_all_members_are_left_out(rota: Rota) -> None:
    assert rota.turn("select", 0, without=[1, 2, 3]) is None
