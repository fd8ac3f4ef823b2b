"""Published packages, and what a package must be to be published."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from localnet.sui_double.errors import CommandFailure
from localnet.sui_double.move.binary import read_module
from localnet.sui_double.move.errors import BadBytecode, LinkError
from localnet.sui_double.move.module import CompiledModule, Visibility
from localnet.sui_double.move.modules import Function, Modules
from localnet.sui_double.move.natives.objects import blake2b
from localnet.sui_double.move.natives.registry import SUI
from localnet.sui_double.move.types import Datatype, ModuleId, Reference, short_address

PACKAGE_BYTES_LIMIT = 100 * 1024
INIT = "init"
"""The function of a module that runs once, when the module is published."""
CONTEXT = Datatype(ModuleId(SUI, "tx_context"), "TxContext")


@dataclass(frozen=True, slots=True)
class Package:
    """A published package: its modules in bytes, by name. It has one version, and no upgrade."""

    id: bytes
    modules: dict[str, bytes]
    previous_transaction: bytes
    version: int = 1

    @property
    def digest(self) -> bytes:
        """Return a hash that names the package: the double's own, for Sui's covers more."""
        return blake2b(self.id + b"".join(self.modules.values()) + self.previous_transaction)


def read_package(id_: bytes, data: Sequence[bytes]) -> list[CompiledModule]:
    """Return the modules of a package that is published at `id_`. Raises `CommandFailure`."""
    size = sum(map(len, data))
    if not data or size > PACKAGE_BYTES_LIMIT:
        raise CommandFailure(
            "PACKAGE_TOO_BIG", f"{size} bytes of modules, {PACKAGE_BYTES_LIMIT} are the most"
        )
    try:
        return [read_module(module, id_) for module in data]
    except BadBytecode as error:
        raise CommandFailure("VM_VERIFICATION_OR_DESERIALIZATION_ERROR", str(error)) from None


def link_package(modules: Modules, package: list[CompiledModule], dependencies: Sequence[bytes]) -> None:
    """Add a package's modules after all of their code is checked. Raises `CommandFailure`, and adds nothing then."""
    missing = {
        handle.module.address
        for module in package
        for handle in module.function_handles
        if handle.module.address not in (module.id.address, *dependencies)
    }
    if missing:
        told = ", ".join(map(short_address, sorted(missing)))
        raise CommandFailure("PUBLISH_UPGRADE_MISSING_DEPENDENCY", f"{told} is called, and no dependency")
    ids = [module.id for module in package]
    try:
        modules.add(package)
    except (BadBytecode, LinkError) as error:
        raise CommandFailure("VM_VERIFICATION_OR_DESERIALIZATION_ERROR", str(error)) from None
    try:
        for id_ in ids:
            modules.check(id_)
        for function in initializers(modules, ids):
            _check_initializer(function)
    except (BadBytecode, LinkError) as error:
        modules.remove(ids)
        raise CommandFailure("VM_VERIFICATION_OR_DESERIALIZATION_ERROR", str(error)) from None
    except CommandFailure:
        modules.remove(ids)
        raise


def initializers(modules: Modules, ids: Sequence[ModuleId]) -> list[Function]:
    """Return the functions that run when these modules are published, in this order."""
    return [
        modules.function(id_, INIT)
        for id_ in ids
        if any(function.handle.name == INIT for function in modules.module(id_).functions)
    ]


def _check_initializer(function: Function) -> None:
    """Raise `CommandFailure` unless it is private, without results, and takes a context behind a witness at most."""
    parameters, handle = function.handle.parameters, function.handle
    takes_context = bool(parameters) and is_context(parameters[-1])
    witness = Datatype(handle.module, handle.module.name.upper())
    is_private = function.definition.visibility is Visibility.PRIVATE and not function.definition.is_entry
    if not (is_private and takes_context and parameters[:-1] in ((), (witness,)) and not handle.returns):
        raise CommandFailure("SUI_MOVE_VERIFICATION_ERROR", f"{handle} is not what an init function must be")


def is_context(type_: object) -> bool:
    """Return whether a parameter takes the transaction's context, which no transaction passes itself."""
    return isinstance(type_, Reference) and type_.target == CONTEXT
