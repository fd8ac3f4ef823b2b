"""`haulout localnet`: a network on which the other commands can be tried, until it is stopped."""

from __future__ import annotations

import asyncio
import json
import shlex
import tempfile
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path

from committee.ledger.evm import DeploymentParameters
from localnet.network import BLOCK_INTERVAL_S, TOKEN, LocalNetwork
from localnet.node_process import NetworkError

PRICE = TOKEN // 1000
"""Price of a MiB, for a period and for its registration, in the token's smallest unit."""
STAKE_TOKENS = 100


async def stay(
    folder: Path | None,
    n_nodes: int,
    n_shards: int,
    epoch_s: int,
    say: Callable[[str], None],
    *,
    as_json: bool = False,
) -> None:
    """Run a chain and nodes until cancelled; say, once they serve in epoch 1, how other commands use them.

    The nodes move the epochs on by themselves, every `epoch_s` and as long as a handover takes.

    What is said is `usage(network, as_json)`. The operator's account deployed the contracts: it has ether and tokens,
    and may mint more. Without a folder the network lives in one that is deleted at the end. Raises `NetworkError` when
    the folder is not empty, and when a node ends by itself.
    """
    with ExitStack() as stack:
        if folder is None:
            folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="haulout-localnet-")))
        folder = folder.resolve()
        if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
            raise NetworkError(f"{folder} is not an empty folder: name one that is, or a new one")
        parameters = DeploymentParameters(
            n_shards,
            period_duration_s=epoch_s,
            handover_deadline_s=epoch_s,
            price_per_mib_period=PRICE,
            write_price_per_mib=PRICE,
            evidence_window_s=epoch_s,
            opening_members=1,
        )
        async with LocalNetwork(folder, parameters, keeper=True) as network:
            for number in range(1, n_nodes + 1):
                await network.add_node(f"node-{number}", STAKE_TOKENS)
            await network.serving()
            await network.next_epoch()
            say(usage(network, as_json))
            while True:
                network.require_running()
                await network.chain.mine()
                await asyncio.sleep(BLOCK_INTERVAL_S)


def usage(network: LocalNetwork, as_json: bool) -> str:
    """Return the environment in which other commands act as the network's operator: shell lines, or a JSON object."""
    environment = {
        "HAULOUT_RPC": network.chain.rpc_url,
        "HAULOUT_DEPLOYMENT": str(network.manifest),
        "HAULOUT_KEY_FILE": str(network.operator_key),
    }
    if as_json:
        return json.dumps(environment)
    nodes = f"# {len(network.nodes)} nodes in epoch 1, below {network.folder}/nodes; Ctrl-C stops everything"
    return "\n".join((*(f"export {name}={shlex.quote(value)}" for name, value in environment.items()), nodes))
