"""One storage node in a process of its own, to be killed: `python -m benchmarks.node_process FOLDER`.

FOLDER holds `chain.pickle`, the chain as the node is to find it, and `node.pickle`, the node's id and settings. The
chain is a copy: what the node attests is known in this process alone, which ends with status 0 when its gained shards
all are. Before their epoch has started, it runs until it is killed.
"""

from __future__ import annotations

import asyncio
import pickle
import sys
from pathlib import Path

from benchmarks.node_network import secret_of, until
from storage.node.config import NodeConfig
from storage.node.node import StorageNode
from tests.memory_chain import MemoryChain


async def serve(folder: Path) -> None:
    """Run the node until its gained shards are attested."""
    chain: MemoryChain = pickle.loads((folder / "chain.pickle").read_bytes())
    node_id, settings = pickle.loads((folder / "node.pickle").read_bytes())
    config = NodeConfig(**settings)
    committee = chain.state.next or chain.state.current
    assert committee is not None
    gained = set(committee.shards_of(node_id))
    node = StorageNode(folder, config, secret_of(node_id), chain.ledger(config.name))
    running = asyncio.create_task(node.run())
    await until(lambda: running.done() or chain.attested >= gained, "the node attests its shards")
    running.cancel()
    await asyncio.gather(running, return_exceptions=True)


if __name__ == "__main__":
    asyncio.run(serve(Path(sys.argv[1])))
