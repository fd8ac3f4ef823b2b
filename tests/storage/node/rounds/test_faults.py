"""Rounds of storage proofs while the chain, the disk or fellows fail: no duty fails, and who is honest proves."""

from __future__ import annotations

import asyncio
import errno
from collections import Counter
from collections.abc import Callable, Collection
from typing import TYPE_CHECKING, Any

import pytest

from committee.errors import LedgerError, LedgerRefused, LedgerUnavailable
from committee.files import write_whole
from committee.ledger.proofs import Demand
from committee.rota import Turn
from storage.client import progress
from storage.client.failures import Reason
from storage.node.duties import Rota
from storage.node.face import Refusal
from storage.node.proving import Proving, Term, opening_pages
from storage.node.store import StoreError
from storage.proofs import Position, position_count
from tests.memory_chain import WRITER
from tests.storage.node.handovers import CODE, MOVED

if TYPE_CHECKING:
    from pathlib import Path

    from committee.opening import Opening
    from tests.storage.node.rounds.conftest import Rounds

ALL = (1, 2, 3, 4)


def fail_first(ledgers: Collection[object], name: str, error: Callable[[str], LedgerError]) -> None:
    """Have the first call of a method fail, on whichever of the ledgers that is."""
    has_failed = False

    def bent(real: Callable[..., Any]) -> Callable[..., Any]:
        async def called(*arguments: Any) -> Any:
            nonlocal has_failed
            if not has_failed:
                has_failed = True
                raise error(name)
            return await real(*arguments)

        return called

    for ledger in ledgers:
        setattr(ledger, name, bent(getattr(ledger, name)))


# the chain


ASKED = ("proof_round", "chain_time_s", "member_proof", "held_since", "proof_terms", "newest", "demands")
SENT = ("commit", "prove")
BY_ONE = ("begin_round", "draw")
"""What one member does for all; after it the next one has its turn."""


@pytest.mark.parametrize(
    ("names", "error"),
    [
        (ASKED + SENT + BY_ONE, LedgerUnavailable),
        (SENT + BY_ONE, lambda name: LedgerRefused(name, "InsufficientFunds")),
    ],
    ids=["no endpoint answers", "the account cannot pay"],
)
async def test_what_fails_for_a_while_at_each_step_is_done_later(
    rounds: Rounds, names: tuple[str, ...], error: Callable[[str], LedgerError]
) -> None:
    ledgers = rounds.network.ledgers.values()
    for name in names:
        for some in [ledgers] if name in BY_ONE else [[one] for one in ledgers]:
            fail_first(some, name, error)
    await rounds.committed(*ALL)
    await rounds.drawn()
    await rounds.proven(*ALL)
    assert not rounds.chain.contracts.misses


async def test_a_turn_in_which_too_few_sign_at_first_is_not_lost(
    rounds: Rounds, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Fellows that are being restarted sign some seconds later, and the next member's turn may come minutes later."""
    unwilling, following = set(ALL), rounds.epoch + 1

    def bent(real: Callable[[], Any], node_id: int) -> Callable[[], Any]:
        async def sign_inventory() -> Any:
            if rounds.epoch == following and node_id in unwilling:  # in the round before, all may sign still
                unwilling.discard(node_id)
                raise Refusal(404, Reason.INVALID_REQUEST, "not yet")
            return await real()

        return sign_inventory

    def only_turn(*_: Any, **__: Any) -> Turn:
        return Turn(number=0, node_id=1, is_open=True)

    monkeypatch.setattr(Rota, "turn", only_turn)
    for one in ALL:
        auditing = rounds.network.running[one].rounds.auditing
        monkeypatch.setattr(auditing, "sign_inventory", bent(auditing.sign_inventory, one))
    await rounds.next_epoch(MOVED)
    await rounds.committed(*ALL)
    assert unwilling <= {1}  # which asks all others and not itself


async def test_a_demand_behind_the_end_of_the_line_fails_no_duty(
    rounds: Rounds, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The newest block may be in the next epoch, where the node has more, before the node has seen that settled."""
    await rounds.committed(*ALL)
    assert rounds.round is not None
    ledger, looks = rounds.network.ledgers[1], 0
    end = position_count(CODE, len(rounds.network.running[1].view.my_shards()), rounds.round.weight)

    async def demands(node_id: int) -> tuple[Demand, ...]:
        nonlocal looks
        looks += 1
        return (Demand(node_id, WRITER, end, rounds.chain.time_s + 100),)

    with monkeypatch.context() as patch:
        patch.setattr(ledger, "demands", demands)
        await rounds.until(lambda: looks > 2)
    await rounds.chain.ledger(WRITER).demand(1, end - 1)
    await rounds.until(lambda: not rounds.chain.contracts.demands)


async def test_a_step_that_fails_unexpectedly_stops_no_other(
    rounds: Rounds, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    looks = Counter[int]()

    async def demands(node_id: int) -> tuple[Demand, ...]:
        """Fail at three looks; the fourth never ends, as each failure logs all its frames."""
        looks[node_id] += 1
        if looks[node_id] > 3:
            await asyncio.Event().wait()
        raise KeyError(node_id)

    for one in ALL:
        monkeypatch.setattr(rounds.network.ledgers[one], "demands", demands)
    await rounds.committed(*ALL)
    await rounds.drawn()
    await rounds.proven(*ALL)
    assert "Demands.answer" in caplog.text
    await rounds.network.stop(*ALL)
    caplog.clear()


# the disk


async def test_a_tree_that_is_damaged_before_the_commitment_is_made_anew(
    rounds: Rounds, monkeypatch: pytest.MonkeyPatch
) -> None:
    damaged: list[Path] = []
    node, real = rounds.network.running[1], Proving.commit

    def commit(self: Proving, term: Term, *, to_all: bool) -> bytes | None:
        if self is node.proving and not damaged:
            damaged.extend(self.folder_of(term).glob("*.tree"))
            for path in damaged:
                path.write_bytes(path.read_bytes()[:-1])
        return real(self, term, to_all=to_all)

    monkeypatch.setattr(Proving, "commit", commit)
    await rounds.next_epoch(MOVED)
    await rounds.committed(*ALL)
    assert damaged
    await rounds.drawn()
    await rounds.proven(*ALL)


async def test_a_demand_of_what_the_disk_does_not_give_keeps_no_other_from_its_answer(
    rounds: Rounds, monkeypatch: pytest.MonkeyPatch
) -> None:
    node, real = rounds.network.running[1], Proving.demanded
    await rounds.committed(*ALL)

    def demanded(self: Proving, term: Term, position: Position) -> Opening:
        if self is node.proving and not position.symbol:
            raise StoreError("the index cannot be read")
        return real(self, term, position)

    assert rounds.round is not None
    with monkeypatch.context() as patch:
        patch.setattr(Proving, "demanded", demanded)
        await rounds.chain.ledger(WRITER).demand(1, 0)
        rounds.tick(1)  # the one that fails comes first
        await rounds.chain.ledger("another asker").demand(1, rounds.round.weight)
        await rounds.until(lambda: len(rounds.chain.contracts.demands) == 1)
    await rounds.until(lambda: not rounds.chain.contracts.demands)


async def test_a_member_whose_disk_is_full_answers_on_chain(
    rounds: Rounds, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder, real = rounds.network.running[1].proving._folder, write_whole

    def full(path: Path, content: bytes) -> None:
        if path.is_relative_to(folder):
            raise OSError(errno.ENOSPC, "no space is left", str(path))
        real(path, content)

    await rounds.committed(*ALL)
    monkeypatch.setattr(opening_pages, "write_whole", full)
    monkeypatch.setattr(progress, "PATIENCE_S", 0.5)
    await rounds.drawn()
    await rounds.proven(2, 3, 4)
    assert rounds.round is not None
    rounds.tick(rounds.round.prove_by_s - rounds.chain.time_s)
    await rounds.proven(1)
    assert len(rounds.proof(1).answered) == 16
