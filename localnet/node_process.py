"""One storage node of a local network, as a process of its own.

The process ends with its parent's pipe, so that none is left running.
"""

from __future__ import annotations

import asyncio
import contextlib
import shutil
import signal
import sys
from dataclasses import dataclass
from pathlib import Path

from committee.errors import HauloutError
from committee.key_files import child_environment
from localnet.log_files import open_log
from storage.node import fail_points

STOP_PATIENCE_S = 10.0
"""Time from SIGTERM to SIGKILL for a node that has not stopped."""


class NetworkError(HauloutError):
    """The local network could not do what was asked; the message says what failed and where its log is."""


@dataclass
class NodeProcess:
    """One storage node: its folder, and its process while it runs."""

    name: str
    folder: Path
    port: int
    process: asyncio.subprocess.Process | None = None
    _fail_point: str = ""

    @property
    def address(self) -> str:
        """Return the URL at which the node's HTTP interface listens."""
        return f"http://127.0.0.1:{self.port}"

    @property
    def log_path(self) -> Path:
        """Return the path of the node's log."""
        return self.folder / "node.log"

    @property
    def has_ended(self) -> bool:
        """Whether the process has ended, neither by `stop` nor `kill` nor at its fail point."""
        if self.process is None or self.process.returncode is None:
            return False
        return not self._fail_point or self.process.returncode != -signal.SIGKILL

    async def start(self, fail_point: str = "", *, cheat: str = "") -> None:
        """Start the process; it serves once `LocalNetwork.ready` says so.

        With a fail point ("name" or "name:k") it kills itself there (`storage.node.fail_points`). With a `cheat` it is
        a node that cheats so ("kind" or "kind=name", `localnet.cheat`).
        """
        self._fail_point = fail_point
        try:
            log = open_log(self.log_path)
        except OSError as error:
            raise NetworkError(f"cannot write the log {self.log_path}: {error.strerror}") from None
        with log:
            self.process = await asyncio.create_subprocess_exec(
                sys.executable,
                "-P",  # modules of the folder that the command is given in are none of the node's
                "-m",
                *(
                    ("localnet.cheat", str(self.folder), cheat)
                    if cheat
                    else ("storage.node", str(self.folder))
                ),
                "--stop-with-parent",
                stdin=asyncio.subprocess.PIPE,
                stdout=log,
                stderr=log,
                start_new_session=True,
                env=child_environment(**{fail_points.ENVIRONMENT: fail_point}),
            )

    async def ended(self, limit_s: float) -> int:
        """Return the exit status once it ends by itself; negative: the signal's number. Raises `NetworkError`."""
        if self.process is None:
            raise NetworkError(f"{self.name} does not run")
        try:
            status = await asyncio.wait_for(self.process.wait(), limit_s)
        except TimeoutError:
            raise NetworkError(f"{self.name} still runs after {limit_s:g} s: {self.last_words()}") from None
        self.process = None
        return status

    async def stop(self) -> None:
        """Stop by SIGTERM, by SIGKILL when that takes too long. Idempotent."""
        if self.process is None:
            return
        if self.process.returncode is None:
            with contextlib.suppress(ProcessLookupError):
                self.process.terminate()
            try:
                await asyncio.wait_for(self.process.wait(), STOP_PATIENCE_S)
            except TimeoutError:
                await self.kill()
        self.process = None

    async def kill(self) -> None:
        """Kill the process by SIGKILL, so that it cannot clean up."""
        if self.process is not None:
            with contextlib.suppress(ProcessLookupError):
                self.process.kill()
            await self.process.wait()
            self.process = None

    def delete_folder(self) -> None:
        """Delete the node's folder with all it had: slivers, index, keys."""
        shutil.rmtree(self.folder)

    def last_words(self, lines: int = 3) -> str:
        """Return the end of the node's log, for an error message."""
        try:
            return " / ".join(self.log_path.read_text(errors="replace").strip().splitlines()[-lines:])
        except OSError:
            return "no log"
