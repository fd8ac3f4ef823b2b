"""One storage node, put together: chain view, store, HTTP service, watch, handover, healing."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Awaitable, Callable, Coroutine, Sequence
from pathlib import Path
from typing import Any

from committee.bls import SecretKey
from committee.ledger import EpochStarted, Event, NodeLedger
from committee.logs import Log
from committee.version import VERSION
from storage.node import logs
from storage.node.block_list import BlockList, BlockListError
from storage.node.candidacy import Candidacy
from storage.node.chain import ChainView
from storage.node.chain.store import ChainStore
from storage.node.config import ConfigError, NodeConfig
from storage.node.credentials import Credentials
from storage.node.duties import Due, Rota
from storage.node.handover import Handover
from storage.node.http.routes import create_app
from storage.node.http.server import HttpServer
from storage.node.listening import exposure, listen
from storage.node.object_store import connector
from storage.node.peers import Peers
from storage.node.proving import Proving
from storage.node.registration import Registration
from storage.node.repair import Repair
from storage.node.rounds import Rounds
from storage.node.sign_of_life import SignsOfLife
from storage.node.store import SliverStore, StoreDamaged, StoreError
from storage.node.store.files import require_mounted
from storage.node.threads import finished_or_told
from storage.node.upkeep.garbage import Garbage
from storage.node.upkeep.healing import Healing
from storage.node.upkeep.invalidation import Invalidation
from storage.node.upkeep.keeper import Keeper
from storage.node.upkeep.mover import Mover
from storage.node.upkeep.scrubber import Scrubber
from storage.node.upkeep.tidier import Tidier
from storage.node.watch import Watch
from storage.redstuff import RedStuff

log = Log()

STORE_LOOK_S = 1.0
"""Time between two looks at whether the store's index is whole."""
STORE_LOOKS = 10
"""Looks that must fail in a row before the node ends: a disk that fails once, as over a network, is waited for."""
RESTART_PAUSE_S = 1.0


class StorageNode:
    """A node from its folder, settings, key and ledger; `run` serves until it is cancelled.

    The parts are attributes, so that a test can reach them; the routes see a `NodeFace`.
    """

    view: ChainView
    code: RedStuff
    peers: Peers
    signs: SignsOfLife
    watch: Watch
    candidacy: Candidacy
    repair: Repair
    proving: Proving
    handover: Handover
    garbage: Garbage
    healing: Healing
    rounds: Rounds
    keeper: Keeper
    scrubber: Scrubber
    server: HttpServer

    def __init__(self, folder: Path, config: NodeConfig, secret: SecretKey, ledger: NodeLedger) -> None:
        self.config = config
        self.secret = secret
        self.store = SliverStore(folder / "store", connector(config), config.object_store_file_bytes)
        self.block_list = BlockList(config.block_list)
        self._chain_store = ChainStore(folder)
        self._proofs = folder / "proofs"
        self._ledger = ledger
        self.serves = asyncio.Event()
        """Set once requests are answered."""
        allow = config.allow_private_addresses
        self._allow_private = ledger.is_development_chain if allow is None else allow

    async def run(self) -> None:
        """Join if the chain does not know this node yet, then serve and do a member's duties.

        Raises `ConfigError` when the port is in use, others cannot reach the address to be registered, the block list
        cannot be read or the registration is another's, `LedgerError` when the chain does not answer at the very first
        start, `StoreError` when the store's disk is not mounted, `StoreDamaged` when the store's index is damaged or
        gone, at the start or at any time, `StoreError` when its disk fails for STORE_LOOKS looks. Later on a node
        serves from what it has saved while the chain is silent.
        """
        _read_first(self.block_list)
        require_mounted(self.store.folder, self._chain_store.path)
        self.config.require_reachable(self._allow_private)
        listening = listen(self.config.host, self.config.port)
        with listening as listener, contextlib.closing(self._chain_store), contextlib.closing(self.store):
            await finished_or_told(self.store.open)
            registration = Registration(self.config, self.secret, self._ledger, self._chain_store)
            node_id, has_joined = await registration.identify()
            self.view = ChainView(self._ledger, node_id, self._chain_store)
            await self.view.load()
            if has_joined:
                await registration.keep_id(node_id)
            self.code = RedStuff(self.view.parameters.n_shards)
            credentials = Credentials(self.view, self.secret)
            async with Peers(self.view, credentials, allow_private=self._allow_private) as self.peers:
                duties = self._put_together()
                self.server = HttpServer(create_app(self, self.config.bulk_budget()), listener)
                try:
                    await self._serve(node_id, duties, None if has_joined else registration.join_later)
                except ExceptionGroup as failed:
                    raise failed.exceptions[0] from None

    async def _serve(
        self,
        node_id: int,
        duties: Sequence[Callable[[], Awaitable[None]]],
        join_later: Callable[[], Coroutine[Any, Any, None]] | None,
    ) -> None:
        """Answer requests, do the duties and, if given, join later; for ever. Raises a group of what ends the node."""
        async with self.server, asyncio.TaskGroup() as running:
            self.serves.set()
            log.info("serving", name=self.config.name, node_id=node_id, port=self.config.port)
            log.info("what this node exposes", **exposure(self.config, self._allow_private))
            if join_later is not None:
                running.create_task(join_later())
            running.create_task(require_store(self.store))
            running.create_task(self.view.follow(self.config.poll_interval_s))
            for duty in duties:
                running.create_task(_for_ever(duty))

    def _put_together(self) -> tuple[Callable[[], Awaitable[None]], ...]:
        """Make the parts that do a member's duties; return the duties, each of which runs for ever."""
        self._was_member = bool(self.view.my_shards())
        self.view.subscribe(self._on_event)
        self.signs = SignsOfLife(self.view, self.peers, self.secret)
        rota = Rota(self.view)
        self.watch = Watch(self.view, rota, self.peers, self.signs, self.secret, self.config.watch_interval_s)
        self.candidacy = Candidacy(self.view)
        self.keeper = Keeper(self.view, rota, self.config.keeper)
        budget = self.config.bulk_budget()
        repair = self.repair = Repair(self.view, self.store, self.code, self.peers, budget)
        self.proving = Proving(self._proofs, self.view, self.store, self.code, self.secret.public_key)
        self.handover = Handover(
            self.view,
            self.store,
            self.code,
            self.peers,
            repair,
            self.watch,
            self.secret,
            budget,
            self.proving,
        )
        self.garbage = Garbage(self.view, self.store)
        self.healing = Healing(self.view, self.store, repair, self.garbage)
        self.scrubber = Scrubber(
            *(self.store, self.code, self.healing.look_after),
            *(self.config.scrub_bytes_per_s, self.config.scrub_interval_s),
        )
        self.rounds = Rounds(
            *(self.view, rota, self.peers, self.code, self.secret, self.proving, self.config.keeper)
        )
        invalidation = Invalidation(self.view, rota, self.peers, self.secret)
        repair.on_inconsistent = invalidation.take
        upkeep = (
            self.healing,
            self.garbage,
            self.scrubber,
            Tidier(self.store),
            Mover(self.store.moving),
            invalidation,
            self.block_list,
        )
        parts = (self.watch, self.candidacy, self.keeper, self.handover, self.rounds, *upkeep)
        return tuple(part.run for part in parts)

    def health(self) -> dict[str, Any]:
        """Return what `/v1/health` answers."""
        state = self.view.state
        mine = set(self.view.my_shards())
        return {
            "version": VERSION,
            "name": self.config.name,
            "nodeId": self.view.node_id,
            "epoch": state.epoch,
            "period": state.period,
            "handoverDone": state.handover_done,
            "chain": {
                "block": self.view.block.number,
                "silentSeconds": round(self.view.behind_s, 1),
                "unsettledSeconds": round(self.view.unsettled_s, 1),
                "blocksBehind": self.view.blocks_behind,
                "status": self.view.chain_status,
            },
            "shards": {"owned": len(mine), "stored": len(mine & self.store.shards())},
            "objectStore": self.store.moving.status(),
            "upkeep": self.upkeep(),
            "keeper": self.keeper.health(),
            "proofs": self.rounds.health(),
            "blockList": self.block_list.health(),
            "connections": self.server.counts(),
            "unixSeconds": int(self.watch.clock.now_s()),
            "clockAheadSeconds": self.clock_ahead_s(),
            "log": {"lostLines": logs.lost_lines()},
        }

    def clock_ahead_s(self) -> int:
        """By how many seconds this machine's clock is ahead of most members'; negative when it is behind."""
        return round(self.watch.clock.ahead_s)

    def upkeep(self) -> dict[str, int]:
        """What the node has done since its start to keep its store whole."""
        return {
            "scrubbed_slivers": self.scrubber.slivers,
            "scrubbed_bytes": self.scrubber.size_bytes,
            "scrub_passes": self.scrubber.passes,
            "damage_found": self.store.damaged_count,
            "repaired_slivers": self.healing.repaired_slivers,
            "blobs_to_heal": self.healing.waiting,
            "dropped_blobs": self.garbage.dropped_blobs,
            "steps_done": self.keeper.done_count,
        }

    def due(self) -> tuple[Due, ...]:
        """The steps that are due."""
        return self.keeper.due

    def handover_report(self) -> dict[str, Any]:
        """Return what `/v1/handover` answers."""
        return self.handover.report().to_json()

    async def sign_ejection(self, node_id: int, deadline_s: int) -> tuple[bytes, bytes]:
        """Return (message, signature), which `/v1/members/{node_id}/ejection/{deadline}` answers. Raises `Refusal`."""
        return await self.watch.sign_ejection(node_id, deadline_s)

    def sign_of_life(self, nonce: bytes) -> tuple[bytes, bytes]:
        """Return (message, signature), which `/v1/sign_of_life/{nonce}` answers."""
        return self.signs.give(nonce)

    async def fetch_sign_of_life(self, node_id: int, nonce: bytes) -> tuple[bytes, bytes]:
        """Return (message, signature), which `/v1/members/{node_id}/sign_of_life/{nonce}` answers. Raises `Refusal`."""
        return await self.signs.fetch(node_id, nonce)

    def _on_event(self, event: Event) -> None:
        """Log what a new epoch makes of this node."""
        if not isinstance(event, EpochStarted):
            return
        shards = len(self.view.my_shards())
        if shards:
            log.info("member of the new epoch's committee", epoch=event.epoch, shards=shards)
        elif self._was_member:
            log.info("not elected any more: no member of the committee", epoch=event.epoch)
        self._was_member = bool(shards)


def _read_first(block_list: BlockList) -> None:
    try:
        block_list.read()
    except BlockListError as error:
        raise ConfigError(
            f"{error}; make it, if only empty, or take block_list out of the settings"
        ) from None


async def require_store(store: SliverStore) -> None:
    """Look at the store's index for ever; raise `StoreDamaged` once it is damaged or gone.

    The node ends then: what it signs must be found after a restart, and a member that answers every request for slivers
    with an error is not noticed. So it does when STORE_LOOKS looks in a row have failed, whose last `StoreError`
    is raised.
    """
    failed = 0
    while True:
        try:
            await asyncio.to_thread(store.require_whole)
            failed = 0
        except StoreDamaged:
            raise
        except StoreError as error:
            failed += 1
            if failed == 1:
                log.warning("the store cannot be looked at; looking again", error=str(error))
            if failed >= STORE_LOOKS:
                raise
        await asyncio.sleep(STORE_LOOK_S)


async def _for_ever(duty: Callable[[], Awaitable[None]]) -> None:
    """Run a duty; one that fails unexpectedly is logged and begun again, so that the others go on."""
    while True:
        try:
            await duty()
        except Exception:
            log.exception("a duty failed; beginning it again", duty=duty.__qualname__)
        await asyncio.sleep(RESTART_PAUSE_S)
