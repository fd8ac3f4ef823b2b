"""One storage node in a process of its own, to be killed: `python -m benchmarks.node_process FOLDER`.

FOLDER is the network's; it holds `chain.pickle`, the chain as the node is to find it, and `node.pickle`, the node's id
and settings. The chain is a copy: what the node attests is known in this process alone, which ends with status 0 when
its gained shards all are. Before their epoch has started, it runs until it is killed.
"""

from __future__ import annotations

import asyncio
import pickle
import sys
from pathlib import Path

from benchmarks.node_network import LONGEST_WAIT_S
from tests.memory_chain import MemoryChain
from tests.storage.network import Network


async def serve(folder: Path) -> None:
    """Run the node until its gained shards are attested."""
    chain: MemoryChain = pickle.loads((folder / "chain.pickle").read_bytes())
    node_id, settings = pickle.loads((folder / "node.pickle").read_bytes())
    committee = chain.state.next or chain.state.current
    assert committee is not None
    gained = set(committee.shards_of(node_id))
    async with Network(folder, chain) as network:
        await network.start(node_id, **settings)
        await network.until(
            lambda: chain.attested >= gained, what="the node attests its shards", limit_s=LONGEST_WAIT_S
        )


if __name__ == "__main__":
    asyncio.run(serve(Path(sys.argv[1])))
