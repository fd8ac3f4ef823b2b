"""A real chain on this machine: anvil as a child process, with its own port, folder and clock.

No account is funded at the start and none of anvil's well-known keys is used: an account gets ether by `fund`.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import re
import shutil
import signal
import sys
from importlib import resources
from pathlib import Path
from types import TracebackType
from typing import Any

from committee.errors import HauloutError, LedgerError
from committee.key_files import child_environment
from committee.ledger.evm import answers
from committee.ledger.evm.rpc import Rpc
from localnet.log_files import open_log

HARDFORK = "prague"
"""The first that has the BLS12-381 precompiles (EIP-2537)."""
START_LIMIT_S = 20.0
STOP_LIMIT_S = 5.0
"""Time from SIGTERM to SIGKILL for a chain that has not stopped."""
LOG_POLL_S = 0.02
WEI_PER_ETHER = 10**18
BLOCKS_A_SLOT = 2
"""Blocks by which anvil's finalized block is behind the newest, for each slot in an epoch."""

_LISTENING = re.compile(r"Listening on 127\.0\.0\.1:(\d+)")

# Runs between fork and anvil. Asking the kernel to end us with our parent must happen in the child; a
# `preexec_fn` could do that too, but not safely in a process that has threads.
_LAUNCHER = """
import ctypes, os, signal, sys
parent, *command = sys.argv[1:]
if sys.platform == "linux":
    ctypes.CDLL(None).prctl(1, signal.SIGKILL)  # PR_SET_PDEATHSIG
    if os.getppid() != int(parent):
        sys.exit("the parent ended first")
os.execv(command[0], command)
"""


class ChainError(HauloutError):
    """The local chain could not be started or steered; the message says why and what to do."""


class LocalChain:
    """Runs anvil, one block per transaction. An async context manager that leaves nothing but its folder.

    `finalized` is the block `finality_lag_blocks` (2 or more) behind the newest. With `block_time_s` an empty block
    comes each time that many seconds have passed, so that the finalized block moves; the chain's clock goes on by a
    second with each.

    On Linux the chain also ends when this process is killed. (The kernel ties it to the thread that called
    `start`.)
    """

    def __init__(
        self,
        folder: Path,
        port: int = 0,
        finality_lag_blocks: int = BLOCKS_A_SLOT,
        block_time_s: float | None = None,
    ) -> None:
        """Nothing runs yet. `folder` takes the log and what anvil swaps out; port 0 stands for any free one."""
        self.folder = folder
        self.port = port
        self._slots = max(1, finality_lag_blocks // BLOCKS_A_SLOT)
        self._block_time_s = block_time_s
        self._process: asyncio.subprocess.Process | None = None
        self._rpc: Rpc | None = None

    @property
    def rpc_url(self) -> str:
        """Return the URL at which the chain answers JSON-RPC. Known once the chain is started."""
        return f"http://127.0.0.1:{self.port}"

    @property
    def log_path(self) -> Path:
        """What anvil writes."""
        return self.folder / "anvil.log"

    @property
    def process_id(self) -> int | None:
        """Return the process id of the running chain."""
        return self._process.pid if self._process else None

    async def start(self) -> None:
        """Start anvil and wait until it answers.

        Raises `ChainError` when there is no anvil, the port is in use, or anvil ends or stays silent.
        """
        if self._process is not None:
            raise ChainError(f"the chain runs already, at {self.rpc_url}")
        command = [str(find_anvil()), *self._options()]
        self.folder.mkdir(parents=True, exist_ok=True)
        try:
            log = open_log(self.log_path, is_new=True)
        except OSError as error:
            raise ChainError(f"cannot write the log {self.log_path}: {error.strerror}") from None
        with log:
            self._process = await asyncio.create_subprocess_exec(
                *(sys.executable, "-I", "-S", "-c", _LAUNCHER, str(os.getpid()), *command),
                stdin=asyncio.subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
                env=child_environment(),
            )
        try:
            async with asyncio.timeout(START_LIMIT_S):
                self.port = await self._listening_port(self._process)
            self._rpc = Rpc(self.rpc_url)
            await self.request("eth_chainId")
        except TimeoutError:
            await self.stop()
            raise ChainError(
                f"anvil did not start within {START_LIMIT_S:.0f} s: {self._last_words()}"
            ) from None
        except BaseException:
            await self.stop()
            raise

    async def stop(self) -> None:
        """End the chain, by SIGKILL if it must be. Idempotent; a stopped chain's state is gone."""
        rpc, self._rpc = self._rpc, None
        process, self._process = self._process, None
        try:
            if rpc is not None:
                await rpc.close()
            if process is not None:
                with contextlib.suppress(ProcessLookupError):
                    process.terminate()
                with contextlib.suppress(TimeoutError):
                    await asyncio.wait_for(process.wait(), STOP_LIMIT_S)
        finally:
            if process is not None and process.returncode is None:
                with contextlib.suppress(ProcessLookupError):
                    os.killpg(process.pid, signal.SIGKILL)
                await process.wait()

    async def fund(self, account: str, ether: int = 1000) -> None:
        """Set an account's balance."""
        await self.request("anvil_setBalance", account, hex(ether * WEI_PER_ETHER))

    async def increase_time(self, seconds: int) -> None:
        """Move the chain's clock on and mine a block at the new time."""
        await self.request("evm_increaseTime", seconds)
        await self.request("evm_mine")

    async def mine(self, blocks: int = 1) -> None:
        """Mine empty blocks."""
        await self.request("anvil_mine", hex(blocks))

    async def __aenter__(self) -> LocalChain:
        await self.start()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.stop()

    def _options(self) -> list[str]:
        mining = (
            () if self._block_time_s is None else ("--block-time", str(self._block_time_s), "--mixed-mining")
        )
        return [
            *("--host", "127.0.0.1", "--port", str(self.port), "--hardfork", HARDFORK),
            *("--accounts", "0", "--slots-in-an-epoch", str(self._slots)),
            *("--cache-path", str(self.folder / "states")),
            *mining,
        ]

    async def _listening_port(self, process: asyncio.subprocess.Process) -> int:
        """Wait for anvil to say where it listens: another server on our port cannot be taken for it."""
        while True:
            found = _LISTENING.search(self.log_path.read_text(errors="replace"))
            if found:
                return int(found[1])
            if process.returncode is not None:
                words = self._last_words()
                if "in use" in words:
                    raise ChainError(
                        f"port {self.port} is in use: stop what listens there, or choose another port "
                        "(0 takes any free one)"
                    )
                raise ChainError(f"anvil ended with status {process.returncode}: {words}")
            await asyncio.sleep(LOG_POLL_S)

    async def request(self, method: str, *parameters: Any) -> Any:
        """Return the result of a JSON-RPC request to anvil. Raises `ChainError`."""
        if self._rpc is None:
            raise ChainError(f"{method}: the chain is not running")
        try:
            return await self._rpc.request(method, *parameters, read=answers.anything)
        except LedgerError as error:
            raise ChainError(
                f"the local chain failed: {error}; its log ends: {self._last_words()}"
            ) from error

    def _last_words(self, lines: int = 3) -> str:
        try:
            text = self.log_path.read_text(errors="replace")
        except OSError:
            return "no log"
        return " / ".join(text.strip().splitlines()[-lines:]) or "an empty log"


def find_anvil() -> Path:
    """Return the anvil to run: the one on PATH, else the one from npm. Raises `ChainError` when there is neither."""
    on_path = shutil.which("anvil")
    if on_path:
        return Path(on_path)
    with resources.as_file(resources.files("contracts")) as contracts:
        for found in sorted(contracts.glob("evm/node_modules/@foundry-rs/anvil-*/bin/anvil*")):
            if os.access(found, os.X_OK):
                return found
    raise ChainError("no anvil: run make setup, or put Foundry's anvil on PATH")
