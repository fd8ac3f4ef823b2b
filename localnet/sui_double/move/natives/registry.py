"""How native functions are named and found."""

from __future__ import annotations

from collections.abc import Callable

from localnet.sui_double.move.modules import Native, NativeName
from localnet.sui_double.move.types import ADDRESS_BYTES, ModuleId

STANDARD = (1).to_bytes(ADDRESS_BYTES, "big")
"""The address of the Move standard library."""
SUI = (2).to_bytes(ADDRESS_BYTES, "big")
"""The address of the Sui framework."""


class Natives:
    """The native functions of one Move module, each named as it is declared there."""

    def __init__(self, address: bytes, module: str) -> None:
        self.functions: dict[NativeName, Native] = {}
        self._module = ModuleId(address, module)

    def __call__(self, name: str) -> Callable[[Native], Native]:
        """Return a decorator that makes a function the native one of this name."""

        def register(function: Native) -> Native:
            self.functions[self._module, name] = function
            return function

        return register
