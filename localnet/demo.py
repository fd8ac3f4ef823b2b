"""The main job, end to end, on real parts: a chain, ten storage nodes as processes, four changes of epoch.

Store real files, certify them on chain, read them. Kill a member and delete its folder: the others eject it, replace it
within the period and rebuild its shards, with no command given. Let another member leave and a newcomer join: the
next period's committee takes over. Have a third delete half of its slivers: it fails two storage proofs, is fined and
replaced. After each change check the transition report, and read every file again.
"""

from __future__ import annotations

import asyncio
import shutil
import tempfile
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from pathlib import Path
from typing import Protocol

import numpy as np

from committee.errors import HauloutError
from committee.ledger.evm import DeploymentParameters
from committee.membership import Committee, Member
from committee.printing import size_text
from localnet.demo_results import Change, DemoResult, FileResult, RoundResult
from localnet.network import TOKEN, LocalNetwork, Progress
from localnet.rounds import ProofRound
from storage.client.errors import NodeError
from storage.node.handover.report import (
    NodeReport,
    ShardReport,
    TransitionReport,
    transition_report,
)
from storage.redstuff import Parameters, blob_id_text

N_SHARDS = 100
NODES = {
    "baffin": 70,
    "barents": 80,
    "beaufort": 90,
    "bering": 100,
    "chukchi": 110,
    "davis": 120,
    "greenland": 90,
    "kara": 100,
    "laptev": 130,
    "pechora": 110,
}
"""Name → stake in tokens: unequal, so that shard counts differ. Waters where walruses live."""
NEWCOMER = ("svalbard", 200)
LEAVES, DIES, CHEATS = "baffin", "barents", "pechora"
HURRY_S = 10
"""Seconds of the chain's time that pass between two looks at a step which waits for the turn of a member."""
PARAMETERS = DeploymentParameters(
    n_shards=N_SHARDS,
    period_duration_s=3600,
    handover_deadline_s=300,
    certificate_grace_s=5,
    notice_s=5,
    patience_s=10,
    band_millis=500,
    price_per_mib_period=1,
    write_price_per_mib=1,
)
BLOB_PERIODS = 5
BIG_FILE_BYTES = 16 * 2**20


class Narrator(Protocol):
    """What tells a person what happens; silent for `--json`."""

    def step(self, title: str) -> None:
        """A new part of the story."""

    def say(self, text: str) -> None:
        """One line of it."""

    def progress(self, name: str, done: int, total: int, note: str = "") -> None:
        """How far something has come; `done == total` ends it."""


class DemoFailed(HauloutError):
    """The demo could not go on; the message says what was awaited and what stood instead."""


class Demo:
    """One run of the main job on one network."""

    def __init__(self, network: LocalNetwork, files: Sequence[Path], narrator: Narrator) -> None:
        self._network = network
        self._paths = files
        self._tell = narrator
        self._files: list[FileResult] = []
        self._rounds: list[RoundResult] = []
        self._gas: dict[str, int] = {}

    async def run(self) -> DemoResult:
        """Run the whole demo. Raises `DemoFailed` when something awaited does not come."""
        first = await self._begin()
        async with self._network.mining():
            await self._store()
            await self._read(first.epoch)
            replacement = await self._replace(first)
            await self._read(replacement.committee.epoch)
            regular = await self._next_period(replacement.committee)
            await self._read(regular.committee.epoch)
            changes = [replacement, regular, *await self._catch_a_cheat(regular.committee)]
        return DemoResult(self._files, first, changes, self._rounds, self._gas)

    async def _begin(self) -> Committee:
        self._tell.step("A chain, the contracts, ten storage nodes")
        self._tell.say(f"contracts deployed: committee at {self._network.deployment.committee}")
        for name, stake in NODES.items():
            await self._network.add_node(name, stake)
        await self._network.serving(progress=self._telling("nodes registered, staked and serving"))
        self._gas["select"] = (await self._network.select()).gas_used
        self._gas["start"] = (await self._network.start_epoch()).gas_used
        committee = await self._committee()
        self._tell.say("epoch 1: the contract elected " + _names(committee.members))
        await self._until(self._nodes_in_epoch(committee), "nodes follow epoch 1", len(committee.members))
        return committee

    async def _store(self) -> None:
        self._tell.step("Store files: encode, register on chain, upload, certify on chain")
        for path in self._paths:
            data = await asyncio.to_thread(path.read_bytes)
            began = time.monotonic()
            stored = await self._network.client.store(
                data, BLOB_PERIODS, progress=self._progress_of(path.name)
            )
            self._files.append(FileResult(path, stored))
            self._gas["register"], self._gas["certify"] = stored.register_gas, stored.certify_gas
            self._tell.say(
                f"{path.name}: {stored.size_bytes:,} bytes certified as {blob_id_text(stored.blob_id)} "
                f"in {time.monotonic() - began:.1f} s, certify {stored.certify_gas:,} gas"
            )

    def _progress_of(self, name: str) -> Callable[[str, int, int], None]:
        return lambda stage, done, total: self._tell.progress(f"{name}: {stage}", done, total)

    async def _read(self, epoch: int) -> None:
        self._tell.step(f"Read every file back from the committee of epoch {epoch}")
        for file in self._files:
            data = await self._network.client.read(file.stored.blob_id)
            equal = file.read_ok[epoch] = data == await asyncio.to_thread(file.path.read_bytes)
            self._tell.say(f"{file.path.name}: {len(data):,} bytes, {'equal' if equal else 'DIFFERENT'}")

    async def _replace(self, committee: Committee) -> Change:
        """Kill a member; the other members notice, eject and replace it, and rebuild its shards, all by themselves."""
        self._tell.step("A member is killed: the others eject it, replace it and rebuild its shards")
        network = self._network
        began = time.monotonic()
        await network.nodes[DIES].kill()
        network.nodes[DIES].delete_folder()
        self._tell.say(f"{DIES}: SIGKILL, folder deleted")
        dead = next(member for member in committee.members if member.name == DIES)
        await self._until(self._is_ejected(dead), f"the others notice that {DIES} is silent and eject it", 1)
        self._tell.say(f"{DIES} is ejected by the others: it was silent for {PARAMETERS.patience_s} s")
        await self._until(self._is_selected, "a member has the committee selected without it", 1)
        change = await self._change(committee)
        self._tell.say(
            f"{DIES} is replaced and its shards are rebuilt {time.monotonic() - began:.1f} s after"
        )
        return change

    async def _next_period(self, committee: Committee) -> Change:
        """Have a member leave and a newcomer join, and move the clock on to the next period."""
        self._tell.step("One member leaves, a new one joins, and the next period comes")
        network = self._network
        async with await network.ledger_of(LEAVES) as ledger:
            self._gas["leave"] = (await ledger.leave()).gas_used
        self._tell.say(f"{LEAVES} leaves by the book")
        name, stake = NEWCOMER
        await network.add_node(name, stake)
        await network.serving(name, progress=self._telling(f"{name} registered, staked and serving"))
        self._tell.say(f"{name} joins with a stake of {stake} tokens")
        await network.chain.increase_time(PARAMETERS.period_duration_s // 2)
        await self._until(
            self._soon(self._is_selected), "a member has the next period's committee elected", 1
        )
        await network.chain.increase_time(PARAMETERS.period_duration_s // 2)
        return await self._change(committee)

    async def _catch_a_cheat(self, committee: Committee) -> list[Change]:
        """Have a member delete half of its slivers: it misses two rounds of storage proofs, is fined and replaced."""
        self._tell.step("A member quietly deletes half of its slivers: it fails its proofs and is replaced")
        network, cheat = self._network, self._network.nodes[CHEATS]
        await cheat.stop()
        await cheat.start(cheat="delete-one-of=2")
        await network.serving(CHEATS)
        await self._round(committee)
        await network.chain.increase_time(PARAMETERS.period_duration_s // 2)
        await self._until(
            self._soon(self._is_selected), "a member has the next period's committee elected", 1
        )
        await network.chain.increase_time(PARAMETERS.period_duration_s // 2)
        second = await self._change(committee)
        await self._read(second.committee.epoch)
        await self._round(second.committee)
        without = f"a member has the committee selected without {CHEATS}"
        await self._until(self._soon(self._is_selected), without, 1)
        third = await self._change(second.committee)
        await self._read(third.committee.epoch)
        return [second, third]

    async def _round(self, committee: Committee) -> None:
        """See a round of storage proofs through, and note what came of it."""
        epoch, seen = committee.epoch, ProofRound(self._network, committee, self._until)
        honest = [name for name in seen.names if name != CHEATS]
        await seen.committed(honest)
        await seen.drawn()
        await seen.proven(honest)
        await seen.judged()
        now, fined = await seen.parts(), await seen.fines()
        proved = [name for name, one in now.items() if one.is_proven]
        on_chain = [name for name in proved if now[name].answered]
        missed = [name for name, one in now.items() if one.is_missed]
        self._rounds.append(RoundResult(epoch, CHEATS, proved, on_chain, missed, fined))
        self._tell.say(
            f"epoch {epoch}: {len(proved)} members proved what they store, {len(proved) - len(on_chain)} of them to "
            f"their fellows; {_told(missed, fined)}"
        )

    async def _change(self, previous: Committee) -> Change:
        """Wait until the selected epoch is started and every gained shard attested."""
        network = self._network
        await self._until(self._soon(self._has_started(previous.epoch + 1)), "a member starts the epoch", 1)
        began = time.monotonic()
        current = await self._committee()
        state = await network.operator.epoch_state()
        self._tell.say(
            f"epoch {current.epoch}, period {state.period}: the committee is " + _names(current.members)
        )
        await network.handed_over(self._telling("gained shards attested", self._moved))
        seconds = time.monotonic() - began
        if not (await network.operator.epoch_state()).handover_done:
            raise DemoFailed(
                "every gained shard is attested, but the contract has not declared the handover done"
            )
        self._tell.say(f"the contract declares the handover done after {seconds:.1f} s")
        return Change(state.period, current, await self._report(previous, current), seconds)

    async def _report(self, previous: Committee, current: Committee) -> TransitionReport:
        nodes = await self._network.handover_reports(current)
        lengths = {file.stored.blob_id: file.stored.size_bytes for file in self._files}
        unattested = (await self._network.operator.epoch_state()).unattested
        return transition_report(previous, current, list(lengths.values()), nodes, unattested=unattested)

    async def _committee(self) -> Committee:
        state = await self._network.operator.epoch_state()
        if state.current is None:
            raise DemoFailed("the first epoch was started, but the contract names no committee")
        return state.current

    # what is awaited: each returns a function that says how much of it is there

    def _nodes_in_epoch(self, committee: Committee) -> Callable[[], Awaitable[int]]:
        async def count() -> int:
            healths = await self._network.healths([member.name for member in committee.members])
            return sum(health["epoch"] == committee.epoch for health in healths.values())

        return count

    def _is_ejected(self, member: Member) -> Callable[[], Awaitable[int]]:
        async def count() -> int:
            candidates = await self._network.operator.candidates()
            return int(member.node_id not in {one.node_id for one in candidates})

        return count

    def _has_started(self, epoch: int) -> Callable[[], Awaitable[int]]:
        async def count() -> int:
            return int((await self._network.operator.epoch_state()).epoch == epoch)

        return count

    async def _is_selected(self) -> int:
        return int((await self._network.operator.epoch_state()).next is not None)

    def _soon(self, count: Callable[[], Awaitable[int]]) -> Callable[[], Awaitable[int]]:
        """Return `count` for a step that a member takes in its turn: until it is done, each look moves the clock on.

        A jump of the clock ends amid a turn, and behind jumps turns are long: they are measured by blocks.
        """

        async def look() -> int:
            done = await count()
            if not done:
                await self._network.chain.increase_time(HURRY_S)
            return done

        return look

    async def _moved(self) -> str:
        """Return what has been moved so far, for the progress line."""
        shards: list[ShardReport] = []
        for member in (await self._committee()).members:
            try:
                shards += NodeReport.from_json(await self._network.node_client(member.name).handover()).shards
            except NodeError:
                return ""
        copied = sum(shard.transferred_bytes for shard in shards)
        rebuilt = sum(shard.rebuilt_bytes for shard in shards)
        return f"copied {size_text(copied)}, rebuilt from {size_text(rebuilt)} of symbols"

    async def _until(self, count: Callable[[], Awaitable[int]], what: str, total: int) -> None:
        """Wait until `count` reaches `total`, telling how far it is."""
        await self._network.until(what, count, total, self._telling(what))

    def _telling(self, what: str, note: Callable[[], Awaitable[str]] | None = None) -> Progress:
        """Tells a person how far a wait has come."""

        async def tell(done: int, total: int) -> None:
            self._tell.progress(what, done, total, await note() if note else "")

        return tell


def _told(missed: Sequence[str], fined: Mapping[str, int]) -> str:
    paid = ", ".join(
        f"{name} pays {amount / TOKEN:g} tokens and is ejected" for name, amount in fined.items()
    )
    return f"{', '.join(missed)} did not and earns nothing" + (f"; {paid}" if paid else "")


def _names(members: Sequence[Member]) -> str:
    return ", ".join(f"{member.name} ({member.weight})" for member in members)


def example_files(folder: Path) -> list[Path]:
    """Return files of different sizes: some of the project's own, and one of 16 MiB made in `folder`."""
    here = Path(__file__).resolve()
    own = [here, *(here.parents[1] / name for name in ("LICENSE", "README.md", "requirements.txt"))]
    big = folder / "sixteen-mebibytes.bin"
    numbers = np.arange(BIG_FILE_BYTES // 8, dtype="<u8") * np.uint64(0x9E3779B97F4A7C15)
    big.write_bytes(numbers.tobytes())
    return [path for path in own if path.is_file()] + [big]


async def run_demo(files: Sequence[Path], narrator: Narrator) -> DemoResult:
    """Run the main job in a folder of its own, which is deleted afterwards.

    Stops whatever it started, also when it fails or is cancelled. Raises `TooLarge` before it starts anything.
    """
    for path in files:
        Parameters(N_SHARDS).symbol_size(path.stat().st_size)
    folder = Path(tempfile.mkdtemp(prefix="haulout-demo-"))
    try:
        async with LocalNetwork(folder, PARAMETERS, keeper=True) as network:
            return await Demo(network, files or example_files(folder), narrator).run()
    finally:
        shutil.rmtree(folder, ignore_errors=True)
