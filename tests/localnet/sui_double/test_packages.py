"""What a package must be to be published: its init functions, its links."""

from __future__ import annotations

import dataclasses

import pytest

from localnet.sui_double.errors import CommandFailure
from localnet.sui_double.move.code import Op
from localnet.sui_double.move.module import CompiledModule, Visibility
from localnet.sui_double.move.modules import Modules
from localnet.sui_double.move.types import Datatype, Reference, Scalar, Type
from localnet.sui_double.packages import CONTEXT, initializers, link_package
from tests.localnet.sui_double.assembler import MODULE, made, other

IN_CONTEXT: tuple[Type, ...] = (Reference(True, CONTEXT),)
WITNESS = Datatype(MODULE, "MADE")


def initializing(
    parameters: tuple[Type, ...] = IN_CONTEXT,
    returns: tuple[Type, ...] = (),
    visibility: Visibility = Visibility.PRIVATE,
    is_entry: bool = False,
) -> CompiledModule:
    """Return a module whose function is named `init`."""
    module = made([Op.RET] if not returns else [(Op.LD_U64, 1), Op.RET], parameters, returns)
    (function,) = module.functions
    handle = dataclasses.replace(function.handle, name="init")
    module.function_handles[:] = [handle]
    module.functions[:] = [
        dataclasses.replace(function, handle=handle, visibility=visibility, is_entry=is_entry)
    ]
    return module


@pytest.mark.parametrize("parameters", [IN_CONTEXT, (WITNESS, *IN_CONTEXT), (Reference(False, CONTEXT),)])
def test_init_takes_a_context_and_perhaps_a_witness(parameters: tuple[Type, ...]) -> None:
    modules = Modules({})
    link_package(modules, [initializing(parameters)], ())
    assert [str(function) for function in initializers(modules, [MODULE])] == ["0x9::made::init"]


@pytest.mark.parametrize(
    "module",
    [
        pytest.param(initializing(()), id="no context"),
        pytest.param(initializing((Scalar.U64, *IN_CONTEXT)), id="a number"),
        pytest.param(initializing((WITNESS, WITNESS, *IN_CONTEXT)), id="two witnesses"),
        pytest.param(initializing((*IN_CONTEXT, WITNESS)), id="the witness last"),
        pytest.param(initializing(returns=(Scalar.U64,)), id="a result"),
        pytest.param(initializing(visibility=Visibility.PUBLIC), id="public"),
        pytest.param(initializing(is_entry=True), id="entry"),
    ],
)
def test_other_init_is_refused_and_nothing_is_added(module: CompiledModule) -> None:
    modules = Modules({})
    with pytest.raises(
        CommandFailure, match="0x9::made::init is not what an init function must be"
    ) as failed:
        link_package(modules, [module], ())
    assert failed.value.kind == "SUI_MOVE_VERIFICATION_ERROR"
    link_package(modules, [initializing()], ())


def test_package_that_does_not_link_is_refused_and_nothing_is_added() -> None:
    modules = Modules({})
    calling = made([(Op.CALL, 1), Op.RET])
    with pytest.raises(CommandFailure, match="0x9::other::run is not visible to 0x9::made") as failed:
        link_package(modules, [calling, other(Visibility.PRIVATE)], ())
    assert failed.value.kind == "VM_VERIFICATION_OR_DESERIALIZATION_ERROR"
    link_package(modules, [calling, other(Visibility.PUBLIC)], ())
    with pytest.raises(CommandFailure, match="is published already"):
        link_package(modules, [calling, other(Visibility.PUBLIC)], ())
    modules.module(MODULE)
    with pytest.raises(CommandFailure, match="is published already"):
        link_package(Modules({}), [initializing(), initializing()], ())
