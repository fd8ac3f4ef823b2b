"""`haulout localnet`: a network that stays, for whoever wants to try the other commands on it."""

from __future__ import annotations

import asyncio
import shlex
import tempfile
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path

from committee.ledger.evm import DeploymentParameters
from localnet.network import TOKEN, LocalNetwork, NetworkError

EPOCH_S = 60
BLOCK_INTERVAL_S = 1.0
"""A block so often, so that the chain's clock goes on while nobody sends anything."""
STAKE_TOKENS = 100
OPERATOR_TOKENS = 1_000_000


async def stay(folder: Path | None, n_nodes: int, n_shards: int, say: Callable[[str], None]) -> None:
    """Run a chain and nodes in epoch 1 until cancelled; says what to export for the other commands.

    The operator's account, whose key file is named, deployed the contracts: it has ether and tokens, and may mint
    more. Without a folder everything lives in one that is deleted at the end. Raises `NetworkError` when the folder
    is not empty, and when a node ends by itself.
    """
    with ExitStack() as stack:
        if folder is None:
            folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="haulout-localnet-")))
        folder = folder.resolve()
        if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
            raise NetworkError(f"{folder} is not an empty folder: name one that is, or a new one")
        parameters = DeploymentParameters(n_shards, epoch_duration_s=EPOCH_S, handover_deadline_s=EPOCH_S)
        async with LocalNetwork(folder, parameters) as network:
            for number in range(1, n_nodes + 1):
                await network.add_node(f"node-{number}", STAKE_TOKENS)
            await network.serving()
            await network.next_epoch()
            await network.operator.mint(str(network.operator.account), OPERATOR_TOKENS * TOKEN)
            for name, value in exports(network).items():
                say(f"export {name}={shlex.quote(value)}")
            say(f"# {n_nodes} nodes in epoch 1, below {folder}/nodes; Ctrl-C stops everything")
            while True:
                network.require_running()
                await network.chain.mine()
                await asyncio.sleep(BLOCK_INTERVAL_S)


def exports(network: LocalNetwork) -> dict[str, str]:
    """The environment in which the other commands use a network, as its operator."""
    return {
        "HAULOUT_RPC": network.chain.rpc_url,
        "HAULOUT_DEPLOYMENT": str(network.manifest),
        "HAULOUT_KEY_FILE": str(network.operator_key),
    }
