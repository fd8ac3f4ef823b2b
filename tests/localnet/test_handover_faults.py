"""SIGKILL at every step of a handover: of the node that fills its shards, of a source, of a helper. All end alike.

One network serves many kills, one change of epoch after another: bravo leaves, and the others rebuild its shards; bravo
stays away, and what was given up is dropped; bravo comes back, and has its shards transferred from the others.
"""

from __future__ import annotations

import random
import re
import signal
from collections.abc import AsyncIterator

import pytest
import pytest_asyncio

from committee.ledger.evm import DeploymentParameters
from committee.membership import Committee
from committee.shards import assign
from localnet.network import LocalNetwork
from storage.node import fail_points
from storage.redstuff import Axis, RedStuff
from tests.storage.node.places import on_disk, segments_of

N_SHARDS = 13
NAMES = ("alfa", "bravo", "charlie", "delta", "echo")
TURNS = "bravo"
"""Leaves and comes back, turn and turn about."""
BAND_MILLIS = 500
END_LIMIT_S = 60.0
QUIET_LOOKS = 30
"""About 6 s."""
AT_LEAST_EPOCHS = 8
"""For so many periods some blobs are live when a change is prepared."""
CODE = RedStuff(N_SHARDS)

LEAVES, RETURNS, STAYS = "leaves", "returns", "stays"
"""What the node that takes turns does in a change of epoch; it stays away in the last."""

# fail point, change, who is killed
KILLS = [
    ("handover.page-stored:2", RETURNS, "rebuilder"),
    ("handover.slivers-rebuilt", LEAVES, "rebuilder"),
    ("source.page-read", RETURNS, "source"),
    ("helper.symbols-read:2", LEAVES, "helper"),
    ("handover.attestation-sent", RETURNS, "rebuilder"),
    ("prefetch.complete", LEAVES, "rebuilder"),
    ("handover.shard-dropped:2", STAYS, "leaver"),
]
MORE_KILLS = [
    ("handover.slivers-stored", LEAVES, "rebuilder"),
    ("handover.page-received", RETURNS, "rebuilder"),
    ("handover.digest-made", LEAVES, "rebuilder"),
    ("prefetch.begun", RETURNS, "rebuilder"),
    ("handover.page-wanted", RETURNS, "rebuilder"),
    ("handover.symbols-wanted", LEAVES, "rebuilder"),
    ("handover.symbols-received:3", LEAVES, "rebuilder"),
    ("handover.page-verified", RETURNS, "rebuilder"),
    ("handover.page-stored", RETURNS, "rebuilder"),
    ("handover.slivers-stored:2", LEAVES, "rebuilder"),
    ("handover.blob-metadata-fetched", RETURNS, "rebuilder"),
    ("handover.blob-filled", LEAVES, "rebuilder"),
    ("handover.blob-metadata-stored", RETURNS, "rebuilder"),
    ("helper.symbols-asked", LEAVES, "helper"),
    ("source.page-asked", RETURNS, "source"),
    ("helper.symbols-read", LEAVES, "helper"),
    ("source.page-allowed", RETURNS, "source"),
    ("handover.begun", LEAVES, "rebuilder"),
    ("handover.begun", RETURNS, "rebuilder"),
    ("handover.attestation-wanted", LEAVES, "rebuilder"),
    ("handover.complete", RETURNS, "rebuilder"),
    ("handover.shard-to-drop", STAYS, "leaver"),
    ("prefetch.complete", RETURNS, "rebuilder"),
]
"""The steps between those, only with --slow."""


class Faults:
    """A network of five nodes, to which the same things happen again and again."""

    def __init__(self, network: LocalNetwork) -> None:
        self.network = network
        self.blobs: dict[bytes, tuple[bytes, int]] = {}
        """blob id → content, end epoch."""
        self._number = 0
        self._is_in = True
        """Whether bravo stands."""
        self._moved = False
        """Whether shards moved in the last change."""

    async def begin(self) -> None:
        for number, name in enumerate(NAMES):
            await self.network.add_node(name, 100 + 10 * number)
        await self.network.serving()
        await self.network.next_epoch()
        await self.renew()

    async def renew(self) -> None:
        """See that some blobs are live for longer than one change takes."""
        state = await self.network.operator.epoch_state()
        if max((end for _, end in self.blobs.values()), default=0) < state.epoch + AT_LEAST_EPOCHS:
            for size in (40_000, 150_000):
                await self.store(size, 50)

    async def store(self, size: int, periods: int) -> None:
        self._number += 1
        data = self._number.to_bytes(4, "big") * (size // 4)
        stored = await self.network.client.store(data, periods)
        self.blobs[stored.blob_id] = (data, stored.certified_epoch + periods)

    # the change

    async def committee(self) -> Committee:
        current = (await self.network.operator.epoch_state()).current
        assert current is not None
        return current

    async def prepare(self, change: str) -> None:
        """Stand as `change` says, after such changes as make it one in which something is to be done.

        Before shards move, an epoch passes in which none does, so that their new owners have nothing of them left.
        """
        await self.renew()
        if change == STAYS:
            if not self._is_in and not self._moved:
                await self._change(is_in=True)
            if self._is_in:
                await self._change(is_in=False)
            return
        if self._is_in != (change == LEAVES):
            await self._change(is_in=not self._is_in)
        if self._moved:
            await self._change(is_in=self._is_in)
        await self._stand(is_in=change == RETURNS)

    async def _change(self, *, is_in: bool) -> None:
        """A change of epoch in which nobody is killed, and all drop what they have given up."""
        await self._stand(is_in=is_in)
        await self.network.next_epoch()
        await self.network.handed_over()
        wanted = await self.wanted()

        async def tidy() -> int:
            return sum(self._shards_kept(name) <= wanted[name] for name in NAMES)

        await self.network.until("nodes drop what they gave up", tidy, len(NAMES))

    async def _stand(self, *, is_in: bool) -> None:
        self._moved, was_in, self._is_in = is_in != self._is_in, self._is_in, is_in
        if is_in == was_in:
            return
        ledger = await self.network.ledger_of(TURNS)
        try:
            await (ledger.become_candidate() if is_in else ledger.leave())
        finally:
            await ledger.close()

    async def victim(self, role: str) -> str:
        """Who has this role when the candidates of now are elected."""
        current = await self.committee()
        candidates = [(one.node_id, one.stake) for one in await self.network.operator.candidates()]
        elected = assign(current.holdings, candidates, N_SHARDS, BAND_MILLIS)
        names = {one.node_id: one.name for one in await self.network.operator.nodes()}
        gained = {
            names[node_id]: len(set(shards) - set(current.shards_of(node_id)))
            for node_id, shards in elected.items()
        }
        if role == "rebuilder":
            return max(gained, key=lambda name: gained[name])
        if role == "helper":
            return min((name for name in gained if name != TURNS), key=lambda name: gained[name])
        if role == "source":
            lost = {m.name: len(set(m.shards) - set(elected[m.node_id])) for m in current.members}
            return max(lost, key=lambda name: lost[name])
        return TURNS

    async def arm(self, name: str, fail_point: str) -> None:
        node = self.network.nodes[name]
        await node.stop()
        await node.start(fail_point)
        await self.network.serving(name)

    def settled(self) -> None:
        """The change was one in which no shard moved."""
        self._moved = False

    # the same checks at the end of each

    async def check(self) -> None:
        state = await self.network.operator.epoch_state()
        assert state.current is not None
        assert state.handover_done
        live = {blob_id: data for blob_id, (data, end) in self.blobs.items() if end > state.epoch}
        await self._check_blobs(live)
        for member in state.current.members:
            await self._check_slivers(member.name, member.shards, live)
        await self._check_nothing_was_fetched_twice(state.current, len(live))
        await self._check_quiet()
        for name, shards in (await self.wanted()).items():
            self._check_files(name, shards, live)
            await self._check_bytes(name, len(shards), live)

    async def wanted(self) -> dict[str, set[int]]:
        """The shards that each node owns, or owned in the epoch before."""
        state = await self.network.operator.epoch_state()
        wanted = {name: set[int]() for name in NAMES}
        for committee in (state.previous, state.current):
            for member in committee.members if committee else ():
                wanted[member.name] |= set(member.shards)
        return wanted

    def _shards_kept(self, name: str) -> set[int]:
        """The shards of which a node has segments."""
        store = self.network.nodes[name].folder / "store"
        return {int(segment.partition("-")[0]) for segment in segments_of(store)}

    async def _check_blobs(self, live: dict[bytes, bytes]) -> None:
        for blob_id, data in live.items():
            assert await self.network.client.read(blob_id) == data

    async def _check_slivers(self, name: str, shards: tuple[int, ...], live: dict[bytes, bytes]) -> None:
        """The owner has both slivers of each of its shards, and they match their roots."""
        client = self.network.node_client(name)
        for blob_id in live:
            metadata = await client.metadata(blob_id)
            for shard in shards:
                for axis in Axis:
                    sliver = await client.sliver(blob_id, CODE.pair_of_shard(blob_id, shard), axis)
                    CODE.verify_sliver(metadata, axis, CODE.sliver_index(blob_id, shard, axis), sliver)

    async def _check_nothing_was_fetched_twice(self, current: Committee, n_blobs: int) -> None:
        slivers = wasted = 0
        for report in await self.network.handover_reports(current):
            slivers += sum(one.rebuilt_slivers + one.transferred_slivers for one in report.shards)
            wasted += sum(one.wasted_bytes for one in report.shards)
        assert slivers == 2 * n_blobs * len(await self.network.gained())
        assert wasted == 0

    async def _check_quiet(self) -> None:
        """Nothing is left to be healed, and nobody asks anybody for slivers any more."""
        before: dict[str, float] = {}

        async def quiet() -> int:
            nonlocal before
            clients = [self.network.node_client(name) for name in NAMES]
            to_heal = sum([int((await client.health())["upkeep"]["blobs_to_heal"]) for client in clients])
            now = {name: await self.moves(name) for name in NAMES}
            before, last = now, before
            return int(now == last and to_heal == 0)

        await self.network.until("the network falls quiet", quiet, 1)

    async def moves(self, name: str) -> float:
        """Requests for pages and symbols that the node has answered."""
        lines = (await self.metrics(name)).splitlines()
        return sum(
            float(line.split()[-1])
            for line in lines
            if line.startswith("haulout_requests_total") and re.search("sync_shard|Symbols", line)
        )

    async def metrics(self, name: str) -> str:
        return await self.network.node_client(name).metrics()

    def _check_files(self, name: str, shards: set[int], live: dict[bytes, bytes]) -> None:
        """No file but those of live blobs' slivers in shards that the node owns or owned in the epoch before."""
        store = self.network.nodes[name].folder / "store"
        assert self._shards_kept(name) <= shards
        for one in on_disk(store):
            assert one.shard in shards
            assert one.blob_id in live

    async def _check_bytes(self, name: str, n_shards: int, live: dict[bytes, bytes]) -> None:
        """No more bytes than the pairs of those shards have."""
        found = re.search(r"^haulout_sliver_bytes (\S+)$", await self.metrics(name), re.MULTILINE)
        assert found is not None
        pairs = sum(CODE.sliver_size(len(data), axis) for data in live.values() for axis in Axis)
        assert float(found[1]) <= n_shards * pairs


@pytest_asyncio.fixture(loop_scope="module", scope="module")
async def faults(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Faults]:
    parameters = DeploymentParameters(
        n_shards=N_SHARDS,
        period_duration_s=60,
        handover_deadline_s=600,
        patience_s=60,
        certificate_grace_s=0,  # the chain's clock stands still while shards are to be dropped
        band_millis=BAND_MILLIS,
        price_per_mib_period=1,
        write_price_per_mib=1,
    )
    async with LocalNetwork(tmp_path_factory.mktemp("faults"), parameters) as network:
        faults = Faults(network)
        await faults.begin()
        yield faults


def named(kill: tuple[str, str, str]) -> str:
    return " ".join(kill)


@pytest.mark.asyncio(loop_scope="module")
@pytest.mark.parametrize(
    ("fail_point", "change", "role"),
    [
        *(pytest.param(*kill, id=named(kill)) for kill in KILLS),
        *(pytest.param(*kill, id=named(kill), marks=pytest.mark.slow) for kill in MORE_KILLS),
    ],
)
async def test_a_kill_at_any_step_costs_nothing(
    faults: Faults, fail_point: str, change: str, role: str
) -> None:
    await faults.prepare(change)
    await faults.store(20_000, 2)
    name = await faults.victim(role)
    await faults.arm(name, fail_point)
    network = faults.network
    node = network.nodes[name]
    await network.select()
    if fail_point.startswith("prefetch"):
        assert await node.ended(END_LIMIT_S) == -signal.SIGKILL
        await node.start()
        await network.serving(name)
    await network.start_epoch()
    if not fail_point.startswith("prefetch"):
        assert await node.ended(END_LIMIT_S) == -signal.SIGKILL
        await node.start()
        await network.serving(name)
    await network.handed_over()
    if change == STAYS:
        faults.settled()
    await faults.check()


@pytest.mark.asyncio(loop_scope="module")
async def test_the_network_stays_quiet(faults: Faults) -> None:
    """For some seconds: nobody has anything left that it would try again."""
    await faults.check()
    asked = {name: await faults.moves(name) for name in NAMES}
    looks = 0

    async def look() -> int:
        nonlocal looks
        assert {name: await faults.moves(name) for name in NAMES} == asked
        looks += 1
        return looks

    await faults.network.until("nobody asks for anything", look, QUIET_LOOKS)


@pytest.mark.slow
@pytest.mark.asyncio(loop_scope="module")
@pytest.mark.parametrize("seed", range(10))
async def test_kills_at_any_moment_cost_nothing(faults: Faults, seed: int) -> None:
    """Of any node, as soon as another one has answered so many requests for slivers since the start."""
    dice = random.Random(seed)
    await faults.prepare(dice.choice([LEAVES, RETURNS]))
    await faults.store(20_000, 2)
    network = faults.network
    await network.select()
    before = sum([await faults.moves(name) for name in NAMES])
    await network.start_epoch()
    victim, answers = dice.choice([name for name in NAMES if name != TURNS]), dice.randint(1, 12)

    async def answered() -> int:
        done = await network.operator.attested_shards() >= await network.gained()
        return answers if done else int(sum([await faults.moves(name) for name in NAMES]) - before)

    await network.until("the handover comes so far", answered, answers)
    await network.nodes[victim].kill()
    await network.nodes[victim].start()
    await network.serving(victim)
    await network.handed_over()
    await faults.check()


def test_every_fail_point_of_a_handover_has_its_kill() -> None:
    named = {kill[0].partition(":")[0] for kill in (*KILLS, *MORE_KILLS)}
    assert named == {*fail_points.REBUILDER, *fail_points.SOURCE, *fail_points.HELPER}
