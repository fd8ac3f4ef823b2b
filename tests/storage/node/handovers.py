"""What tests of the handover have in common: blobs, committees, whole changes of epoch, and peers that are bent."""

from __future__ import annotations

import dataclasses
import random
import threading
from collections.abc import Callable, Collection, Coroutine, Mapping
from itertools import chain
from typing import Any

import numpy as np
import pytest

from committee.membership import Member
from storage.client.errors import NodeRefused
from storage.client.node_client import NodeClient
from storage.node.handover import sources
from storage.redstuff import Axis, BlobMetadata, EncodedBlob, RedStuff, merkle_root
from tests.storage.network import N_SHARDS, Network

CODE = RedStuff(N_SHARDS)  # p = 4, s = 7, f = 3
MOVED = {1: (0, 1, 2, 6), 2: (3, 4, 5), 3: (7,), 4: (8, 9)}
"""Shard 6 goes from node 3 to node 1."""
TWO_MOVED = {1: (0,), 2: (3, 4, 5), 3: (6, 7), 4: (1, 2, 8, 9)}
"""Shards 1 and 2 go from node 1 to node 4."""
LESS = {1: (0, 1, 2, 6), 2: (3, 4, 5, 7), 4: (8, 9)}
"""Node 3 is gone, and node 2 rebuilds its shard."""
WRONG_PAIR = 2
"""Whose primary sliver is wrong in what `badly_encoded` gives."""
Shards = Mapping[int, tuple[int, ...]]


def encoded(number: int, size: int = 3000) -> EncodedBlob:
    return CODE.encode(random.Random(number).randbytes(size))


BLOBS = [*(encoded(number) for number in range(5)), encoded(5, 150_000)]
"""Of growing sizes."""


def badly_encoded(shards: Collection[int]) -> EncodedBlob:
    """A blob whose writer changed a primary sliver of one of these shards before hashing it.

    Every sliver hashes to its root in the metadata, and yet the row is not the columns'.
    """
    for seed in range(100):
        blob = encoded(seed, 5000)
        t = CODE.symbol_size(blob.length)
        changed = blob.primary.copy()
        changed[WRONG_PAIR, 0] ^= 1
        symbols = CODE.recovery_symbols(Axis.PRIMARY, changed[WRONG_PAIR].tobytes(), range(10), t)
        primary_roots = list(blob.metadata.primary_roots)
        primary_roots[WRONG_PAIR] = merkle_root([bytes(symbols[index]) for index in range(10)])
        metadata = BlobMetadata(blob.length, tuple(primary_roots), blob.metadata.secondary_roots)
        if CODE.shard_of_pair(metadata.blob_id, WRONG_PAIR) in shards:
            pairs = zip(primary_roots, reversed(metadata.secondary_roots), strict=True)
            roots = np.frombuffer(b"".join([*chain.from_iterable(pairs), metadata.root]), np.uint8)
            return dataclasses.replace(blob, primary=changed, roots=roots)
    raise AssertionError("no seed puts the pair there")


async def change(network: Network, shards: Shards) -> None:
    """A whole change of epoch, until all that was gained is attested."""
    network.chain.select(shards)
    network.chain.start()
    previous, current = network.chain.state.previous, network.chain.state.current
    assert previous is not None
    assert current is not None
    gained = {s for s, owner in current.owner_of.items() if previous.owner_of[s].node_id != owner.node_id}
    await network.until(lambda: gained <= network.chain.attested)
    await network.seen()


def lacks(network: Network, node_id: int, shard: int) -> bool:
    store = network.running[node_id].store
    ids = sorted(blob.blob_id for blob in BLOBS)
    return any(store.missing(shard, axis, ids) for axis in Axis)


def bend(
    network: Network,
    node_id: int,
    clients: Mapping[int, Callable[[NodeClient], Any]],
    method: str = "client",
) -> None:
    """Have a node see these in place of its peers' own clients; by node id. `method` may name the watch's."""
    peers = network.running[node_id].peers
    real = getattr(peers, method)

    def client(member: Member) -> Any:
        return clients[member.node_id](real(member)) if member.node_id in clients else real(member)

    setattr(peers, method, client)


def flip(symbols: bytes | memoryview) -> bytes:
    return bytes([symbols[0] ^ 1]) + bytes(symbols[1:])


class Bent:
    """A peer's client whose answers are changed: `change` is given the method's name and its answer, maybe to await."""

    def __init__(self, real: NodeClient, change: Callable[[str, Any], Any]) -> None:
        self._real = real
        self._change = change

    def __getattr__(self, name: str) -> Any:
        method = getattr(self._real, name)

        async def ask(*arguments: Any, **options: Any) -> Any:
            answer = await method(*self._asked(name, arguments), **options)
            if name != "symbols_of_blobs":
                return await self._changed(name, answer)
            # Each of them as if it had been asked for alone.
            return [
                one if isinstance(one, NodeRefused) else await self._changed("decoding_symbols", one)
                for one in answer
            ]

        return ask

    def _asked(self, name: str, arguments: tuple[Any, ...]) -> tuple[Any, ...]:
        """What is asked in truth."""
        return arguments

    async def _changed(self, name: str, answer: Any) -> Any:
        changed = self._change(name, answer)
        return await changed if isinstance(changed, Coroutine) else changed


class Held:
    """Calls of a method of a node's store from now on, which wait for `go_on`; the pages it gives, unless another."""

    LIMIT_S = 60.0

    def __init__(
        self, network: Network, node_id: int, monkeypatch: pytest.MonkeyPatch, method: str = "slivers_from"
    ) -> None:
        self.asked: list[Any] = []
        """Their first arguments: of pages, the shards."""
        self._may_go_on = threading.Event()
        store = network.running[node_id].store
        go = getattr(store, method)

        def wait(first: Any, *arguments: Any, **options: Any) -> Any:
            self.asked.append(first)
            assert self._may_go_on.wait(self.LIMIT_S)
            return go(first, *arguments, **options)

        monkeypatch.setattr(store, method, wait)
        monkeypatch.setattr(sources, "PAGE_LIMIT_S", 2 * self.LIMIT_S)  # who asks is as patient

    def go_on(self) -> None:
        self._may_go_on.set()
