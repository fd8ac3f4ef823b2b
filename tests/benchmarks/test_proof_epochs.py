"""An honest member misses no round of storage proofs, whatever it suffers; one that cannot open what is drawn does."""

from __future__ import annotations

from pathlib import Path

import pytest

from benchmarks.proof_epochs import Story
from storage.node.proving import Incomplete, Proving, Term
from storage.proofs import Position

EPOCHS = 12


async def test_an_honest_member_misses_no_round(tmp_path: Path) -> None:
    lived = await Story(tmp_path, seed=1).run(EPOCHS)
    assert lived.epochs == lived.drawn == EPOCHS
    assert lived.misses == lived.fined == lived.unanswered == 0
    assert lived.certified + lived.answered == EPOCHS
    assert min(lived.certified, lived.answered, lived.restarts, lived.demands) > 0
    assert len(lived.hostile) == 4


async def test_a_member_that_cannot_open_what_is_drawn_misses_and_is_fined(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def opening(self: Proving, term: Term, commitment: bytes, position: Position) -> None:
        raise Incomplete("it is gone")

    monkeypatch.setattr(Proving, "opening", opening)
    lived = await Story(tmp_path, seed=1).run(2)
    assert lived.misses == 2
    assert lived.fined == 10
