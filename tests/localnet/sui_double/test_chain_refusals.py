"""What a command must not do fails and pays gas; what is not valid is refused and pays nothing."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from localnet.sui_double.errors import ChainRefusal, InvalidTransaction
from localnet.sui_double.move.natives.registry import STANDARD, SUI
from localnet.sui_double.move.types import Scalar
from localnet.sui_double.stored import GAS_COIN
from localnet.sui_double.transactions import GasCoin, InputAt, OwnedInput, PureInput, ResultOf, SharedInput
from tests.localnet.sui_double.packages import needs_framework, shelf_modules
from tests.localnet.sui_double.wallet import GAS, Draft, ref_of, text, u64
from tests.localnet.sui_double.world import OTHER, World

pytestmark = needs_framework


@pytest.fixture
def world() -> World:
    return World()


def _put(world: World, draft: Draft, name: str, *arguments: InputAt | ResultOf | GasCoin | bytes) -> None:
    world.call(draft, name, *arguments)


FAILURES: list[tuple[str, str, Callable[[World, Draft], object]]] = [
    ("a function that is missing", "FUNCTION_NOT_FOUND", lambda world, draft: world.call(draft, "missing")),
    (
        "a module that is missing",
        "FUNCTION_NOT_FOUND",
        lambda world, draft: draft.call(world.package, "no::no"),
    ),
    (
        "a private function",
        "NON_ENTRY_FUNCTION_INVOKED",
        lambda world, draft: world.call(draft, "hidden", draft.object(world.shelf)),
    ),
    (
        "a function of the package",
        "NON_ENTRY_FUNCTION_INVOKED",
        lambda world, draft: world.call(draft, "for_the_package", draft.object(world.shelf)),
    ),
    ("init", "NON_ENTRY_FUNCTION_INVOKED", lambda world, draft: world.call(draft, "init")),
    (
        "transfer of another module's type",
        "NON_ENTRY_FUNCTION_INVOKED",
        lambda world, draft: draft.call(
            SUI,
            "transfer::transfer",
            draft.object(world.only(world.publication, "Librarian").id),
            OTHER,
            types=(world.type("Librarian"),),
        ),
    ),
    (
        "an object without store given away",
        "INVALID_TRANSFER_OBJECT",
        lambda world, draft: draft.transfer(
            OTHER, draft.object(world.only(world.publication, "Librarian").id)
        ),
    ),
    ("too few arguments", "ARITY_MISMATCH", lambda world, draft: world.call(draft, "count_up")),
    (
        "too many arguments",
        "ARITY_MISMATCH",
        lambda world, draft: world.call(draft, "count_up", draft.object(world.shelf), u64(1)),
    ),
    (
        "bytes for an object",
        "COMMAND_ARGUMENT_ERROR",
        lambda world, draft: world.call(draft, "destroy", OTHER),
    ),
    (
        "bytes of another length",
        "COMMAND_ARGUMENT_ERROR",
        lambda world, draft: world.call(draft, "check_count", draft.object(world.shelf), b"\1"),
    ),
    (
        "an object of another type",
        "COMMAND_ARGUMENT_ERROR",
        lambda world, draft: world.call(draft, "count_up", draft.object(world.note().id)),
    ),
    (
        "a shared object that is read only, changed",
        "COMMAND_ARGUMENT_ERROR",
        lambda world, draft: world.call(draft, "count_up", draft.object(world.shelf, is_mutable=False)),
    ),
    (
        "an object used twice by a call",
        "COMMAND_ARGUMENT_ERROR",
        lambda world, draft: _put(world, draft, "append_from", *[draft.object(world.note().id)] * 2),
    ),
    (
        "an input that is missing",
        "COMMAND_ARGUMENT_ERROR",
        lambda world, draft: world.call(draft, "count_up", InputAt(9)),
    ),
    (
        "a result that is not there yet",
        "COMMAND_ARGUMENT_ERROR",
        lambda world, draft: world.call(draft, "count_up", ResultOf(5)),
    ),
    (
        "the second result of one",
        "COMMAND_ARGUMENT_ERROR",
        lambda world, draft: world.call(
            draft, "destroy", ResultOf(world.call(draft, "write", text(b"")).command, 1)
        ),
    ),
    (
        "a result that is moved away",
        "COMMAND_ARGUMENT_ERROR",
        lambda world, draft: [
            world.call(draft, "destroy", note)
            for note in [world.call(draft, "write", text(b""))]
            for _ in range(2)
        ],
    ),
    (
        "a gas coin taken by a call",
        "COMMAND_ARGUMENT_ERROR",
        lambda world, draft: draft.call(SUI, "transfer::public_share_object", GAS, types=(GAS_COIN,)),
    ),
    (
        "a split of what is no coin",
        "COMMAND_ARGUMENT_ERROR",
        lambda world, draft: draft.split(draft.object(world.shelf), 1),
    ),
    ("an empty vector of unknown type", "COMMAND_ARGUMENT_ERROR", lambda _, draft: draft.vector(None)),
    (
        "an object without use",
        "UNUSED_VALUE_WITHOUT_DROP",
        lambda world, draft: world.call(draft, "write", text(b"")),
    ),
    (
        "a promise that is not kept",
        "UNUSED_VALUE_WITHOUT_DROP",
        lambda world, draft: world.call(draft, "promise", draft.object(world.shelf)),
    ),
    (
        "a reference returned",
        "INVALID_PUBLIC_FUNCTION_RETURN_TYPE",
        lambda world, draft: world.call(draft, "text", draft.object(world.note().id)),
    ),
    (
        "a package that is none",
        "VM_VERIFICATION_OR_DESERIALIZATION_ERROR",
        lambda _, draft: draft.publish((b"\0" * 60,)),
    ),
    ("a package without modules", "PACKAGE_TOO_BIG", lambda _, draft: draft.publish(())),
    ("a package of too many bytes", "PACKAGE_TOO_BIG", lambda _, draft: draft.publish((bytes(102_401),))),
    (
        "a package that lacks a dependency",
        "PUBLISH_UPGRADE_MISSING_DEPENDENCY",
        lambda _, draft: draft.publish(shelf_modules(), (STANDARD,)),
    ),
    (
        "a package that is published",
        "UNUSED_VALUE_WITHOUT_DROP",
        lambda _, draft: draft.publish(shelf_modules()),
    ),
]


def test_what_a_command_must_not_do_fails(world: World) -> None:
    modules = world.chain.modules
    for name, kind, add in FAILURES:
        count, before = world.count(), world.chain.packages.copy()
        draft = world.wallet.draft()
        add(world, draft)
        effects = world.wallet.fail(draft, kind)
        assert effects.published == (), name
        assert (world.count(), world.chain.packages) == (count, before), name
    assert modules is world.chain.modules


REFUSED: list[tuple[str, Callable[[World, Draft], object]]] = [
    ("is not the account's", lambda world, draft: draft.object(world.note(owner=OTHER).id)),
    ("there is no object", lambda _, draft: draft.object(OTHER)),
    (
        "is shared, or the child",
        lambda world, draft: draft.inputs.append(OwnedInput(ref_of(world.get(world.shelf)))),
    ),
    ("is not shared since", lambda world, draft: draft.inputs.append(SharedInput(world.note().id, 1, True))),
    (
        "is not shared since version 1",
        lambda world, draft: draft.inputs.append(SharedInput(world.shelf, 1, True)),
    ),
    (
        "the transaction names version",
        lambda world, draft: draft.inputs.append(OwnedInput(ref_of(world.note())._replace(digest=bytes(32)))),
    ),
    ("names an object twice", lambda world, draft: draft.object(world.wallet.gas_id)),
    ("16385 bytes in a pure input", lambda _, draft: draft.pure(bytes(16_385))),
    ("513 arguments", lambda _, draft: draft.vector(Scalar.U64, *[u64(1)] * 513)),
    ("1025 commands", lambda _, draft: [draft.split(GAS, 1) for _ in range(1025)]),
    ("2049 inputs", lambda _, draft: draft.inputs.extend([PureInput(b"")] * 2048)),
]


def test_inputs_that_are_not_valid_are_refused_and_pay_nothing(world: World) -> None:
    for refusal, add in REFUSED:
        draft = world.wallet.draft()
        add(world, draft)
        before, height = world.wallet.mist(), len(world.chain.ledger.checkpoints)
        with pytest.raises(ChainRefusal, match=refusal):
            world.wallet.execute(draft)
        assert (world.wallet.mist(), len(world.chain.ledger.checkpoints)) == (before, height), refusal


def test_gas_that_is_not_valid_is_refused(world: World) -> None:
    note, others, poor = world.note(), world.chain.fund(OTHER), world.chain.fund(world.wallet.address, 5)
    refused: list[tuple[str, dict[str, object]]] = [
        ("gas is paid by coins of SUI", {"coins": ()}),
        ("gas is paid by coins of SUI", {"coins": (ref_of(note),)}),
        ("is not the account's", {"coins": (ref_of(others),)}),
        ("gas price 999", {"price": 999}),
        ("gas budget 999999: it must be 1000000", {"budget": 999_999}),
        ("gas budget 50000000001", {"budget": 50_000_000_001}),
        ("the gas coins hold 5 MIST", {"coins": (ref_of(poor),)}),
    ]
    for refusal, changes in refused:
        with pytest.raises(InvalidTransaction, match=refusal):
            world.wallet.execute(world.wallet.draft(), **changes)
