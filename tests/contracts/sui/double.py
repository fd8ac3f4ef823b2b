"""Runs the committed bytecode of the Move package in the Sui double, with the bytecode of Sui's own packages."""

from __future__ import annotations

import base64
import json
from dataclasses import replace
from functools import cache
from typing import Any

from localnet.sui_double.framework import framework_modules
from localnet.sui_double.host import TransactionContext, TransactionHost
from localnet.sui_double.move.bcs import Codec
from localnet.sui_double.move.binary import read_module
from localnet.sui_double.move.errors import MoveAbort
from localnet.sui_double.move.machine import Machine
from localnet.sui_double.move.modules import Modules
from localnet.sui_double.move.natives import all_natives
from localnet.sui_double.move.natives.registry import SUI
from localnet.sui_double.move.types import BYTES, Datatype, ModuleId, Reference, Type
from localnet.sui_double.move.values import Ref, Value
from localnet.sui_double.stored import StoredObject
from tests.contracts.sui.build import ARTIFACT

PACKAGE = bytes([0x77]) * 32
"""Where the package is published."""


class Refused(Exception):
    """The package aborted; the text is the error's name."""


class NoObjects:
    """A chain on which nothing is stored."""

    def get(self, _: bytes) -> StoredObject | None:
        return None


@cache
def artifact() -> dict[str, Any]:
    loaded: dict[str, Any] = json.loads(ARTIFACT.read_bytes())
    return loaded


@cache
def modules() -> Modules:
    """Return the framework and the package, linked."""
    linked = Modules(all_natives())
    linked.add(framework_modules())
    linked.add(read_module(base64.b64decode(data), PACKAGE) for data in artifact()["modules"].values())
    return linked


_CONTEXT = Datatype(ModuleId(SUI, "tx_context"), "TxContext")


class Transaction:
    """One transaction that calls function after function, each as the sender that it is given."""

    def __init__(self) -> None:
        self.codec = Codec(modules())
        self.host = TransactionHost(NoObjects(), self.codec, TransactionContext(bytes(32), bytes(32)))
        self.machine = Machine(modules(), self.codec, self.host)

    def call(
        self,
        module: str,
        name: str,
        *arguments: Value,
        package: bytes = PACKAGE,
        sender: bytes = bytes(32),
        types: tuple[Type, ...] = (),
    ) -> Value:
        """Return the result of a function: None for none, a list for several.

        What the function takes by reference is given as a `Ref` or as the value itself, bytes as `bytes`, and the
        context of the transaction not at all. Raises `Refused` when the package aborts.
        """
        function = modules().function(ModuleId(package, module), name)
        parameters = function.handle.parameters
        if parameters and parameters[-1] == Reference(True, _CONTEXT):
            arguments = (*arguments, [bytes(32), bytearray(32), 0, 0, 0])
        self.host.context = replace(self.host.context, sender=sender)
        passed = [_passed(*one) for one in zip(parameters, arguments, strict=True)]
        try:
            results = self.machine.call(function, types, passed)
        except MoveAbort as abort:
            if abort.location is None or abort.location.address != PACKAGE:
                raise
            raise Refused(artifact()["errors"][str(abort.code)]) from abort
        return results[0] if len(results) == 1 else results or None


def _passed(type_: Type, value: Value) -> Value:
    if isinstance(type_, Reference) and not isinstance(value, Ref):
        return Ref([_passed(type_.target, value)], 0)
    return bytearray(value) if type_ == BYTES else value
