"""The pages in `docs/` name code that exists."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.docs.code_names import ROOT, Names, wrong_names

PAGES = sorted((ROOT / "docs").glob("*.md"))


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_every_code_name_of_a_page_exists(page: Path, names: Names) -> None:
    assert wrong_names(page.read_text(), names) == []


@pytest.mark.parametrize(
    "text",
    [
        "`committee.shards.worth_two_shards`",
        "`shards.worth_two_shards()`",
        "`Committee.quorums`",
        "`Ballot.elect`",
        "`committee/shard.py`",
    ],
)
def test_an_invented_name_is_told(text: str, names: Names) -> None:
    assert len(wrong_names(text, names)) == 1


def test_a_name_of_two_modules_is_told() -> None:
    names = Names(modules={"one.rota": frozenset({"turn_at"}), "other.rota": frozenset({"turn_at"})})
    assert wrong_names("`one.rota.turn_at`", names) == []
    (told,) = wrong_names("`rota.turn_at`", names)
    assert "one.rota.turn_at, other.rota.turn_at" in told


@pytest.mark.parametrize(
    "text",
    [
        "`committee.shards.worth_a_shard`",
        "`shards.worth_a_shard`",
        "`committee.ledger.next_step`",
        "`Committee.quorum`",
        "`membership.Committee.quorum`",
        "`Blobs.liveBlobs`, which BlobObjects has",
        "`node.toml`, `chain.status`",
        "`lib/Contact.sol`, `committee/shards.py`",
    ],
)
def test_names_of_every_form_are_found(text: str, names: Names) -> None:
    assert wrong_names(text, names) == []
