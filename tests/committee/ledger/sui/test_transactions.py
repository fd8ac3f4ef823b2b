"""The bytes of transactions: read by the double and by pysui, they are what was put together."""

from __future__ import annotations

from pysui.sui.sui_bcs import bcs as pysui_bcs

from committee import bcs
from committee.ledger.sui.transactions import (
    GAS_COIN,
    Draft,
    Gas,
    Owned,
    Pure,
    Shared,
    Version,
    transaction_digest,
)
from committee.ledger.sui.types import SUI, Datatype
from localnet.sui_double import transactions as double

PACKAGE, SENDER, OBJECT, SHARED = (bytes([number]) * 32 for number in (1, 2, 3, 4))
SUI_TYPE = Datatype(SUI, "sui", "SUI")
GAS = Gas([Version(bytes([5]) * 32, 9, bytes([6]) * 32)], price=750, budget=10**7)


def drafted() -> bytes:
    draft = Draft()
    coin = draft.split(GAS_COIN, 70_000)
    made = draft.call(
        PACKAGE,
        "registry::register",
        Shared(SHARED, is_mutable=False),
        Owned(OBJECT),
        Pure(bcs.text("b\u00e4ffin")),
        coin,
        types=[SUI_TYPE],
    )
    draft.call(PACKAGE, "registry::touch", Shared(SHARED, is_mutable=True), Owned(OBJECT))
    draft.transfer(SENDER, *made)
    assert (draft.owned, draft.shared) == ((OBJECT,), (SHARED,))
    versions = {OBJECT: Version(OBJECT, 7, bytes([8]) * 32)}
    return draft.to_bytes(SENDER, versions, {SHARED: 3}, GAS, last_epoch=12)


def test_double_reads_what_was_put_together() -> None:
    read = double.read_transaction(drafted())
    assert read.digest == transaction_digest(drafted())
    assert read.inputs == (
        double.PureInput((70_000).to_bytes(8, "little")),
        double.SharedInput(SHARED, 3, is_mutable=True),
        double.OwnedInput(double.ObjectRef(OBJECT, 7, bytes([8]) * 32)),
        double.PureInput(b"\x07b\xc3\xa4ffin"),
        double.PureInput(SENDER),
    )
    split, register, touch, transfer = read.commands
    assert split == double.SplitCoins(double.GasCoin(), (double.InputAt(0),))
    assert isinstance(register, double.MoveCall)
    assert (register.module, register.function, len(register.types)) == ("registry", "register", 1)
    assert register.arguments == (*(double.InputAt(place) for place in (1, 2, 3)), double.ResultOf(0, 0))
    assert isinstance(touch, double.MoveCall)
    assert touch.arguments == (double.InputAt(1), double.InputAt(2))
    results = (double.ResultOf(1, 0), double.ResultOf(1, 1))
    assert transfer == double.TransferObjects(results, double.InputAt(4))
    assert read.gas == double.Gas(
        (double.ObjectRef(bytes([5]) * 32, 9, bytes([6]) * 32),), SENDER, 750, 10**7
    )
    assert (read.sender, read.last_epoch) == (SENDER, 12)


def test_pysui_reads_and_writes_the_same_bytes() -> None:
    assert pysui_bcs.TransactionData.deserialize(drafted()).serialize() == drafted()
