"""A transaction is read as pysui writes it, and its signature is checked as Sui's wallets make it."""

from __future__ import annotations

from base64 import b64encode
from typing import Any

import base58
import pysui_fastcrypto
import pytest
from pysui.sui.sui_bcs import bcs

from localnet.sui_double.errors import InvalidTransaction
from localnet.sui_double.move.natives.objects import blake2b
from localnet.sui_double.move.natives.registry import STANDARD, SUI
from localnet.sui_double.move.types import Datatype, ModuleId, Scalar
from localnet.sui_double.signatures import check_signatures, signer
from localnet.sui_double.transactions import (
    TRANSACTION_BYTES_LIMIT,
    Gas,
    GasCoin,
    InputAt,
    MakeMoveVector,
    MergeCoins,
    MoveCall,
    ObjectRef,
    OwnedInput,
    Publish,
    PureInput,
    ResultOf,
    SharedInput,
    SplitCoins,
    Transaction,
    TransferObjects,
    read_transaction,
    transaction_digest,
)

SENDER, PAYER, ID, DIGEST = (bytes([number]) * 32 for number in (1, 2, 3, 4))
COIN = Datatype(ModuleId(SUI, "coin"), "Coin", (Datatype(ModuleId(SUI, "sui"), "SUI"),))


def address(raw: bytes) -> Any:
    return bcs.Address.from_str(f"0x{raw.hex()}")


def reference(version: int) -> Any:
    return bcs.ObjectReference(address(ID), version, bcs.Digest.from_str(base58.b58encode(DIGEST).decode()))


def written(expiration: Any) -> bytes:
    """Return a transaction with every kind of input, argument and command, as pysui writes it."""
    argument = bcs.Argument
    inputs = [
        bcs.CallArg("Pure", [1, 2]),
        bcs.CallArg("Object", bcs.ObjectArg("ImmOrOwnedObject", reference(5))),
        bcs.CallArg("Object", bcs.ObjectArg("SharedObject", bcs.SharedObjectReference(address(ID), 6, True))),
    ]
    types = [
        bcs.TypeTag.type_tag_from("0x2::coin::Coin<0x2::sui::SUI>"),
        bcs.TypeTag.type_tag_from("u64"),
    ]
    arguments = [
        argument("Input", 0),
        argument("GasCoin"),
        argument("Result", 1),
        argument("NestedResult", (1, 2)),
    ]
    commands = [
        bcs.Command(
            "MoveCall", bcs.ProgrammableMoveCall(address(ID), "module", "function", types, arguments)
        ),
        bcs.Command("TransferObjects", bcs.TransferObjects([argument("GasCoin")], argument("Input", 1))),
        bcs.Command("SplitCoin", bcs.SplitCoin(argument("GasCoin"), [argument("Input", 0)])),
        bcs.Command("MergeCoins", bcs.MergeCoins(argument("GasCoin"), [argument("Input", 1)])),
        bcs.Command("Publish", bcs.Publish([[7, 8], [9]], [address(STANDARD), address(SUI)])),
        bcs.Command("MakeMoveVec", bcs.MakeMoveVec(bcs.OptionalTypeTag(types[1]), [argument("Input", 0)])),
        bcs.Command("MakeMoveVec", bcs.MakeMoveVec(bcs.OptionalTypeTag(None), [argument("Input", 1)])),
    ]
    kind = bcs.TransactionKind("ProgrammableTransaction", bcs.ProgrammableTransaction(inputs, commands))
    gas = bcs.GasData([reference(9)], address(PAYER), 1000, 5_000_000)
    data: bytes = bcs.TransactionData(
        "V1", bcs.TransactionDataV1(kind, address(SENDER), gas, expiration)
    ).serialize()
    return data


def test_transaction_is_read_as_pysui_writes_it() -> None:
    data = written(bcs.TransactionExpiration("Epoch", 12))
    assert read_transaction(data) == Transaction(
        digest=transaction_digest(data),
        sender=SENDER,
        inputs=(
            PureInput(b"\1\2"),
            OwnedInput(ObjectRef(ID, 5, DIGEST)),
            SharedInput(ID, 6, is_mutable=True),
        ),
        commands=(
            MoveCall(
                ID,
                "module",
                "function",
                (COIN, Scalar.U64),
                (InputAt(0), GasCoin(), ResultOf(1), ResultOf(1, 2)),
            ),
            TransferObjects((GasCoin(),), InputAt(1)),
            SplitCoins(GasCoin(), (InputAt(0),)),
            MergeCoins(GasCoin(), (InputAt(1),)),
            Publish((b"\7\10", b"\t"), (STANDARD, SUI)),
            MakeMoveVector(Scalar.U64, (InputAt(0),)),
            MakeMoveVector(None, (InputAt(1),)),
        ),
        gas=Gas((ObjectRef(ID, 9, DIGEST),), PAYER, 1000, 5_000_000),
        last_epoch=12,
    )
    assert read_transaction(written(bcs.TransactionExpiration("None"))).last_epoch is None


def test_transaction_cut_short_or_followed_by_bytes_is_refused() -> None:
    data = written(bcs.TransactionExpiration("None"))
    for length in range(len(data)):
        with pytest.raises(InvalidTransaction, match="malformed transaction"):
            read_transaction(data[:length])
    with pytest.raises(InvalidTransaction, match="bytes follow it"):
        read_transaction(data + b"\0")


def test_what_the_double_does_not_know_is_refused_by_name() -> None:
    expiration = bcs.TransactionExpiration.gen_valid_during_expiration(
        0, 1, base58.b58encode(DIGEST).decode()
    )
    with pytest.raises(InvalidTransaction, match="the double knows no expiration 2"):
        read_transaction(written(expiration))
    with pytest.raises(InvalidTransaction, match="the double knows no transaction kind 1"):
        read_transaction(b"\0\1")
    with pytest.raises(InvalidTransaction, match=f"{TRANSACTION_BYTES_LIMIT} are the most"):
        read_transaction(bytes(TRANSACTION_BYTES_LIMIT + 1))


def signed(scheme: int, data: bytes, secret: bytes = bytes(31) + b"\7") -> tuple[bytes, bytes]:
    """Return a wallet's signature of a transaction, with its address."""
    _, public, private = pysui_fastcrypto.keys_from_keystring(b64encode(bytes([scheme]) + secret).decode())
    signature = pysui_fastcrypto.sign_digest(scheme, private, b64encode(data).decode())
    return bytes(signature), blake2b(bytes([scheme]) + bytes(public))


@pytest.mark.parametrize("scheme", [0, 1, 2], ids=["Ed25519", "Secp256k1", "Secp256r1"])
def test_signature_gives_the_signers_address(scheme: int) -> None:
    signature, account = signed(scheme, b"transaction")
    assert signer(b"transaction", signature) == account
    with pytest.raises(InvalidTransaction, match="does not hold"):
        signer(b"another", signature)
    changed = bytearray(signature)
    changed[10] ^= 1
    with pytest.raises(InvalidTransaction):
        signer(b"transaction", bytes(changed))


@pytest.mark.parametrize("signature", [b"", b"\3" + bytes(96), bytes(96), bytes(98), b"\0"])
def test_bytes_that_are_no_signature_are_refused(signature: bytes) -> None:
    with pytest.raises(InvalidTransaction, match="a signature of"):
        signer(b"transaction", signature)


def test_every_signature_that_is_needed_is_there_and_no_other() -> None:
    first, sender = signed(0, b"transaction")
    second, payer = signed(0, b"transaction", bytes(31) + b"\x08")
    check_signatures(b"transaction", [first], {sender})
    check_signatures(b"transaction", [second, first], {sender, payer})
    for signatures, needed in (
        ([], {sender}),
        ([first], {payer}),
        ([first], {sender, payer}),
        ([first, second], {sender}),
        ([first, first], {sender}),
    ):
        with pytest.raises(InvalidTransaction, match="exactly one of each"):
            check_signatures(b"transaction", signatures, needed)
