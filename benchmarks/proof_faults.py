"""What befalls a node in a simulated epoch of storage proofs: kills, a slow disk, a silent chain endpoint.

All of it follows from one source of random numbers, and time is the chain's alone.
"""

from __future__ import annotations

import inspect
import random
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from committee.errors import LedgerUnavailable
from storage.node.store import SliverStore
from storage.node.store.records import Symbols
from storage.redstuff import Axis
from tests.memory_chain import MemoryChain, MemoryLedger

MOST_KILLS = 2
"""In an epoch."""
STEPS = 500
"""About as many steps as a node takes in an epoch; it may be killed at each."""
SLOWEST_READ_S = 4.0
"""Chain time for reading a sliver. The openings of a page read 80."""
SILENCE = 0.02
"""Share of the calls of the node's chain endpoint that fail."""
NEVER = 1 << 60


class Killed(BaseException):
    """The node is killed here; no part of it can handle that."""


@dataclass
class Faults:
    """What the node suffers in one epoch after the other."""

    chain: MemoryChain
    choose: random.Random
    read_s: float = 0.0
    """Chain time for reading a sliver."""
    _steps_left: int = NEVER
    _kills_left: int = 0
    _waited_s: float = 0.0

    def begin_epoch(self) -> None:
        """Choose what the node suffers in the next epoch: a slow disk in half of them."""
        self._kills_left = self.choose.randint(0, MOST_KILLS)
        self.read_s = self.choose.choice((0.0, self.choose.uniform(0, SLOWEST_READ_S)))
        self.begin_life()

    def begin_life(self) -> None:
        """Choose the step at which the node is killed next."""
        self._steps_left = self.choose.randrange(STEPS) if self._kills_left else NEVER
        self._kills_left = max(0, self._kills_left - 1)

    def step(self) -> None:
        """Take one step. Raises `Killed`."""
        self._steps_left -= 1
        if self._steps_left < 0:
            self._steps_left = NEVER
            raise Killed

    def read(self) -> None:
        """Wait until a sliver is read. Raises `Killed`."""
        self.step()
        self._waited_s += self.read_s
        whole_s = int(self._waited_s)
        self._waited_s -= whole_s
        self.chain.time_s += whole_s

    def is_silent(self) -> bool:
        """Return whether the chain's endpoint does not answer a call."""
        return self.choose.random() < SILENCE


class Disk(SliverStore):
    """A node's store, whose reads take time, and at each of which the node may be killed."""

    def __init__(self, folder: Path, faults: Faults) -> None:
        super().__init__(folder)
        self._faults = faults

    def sliver(self, blob_id: bytes, shard: int, axis: Axis) -> Symbols | None:
        """Return a sliver from the store, slowly."""
        self._faults.read()
        return super().sliver(blob_id, shard, axis)

    def missing(self, shard: int, axis: Axis, blob_ids: Sequence[bytes]) -> list[bytes]:
        """Return the slivers that a shard lacks; wait for those that a pass over the shard reads next."""
        for _ in blob_ids:
            self._faults.read()
        return super().missing(shard, axis, blob_ids)


class Endpoint:
    """A node's ledger. Any call may fail, and the node may be killed before the call and after it."""

    def __init__(self, ledger: MemoryLedger, faults: Faults) -> None:
        self._ledger = ledger
        self._faults = faults

    def __getattr__(self, name: str) -> Any:
        found = getattr(self._ledger, name)
        if not inspect.iscoroutinefunction(found):
            return found

        async def called(*arguments: Any, **named: Any) -> Any:
            self._faults.step()
            if self._faults.is_silent():
                raise LedgerUnavailable(f"{name}: no answer")
            answer = await found(*arguments, **named)
            self._faults.step()
            return answer

        return called
