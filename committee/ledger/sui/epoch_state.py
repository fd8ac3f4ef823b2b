"""The committees and the phase of the epoch, as the system and the registry keep them."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import Any

from committee import bcs
from committee.errors import CommitteeError, LedgerRefused, LedgerUnavailable
from committee.ledger.records import BlockMark, EpochState
from committee.ledger.sui.checkpoints import Checkpoints
from committee.ledger.sui.deployment import SuiDeployment
from committee.ledger.sui.objects import Objects, ObjectVersion
from committee.ledger.sui.package import Keyed, Package
from committee.ledger.sui.state import State, compressed_key
from committee.ledger.sui.types import Scalar
from committee.membership import Committee, Member

MAX_REPLACEMENTS = 16
"""Replacements of members in one period (`timeline`)."""
LONGEST_SEARCH_EPOCHS = 53
"""Epochs back up to which the node that had a shard last is looked for; else the owner of then is named."""
WORD_BITS = 256
"""Shards in a word of a `ShardSet`."""


class EpochReader:
    """Reads `EpochState`."""

    def __init__(
        self,
        objects: Objects,
        checkpoints: Checkpoints,
        state: State,
        deployment: SuiDeployment,
        package: Package,
    ) -> None:
        self._objects = objects
        self._checkpoints = checkpoints
        self._state = state
        self._shared = [deployment.system, deployment.registry]
        self._package = package
        self._started: tuple[int, BlockMark] | None = None
        """An epoch and the checkpoint that started it."""

    async def read(self, at: BlockMark | None = None) -> EpochState:
        """Return the committees and the phase at a checkpoint, the newest when None.

        Raises `LedgerStateGone` when they have changed since, `LedgerHistoryGone` when no endpoint keeps the checkpoint
        that started the epoch.
        """
        told, block = await self._objects.together(self._shared, self._told, at)
        timeline, committees = told.timeline, told.committees
        epoch: int = timeline["epoch"]
        selection = timeline["selection"] or {"at_s": 0, "is_replacement": False}
        has_next = timeline["selection"] is not None
        return EpochState(
            block=block,
            epoch=epoch,
            period=timeline["period"],
            first_epoch=told.first_epoch,
            started_at_s=timeline["started_at_s"],
            started_block=await self._start_of(epoch, timeline["started_at_s"]) if epoch else None,
            salt_seed=told.salt_seed,
            handover_done=timeline["handover_done"],
            last_handover_done_s=timeline["last_handover_done_s"],
            regular_handover_done_s=timeline["regular_handover_done_s"],
            previous=committees.get(epoch - 1),
            current=committees.get(epoch),
            next=committees[epoch + 1] if has_next else None,
            unattested=told.unattested,
            selected_at_s=selection["at_s"],
            next_is_replacement=selection["is_replacement"],
            replaceable_at_s=told.replaceable_at_s(),
        )

    async def committee_of(self, epoch: int) -> Committee | None:
        """Return the committee of an epoch that has begun, however long ago; None for another."""

        async def read(objects: Objects, shared: list[ObjectVersion]) -> Committee | None:
            history = await self._history(objects, shared)
            return (await history.committees([epoch]))[epoch] if history.has_begun(epoch) else None

        return (await self._objects.together(self._shared, read))[0]

    async def missing_shards(self, epoch: int, at: BlockMark | None = None) -> frozenset[int]:
        """Return the shards neither kept nor attested at the end of an epoch, or up to a checkpoint in it.

        None are missing before the first epoch. Raises `LedgerRefused` for an epoch that has not begun.
        """

        async def read(objects: Objects, shared: list[ObjectVersion]) -> frozenset[int]:
            history = await self._history(objects, shared)
            if epoch == 0:
                return frozenset()
            if not history.has_begun(epoch):
                raise LedgerRefused("epochs.missingShards", "WrongEpoch", {"given": epoch})
            return frozenset(history.missing(await history.terms([epoch]), epoch))

        return (await self._objects.together(self._shared, read, at))[0]

    async def members_of(self, period: int) -> frozenset[int]:
        """Return the nodes with which a period began. Raises `LedgerRefused` for one that has not begun."""

        async def read(objects: Objects, shared: list[ObjectVersion]) -> frozenset[int]:
            history = await self._history(objects, shared)
            first = await history.first_epoch_of(period)
            if first is None:
                raise LedgerRefused("epochs.membersOf", "WrongPeriod", {"given": period})
            return frozenset((await history.committees([first]))[first].by_id)

        return (await self._objects.together(self._shared, read))[0]

    async def _history(self, objects: Objects, shared: list[ObjectVersion]) -> _History:
        system = await self._state.state_of(objects, shared[0], "system", "System")
        registry = await self._state.state_of(objects, shared[1], "registry", "Registry")
        return _History(objects, self._state, self._package, system, registry)

    async def _told(self, objects: Objects, shared: list[ObjectVersion]) -> _Told:
        history = await self._history(objects, shared)
        timeline, epoch = history.timeline, history.epoch
        first_epoch = epoch - timeline["replacements"]
        wanted = {epoch - 1, epoch, first_epoch, *([epoch + 1] if timeline["selection"] else [])}
        committees = await history.committees(sorted(number for number in wanted if number > 0))
        terms = await history.terms([number for number in (epoch - 1, epoch) if number > 0])
        unattested = await history.unattested(epoch - 1, terms) if epoch > 1 else {}
        return _Told(timeline, first_epoch, committees, terms.get(epoch), unattested, history.n_shards)

    async def _start_of(self, epoch: int, at_s: int) -> BlockMark:
        """Return the checkpoint that started an epoch. It is searched for by its time, once."""
        if self._started is None or self._started[0] != epoch:
            self._started = epoch, await self._checkpoints.start_of(epoch, at_s)
        return self._started[1]


class _Told:
    """What the shared objects tell of the epoch."""

    def __init__(
        self,
        timeline: Mapping[str, Any],
        first_epoch: int,
        committees: Mapping[int, Committee],
        term: Mapping[str, Any] | None,
        unattested: Mapping[int, Member],
        n_shards: int,
    ) -> None:
        self.timeline = timeline
        self.first_epoch = first_epoch
        self.committees = committees
        self.unattested = unattested
        self._term = term
        self._n_shards = n_shards

    @property
    def salt_seed(self) -> bytes | None:
        """What the epoch's start drew; None before the first epoch."""
        return None if self._term is None else self._term["salt"]

    def replaceable_at_s(self) -> int | None:
        """Return since when ejected members can be replaced (`EpochState.replaceable_at_s`)."""
        timeline, term = self.timeline, self._term
        if term is None or not term["first_ejection_s"]:
            return None
        current, first = self.committees[timeline["epoch"]], self.committees[self.first_epoch]
        staying = current.by_id.keys() - set(term["ejected"])
        left = sum(len(first.shards_of(node_id)) for node_id in staying)
        is_possible = (
            timeline["handover_done"]
            and timeline["selection"] is None
            and timeline["replacements"] < MAX_REPLACEMENTS
            and 3 * left >= 2 * self._n_shards
        )
        since_s: int = max(timeline["last_handover_done_s"], term["first_ejection_s"])
        return since_s if is_possible else None


class _History:
    """Reads committees and terms of the system, with the names that nodes have now."""

    def __init__(
        self,
        objects: Objects,
        state: State,
        package: Package,
        system: Mapping[str, Any],
        registry: dict[str, Any],
    ) -> None:
        self._objects = objects
        self._state = state
        self._package = package
        self._system = system
        self._registry = registry

    @property
    def timeline(self) -> Mapping[str, Any]:
        """Where the epochs and periods are."""
        found: Mapping[str, Any] = self._system["timeline"]
        return found

    @property
    def epoch(self) -> int:
        """The current epoch, 0 before the first."""
        return int(self.timeline["epoch"])

    @property
    def n_shards(self) -> int:
        """Shards of the deployment."""
        return int(self._system["n_shards"])

    def has_begun(self, epoch: int) -> bool:
        """Return whether an epoch is the current one or was."""
        return 1 <= epoch <= self.epoch

    def missing(self, terms: Mapping[int, Any], epoch: int) -> set[int]:
        """Return the shards that are neither kept nor attested in an epoch, whose term is among `terms`."""
        return set(range(self.n_shards)) - shards_in(terms[epoch]["held"])

    async def first_epoch_of(self, period: int) -> int | None:
        """Return the epoch with which a period began; None for one that has not begun."""
        starts: Keyed = self._system["starts"]
        type_ = self._package.type("system", "Start")
        keys = [bcs.u32(period)] if 0 < period <= self.timeline["period"] else []
        found = await self._state.fields(self._objects, starts.id, Scalar.U32, keys, type_)
        return int(found[0]["epoch"]) if found else None

    async def committees(self, epochs: Sequence[int]) -> dict[int, Committee]:
        """Return the committees of epochs that have one. Raises `LedgerUnavailable` for what is no committee."""
        values = await self._entries("committees", "committee", "Committee", epochs)
        node_ids = sorted({member["node_id"] for value in values for member in value["members"]})
        nodes = await self._state.nodes_of(self._objects, self._registry, node_ids)
        named = {node.node_id: node for node in nodes}
        committees = {}
        for epoch, value in zip(epochs, values, strict=True):
            members = tuple(
                Member(
                    node_id=member["node_id"],
                    name=named[member["node_id"]].name,
                    address=named[member["node_id"]].address,
                    public_key=compressed_key(member["key"]),
                    shards=tuple(member["shards"]),
                )
                for member in value["members"]
            )
            try:
                committees[epoch] = Committee(epoch, value["n_shards"], members)
            except CommitteeError as error:
                raise LedgerUnavailable(f"the chain's endpoint tells no committee: {error}") from None
        return committees

    async def terms(self, epochs: Sequence[int]) -> dict[int, Any]:
        """Return what happened in epochs that have started."""
        values = await self._entries("terms", "term", "Term", epochs)
        return dict(zip(epochs, values, strict=True))

    async def unattested(self, epoch: int, terms: Mapping[int, Any]) -> dict[int, Member]:
        """Return the shards neither kept nor attested by an epoch's end, each with the node that had it last."""
        missing = self.missing(terms, epoch)
        found: dict[int, Member] = {}
        oldest = max(1, epoch - LONGEST_SEARCH_EPOCHS)
        for before in range(epoch - 1, 0, -1):
            if not missing:
                break
            committee = (await self.committees([before]))[before]
            had = shards_in((await self.terms([before]))[before]["held"])
            last = missing if before == oldest else missing & had
            found |= {shard: committee.owner_of[shard] for shard in last}
            missing = missing - last
        return {shard: found[shard] for shard in sorted(found)}

    async def _entries(self, table: str, module: str, name: str, epochs: Collection[int]) -> list[Any]:
        entries: Keyed = self._system[table]
        keys = [bcs.u32(epoch) for epoch in epochs]
        type_ = self._package.type(module, name)
        return await self._state.fields(self._objects, entries.id, Scalar.U32, keys, type_)


def shards_in(value: Mapping[str, Any]) -> set[int]:
    """Return the shards of a `ShardSet`."""
    return {
        WORD_BITS * place + bit
        for place, word in enumerate(value["words"])
        for bit in range(WORD_BITS)
        if word >> bit & 1
    }
