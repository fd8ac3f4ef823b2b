"""What lives, period by period: the start of an epoch within a period ends no blob."""

from __future__ import annotations

import pytest

from storage.node.chain import ChainView
from tests.memory_chain import MemoryChain
from tests.storage.network import PARAMETERS, SHARDS
from tests.storage.node.chain.kept import live_at_start, live_blobs
from tests.storage.node.handovers import encoded

BLOB = encoded(1, 100)
REGULAR, REPLACEMENT = "regular", "replacement"


class Chain(MemoryChain):
    """A chain of four members in its first epoch and period."""

    def __init__(self) -> None:
        super().__init__(PARAMETERS)
        self.add_candidates(SHARDS)
        self.go_on(REGULAR)

    def go_on(self, kind: str) -> None:
        """Start an epoch in which all is attested, node 3 having been ejected before a replacement."""
        if kind == REPLACEMENT:
            self.eject(3)
            self.replace()
        else:
            self.select()
        self.start()
        if not self.state.handover_done:
            self.close()


@pytest.mark.parametrize(
    ("starts", "period", "lives"),
    [
        pytest.param(starts.split(), period, period < 3, id=starts)
        for starts, period in (
            (REPLACEMENT, 1),
            (REGULAR, 2),
            (f"{REGULAR} {REPLACEMENT}", 2),
            (f"{REGULAR} {REGULAR}", 3),
            (f"{REPLACEMENT} {REGULAR}", 2),
            (f"{REPLACEMENT} {REGULAR} {REGULAR}", 3),
        )
    ],
)
@pytest.mark.parametrize("is_read_anew", [False, True], ids=["followed", "read anew"])
async def test_a_blob_lives_until_its_end_period(
    starts: list[str], period: int, lives: bool, is_read_anew: bool
) -> None:
    """Of two periods; the same for a view that followed every start, and for one that read the state at the end."""
    chain = Chain()
    view = ChainView(chain.ledger(None), 1)
    await view.load()
    chain.certify(chain.register(BLOB, end_period=3))
    for kind in starts:
        await view.refresh()
        chain.go_on(kind)
    await view.refresh()
    if is_read_anew:
        view = ChainView(chain.ledger(None), 1)
        await view.load()
    assert (view.state.period, view.state.epoch) == (period, 1 + len(starts))
    assert view.is_live(BLOB.blob_id) == view.is_registered(BLOB.blob_id) == lives
    assert live_at_start(view) == live_blobs(view) == ([BLOB.blob_id] if lives else [])


@pytest.mark.parametrize(("kind", "lives"), [(REGULAR, False), (REPLACEMENT, True)])
def test_what_a_selected_committee_is_to_have_is_what_lives_in_its_period(kind: str, lives: bool) -> None:
    chain = Chain()
    chain.certify(chain.register(BLOB, end_period=2))
    if kind == REPLACEMENT:
        chain.eject(3)
        chain.replace()
    else:
        chain.select()
    period = chain.state.next_period
    live = [one.blob_id for one in chain.records.values() if one.is_live(period)]
    assert live == ([BLOB.blob_id] if lives else [])
