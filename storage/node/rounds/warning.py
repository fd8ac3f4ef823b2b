"""Warnings while a round of storage proofs can still be saved: in the node's log, its health and its metrics.

The rules are pure functions: each returns a sentence for the operator, or None. `Warnings` reads what they need.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Mapping
from dataclasses import replace

from committee.ledger.proofs import Means, RoundStep
from committee.logs import Log
from committee.opening import NOTHING_OPENED, PLACES_ON_CHAIN, Opening
from storage.node.chain import ChainView
from storage.node.proving import Progress, Proving, Term
from storage.node.rounds.own_part import OwnPart
from storage.proofs import Inventory, symbols_in_pair
from storage.redstuff import Parameters, RedStuff
from storage.redstuff.merkle import depth_of
from storage.redstuff.parameters import HASH_BYTES

log = Log()

WEI_PER_ETHER = 10**18
COMMITTING = (RoundStep.BEGIN, RoundStep.COMMIT)
"""The steps in which the node can still mend what it will commit to."""


def lacking_slivers(shards: Iterable[int]) -> str | None:
    """Return the warning that shards of the node lack slivers; None for no shards."""
    named = ", ".join(map(str, shards))
    if not named:
        return None
    return f"shards that lack slivers: {named}; the commitment will not have them, and what is drawn of them is a miss"


def slow_trees(progress: Progress, left_s: float) -> str | None:
    """Return the warning that the trees will not be made in `left_s` seconds at the pace so far; None if they will.

    While no pair is read, the reading is taken to last as long again.
    """
    left = progress.total - progress.done
    if left <= 0:
        return None
    needed_s = progress.spent_s * left / progress.read if progress.read else progress.spent_s
    if needed_s <= left_s:
        return None
    return (
        f"the trees have {progress.done} of {progress.total} sliver pairs, and the others take {needed_s:.0f} s at the "
        f"pace so far, but commitments end in {max(0, left_s):.0f} s"
    )


def little_ether(means: Means) -> str | None:
    """Return the warning that the account cannot pay for answers on chain; None if it can."""
    if means.has_wei >= means.needed_wei:
        return None
    has, needed = means.has_wei / WEI_PER_ETHER, means.needed_wei / WEI_PER_ETHER
    return (
        f"the node's account has {has:.6g} ether, and to answer {PLACES_ON_CHAIN} places on chain takes up to "
        f"{needed:.6g} at the present price of gas"
    )


def mean_opening(grid: Parameters, inventory: Inventory, shards: int) -> Opening:
    """Return an opening of zeros with the sizes of one of the inventory's mean symbol, of a member with so many shards.

    The inventory must have a blob.
    """
    committed = depth_of(symbols_in_pair(grid)) + depth_of(inventory.count) + depth_of(shards)
    return replace(
        NOTHING_OPENED,
        symbol=bytes(-(-inventory.weight // inventory.count)),
        inventory_path=_path(depth_of(inventory.count)),
        sliver_path=_path(depth_of(grid.n_shards)),
        blob_path=_path(depth_of(grid.n_shards)),
        commitment_path=_path(committed),
    )


def _path(length: int) -> tuple[bytes, ...]:
    return (bytes(HASH_BYTES),) * length


class Warnings:
    """Finds what may fail a node's storage proof, and warns of it in the log and in `OwnPart`, which health shows."""

    def __init__(self, view: ChainView, code: RedStuff, proving: Proving) -> None:
        self._view = view
        self._code = code
        self._proving = proving
        self._logged: frozenset[str] = frozenset()
        """What the last warnings were about."""

    async def warn(self, term: Term, part: OwnPart) -> object:
        """Note in `part` what may fail the node's proof, log what is new of it, and return it.

        Raises `LedgerError` and `StoreError`.
        """
        ledger = self._view.ledger
        if part.epoch != term.epoch or part.step is None:
            return None
        found: dict[str, str | None] = {}
        inventory = await asyncio.to_thread(self._proving.made_inventory, term)
        if inventory is not None and not inventory.count:
            inventory = None
        if part.step in COMMITTING:
            lacking = set(part.lacking or ())
            # What is being gained is the handover's, and excused if it is not attested in time.
            found["slivers"] = lacking_slivers(sorted(lacking - self._view.missing))
            if inventory is not None:
                end_s = part.until_s
                if end_s is None and part.begins_at_s is not None:
                    end_s = part.begins_at_s + (await ledger.proof_terms()).commit_window_s
                if end_s is not None:
                    progress = self._proving.progress(term, set(term.shards) - lacking, inventory.count)
                    found["trees"] = slow_trees(progress, end_s - await ledger.chain_time_s())
        if ledger.account is not None and inventory is not None and not part.is_proven:
            opening = mean_opening(self._code, inventory, len(term.shards))
            means = await ledger.means_to_answer(dict.fromkeys(range(PLACES_ON_CHAIN), opening))
            found["ether"] = little_ether(means)
        return self._noted(part, {about: text for about, text in found.items() if text is not None})

    def _noted(self, part: OwnPart, found: Mapping[str, str]) -> object:
        for about in found.keys() - self._logged:
            log.warning("this node may miss its storage proof", why=found[about])
        self._logged = frozenset(found)
        part.warnings = tuple(found.values())
        return self._logged
