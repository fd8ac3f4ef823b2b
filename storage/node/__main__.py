"""`python -m storage.node FOLDER`: run the node whose settings, keys and store are in FOLDER.

With `--stop-with-parent` the node stops when its standard input ends, so that a test or demo that is killed leaves no
node behind.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import gc
import os
import sys
from pathlib import Path

from committee import standard_streams
from committee.errors import HauloutError
from committee.ledger.evm import Deployment, EvmLedger, with_headers
from committee.logs import Log
from committee.running import stop_signals
from storage.node import descriptors, logs
from storage.node.config import account_key, bls_key, load_config
from storage.node.node import StorageNode
from storage.node.object_store import have_threads
from storage.redstuff import kernels

log = Log()

OTHERS_WRITE = 0o022
"""No file that the node makes may be written to by its group or others, whatever the umask that it was started with."""
SWITCH_INTERVAL_S = 0.001
"""After this time a thread that computes gives way to the event loop, which needs a turn for each of the ten calls of
the kernel that a request takes. By Python's own 5 ms, three such threads make health wait three times as long."""


async def serve(folder: Path, stop_with_parent: bool = False, make: type[StorageNode] = StorageNode) -> None:
    """Run one node until a signal to stop (`committee.running`) or, if asked for, the end of standard input."""
    config = load_config(folder)
    secret = bls_key(folder)
    key = account_key(folder)
    kernels.require()
    descriptors.raise_limit()
    have_threads(config)
    loop = asyncio.get_running_loop()
    stop = asyncio.Event()
    for number in stop_signals():
        loop.add_signal_handler(number, stop.set)
    if stop_with_parent:
        loop.add_reader(sys.stdin, _stop_at_end_of_input, stop)
    deployment = Deployment.load(config.deployment)
    providers = with_headers(config.rpc_url, config.rpc_headers)
    ledger = EvmLedger.open(providers, deployment, key, config.confirmations)
    try:
        node = make(folder, config, secret, ledger)
        running = asyncio.create_task(node.run())
        stopping = asyncio.create_task(stop.wait())
        started = asyncio.create_task(_freeze(node.serves))
        await asyncio.wait((running, stopping), return_when=asyncio.FIRST_COMPLETED)
        if stop.is_set():
            log.info("stopping")
        started.cancel()
        stopping.cancel()
        running.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await running
    finally:
        await ledger.close()


def run(folder: Path, stop_with_parent: bool = False, make: type[StorageNode] = StorageNode) -> None:
    """Run one node in this process, as `serve`."""
    sys.setswitchinterval(SWITCH_INTERVAL_S)
    os.umask(os.umask(OTHERS_WRITE) | OTHERS_WRITE)
    asyncio.run(serve(folder, stop_with_parent, make))


async def _freeze(started: asyncio.Event) -> None:
    """Have the garbage collector leave alone what the node consists of once it has started.

    It would look at those 200 000 objects again and again, 120 ms each time, in which nothing is answered.
    """
    await started.wait()
    gc.collect()
    gc.freeze()


def _stop_at_end_of_input(stop: asyncio.Event) -> None:
    if not os.read(sys.stdin.fileno(), 4096):
        asyncio.get_running_loop().remove_reader(sys.stdin)
        stop.set()


def main() -> None:
    """Run a node; exit with status 0 after an orderly stop, with 1 and the reason in the log's last line otherwise."""
    standard_streams.reserve()
    parser = argparse.ArgumentParser(prog="python -m storage.node", description="Run one storage node.")
    parser.add_argument("folder", type=Path)
    parser.add_argument("--stop-with-parent", action="store_true")
    arguments = parser.parse_args()
    logs.configure(as_json=True)
    try:
        run(arguments.folder, arguments.stop_with_parent)
    except HauloutError as error:
        log.critical("the node cannot run", folder=str(arguments.folder), error=str(error))
        sys.exit(1)


if __name__ == "__main__":
    main()
