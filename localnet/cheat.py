"""A node that cheats, for the demo and the tests: it deletes half of its slivers, and tells no other node.

It waits until it has committed to all that it should store, so that only what is drawn afterwards can find it out. From
then on it repairs nothing, and serves what it has left. All else is the software that every node runs.
"""

from __future__ import annotations

import argparse
import asyncio
from collections.abc import Awaitable, Callable
from pathlib import Path

from committee.logs import Log
from storage.node import logs
from storage.node.__main__ import run
from storage.node.node import StorageNode
from storage.redstuff import Axis

log = Log()

LOOK_S = 0.2
"""Pause between two looks at whether the node has committed."""
BLOBS_AT_ONCE = 100
"""Blobs whose ids are read from the store at once."""


class Cheat(StorageNode):
    """A node that deletes every other sliver of those that it should keep, once it has committed to all of them."""

    def _put_together(self) -> tuple[Callable[[], Awaitable[None]], ...]:
        honest = super()._put_together()
        return (*(duty for duty in honest if duty != self.healing.run), self._delete_half)

    async def _delete_half(self) -> None:
        is_committed = False
        while not is_committed:
            await asyncio.sleep(LOOK_S)
            is_committed = self.rounds.prover.part.is_committed
        log.info("deleting half of the slivers", count=await asyncio.to_thread(self._delete))
        await asyncio.Event().wait()

    def _delete(self) -> int:
        """Delete every other sliver; return how many."""
        count, last = 0, b""
        while blobs := self.store.blobs_after(last, BLOBS_AT_ONCE):
            last = blobs[-1]
            for blob_id in blobs:
                for axis in Axis:
                    for shard in sorted(self.store.shards_with(blob_id, axis))[::2]:
                        symbols = self.store.sliver(blob_id, shard, axis)
                        count += symbols is not None and self.store.discard(blob_id, shard, axis, symbols)
        return count


def main() -> None:
    """Run a node that cheats, as `python -m storage.node` runs one that does not."""
    parser = argparse.ArgumentParser(prog="python -m localnet.cheat", description="Run a node that cheats.")
    parser.add_argument("folder", type=Path)
    parser.add_argument("--stop-with-parent", action="store_true")
    arguments = parser.parse_args()
    logs.configure(as_json=True)
    run(arguments.folder, arguments.stop_with_parent, Cheat)


if __name__ == "__main__":
    main()
