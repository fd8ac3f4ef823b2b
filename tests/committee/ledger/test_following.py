"""Following a real chain through reorganisations and kills, with what a node saves.

Whatever happened, a view that followed must be what a view that reads everything anew is.
"""

from __future__ import annotations

import contextlib
import random
from collections.abc import Collection, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from committee.errors import LedgerRefused
from committee.ledger import EpochStarted, Event
from storage.node.chain import ChainView
from storage.node.chain.rows import Rows
from storage.node.chain.store import ChainStore
from tests.committee.ledger.following import (
    CONFIRMATIONS,
    STAKES,
    assert_as_fresh,
    certify,
    content,
    register,
    settled_ledger,
)

if TYPE_CHECKING:
    from tests.committee.ledger.conftest import Launch


@pytest.fixture(autouse=True)
def impatient_sender(monkeypatch: pytest.MonkeyPatch) -> None:
    """Transactions that a reorganisation dropped leave a gap, which the sender shall find at once."""
    monkeypatch.setattr("committee.ledger.evm.sender.LOOKUP_INTERVAL_S", 0.05)
    monkeypatch.setattr("committee.ledger.evm.sender.RECEIPT_LIMIT_S", 5.0)


# reorganisations


@pytest.mark.parametrize("depth", range(1, CONFIRMATIONS + 3))
async def test_reorganisation_across_an_epoch_and_a_certificate(
    launch: Launch, tmp_path: Path, depth: int
) -> None:
    network = await launch(STAKES)
    await network.begin_epoch()
    ledger = await settled_ledger(network)
    view = ChainView(ledger, 1, ChainStore(tmp_path))
    await view.load()
    told: list[Event] = []
    view.subscribe(told.append)
    blob_id, object_id = await register(network, 1)
    await network.chain.increase_time(600)
    await network.operator.select()
    await network.chain.increase_time(600)
    await network.chain.mine(CONFIRMATIONS)
    await view.refresh()
    assert view.is_registered(blob_id)
    # The newest settled blocks from here on: certificate, start; a reorganisation deeper than the confirmations takes
    # the start away, then the certificate too.
    await certify(network, blob_id, object_id)
    await network.operator.start()
    await network.chain.mine(CONFIRMATIONS)
    await view.refresh()
    assert view.is_live(blob_id)
    assert view.state.epoch == 2
    before = content(view)

    await network.chain.request("anvil_reorg", depth, [])
    await view.refresh()
    if depth <= CONFIRMATIONS:
        assert content(view) == before
    assert view.state.epoch == (2 if depth <= CONFIRMATIONS else 1)
    assert view.is_live(blob_id) == (depth <= CONFIRMATIONS + 1)
    await network.chain.mine(2)
    await view.refresh()
    await assert_as_fresh(view, ledger)
    if depth <= CONFIRMATIONS:
        assert sum(isinstance(event, EpochStarted) and event.epoch == 2 for event in told) == 1
    with contextlib.suppress(LedgerRefused):
        await network.operator.start()
    await certify(network, *await register(network, 2))
    await network.chain.mine(CONFIRMATIONS)
    await view.refresh()
    await assert_as_fresh(view, ledger)
    assert view.state.epoch == 2


async def test_reorganisation_while_the_node_was_down(launch: Launch, tmp_path: Path) -> None:
    network = await launch(STAKES)
    await network.begin_epoch()
    ledger = await settled_ledger(network, confirmations=0)
    store = ChainStore(tmp_path)
    await ChainView(ledger, 1, store).load()
    blob_id, _ = await register(network, 1)
    view = ChainView(ledger, 1, store)
    await view.load()
    assert view.is_registered(blob_id)
    await network.chain.request("anvil_reorg", 1, [])
    await network.chain.mine(4)
    view = ChainView(ledger, 1, store)
    await view.load()
    assert not view.is_registered(blob_id)
    await assert_as_fresh(view, ledger)
    store.close()


# kills


class KilledError(BaseException):
    """The process ends here: nothing of it goes on, as it would after an exception."""


class DyingStore(ChainStore):
    """A file whose process is killed at the `dies_at`th moment: just before, within or just after a transaction."""

    def __init__(self, folder: Path, dies_at: int) -> None:
        super().__init__(folder)
        self.left = dies_at

    @contextlib.contextmanager
    def writing(self, changed: Collection[bytes] | None = None) -> Iterator[Rows]:
        self._moment()
        with super().writing(changed) as writing:
            yield writing
            self._moment()  # rows are written, and the transaction does not come to its end
        self._moment()

    def _moment(self) -> None:
        self.left -= 1
        if self.left == 0:
            raise KilledError


@pytest.mark.parametrize("seed", range(3))
async def test_kill_and_restart_between_any_two_steps(
    launch: Launch, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, seed: int
) -> None:
    chance = random.Random(seed)
    monkeypatch.setattr("committee.ledger.evm.history.BLOCKS_IN_A_STRETCH", 2)
    network = await launch(STAKES)
    await network.begin_epoch()
    ledger = await settled_ledger(network)
    waiting: list[tuple[bytes, int]] = []
    view: ChainView | None = None
    store: DyingStore | None = None
    kills = 0
    for step in range(40):
        match chance.randrange(8):
            case 0 | 1:
                waiting.append(await register(network, 1000 + step))
            case 2 | 3 if waiting:
                with contextlib.suppress(LedgerRefused):  # a reorganisation took it
                    await certify(network, *waiting.pop())
            case 4:
                with contextlib.suppress(LedgerRefused):
                    await network.hand_over(await network.begin_epoch())
            case 5:
                await network.chain.request("anvil_reorg", chance.randint(1, CONFIRMATIONS + 2), [])
            case _:
                await network.chain.mine(chance.randint(1, 4))
        try:
            if view is None:
                store = DyingStore(tmp_path, chance.randint(1, 20))
                opening = ChainView(ledger, 1, store)
                await opening.load()
                view = opening
            await view.refresh()
            await assert_as_fresh(view, ledger)
        except KilledError:
            assert store is not None
            store.close()
            view, kills = None, kills + 1
    assert kills > 3
    store = DyingStore(tmp_path, 1000)
    view = ChainView(ledger, 1, store)
    await view.load()
    await assert_as_fresh(view, ledger)
    store.close()
