"""Blobs and storage proofs of the Move package in transactions of several accounts, within Sui's limits."""

from __future__ import annotations

from typing import Any

import pytest

from committee import bls, messages
from committee.messages import Intent
from committee.opening import Opening
from localnet.sui_double.chain import CLOCK_ID
from localnet.sui_double.effects import Effects
from localnet.sui_double.errors import InvalidTransaction
from localnet.sui_double.move.reader import uleb_bytes
from localnet.sui_double.randomness import RANDOM_ID
from localnet.sui_double.stored import Owner, OwnerKind
from localnet.sui_double.transactions import ResultOf
from storage.proofs import salt_of
from storage.proofs.draw import drawn_position, position_at, position_count
from storage.redstuff import BlobMetadata
from storage.redstuff.merkle import root_of_hashes
from tests.contracts.sui.committees import secret
from tests.contracts.sui.epoch_network import EpochNetwork, objects, read, u32
from tests.contracts.sui.network import written
from tests.contracts.sui.openings import largest, parts
from tests.contracts.sui.rounds import CODE, blobs
from tests.localnet.sui_double.packages import needs_framework
from tests.localnet.sui_double.wallet import Draft, Wallet, text, u64
from tests.storage.proofs.members import HonestMember

pytestmark = needs_framework

N_MEMBERS = 4
MANY = 40
"""Blobs in one transaction."""
ROOT, LENGTH, MEBIBYTES, PERIODS = bytes(range(32)), 77, 1, 2
BLOB_ID = BlobMetadata.id_of(LENGTH, ROOT)
COMMIT_S = 60


class Writers(EpochNetwork):
    """A network in its first epoch, and two accounts with tokens."""

    def __init__(self) -> None:
        super().__init__(CODE.n_shards, N_MEMBERS)
        self.blobs, self.proofs = (written(self.creation, name).id for name in ("Blobs", "Proofs"))
        self.shards = self.select()
        draft = self.wallet.draft()
        told = dict(self.move_on("start", draft, *read(draft, RANDOM_ID)))
        self.salt = bytes(told["EpochStarted"][2])
        self.writer, self.other = (Wallet(self.chain, name) for name in ("writer", "other"))
        self.purses = {wallet.address: self.fund(wallet) for wallet in (self.writer, self.other)}

    def fund(self, wallet: Wallet) -> bytes:
        """Give an account tokens; return the coin's id."""
        draft = self.deployer.draft()
        draft.transfer(wallet.address, draft.split(draft.object(self.purse), 10**6))
        (coin,) = (
            one for one in objects(self.deployer.succeed(draft), "Coin") if one.owner.id == wallet.address
        )
        return coin.id

    def write(self, draft: Draft, wallet: Wallet, name: str = "register") -> None:
        """Add to a draft that a blob is registered in space that is bought for it."""
        store, coin = draft.object(self.blobs), draft.object(self.purses[wallet.address])
        (system, clock) = read(draft, self.system.id, CLOCK_ID)
        bought = draft.call(
            self.package, "blobs::reserve", store, system, u64(MEBIBYTES), u32(PERIODS), coin, clock
        )
        deletable = (bytes(1),) if name == "register" else ()
        given = (ROOT, u64(LENGTH), *deletable, u64(2**64 - 1), coin, clock)
        draft.call(self.package, f"blobs::{name}", store, system, bought, *given)

    def certify(self, draft: Draft, blob: bytes) -> None:
        bitmap, signature = self.signed(Intent.BLOB, messages.blob_body(BLOB_ID))
        system, clock = read(draft, self.system.id, CLOCK_ID)
        given = (u32(1), text(bitmap), text(signature), clock)
        draft.call(self.package, "blob::certify", draft.object(blob), system, *given)

    def extend(self, draft: Draft, blob: bytes, wallet: Wallet) -> None:
        store, coin = draft.object(self.blobs), draft.object(self.purses[wallet.address])
        system, clock = read(draft, self.system.id, CLOCK_ID)
        given = (draft.object(blob), u32(1), u32(1 + PERIODS), coin, clock)
        draft.call(self.package, "blobs::extend", store, system, *given)

    def signed(self, intent: Intent, body: bytes) -> tuple[bytes, bytes]:
        """Return bitmap and signature of all members."""
        message = messages.encode(intent, 1, body, self.domain)
        signature = bls.aggregate([secret(place).sign(message) for place in range(N_MEMBERS)])
        return bytes([(1 << N_MEMBERS) - 1]), signature

    def told(self, effects: Effects, name: str) -> list[Any]:
        """Return the fields of the events of a name."""
        found = (one for one in effects.events if one.type.name == name)
        return [self.chain.codec.decode(one.type, one.contents) for one in found]

    def prove_call(self, draft: Draft, name: str, *arguments: Any) -> ResultOf:
        proofs, (system, clock) = draft.object(self.proofs), read(draft, self.system.id, CLOCK_ID)
        return draft.call(self.package, f"proofs::{name}", proofs, system, *arguments, clock)

    def opening(self, draft: Draft, opening: Opening) -> ResultOf:
        """Add the making of an opening to a draft."""
        first, *more = parts(opening.symbol)
        made = draft.call(
            *(self.package, "opening::new", u32(opening.index), u64(opening.offset)),
            *(nodes(opening.inventory_path), opening.blob_root, u64(opening.blob_length), text(first)),
            *(nodes(opening.sliver_path), opening.other_root, nodes(opening.blob_path)),
            nodes(opening.commitment_path),
        )
        for part in more:
            draft.call(self.package, "opening::append_symbol", made, text(part))
        return made


def nodes(path: tuple[bytes, ...]) -> bytes:
    return uleb_bytes(len(path)) + b"".join(path)


@pytest.fixture(scope="module")
def network() -> Writers:
    return Writers()


def test_many_blobs_are_bought_in_one_transaction_and_certified_in_one(network: Writers) -> None:
    draft = network.writer.draft()
    for _ in range(MANY):
        network.write(draft, network.writer)
    registered = objects(network.writer.succeed(draft), "Blob")
    assert {one.owner for one in registered} == {Owner(OwnerKind.ADDRESS, network.writer.address)}
    assert len(registered) == MANY
    draft = network.writer.draft()
    for blob in registered:
        network.certify(draft, blob.id)
    effects = network.writer.succeed(draft)
    assert len(network.told(effects, "BlobCertified")) == MANY
    changed = {one.after.id for one in effects.changes if one.after is not None}
    assert changed == {network.writer.gas_id, *(blob.id for blob in registered)}, "and nothing that is shared"


def test_blob_of_an_account_is_used_by_no_other_and_a_shared_one_by_all(network: Writers) -> None:
    draft = network.writer.draft()
    network.write(draft, network.writer)
    network.write(draft, network.writer, "register_shared")
    own, shared = sorted(objects(network.writer.succeed(draft), "Blob"), key=lambda one: one.owner.kind.value)
    assert (own.owner.kind, shared.owner.kind) == (OwnerKind.ADDRESS, OwnerKind.SHARED)
    draft = network.other.draft()
    network.certify(draft, shared.id)
    network.extend(draft, shared.id, network.other)
    effects = network.other.succeed(draft)
    assert [fields[3] for fields in network.told(effects, "BlobCertified")] == [1 + PERIODS, 2 + PERIODS]
    draft = network.other.draft()
    network.certify(draft, own.id)
    with pytest.raises(InvalidTransaction, match="is not the account's"):
        network.other.execute(draft)


def test_blob_can_be_in_no_other_object_and_is_given_on_by_the_store_alone(network: Writers) -> None:
    draft = network.writer.draft()
    network.write(draft, network.writer)
    (blob,) = objects(network.writer.succeed(draft), "Blob")
    draft = network.writer.draft()
    draft.transfer(network.other.address, draft.object(blob.id))
    network.writer.fail(draft, "INVALID_TRANSFER_OBJECT")
    draft = network.writer.draft()
    store, (system,) = draft.object(network.blobs), read(draft, network.system.id)
    given = (draft.object(blob.id), network.other.address)
    draft.call(network.package, "blobs::transfer", store, system, *given)
    (moved,) = objects(network.writer.succeed(draft), "Blob")
    assert moved.owner == Owner(OwnerKind.ADDRESS, network.other.address)


def test_round_of_storage_proofs_goes_through_in_transactions(network: Writers) -> None:
    node_id, key = 2, secret(1).public_key
    own = HonestMember(CODE, blobs(), tuple(network.shards[node_id]), salt_of(1, node_id, key, network.salt))
    inventory, wallet = own.inventory, network.wallet
    draft = wallet.draft()
    bitmap, signature = network.signed(Intent.INVENTORY, inventory.body())
    numbers = (inventory.root, u32(inventory.count), u64(inventory.weight))
    network.prove_call(draft, "begin", *numbers, text(bitmap), text(signature))
    root = root_of_hashes([own.shard_root(shard) for shard in own.shards])
    cap = draft.object(network.operator_caps[node_id])
    network.prove_call(draft, "commit", *read(draft, network.registry.id), cap, u32(1), root)
    wallet.succeed(draft)
    network.now_s += COMMIT_S
    draft = wallet.draft()
    network.prove_call(draft, "draw", *read(draft, RANDOM_ID))
    network.prove_call(draft, "draw", *read(draft, RANDOM_ID))
    with pytest.raises(
        InvalidTransaction
    ):  # a draw that is not liked cannot be undone by what comes behind it
        wallet.execute(draft)
    draft = wallet.draft()
    network.prove_call(draft, "draw", *read(draft, RANDOM_ID))
    ((_, drawn, _, _),) = network.told(wallet.succeed(draft), "Drawn")
    count = position_count(CODE, len(own.shards), inventory.weight)
    draft = network.other.draft()
    for place in range(16):
        number = drawn_position(bytes(drawn), node_id, place, count)
        opening = network.opening(draft, own.opening(position_at(CODE, inventory.weight, number)))
        network.prove_call(draft, "answer", u32(node_id), place.to_bytes(2, "little"), opening)
    effects = network.other.succeed(draft)
    assert network.told(effects, "Proven") == [[1, node_id]]


def test_largest_opening_fits_into_a_transaction(network: Writers) -> None:
    opening, _, _ = largest(65534)
    draft = network.other.draft()
    network.opening(draft, opening)
    network.other.succeed(draft)
