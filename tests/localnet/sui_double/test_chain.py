"""Objects, owners, versions, gas and checkpoints of the double's chain, with a package of Sui's compiler."""

from __future__ import annotations

import dataclasses
import itertools

import pytest

from localnet.sui_double.chain import CLOCK_ID
from localnet.sui_double.checkpoints import NO_CHECKPOINT
from localnet.sui_double.errors import InvalidTransaction, ObjectConflict
from localnet.sui_double.host import OBJECT_BYTES_LIMIT
from localnet.sui_double.move.errors import UnsupportedNative
from localnet.sui_double.move.natives.registry import SUI
from localnet.sui_double.move.types import BYTES, Scalar, type_name
from localnet.sui_double.stored import Owner, OwnerKind
from tests.localnet.sui_double.packages import needs_framework, shelf_modules
from tests.localnet.sui_double.wallet import Wallet, text, u64
from tests.localnet.sui_double.world import COST, OTHER, World, kinds

pytestmark = needs_framework


@pytest.fixture
def world() -> World:
    return World()


def test_publication_runs_init_and_gives_a_cap(world: World) -> None:
    assert kinds(world.publication) == {
        "Coin": "changed",
        "Shelf": "created",
        "Librarian": "created",
        "UpgradeCap": "created",
    }
    shelf, librarian = world.only(world.publication, "Shelf"), world.only(world.publication, "Librarian")
    cap = world.only(world.publication, "UpgradeCap")
    assert shelf.owner == Owner(OwnerKind.SHARED, since=world.publication.version)
    assert librarian.owner == Owner(OwnerKind.ADDRESS, world.wallet.address)
    assert (librarian.has_public_transfer, cap.has_public_transfer) == (False, True)
    assert cap.contents == cap.id + world.package + u64(1) + b"\0"
    assert world.chain.packages[world.package].modules == {"shelf": shelf_modules()[0]}
    assert len({change.id for change in world.publication.changes} | {world.package}) == 5


def test_object_is_written_changed_and_deleted(world: World) -> None:
    note = world.note(b"one")
    assert note.contents == note.id + text(b"one")
    assert type_name(note.type) == f"0x{int.from_bytes(world.package, 'big'):x}::shelf::Note"
    draft = world.wallet.draft()
    world.call(draft, "append", draft.object(note.id), text(b"two"))
    effects = world.wallet.succeed(draft)
    changed = world.get(note.id)
    assert changed.contents == note.id + text(b"onetwo")
    assert changed.version == effects.version > note.version
    assert changed.previous_transaction == effects.transaction.digest
    assert world.chain.objects.at_version(note.id, note.version) == note
    draft = world.wallet.draft()
    world.call(draft, "destroy", draft.object(note.id))
    assert kinds(world.wallet.succeed(draft)) == {"Coin": "changed", "Note": "deleted"}
    assert world.chain.objects.get(note.id) is None
    assert world.chain.objects.was_there(note.id)


def test_version_is_one_above_the_highest_input(world: World) -> None:
    note = world.note()
    for _ in range(3):
        world.note()
    coin = world.get(world.wallet.gas_id)
    assert coin.version > note.version
    draft = world.wallet.draft()
    world.call(draft, "append", draft.object(note.id), text(b"more"))
    effects = world.wallet.succeed(draft)
    assert {change.after.version for change in effects.changes if change.after} == {coin.version + 1}


def test_object_is_wrapped_and_comes_out_again(world: World) -> None:
    note = world.note()
    draft = world.wallet.draft()
    draft.transfer(world.wallet.address, world.call(draft, "wrap", draft.object(note.id)))
    effects = world.wallet.succeed(draft)
    assert kinds(effects) == {"Coin": "changed", "Note": "wrapped", "Envelope": "created"}
    assert world.chain.objects.get(note.id) is None
    draft = world.wallet.draft()
    envelope = draft.object(world.only(effects, "Envelope").id)
    draft.transfer(OTHER, world.call(draft, "unwrap", envelope))
    effects = world.wallet.succeed(draft)
    assert kinds(effects) == {"Coin": "changed", "Note": "unwrapped", "Envelope": "deleted"}
    assert world.get(note.id).owner == Owner(OwnerKind.ADDRESS, OTHER)


def test_shared_object_is_everybodys(world: World) -> None:
    for wallet in (world.wallet, Wallet(world.chain, "another")):
        draft = wallet.draft()
        world.call(draft, "count_up", draft.object(world.shelf))
        (event,) = wallet.succeed(draft).events
        assert event.contents == world.shelf + u64(world.count())
    assert world.count() == 2


def test_abort_pays_gas_and_changes_nothing_else(world: World) -> None:
    note, before = world.note(b"kept"), world.wallet.mist()
    draft = world.wallet.draft()
    world.call(draft, "count_up", draft.object(world.shelf))
    world.call(draft, "append", draft.object(note.id), text(b"lost"))
    world.call(draft, "put", draft.object(world.shelf), u64(1), world.call(draft, "write", text(b"lost")))
    world.call(draft, "check_count", draft.object(world.shelf), u64(9))
    effects = world.wallet.fail(draft, "MOVE_ABORT")
    failure = effects.failure
    assert failure is not None
    assert (failure.abort_code, failure.command) == (3, 4)
    assert failure.location is not None
    assert (failure.location.address, failure.location.function) == (world.package, "check_count")
    assert effects.events == ()
    assert kinds(effects) == {"Coin": "changed", "Shelf": "changed", "Note": "changed"}
    assert world.wallet.mist() == before - COST
    assert (world.count(), world.get(note.id).contents) == (0, note.id + text(b"kept"))
    assert world.get(note.id).version == effects.version
    assert list(world.chain.objects.owned_by(world.shelf)) == []


def test_field_is_the_shelfs_child(world: World) -> None:
    note = world.note(b"shelved")
    draft = world.wallet.draft()
    world.call(draft, "put", draft.object(world.shelf), u64(5), draft.object(note.id))
    effects = world.wallet.succeed(draft)
    assert kinds(effects) == {"Coin": "changed", "Shelf": "changed", "Note": "wrapped", "Field": "created"}
    (child,) = world.chain.objects.owned_by(world.shelf)
    assert child.owner == Owner(OwnerKind.OBJECT, world.shelf)
    assert child.contents == child.id + u64(5) + note.id + text(b"shelved")
    draft = world.wallet.draft()
    world.call(draft, "edit", draft.object(world.shelf), u64(5), text(b"edited"))
    effects = world.wallet.succeed(draft)
    assert kinds(effects) == {"Coin": "changed", "Shelf": "changed", "Field": "changed"}
    (edited,) = world.chain.objects.owned_by(world.shelf)
    assert (edited.version, edited.contents[-6:]) == (effects.version, b"edited")
    draft = world.wallet.draft()
    world.call(draft, "read", draft.object(world.shelf, is_mutable=False), u64(5))
    effects = world.wallet.succeed(draft)
    assert kinds(effects) == {"Coin": "changed"}, "what is only read has no new version"
    assert [stored.id for stored in effects.read_shared] == [world.shelf]
    draft = world.wallet.draft()
    draft.transfer(OTHER, world.call(draft, "take", draft.object(world.shelf), u64(5)))
    effects = world.wallet.succeed(draft)
    assert kinds(effects) == {"Coin": "changed", "Shelf": "changed", "Field": "deleted", "Note": "unwrapped"}
    assert list(world.chain.objects.owned_by(world.shelf)) == []


def test_field_that_is_missing_aborts(world: World) -> None:
    draft = world.wallet.draft()
    world.call(draft, "read", draft.object(world.shelf), u64(5))
    failure = world.wallet.fail(draft, "MOVE_ABORT").failure
    assert failure is not None
    assert failure.location is not None
    assert (failure.abort_code, failure.location.module) == (1, "dynamic_field")


def test_a_thousand_fields_a_transaction_and_no_more(world: World) -> None:
    draft = world.wallet.draft()
    world.call(draft, "fill", draft.object(world.shelf), u64(0), u64(1001))
    world.wallet.fail(draft, "MOVE_PRIMITIVE_RUNTIME_ERROR")
    draft = world.wallet.draft()
    world.call(draft, "fill", draft.object(world.shelf), u64(0), u64(1000))
    world.wallet.succeed(draft)
    assert len(list(world.chain.objects.owned_by(world.shelf))) == 1000


def test_shared_object_is_deleted_and_never_owned_again(world: World) -> None:
    draft = world.wallet.draft()
    world.call(draft, "keep", draft.object(world.shelf), OTHER)
    world.wallet.fail(draft, "CONSENSUS_OBJECT_OPERATION_NOT_ALLOWED")
    draft = world.wallet.draft()
    world.call(draft, "share_again", draft.object(world.shelf))
    assert kinds(world.wallet.succeed(draft)) == {"Coin": "changed", "Shelf": "changed"}
    assert world.get(world.shelf).owner == Owner(OwnerKind.SHARED, since=world.publication.version)
    draft = world.wallet.draft()
    world.call(draft, "close", draft.object(world.shelf, is_mutable=False))
    world.wallet.fail(draft, "COMMAND_ARGUMENT_ERROR")
    draft = world.wallet.draft()
    world.call(draft, "close", draft.object(world.shelf))
    assert kinds(world.wallet.succeed(draft)) == {"Coin": "changed", "Shelf": "deleted"}
    draft.commands.clear()
    with pytest.raises(ObjectConflict, match="is deleted, or wrapped"):
        world.wallet.execute(draft)


def test_vector_of_objects_is_made_and_given_away(world: World) -> None:
    first, second = world.note(b"1"), world.note(b"2")
    librarian = world.only(world.publication, "Librarian")
    draft = world.wallet.draft()
    notes = draft.vector(None, draft.object(first.id), draft.object(second.id))
    texts = draft.vector(BYTES, text(b"a"), text(b"b"))
    named = world.call(draft, "names", draft.object(librarian.id), texts, notes)
    world.call(draft, "send_all", named, OTHER)
    world.wallet.succeed(draft)
    assert sorted(stored.contents[33:] for stored in world.chain.objects.owned_by(OTHER)) == [
        b"1",
        b"2",
        b"one more",
    ]


def test_generic_function_takes_types_with_its_abilities(world: World) -> None:
    draft = world.wallet.draft()
    draft.call(world.package, "shelf::choose", u64(1), u64(2), b"\1", types=(Scalar.U64,))
    world.wallet.succeed(draft)
    note = world.note()
    draft = world.wallet.draft()
    draft.call(
        world.package,
        "shelf::choose",
        draft.object(note.id),
        draft.object(note.id),
        b"\1",
        types=(note.type,),
    )
    world.wallet.fail(draft, "TYPE_ARGUMENT_ERROR")
    draft = world.wallet.draft()
    draft.call(world.package, "shelf::choose", u64(1), u64(2), b"\1")
    world.wallet.fail(draft, "TYPE_ARGUMENT_ERROR")


def test_promise_is_kept_within_a_transaction(world: World) -> None:
    draft = world.wallet.draft()
    shelf = draft.object(world.shelf)
    promise = world.call(draft, "promise", shelf)
    world.call(draft, "only_a_transaction", shelf)
    world.call(draft, "fulfil", promise, shelf)
    world.wallet.succeed(draft)
    assert world.count() == 1000


def test_object_may_have_250_kib_and_no_more(world: World) -> None:
    note = world.note(b"")
    large = note.id + text(bytes(OBJECT_BYTES_LIMIT - 32 - 3 - 5))
    world.chain.objects.put(dataclasses.replace(note, contents=large))
    draft = world.wallet.draft()
    world.call(draft, "append", draft.object(note.id), text(b"12345"))
    world.wallet.succeed(draft)
    assert len(world.get(note.id).contents) == OBJECT_BYTES_LIMIT
    draft = world.wallet.draft()
    world.call(draft, "append", draft.object(note.id), text(b"6"))
    world.wallet.fail(draft, "OBJECT_TOO_BIG")
    assert len(world.get(note.id).contents) == OBJECT_BYTES_LIMIT


def test_clock_is_the_chains_and_nobody_changes_it(world: World) -> None:
    coin = world.chain.fund(world.wallet.address, 42)
    for world.now in (1_000_500, 1_000_400):  # the second time goes back, and the chain's does not
        draft = world.wallet.draft()
        world.call(draft, "look", draft.object(CLOCK_ID, is_mutable=False), draft.object(coin.id))
        (event,) = world.wallet.succeed(draft).events
        assert event.contents == u64(1_000_500) + u64(42)
    with pytest.raises(InvalidTransaction, match="no transaction may change the clock"):
        draft = world.wallet.draft()
        draft.object(CLOCK_ID)
        world.wallet.execute(draft)


def test_version_that_was_used_is_refused(world: World) -> None:
    """Two transactions that use one version of an object: the second is refused, and pays nothing."""
    note = world.note()
    first, second = world.wallet.draft(), Wallet(world.chain, "another").draft()
    for draft in (first, second):
        world.call(draft, "append", draft.object(note.id), text(b"x"))
    late = world.wallet.transaction(first)
    world.wallet.succeed(first)
    before = world.wallet.mist()
    with pytest.raises(ObjectConflict, match=f"version .* of object 0x{world.wallet.gas_id.hex()}"):
        world.chain.execute(late)
    with pytest.raises(ObjectConflict, match=f"version .* of object 0x{note.id.hex()}"):
        world.wallet.execute(first)
    assert world.wallet.mist() == before


def test_transaction_is_executed_once(world: World) -> None:
    draft = world.wallet.draft()
    world.call(draft, "count_up", draft.object(world.shelf))
    transaction = world.wallet.transaction(draft)
    first = world.chain.execute(transaction)
    height = len(world.chain.ledger.checkpoints)
    assert world.chain.execute(transaction) is first
    assert (world.count(), len(world.chain.ledger.checkpoints)) == (1, height)


def test_simulation_changes_nothing(world: World) -> None:
    height = len(world.chain.ledger.checkpoints)
    draft = world.wallet.draft()
    world.call(draft, "count_up", draft.object(world.shelf))
    draft.transfer(world.wallet.address, draft.publish(shelf_modules()))
    simulated = world.chain.simulate(world.wallet.transaction(draft))
    assert simulated.succeeded
    assert len(simulated.published) == len(simulated.events) == 1
    assert (world.count(), len(world.chain.ledger.checkpoints), len(world.chain.packages)) == (0, height, 1)
    executed = world.wallet.succeed(draft)
    assert executed.published[0].id != simulated.published[0].id, "another digest gives other ids"


def test_transaction_expires_with_its_epoch(world: World) -> None:
    draft = world.wallet.draft()
    until_now = dataclasses.replace(world.wallet.transaction(draft), last_epoch=0)
    world.chain.advance_epoch()
    with pytest.raises(InvalidTransaction, match="valid until epoch 0"):
        world.chain.execute(until_now)
    assert world.wallet.succeed(draft).epoch == 1


def test_checkpoints_are_chained_by_their_digests(world: World) -> None:
    world.note()
    last = world.chain.advance_epoch()
    world.note()
    checkpoints = world.chain.ledger.checkpoints
    assert [checkpoint.sequence for checkpoint in checkpoints] == list(range(len(checkpoints)))
    assert checkpoints[0].previous == NO_CHECKPOINT
    for earlier, later in itertools.pairwise(checkpoints):
        assert later.previous == earlier.digest
        assert later.timestamp_ms >= earlier.timestamp_ms
    assert [checkpoint.epoch for checkpoint in checkpoints] == [0, 0, 0, 0, 1]
    assert [checkpoint.ends_epoch for checkpoint in checkpoints] == [False, False, False, True, False]
    assert last is checkpoints[3]
    assert [checkpoint.transactions_total for checkpoint in checkpoints] == [0, 1, 2, 2, 3]
    changed = dataclasses.replace(checkpoints[1], transactions=())
    assert changed.digest != checkpoints[1].digest
    assert world.chain.id == checkpoints[0].digest


def test_digest_names_one_version_of_an_object(world: World) -> None:
    note = world.note()
    digests = {
        dataclasses.replace(note, **change).digest
        for change in (
            {},
            {"version": note.version + 1},
            {"contents": note.contents + b"!"},
            {"owner": Owner(OwnerKind.ADDRESS, OTHER)},
            {"owner": Owner(OwnerKind.SHARED, since=1)},
            {"type": world.type("Envelope")},
            {"previous_transaction": OTHER},
            {"has_public_transfer": False},
        )
    }
    assert len(digests) == 8


def test_epoch_begins_when_the_last_one_ends(world: World) -> None:
    assert (world.chain.epoch, world.chain.epoch_start_ms) == (0, 1_000_000)
    world.now += 5000
    world.chain.advance_epoch()
    assert (world.chain.epoch, world.chain.epoch_start_ms) == (1, 1_005_000)


def test_native_that_is_missing_ends_the_execution_and_changes_nothing(world: World) -> None:
    draft = world.wallet.draft()
    world.call(draft, "count_up", draft.object(world.shelf))
    draft.transfer(OTHER, draft.publish(shelf_modules()))
    draft.call(SUI, "ed25519::ed25519_verify", text(b""), text(b""), text(b""))
    before, height = world.wallet.mist(), len(world.chain.ledger.checkpoints)
    with pytest.raises(UnsupportedNative, match="no native function 0x2::ed25519::ed25519_verify"):
        world.wallet.execute(draft)
    assert (world.wallet.mist(), len(world.chain.ledger.checkpoints)) == (before, height)
    assert (world.count(), len(world.chain.packages)) == (0, 1)
    draft.commands.pop()
    world.wallet.succeed(draft)
