"""The trees that a node keeps, and openings made from them: of real slivers on the disk, held to the rules."""

from __future__ import annotations

import asyncio
import contextlib
import errno
import os
import random
import secrets
import threading
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO

import pytest

from committee.files import open_regular
from committee.opening import COMMITMENT_BYTES, Opening
from storage.node.handover.attesting import Attesting
from storage.node.proving import Incomplete, Proving, Term, proving, tree_file, unreadable
from storage.node.proving.proving import NOTHING
from storage.node.proving.tree_file import TreeFile
from storage.node.store import NewSliver, StoreError
from storage.proofs import ENTRY_BYTES, Commitment, Position, judge, salt_of
from storage.proofs.draw import positions, symbols_in_pair
from storage.proofs.opening import blob_id_of
from storage.redstuff import Axis
from tests.storage.node.handovers import BLOBS, CODE, LESS, MOVED, change

if TYPE_CHECKING:
    from collections.abc import Sequence

    from storage.node.node import StorageNode
    from storage.node.store.records import Symbols
    from tests.storage.network import Network

NODE = 1
"""It has gained a shard, with the epoch's start."""
DRAW = b"\xd4" * 32


@pytest.fixture
async def begun(stored: Network) -> Network:
    """An epoch that began with blobs, its handover done."""
    await change(stored, MOVED)
    return stored


def term_of(node: StorageNode) -> Term:
    """The node's part of the current epoch."""
    term = Term.now(node.view)
    assert term is not None
    return term


def committed(node: StorageNode, term: Term) -> Commitment:
    """The node's commitment, after it has made all its trees, with its first shard attested."""
    roots = [node.proving.shard_root(term, shard)[0] for shard in term.shards]
    salt = salt_of(term.epoch, NODE, node.secret.public_key, term.salt_seed)
    root = node.proving.commit(term)
    assert root is not None
    return Commitment(root[:COMMITMENT_BYTES], salt, term.shards, {term.shards[0]: roots[0]})


def open_all(node: StorageNode, term: Term, commitment: Commitment) -> list[Opening]:
    """Openings of drawn positions, each of which holds."""
    inventory, opened = node.proving.inventory(term), []
    drawn = list(positions(CODE, DRAW, NODE, len(term.shards), inventory.weight))[:24]
    for position in drawn:
        opened.append(node.proving.opening(term, commitment.root, position))
        judge(CODE, inventory, commitment, opened[-1], position)
    return opened


def files_of(network: Network) -> list[Path]:
    """All files of the node's trees."""
    return sorted(path for path in (network.folder_of(NODE) / "proofs").rglob("*") if path.is_file())


async def test_openings_of_what_is_stored_hold(begun: Network) -> None:
    node = begun.running[NODE]
    term = term_of(node)
    opened = open_all(node, term, committed(node, term))
    assert len({one.index for one in opened}) > 1
    assert node.proving.inventory(term).count == len(BLOBS)


async def test_a_restarted_node_opens_from_the_files_that_it_made(
    begun: Network, monkeypatch: pytest.MonkeyPatch
) -> None:
    node = begun.running[NODE]
    term = term_of(node)
    before = open_all(node, term, committed(node, term))
    made = {path: path.stat().st_mtime_ns for path in files_of(begun)}
    await begun.stop(NODE)
    await begun.start(NODE)
    node = begun.running[NODE]
    assert open_all(node, term, committed(node, term)) == before
    assert {path: path.stat().st_mtime_ns for path in files_of(begun)} == made


async def test_files_that_were_damaged_are_made_anew(begun: Network) -> None:
    node, choose = begun.running[NODE], random.Random(1)
    term = term_of(node)
    commitment = committed(node, term)
    before = open_all(node, term, commitment)
    for path in files_of(begun):
        path.write_bytes(choose.choice((b"", path.read_bytes()[:-1], path.read_bytes() + bytes(32))))
    assert committed(node, term) == commitment
    assert open_all(node, term, commitment) == before


@pytest.mark.parametrize("kind", ["a FIFO", "a link", "a folder", "a full folder"])
async def test_what_lies_in_the_place_of_a_file_or_folder_is_cleared_away(
    begun: Network, tmp_path: Path, kind: str
) -> None:
    node = begun.running[NODE]
    term = term_of(node)
    commitment = committed(node, term)
    outside = tmp_path / "outside"
    outside.mkdir()
    folder = begun.folder_of(NODE) / "proofs"
    for path in (*files_of(begun), *folder.iterdir(), folder):
        path.rename(path.with_name(path.name + ".before"))
        match kind:
            case "a FIFO":
                os.mkfifo(path)
            case "a link":
                path.symlink_to(outside)
            case "a folder":
                path.mkdir()
            case _:
                (path / "within").mkdir(parents=True)
        # Of an inventory, which has two files, the other one may be in the way of the next try.
        assert committed(node, term) == commitment
        open_all(node, term, commitment)
    assert not list(outside.iterdir())


async def test_a_commitment_to_all_shards_waits_for_all_trees(begun: Network) -> None:
    node = begun.running[NODE]
    term = term_of(node)
    whole = committed(node, term).root
    node.proving.folder_of(term).joinpath(f"{term.shards[1]}.tree").write_bytes(b"damaged")
    assert node.proving.commit(term) is None
    part = node.proving.commit(term, to_all=False)
    assert part is not None
    assert part[:COMMITMENT_BYTES] != whole
    assert committed(node, term).root == whole


async def test_a_shard_with_a_sliver_missing_has_no_tree(begun: Network) -> None:
    node = begun.running[NODE]
    term = term_of(node)
    prover = node.rounds.prover
    await begun.until(lambda: (prover.part.epoch, prover.part.lacking) == (term.epoch, ()))
    shard, blob_id = term.shards[0], BLOBS[3].blob_id
    symbols = node.store.sliver(blob_id, shard, Axis.SECONDARY)
    assert symbols is not None
    node.store.discard(blob_id, shard, Axis.SECONDARY, symbols)
    node.proving.folder_of(term).joinpath(f"{shard}.tree").unlink()  # which the node had made
    with pytest.raises(Incomplete):
        node.proving.shard_root(term, shard)
    assert not any(path.name == f"{shard}.tree" for path in files_of(begun))


async def test_a_tree_is_not_made_to_its_end_when_the_node_ends(
    begun: Network, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of a large shard it takes minutes, and a process ends when its threads have."""
    node = begun.running[NODE]
    term, plan = term_of(node), node.handover.plan()
    assert plan is not None
    other = proving.Proving(tmp_path / "other", node.view, node.store, node.code, node.secret.public_key)
    reads, begins, goes_on = 0, asyncio.Event(), threading.Event()
    loop, really = asyncio.get_running_loop(), other._slivers

    def slivers(*args: Any) -> Any:
        nonlocal reads
        reads += 1
        loop.call_soon_threadsafe(begins.set)
        goes_on.wait()
        return really(*args)

    async def none() -> frozenset[int]:
        return frozenset()

    monkeypatch.setattr(node.view.ledger, "attested_shards", none)
    monkeypatch.setattr(other, "_slivers", slivers)
    monkeypatch.setattr(proving, "BLOBS_AT_ONCE", 1)
    attesting = asyncio.create_task(Attesting(node.view, other).attest(plan, term.start, term.shards))
    async with asyncio.timeout(10):
        await begins.wait()
        attesting.cancel()
        loop.call_soon(goes_on.set)
        with pytest.raises(asyncio.CancelledError):
            await attesting
    with other._making:
        assert reads == len(Axis), "one blob's"


async def test_what_was_deleted_since_cannot_be_opened(begun: Network) -> None:
    node = begun.running[NODE]
    term = term_of(node)
    commitment = committed(node, term).root
    shard, blob = term.shards[0], BLOBS[3]
    index = sorted(one.blob_id for one in BLOBS).index(blob.blob_id)
    offset = sum(CODE.symbol_size(one.length) for one in sorted(BLOBS, key=lambda one: one.blob_id)[:index])
    position = Position(0, symbols_in_pair(CODE) - 1, offset)
    assert blob_id_of(node.proving.opening(term, commitment, position)) == blob.blob_id
    symbols = node.store.sliver(blob.blob_id, shard, Axis.SECONDARY)
    assert symbols is not None
    node.store.discard(blob.blob_id, shard, Axis.SECONDARY, symbols)
    with pytest.raises(Incomplete, match=str(blob.blob_id)):
        node.proving.opening(term, commitment, position)


async def test_a_blob_that_is_invalid_stands_as_nothing_in_the_inventorys_order(begun: Network) -> None:
    node = begun.running[NODE]
    blob_id = sorted(one.blob_id for one in BLOBS)[2]
    begun.chain.invalidate(blob_id)
    await begun.seen()
    term = term_of(node)
    assert node.proving.inventory(term).count == len(BLOBS)
    node.proving.folder_of(term).joinpath(f"{term.shards[0]}.tree").unlink(missing_ok=True)  # of before
    node.proving.shard_root(term, term.shards[0])
    tree = node.proving._tree(term, term.shards[0])
    leaves = [tree.siblings(index ^ 1)[0] for index in range(len(BLOBS))]
    assert [leaf == NOTHING for leaf in leaves] == [i == 2 for i in range(len(BLOBS))]


async def test_nothing_is_made_for_an_epoch_that_is_over(begun: Network) -> None:
    node = begun.running[NODE]
    before = term_of(node)
    begun.chain.start(LESS)
    await begun.until(lambda: node.view.state.epoch > before.epoch)
    node.proving.forget_others(term_of(node))  # what the node made before
    with pytest.raises(Incomplete, match=f"epoch {before.epoch} is over"):
        node.proving.shard_root(before, before.shards[0])


async def test_what_was_made_for_another_epoch_is_forgotten(begun: Network) -> None:
    node = begun.running[NODE]
    before = term_of(node)
    node.proving.shard_root(before, before.shards[0])
    begun.chain.start(LESS)
    await begun.until(lambda: node.view.state.epoch > before.epoch)
    term = term_of(node)
    node.proving.shard_root(term, term.shards[0])
    node.proving.forget_others(term)
    assert {path.parent.name for path in files_of(begun)} == {f"{term.epoch}-{term.start.hash.hex()}"}


async def test_a_link_in_the_place_of_the_folder_costs_what_it_leads_to_nothing(
    begun: Network, tmp_path: Path
) -> None:
    node = begun.running[NODE]
    term = term_of(node)
    commitment = committed(node, term)
    kept = tmp_path / "outside" / "kept" / "file"
    kept.parent.mkdir(parents=True)
    kept.write_bytes(b"kept")
    folder = begun.folder_of(NODE) / "proofs"
    for path in (node.proving.folder_of(term), folder):
        for target in (kept.parent.parent, path):  # the other one is a link to itself
            path.rename(path.with_name(secrets.token_hex(8)))
            path.symlink_to(target)
            node.proving.forget_others(term)
            assert kept.read_bytes() == b"kept"
            assert committed(node, term) == commitment
            open_all(node, term, commitment)
            assert not path.is_symlink()
    assert [one.name for one in folder.iterdir()] == [node.proving.folder_of(term).name]
    assert list(kept.parent.parent.iterdir()) == [kept.parent]


@pytest.mark.parametrize("code", [errno.EIO, errno.EACCES])
async def test_files_that_the_disk_cannot_read_are_made_anew(
    begun: Network, monkeypatch: pytest.MonkeyPatch, code: int
) -> None:
    node = begun.running[NODE]
    term = term_of(node)
    commitment = committed(node, term)
    before, real = open_all(node, term, commitment), open_regular
    bad = {(path, path.stat().st_ino) for path in files_of(begun)}

    def opened(path: Path) -> int:
        if (path, path.stat().st_ino) in bad:
            raise OSError(code, os.strerror(code), str(path))
        return real(path)

    monkeypatch.setattr(unreadable, "open_regular", opened)
    assert committed(node, term) == commitment
    assert open_all(node, term, commitment) == before


async def test_a_sector_that_goes_bad_within_a_tree_has_it_made_anew(
    begun: Network, monkeypatch: pytest.MonkeyPatch
) -> None:
    node = begun.running[NODE]
    term = term_of(node)
    commitment = committed(node, term)
    before, real = open_all(node, term, commitment), TreeFile._node
    bad = {path.stat().st_ino for path in files_of(begun) if path.suffix == ".tree"}

    def read(self: TreeFile, file: BinaryIO, level: int, index: int) -> bytes:
        if not level and os.fstat(file.fileno()).st_ino in bad:
            raise OSError(errno.EIO, os.strerror(errno.EIO))
        return real(self, file, level, index)

    with monkeypatch.context() as patch:
        patch.setattr(TreeFile, "_node", read)
        for _ in bad:  # each try finds one of them at least
            with contextlib.suppress(Incomplete):
                open_all(node, term, commitment)
        assert open_all(node, term, commitment) == before


async def test_a_commitment_whose_file_is_lost_is_opened_by_the_trees(begun: Network) -> None:
    node = begun.running[NODE]
    term = term_of(node)
    commitment = committed(node, term)
    before = open_all(node, term, commitment)
    for path in files_of(begun):
        if path.suffix == ".committed":
            path.write_bytes(bytes(32))
    assert open_all(node, term, commitment) == before


@pytest.mark.parametrize("name", ["inventory", "inventory.tree", "SHARD.tree"])
async def test_bytes_that_changed_within_a_file_are_found_and_it_is_made_anew(
    begun: Network, name: str
) -> None:
    """Nothing wrong is opened meanwhile: what fails at one look is there at a later one."""
    node = begun.running[NODE]
    term = term_of(node)
    commitment = committed(node, term)
    before = open_all(node, term, commitment)
    path = node.proving.folder_of(term) / name.replace("SHARD", str(term.shards[1]))
    content = bytearray(path.read_bytes())
    content[40:-160] = bytes(one ^ 1 for one in content[40:-160])
    path.write_bytes(content)
    with pytest.raises(Incomplete):
        open_all(node, term, commitment)
    assert open_all(node, term, commitment) == before


async def test_a_damaged_entry_of_the_inventory_stops_no_tree(begun: Network, tmp_path: Path) -> None:
    """A look finds the damage, and a later one makes the file anew."""
    node = begun.running[NODE]
    term, node.proving = term_of(node), beside(node, tmp_path)
    before, inventory = committed(node, term), node.proving.inventory(term)
    opened = open_all(node, term, before)
    path = node.proving.folder_of(term) / "inventory"
    for entry, byte in ((0, 31), (2, 32), (2, 34), (len(BLOBS) - 1, 41)):
        for tree in node.proving.folder_of(term).glob("[0-9].tree"):
            tree.unlink()
        content = bytearray(path.read_bytes())
        content[entry * ENTRY_BYTES + byte] ^= 2
        path.write_bytes(content)
        for _ in range(3):
            with contextlib.suppress(Incomplete):
                committed(node, term)
                open_all(node, term, before)
        assert node.proving.inventory(term) == inventory
        assert committed(node, term) == before
        assert open_all(node, term, before) == opened


def beside(node: StorageNode, folder: Path) -> Proving:
    """Trees of the node in another folder, which its own tasks leave alone."""
    return Proving(folder / "other", node.view, node.store, node.code, node.secret.public_key)


def counting_reads(made: Proving) -> list[int]:
    """The shards of which slivers are read for trees from now on, as often as they are."""
    reads: list[int] = []
    real = made._slivers

    def slivers(shard: int, axis: Axis, blobs: Sequence[bytes]) -> dict[bytes, Symbols]:
        reads.append(shard)
        return real(shard, axis, blobs)

    made._slivers = slivers  # type: ignore[method-assign]
    return reads


async def test_nothing_is_read_for_a_tree_that_does_not_fit_on_the_disk(
    begun: Network, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    node = begun.running[NODE]
    term, made = term_of(node), beside(node, tmp_path)
    made.inventory(term)
    reads = counting_reads(made)
    with monkeypatch.context() as patch:
        patch.setattr(tree_file, "free_bytes", lambda folder: 100)
        with pytest.raises(StoreError, match="no space is left"):
            made.shard_root(term, term.shards[1])
    assert reads == []
    assert made.shard_root(term, term.shards[1]) == node.proving.shard_root(term, term.shards[1])


async def test_a_shard_that_lacks_slivers_is_not_read_at_each_look(begun: Network, tmp_path: Path) -> None:
    node = begun.running[NODE]
    term, made = term_of(node), beside(node, tmp_path)
    shard, blob_id = term.shards[1], BLOBS[3].blob_id
    symbols = node.store.sliver(blob_id, shard, Axis.SECONDARY)
    assert symbols is not None
    kept = bytes(symbols)
    node.store.discard(blob_id, shard, Axis.SECONDARY, symbols)
    reads = counting_reads(made)
    for _ in range(3):
        with pytest.raises(Incomplete, match="are missing"):
            made.shard_root(term, shard)
    assert reads == [shard] * len(Axis), "by the first look alone"
    node.store.put_slivers([NewSliver(blob_id, shard, Axis.SECONDARY, kept)])
    assert made.shard_root(term, shard)[1] == len(BLOBS)
