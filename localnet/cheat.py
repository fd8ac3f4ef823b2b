"""Nodes that cheat, for the demo and the tests. Each is the software that every node runs, but for one thing.

That is named when the node is started:

    delete-one-of=N      commits to all that it should store, then deletes one of N sliver pairs, and repairs nothing
    keep-hashes          keeps the hashes of its symbols, and not the symbols: it commits to what it can make of them
    commit-garbage       stores everything, and commits to something else
    answer-late          has what it committed to, and shows it only when answers have ended
    withhold-from=NAME   does not get around to signing the proofs of one fellow
    lie-about=NAME       says of one fellow's openings that they are wrong
"""

from __future__ import annotations

import argparse
import asyncio
import sys
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from committee.logs import Log
from committee.opening import NOTHING_OPENED, Opening
from storage.client.failures import Reason
from storage.node import logs
from storage.node.__main__ import run
from storage.node.duties import Rota
from storage.node.face import Refusal
from storage.node.node import StorageNode
from storage.node.proving import Incomplete, Proving, Term
from storage.node.proving.inventory_file import InventoryFile
from storage.node.rounds import Rounds
from storage.node.rounds.prover import Prover
from storage.proofs import Entry, Position, pair_nodes
from storage.redstuff import Axis, BlobMetadata
from storage.redstuff.merkle import blake2b_256, depth_of, leaf_hash, root_of_hashes

log = Log()

LOOK_S = 0.2
"""Pause between two looks at whether the node has committed."""
BLOBS_AT_ONCE = 100
"""Blobs whose ids are read from the store at once."""


class Cheat(StorageNode):
    """A node whose part in rounds of proofs is another one's, made of these classes."""

    proving_type: type[Proving] = Proving
    rounds_type: type[Rounds] = Rounds
    deletes_one_of = 0
    """N: once it has committed, the node deletes one of N sliver pairs, and repairs none. 0: it deletes none."""
    victim = ""
    """The name of the fellow that it harms."""

    @classmethod
    def set_up(cls, value: str) -> None:
        """Take what the command line says behind the kind's name."""
        Cheat.victim = value

    def _put_together(self) -> tuple[Callable[[], Awaitable[None]], ...]:
        duties, honest = super()._put_together(), self.rounds
        folder = self._proofs.with_name("cheated")  # what is attested is made of the honest trees
        proving = self.proving_type(folder, self.view, self.store, self.code, self.secret.public_key)
        parts = (self.view, Rota(self.view), self.peers, self.code, self.secret, proving, self.config.keeper)
        self.rounds = self.rounds_type(*parts)
        kept = [one for one in duties if one not in (honest.run, self.healing.run)]
        return (*kept, self.rounds.run, self._delete if self.deletes_one_of else self.healing.run)

    async def _delete(self) -> None:
        is_committed = False
        while not is_committed:
            await asyncio.sleep(LOOK_S)
            is_committed = self.rounds.prover.part.is_committed
        log.info("deleting sliver pairs", count=await asyncio.to_thread(self._delete_pairs))
        await asyncio.Event().wait()

    def _delete_pairs(self) -> int:
        """Delete the sliver pairs; return how many."""
        pairs, last = [], b""
        while blobs := self.store.blobs_after(last, BLOBS_AT_ONCE):
            last = blobs[-1]
            pairs += [(one, shard) for one in blobs for shard in self.store.shards_with(one, Axis.PRIMARY)]
        for blob_id, shard in pairs[:: self.deletes_one_of]:
            for axis in Axis:
                symbols = self.store.sliver(blob_id, shard, axis)
                if symbols is not None:
                    self.store.discard(blob_id, shard, axis, symbols)
        return len(pairs[:: self.deletes_one_of])


class Deletes(Cheat):
    """A node that commits to all that it should store, and then deletes one of N sliver pairs."""

    @classmethod
    def set_up(cls, value: str) -> None:
        """Take the number."""
        cls.deletes_one_of = int(value)


class HashesAlone(Proving):
    """Trees and openings of a node that keeps, of each symbol, the hash: nobody knows the salt when it makes them."""

    def __init__(self, *parts: Any) -> None:
        super().__init__(*parts)
        self._hashes: dict[tuple[bytes, int], list[bytes]] = {}
        """(blob id, shard) → the hashes of a pair's symbols."""

    def _pair_roots(self, salt: bytes, shard: int, entries: Sequence[Entry]) -> list[bytes]:
        for entry in entries:
            if (entry.blob_id, shard) not in self._hashes:
                pair = self._pair(entry.blob_id, shard)
                if pair is None:
                    raise Incomplete(f"a sliver of shard {shard} has not come yet")
                self._hashes[entry.blob_id, shard] = pair_nodes(b"", *pair, entry.symbol_size)
        return [root_of_hashes(self._hashes[entry.blob_id, shard]) for entry in entries]

    def _symbol(
        self, term: Term, position: Position, inventory: InventoryFile
    ) -> tuple[Opening, list[bytes]]:
        """Return an opening that is right but for the symbol and the path to its sliver, which are zeros."""
        shard = term.shards[position.shard_number]
        index, entry = inventory.find(position.offset)
        metadata = self._store.metadata(entry.blob_id)
        if metadata is None:
            raise Incomplete("not even the blob's roots are here")
        roots, n = BlobMetadata.from_bcs(metadata, entry.blob_id), self._code.n_shards
        zeros = (bytes(32),) * depth_of(n)
        opening = replace(
            NOTHING_OPENED,
            index=index,
            offset=entry.offset,
            inventory_path=inventory.tree.proof(index, leaf_hash(entry.leaf())).siblings,
            blob_root=roots.root,
            blob_length=roots.length,
            symbol=bytes(entry.symbol_size),
            sliver_path=zeros,
            blob_path=zeros,
        )
        return opening, self._hashes[entry.blob_id, shard]


class KeepsHashes(Cheat):
    """A node that keeps the hashes of its symbols, and not the symbols."""

    proving_type = HashesAlone
    deletes_one_of = 1


class Garbage(Proving):
    """A commitment to nothing that there is, and openings to what there is."""

    def commit(self, term: Term, *, to_all: bool = True) -> bytes | None:
        """Return a root that is over nothing."""
        self._honest = super().commit(term, to_all=to_all)
        return None if self._honest is None else blake2b_256(self._honest)

    def opening(self, term: Term, commitment: bytes, position: Position) -> Opening:
        """Return the opening that would be right to the root that it has not committed to."""
        if self._honest is None:
            raise Incomplete("nothing was committed to")
        return super().opening(term, self._honest, position)


class CommitsGarbage(Cheat):
    """A node that stores everything, and commits to something else."""

    proving_type = Garbage


class LateProver(Prover):
    """Commits in time, and proves when it is too late."""

    async def follow_round(self, term: Term) -> object:
        """Do what the round waits for, but prove only when answers have ended."""
        ledger, current = self._view.ledger, self._view.state.current
        round_ = await ledger.proof_round(term.epoch)
        if current is not None and round_ is not None and round_.draw is not None:
            if await ledger.chain_time_s() <= round_.answer_by_s:
                return None
            await self._prove(term, current, round_, round_.draw, round_.answer_by_s)
        return await super().follow_round(term)


class LateRounds(Rounds):
    """Rounds with a `LateProver`."""

    def __init__(self, *parts: Any) -> None:
        super().__init__(*parts)
        view, rota, peers, code, secret, proving, keeps = parts
        self.prover = LateProver(view, rota, peers, code, secret, proving, self._pages, keeps)


class AnswersLate(Cheat):
    """A node that shows what it committed to only when answers have ended."""

    rounds_type = LateRounds


class Unjust(Rounds):
    """Rounds in which the proofs of one fellow are not signed."""

    why: tuple[int, Reason, str] = 503, Reason.UNAVAILABLE, "later"

    async def sign_proof(self, node_id: int, draw: bytes) -> tuple[bytes, bytes]:
        """Return (message, signature) for the proof of any fellow but one. Raises `Refusal`."""
        current = self._view.state.current
        if current is not None and node_id in current.by_id and current.by_id[node_id].name == Cheat.victim:
            raise Refusal(*self.why)
        return await super().sign_proof(node_id, draw)


class Lying(Unjust):
    """Rounds in which one fellow's openings are said to be wrong."""

    why = 400, Reason.INVALID_PROOF, "NotOfTheBlob: this is not its symbol"


class Withholds(Cheat):
    """A node that does not sign the proofs of one fellow."""

    rounds_type = Unjust


class Lies(Cheat):
    """A node that says of the openings of one fellow that they are wrong."""

    rounds_type = Lying


KINDS: dict[str, type[Cheat]] = {
    "delete-one-of": Deletes,
    "keep-hashes": KeepsHashes,
    "commit-garbage": CommitsGarbage,
    "answer-late": AnswersLate,
    "withhold-from": Withholds,
    "lie-about": Lies,
}


def main() -> None:
    """Run a node that cheats, as `python -m storage.node` runs one that does not."""
    parser = argparse.ArgumentParser(prog="python -m localnet.cheat", description="Run a node that cheats.")
    parser.add_argument("folder", type=Path)
    parser.add_argument("cheat", help="how it cheats: a kind, KIND=NAME or KIND=N")
    parser.add_argument("--stop-with-parent", action="store_true")
    arguments = parser.parse_args()
    kind, _, value = arguments.cheat.partition("=")
    if kind not in KINDS:
        sys.exit(f"there is no cheat {kind}: {', '.join(KINDS)}")
    KINDS[kind].set_up(value)
    logs.configure(as_json=True)
    run(arguments.folder, arguments.stop_with_parent, KINDS[kind])


if __name__ == "__main__":
    main()
