"""A chain of the double on which a deployment goes through its epochs, by transactions of several accounts."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from committee import bls, messages
from committee.messages import Intent
from localnet.sui_double.chain import CLOCK_ID
from localnet.sui_double.effects import Effects
from localnet.sui_double.move.machine import Limits
from localnet.sui_double.move.natives.registry import SUI
from localnet.sui_double.move.reader import uleb_bytes
from localnet.sui_double.move.types import Datatype, ModuleId
from localnet.sui_double.randomness import RANDOM_ID
from localnet.sui_double.stored import StoredObject
from localnet.sui_double.transactions import Argument
from tests.contracts.sui.committees import secret
from tests.contracts.sui.network import Network, written
from tests.localnet.sui_double.wallet import Draft, Wallet, text, u64

STAKE = 10**9
BATCH = 50
"""Nodes that register, or are staked on, in one transaction."""
MOST_STEPS = 300_000
PERIOD_S, NOTICE_S = 1000, 50


class EpochNetwork(Network):
    """A network of nodes of one account, whose time stands still until it is set."""

    def __init__(self, n_shards: int, n_members: int) -> None:
        super().__init__(n_shards)
        self.n_members = n_members
        self.now_s = 2_000_000_000
        self.chain.clock = lambda: 1000 * self.now_s
        self.ballot = written(self.creation, "Ballot")
        self.haul = Datatype(ModuleId(self.package, "haul"), "HAUL")
        coins = objects(self.creation, "Coin")
        (self.purse,) = (coin.id for coin in coins if coin.type.arguments == (self.haul,))
        self.wallet = Wallet(self.chain, "owner of all")
        self.operator_caps: dict[int, bytes] = {}
        for first in range(0, n_members, BATCH):
            self._add_nodes(range(first, min(first + BATCH, n_members)))

    def _add_nodes(self, places: range) -> None:
        draft = self.wallet.draft()
        for place in places:
            draft.transfer(self.wallet.address, *self.register(draft, self.wallet.address, secret(place)))
        for cap in objects(self.wallet.succeed(draft), "OperatorCap"):
            self.operator_caps[int.from_bytes(cap.contents[32:36], "little")] = cap.id
        self.stake({place + 1: STAKE for place in places})

    def stake(self, amounts: Mapping[int, int]) -> None:
        """Stake on nodes, in one transaction of the deployer's, who has all tokens."""
        draft = self.deployer.draft()
        for node_id, amount in amounts.items():
            coin = draft.call(SUI, "coin::split", draft.object(self.purse), u64(amount), types=(self.haul,))
            staked = draft.call(
                self.package,
                "staking::stake",
                draft.object(self.staking.id),
                *read(draft, self.system.id, self.registry.id),
                u32(node_id),
                coin,
                *read(draft, CLOCK_ID),
            )
            draft.transfer(self.deployer.address, staked)
        self.deployer.succeed(draft)

    def move_on(self, name: str, draft: Draft, *arguments: Argument | bytes) -> list[tuple[str, Any]]:
        """Call a function of `epochs` within the limits, with the system before and the clock behind its arguments.

        Return the events: names and fields.
        """
        system = draft.object(self.system.id)
        draft.call(self.package, f"epochs::{name}", system, *arguments, *read(draft, CLOCK_ID))
        self.chain.limits = Limits(steps=MOST_STEPS)
        effects = self.wallet.succeed(draft)
        self.chain.limits = Limits()
        return [(one.type.name, self.chain.codec.decode(one.type, one.contents)) for one in effects.events]

    def vote(self, node_ids: Iterable[int]) -> None:
        """Vote for nodes, each for a price of its own."""
        draft = self.wallet.draft()
        ballot, *shared = draft.object(self.ballot.id), *read(draft, self.system.id, self.registry.id)
        for node_id in node_ids:
            terms = draft.call(
                self.package, "terms::new", u64(1000 - 7 * node_id), u64(node_id), u64(1 << 40)
            )
            cap = draft.object(self.operator_caps[node_id])
            draft.call(self.package, "ballot::vote", ballot, *shared, cap, terms)
        self.wallet.succeed(draft)

    def decide(self) -> list[str]:
        """Have the votes counted; return the names of the events."""
        draft = self.wallet.draft()
        blobs = written(self.creation, "Blobs").id
        draft.call(
            self.package,
            "ballot::decide",
            draft.object(self.ballot.id),
            *read(draft, self.system.id),
            draft.object(blobs),
        )
        self.chain.limits = Limits(steps=MOST_STEPS)
        effects = self.wallet.succeed(draft)
        self.chain.limits = Limits()
        return [one.type.name for one in effects.events]

    def select(self) -> dict[int, list[int]]:
        """Select the next period's committee; return its members and their shards."""
        draft = self.wallet.draft()
        ((_, fields),) = self.move_on("select", draft, *read(draft, self.registry.id, self.staking.id))
        return dict(zip(fields[3], fields[4], strict=True))

    def start(self) -> list[str]:
        """Start the selected epoch; return the names of the events."""
        draft = self.wallet.draft()
        return [name for name, _ in self.move_on("start", draft, *read(draft, RANDOM_ID))]

    def replace(self) -> dict[int, list[int]]:
        ((_, fields),) = self.move_on("replace", self.wallet.draft())
        return dict(zip(fields[3], fields[4], strict=True))

    def attest(self, node_id: int, epoch: int, shards: Sequence[int]) -> list[str]:
        draft = self.wallet.draft()
        count = uleb_bytes(len(shards))
        told = self.move_on(
            "attest",
            draft,
            *read(draft, self.registry.id),
            draft.object(self.operator_caps[node_id]),
            u32(epoch),
            count + b"".join(shard.to_bytes(2, "little") for shard in shards),
            count + bytes(32) * len(shards),
            count + u32(7) * len(shards),
        )
        return [name for name, _ in told]

    def eject(self, node_id: int, epoch: int, places: Iterable[int]) -> list[str]:
        """Eject a node with a certificate by the members at these places."""
        body = messages.eject_body(node_id, self.now_s)
        message = messages.encode(Intent.EJECT, epoch, body, self.domain)
        signers = list(places)
        bitmap = sum(1 << place for place in signers).to_bytes((self.n_members + 7) // 8, "little")
        signature = bls.aggregate([secret(place).sign(message) for place in signers])
        return self.post_ejection(node_id, bitmap, signature)

    def post_ejection(self, node_id: int, bitmap: bytes, signature: bytes) -> list[str]:
        """Eject a node with a certificate whose deadline is now."""
        draft = self.wallet.draft()
        registry = draft.object(self.registry.id)
        given = (u32(node_id), b"\x01", u64(self.now_s), text(bitmap), text(signature))
        return [name for name, _ in self.move_on("eject", draft, registry, *given)]


def read(draft: Draft, *ids: bytes) -> list[Argument]:
    """Return shared objects that are read and not changed, as arguments."""
    return [draft.object(id_, is_mutable=False) for id_ in ids]


def objects(effects: Effects, name: str) -> list[StoredObject]:
    """Return the objects of a type that were written."""
    return [one.after for one in effects.changes if one.after is not None and one.after.type.name == name]


def u32(number: int) -> bytes:
    return number.to_bytes(4, "little")
