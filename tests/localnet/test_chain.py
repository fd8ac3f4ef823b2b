"""The local chain starts, keeps its own clock and never outlives what started it."""

from __future__ import annotations

import asyncio
import os
import signal
import socket
import sys
from pathlib import Path

import pytest

from committee.errors import LedgerUnavailable
from committee.ledger.evm import answers
from committee.ledger.evm.rpc import Rpc
from localnet import chain as chain_module
from localnet.chain import ChainError, LocalChain, find_anvil

ACCOUNT = "0x00000000000000000000000000000000000000AA"


def is_running(process_id: int) -> bool:
    """Whether a process is there and no zombie."""
    if not Path("/proc").exists():
        try:
            os.kill(process_id, 0)
        except ProcessLookupError:
            return False
        return True
    try:
        state = Path(f"/proc/{process_id}/stat").read_text().rpartition(")")[2].split()[0]
    except (FileNotFoundError, ProcessLookupError):
        return False
    return state != "Z"


async def ask(chain: LocalChain, method: str, *parameters: object) -> str:
    rpc = Rpc(chain.rpc_url)
    try:
        return str(await rpc.request(method, *parameters, read=answers.anything))
    finally:
        await rpc.close()


async def timestamp(chain: LocalChain) -> int:
    rpc = Rpc(chain.rpc_url)
    try:
        block = await rpc.request("eth_getBlockByNumber", "latest", False, read=answers.block)
        return block.timestamp_s
    finally:
        await rpc.close()


async def test_chain_answers_and_is_gone_after_stop(tmp_path: Path) -> None:
    async with LocalChain(tmp_path) as chain:
        assert chain.port != 0
        assert await ask(chain, "eth_chainId") == hex(31337)
        process_id = chain.process_id
        assert process_id is not None
        assert is_running(process_id)
        assert os.getpgid(process_id) != os.getpgid(0)
    assert not is_running(process_id)
    assert chain.process_id is None
    await chain.stop()
    with pytest.raises(ChainError, match="not running"):
        await chain.mine()


async def test_chain_is_stopped_when_the_work_fails(tmp_path: Path) -> None:
    chain = LocalChain(tmp_path)
    with pytest.raises(ZeroDivisionError):
        async with chain:
            process_id = chain.process_id
            raise ZeroDivisionError
    assert process_id is not None
    assert not is_running(process_id)


async def test_chain_that_ignores_sigterm_is_killed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(chain_module, "STOP_LIMIT_S", 0.1)
    async with LocalChain(tmp_path) as chain:
        process_id = chain.process_id
        assert process_id is not None
        os.kill(process_id, signal.SIGSTOP)
    assert not is_running(process_id)


async def test_two_chains_at_once_take_two_ports(tmp_path: Path) -> None:
    async with LocalChain(tmp_path / "a") as one, LocalChain(tmp_path / "b") as other:
        assert one.port != other.port
        await one.mine(3)
        assert (await ask(one, "eth_blockNumber"), await ask(other, "eth_blockNumber")) == ("0x3", "0x0")


async def test_chain_can_be_started_again_but_not_twice(tmp_path: Path) -> None:
    chain = LocalChain(tmp_path)
    async with chain:
        with pytest.raises(ChainError, match="runs already"):
            await chain.start()
    async with chain:
        assert await ask(chain, "eth_blockNumber") == "0x0"


async def test_port_in_use_is_refused_by_name(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(ChainError, match=f"port {port} is in use.*choose another"):
            await LocalChain(tmp_path, port=port).start()


async def test_no_anvil_says_what_to_do(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setattr("localnet.chain.resources.files", lambda _: tmp_path)
    with pytest.raises(ChainError, match="no anvil: run make setup, or put Foundry's anvil on PATH"):
        await LocalChain(tmp_path).start()


def test_anvil_on_path_comes_first(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    mine = tmp_path / "anvil"
    mine.write_text("#!/bin/sh\n")
    mine.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path))
    assert find_anvil() == mine


async def test_anvil_that_ends_at_once_is_quoted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    broken = tmp_path / "anvil"
    broken.write_text("#!/bin/sh\necho no such hardfork >&2; exit 2\n")
    broken.chmod(0o755)
    monkeypatch.setattr(chain_module, "find_anvil", lambda: broken)
    with pytest.raises(ChainError, match="status 2: no such hardfork"):
        await LocalChain(tmp_path).start()


async def test_anvil_that_says_nothing_is_given_up(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    silent = tmp_path / "anvil"
    silent.write_text(
        "#!/bin/sh\necho $$ > process_id\nexec sleep 1000\n".replace("process_id", str(tmp_path / "id"))
    )
    silent.chmod(0o755)
    monkeypatch.setattr(chain_module, "find_anvil", lambda: silent)
    monkeypatch.setattr(chain_module, "START_LIMIT_S", 0.5)
    with pytest.raises(ChainError, match="did not start within"):
        await LocalChain(tmp_path / "chain").start()
    assert not is_running(int((tmp_path / "id").read_text()))


async def test_time_is_moved_on(tmp_path: Path) -> None:
    async with LocalChain(tmp_path) as chain:
        before = await timestamp(chain)
        await chain.increase_time(3600)
        assert 3600 <= await timestamp(chain) - before < 3700
        assert await ask(chain, "eth_blockNumber") == "0x1"


async def test_accounts_have_what_they_are_given_and_none_is_rich(tmp_path: Path) -> None:
    async with LocalChain(tmp_path) as chain:
        assert await ask(chain, "eth_accounts") == "[]"
        await chain.fund(ACCOUNT, ether=3)
        assert int(await ask(chain, "eth_getBalance", ACCOUNT, "latest"), 16) == 3 * 10**18
        assert (
            "0xac0974bec39a17e36ba4a6b4d238ff944bacb478cbed5efcae784d7bf4f2ff80"
            not in chain.log_path.read_text()
        )


async def test_chain_that_was_killed_is_reported(tmp_path: Path) -> None:
    async with LocalChain(tmp_path) as chain:
        assert chain.process_id is not None
        os.kill(chain.process_id, signal.SIGKILL)
        assert chain._process is not None
        await chain._process.wait()
        with pytest.raises(ChainError, match="the local chain failed"):
            await chain.mine()
        with pytest.raises(LedgerUnavailable):
            await ask(chain, "eth_chainId")


ORPHAN = """
import asyncio, sys
from pathlib import Path
from localnet.chain import LocalChain

async def main():
    async with LocalChain(Path(sys.argv[1])) as chain:
        print(chain.process_id, flush=True)
        await asyncio.Event().wait()

asyncio.run(main())
"""


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux can tie a child's life to its parent's")
async def test_chain_ends_when_its_parent_is_killed(tmp_path: Path) -> None:
    parent = await asyncio.create_subprocess_exec(
        sys.executable, "-c", ORPHAN, str(tmp_path), stdout=asyncio.subprocess.PIPE
    )
    assert parent.stdout is not None
    process_id = int(await parent.stdout.readline())
    assert is_running(process_id)
    ended = asyncio.Event()
    watched = os.pidfd_open(process_id)
    asyncio.get_running_loop().add_reader(watched, ended.set)
    parent.kill()
    await parent.communicate()
    try:
        await asyncio.wait_for(ended.wait(), 10)
    finally:
        asyncio.get_running_loop().remove_reader(watched)
        os.close(watched)
