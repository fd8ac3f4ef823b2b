"""The Move VM of Sui, as sui-sandbox brings it: the oracle that the double's interpreter is compared with.

Only the VM and the standard library's natives are Sui's own. Its other natives are its authors', and some are wrong:
cryptography that takes `&vector<u8>` ends with INTERNAL_TYPE_ERROR, `address::from_u256` takes the bytes backwards. So
natives of `0x2` are compared with other libraries.
"""

from __future__ import annotations

import base64
import re
from dataclasses import dataclass
from functools import cache
from typing import Any

from localnet.sui_double.framework import framework
from localnet.sui_double.host import TransactionContext, TransactionHost
from localnet.sui_double.move.bcs import Codec
from localnet.sui_double.move.binary import read_module
from localnet.sui_double.move.errors import (
    ArithmeticFailure,
    LimitFailure,
    MoveAbort,
    MoveFailure,
    VectorFailure,
)
from localnet.sui_double.move.machine import Limits, Machine
from localnet.sui_double.move.modules import Function, Modules
from localnet.sui_double.move.natives import all_natives
from localnet.sui_double.move.types import ModuleId, Type, short_address, substitute_all, type_name
from localnet.sui_double.stored import StoredObject
from tests.localnet.sui_double.packages import harness_modules

PACKAGE = (0x4242).to_bytes(32, "big")
"""Where the harness is published."""


@dataclass(frozen=True)
class Outcome:
    """What a call did: the results in BCS, or the failure with the place of its instruction."""

    results: tuple[bytes, ...] = ()
    failure: str = ""
    code: int | None = None
    module: str = ""
    instruction: int = -1


@cache
def modules() -> Modules:
    """Return the framework and the harness, linked."""
    linked = Modules(all_natives(), framework())
    package = [read_module(data, PACKAGE) for data in harness_modules()]
    linked.add(package)
    return linked


class NoObjects:
    """A chain on which nothing is stored."""

    def get(self, _: bytes) -> StoredObject | None:
        return None


def machine(limits: Limits | None = None) -> Machine:
    """Return a machine for one transaction on an empty chain."""
    codec = Codec(modules())
    host = TransactionHost(NoObjects(), codec, TransactionContext(bytes(32), bytes(32)))
    return Machine(modules(), codec, host, limits)


def function(package: bytes, module: str, name: str) -> Function:
    return modules().function(ModuleId(package, module), name)


def call_double(called: Function, types: tuple[Type, ...], inputs: list[bytes]) -> Outcome:
    """Call a function in the double, with arguments in BCS."""
    running = machine()
    codec = running.codec
    arguments = [
        codec.decode(type_, data)
        for type_, data in zip(substitute_all(called.handle.parameters, types), inputs, strict=True)
    ]
    try:
        results = running.call(called, types, arguments)
    except MoveFailure as failure:
        assert failure.location is not None
        kind, code = _kind(failure)
        return Outcome((), kind, code, failure.location.module, failure.location.instruction)
    return Outcome(
        tuple(
            codec.encode(type_, value)
            for type_, value in zip(substitute_all(called.handle.returns, types), results, strict=True)
        )
    )


def call_sandbox(called: Function, types: tuple[Type, ...], inputs: list[bytes]) -> Outcome:
    """Call the same function in the sandbox."""
    import sui_sandbox

    module = called.module.id
    answer: dict[str, Any] = sui_sandbox.call_view_function(
        short_address(module.address),
        module.name,
        called.handle.name,
        type_args=[type_name(type_) for type_ in types],
        pure_inputs=inputs,
        package_bytecodes={short_address(PACKAGE): list(harness_modules())},
        fetch_deps=False,
    )
    if answer["success"]:
        return Outcome(tuple(base64.b64decode(result) for result in answer["return_values"][0]))
    return _failure(answer["error"])


def _failure(text: str) -> Outcome:
    status = re.search(r"major_status: (\w+), sub_status: (?:Some\((\d+)\)|None)", text)
    assert status, text[:500]
    place = re.search(r'location: Module\(ModuleId \{ address: \w+, name: Identifier\("(\w+)"\)', text)
    offsets = re.search(r"offsets: \[\(FunctionDefinitionIndex\(\d+\), (\d+)\)", text)
    assert place and offsets, text[:500]
    code = int(status[2]) if status[2] else None
    return Outcome((), status[1], code, place[1], int(offsets[1]))


def _kind(failure: MoveFailure) -> tuple[str, int | None]:
    """Return what the VM calls a failure, and its sub-status."""
    if isinstance(failure, MoveAbort):
        return "ABORTED", failure.code
    if isinstance(failure, ArithmeticFailure):
        return "ARITHMETIC_ERROR", None
    if isinstance(failure, VectorFailure):
        return "VECTOR_OPERATION_ERROR", failure.sub_status
    assert isinstance(failure, LimitFailure)
    return "LIMIT", None
