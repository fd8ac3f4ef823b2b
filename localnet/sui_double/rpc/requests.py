"""Reads a transaction that a client has not put into bytes: its kind in messages, to be simulated."""

from __future__ import annotations

from collections.abc import Sequence

import pysui.sui.sui_grpc.suimsgs.sui.rpc.v2 as v2

from localnet.sui_double.chain import BUDGET_LIMIT, GAS_PRICE, Chain
from localnet.sui_double.errors import InvalidTransaction
from localnet.sui_double.move.natives.objects import blake2b
from localnet.sui_double.rpc.texts import read_address, read_digest, read_type
from localnet.sui_double.stored import GAS_COIN, StoredObject
from localnet.sui_double.transactions import (
    Argument,
    Command,
    Gas,
    GasCoin,
    Input,
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
)

GAS_COINS_LIMIT = 256
"""Coins that may pay for a transaction."""


def simulated(chain: Chain, request: v2.SimulateTransactionRequest) -> Transaction:
    """Return the transaction that a request asks to simulate; the chain chooses its gas coins if it has none.

    Raises `InvalidTransaction`.
    """
    message = request.transaction
    if message is None:
        raise InvalidTransaction("the request has no transaction")
    if message.bcs is not None and message.bcs.value:
        return read_transaction(message.bcs.value)
    kind = message.kind.programmable_transaction if message.kind else None
    if kind is None:
        raise InvalidTransaction("the request has no programmable transaction")
    sender = read_address(message.sender)
    inputs = tuple(_input(given) for given in kind.inputs)
    commands = tuple(_command(command) for command in kind.commands)
    digest = blake2b(b"simulated" + bytes(message))
    return Transaction(digest, sender, inputs, commands, _gas(chain, message, sender, inputs))


def _gas(chain: Chain, message: v2.Transaction, sender: bytes, inputs: Sequence[Input]) -> Gas:
    """Return the gas that a message names, or else coins of the payer that the transaction does not use."""
    payment = message.gas_payment
    owner = read_address(payment.owner) if payment and payment.owner else sender
    budget = payment.budget if payment else None
    if payment and payment.objects:
        coins = [
            ObjectRef(read_address(coin.object_id), coin.version or 0, read_digest(coin.digest))
            for coin in payment.objects
        ]
        return Gas(tuple(coins), owner, payment.price or GAS_PRICE, budget or BUDGET_LIMIT)
    used = {given.ref.id for given in inputs if isinstance(given, OwnedInput)}
    free = [
        stored
        for stored in chain.objects.owned_by(owner)
        if stored.type == GAS_COIN and stored.id not in used
    ]
    free.sort(key=coin_balance, reverse=True)
    free = free[:GAS_COINS_LIMIT]
    total = sum(map(coin_balance, free))
    refs = tuple(ObjectRef(stored.id, stored.version, stored.digest) for stored in free)
    return Gas(refs, owner, GAS_PRICE, budget or min(total, BUDGET_LIMIT))


def coin_balance(coin: StoredObject) -> int:
    """Return what a coin holds: the number behind its id."""
    return int.from_bytes(coin.contents[32:40], "little")


def _input(message: v2.Input) -> Input:
    if message.pure is not None:
        return PureInput(message.pure)
    id_, version = read_address(message.object_id), message.version or 0
    if message.kind == v2.InputInputKind.SHARED:
        is_mutable = bool(message.mutable) or message.mutability == v2.InputMutability.MUTABLE
        return SharedInput(id_, version, is_mutable)
    return OwnedInput(ObjectRef(id_, version, read_digest(message.digest)))


def _argument(message: v2.Argument | None) -> Argument:
    if message is not None:
        if message.kind == v2.ArgumentArgumentKind.GAS:
            return GasCoin()
        if message.kind == v2.ArgumentArgumentKind.INPUT:
            return InputAt(message.input or 0)
        if message.kind == v2.ArgumentArgumentKind.RESULT:
            return ResultOf(message.result or 0, message.subresult)
    raise InvalidTransaction("an argument of a kind that the double does not know")


def _arguments(messages: Sequence[v2.Argument]) -> tuple[Argument, ...]:
    return tuple(_argument(message) for message in messages)


def _command(message: v2.Command) -> Command:
    if (call := message.move_call) is not None:
        types = tuple(read_type(text) for text in call.type_arguments)
        package = read_address(call.package)
        return MoveCall(package, call.module or "", call.function or "", types, _arguments(call.arguments))
    if (transfer := message.transfer_objects) is not None:
        return TransferObjects(_arguments(transfer.objects), _argument(transfer.address))
    if (split := message.split_coins) is not None:
        return SplitCoins(_argument(split.coin), _arguments(split.amounts))
    if (merge := message.merge_coins) is not None:
        return MergeCoins(_argument(merge.coin), _arguments(merge.coins_to_merge))
    if (publish := message.publish) is not None:
        return Publish(tuple(publish.modules), tuple(read_address(text) for text in publish.dependencies))
    if (vector := message.make_move_vector) is not None:
        element = read_type(vector.element_type) if vector.element_type else None
        return MakeMoveVector(element, _arguments(vector.elements))
    raise InvalidTransaction("a command that the double does not know")
