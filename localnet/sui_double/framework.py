"""The bytecode of Sui's own packages (0x1 the standard library, 0x2 Sui, 0x3 the Sui system).

It comes out of the wheel of sui-sandbox, whose binary embeds the packages as Sui's release builds them.
"""

from __future__ import annotations

import importlib.util
import re
from functools import cache
from pathlib import Path

from committee.errors import HauloutError
from localnet.sui_double.move.binary import MAGIC, read_module
from localnet.sui_double.move.errors import BadBytecode, BadBytes
from localnet.sui_double.move.module import CompiledModule
from localnet.sui_double.move.modules import Modules
from localnet.sui_double.move.natives import all_natives
from localnet.sui_double.move.reader import Reader

WHEEL = "sui-sandbox"
SHORTEST_MODULE_BYTES, LONGEST_MODULE_BYTES = 50, 100 * 1024
_LENGTH_BYTES = 3
"""Most bytes that the length before an embedded module has."""


class NoFramework(HauloutError):
    """The wheel that has the framework's bytecode is not installed, or has none."""


def is_available() -> bool:
    """Return whether the wheel is installed. It exists for Linux (x86-64) and Python up to 3.12 only."""
    return importlib.util.find_spec("sui_sandbox") is not None


@cache
def framework_modules() -> tuple[CompiledModule, ...]:
    """Return all modules of the framework's packages. Raises `NoFramework`."""
    specification = importlib.util.find_spec("sui_sandbox")
    if specification is None or specification.origin is None:
        raise NoFramework(
            f"{WHEEL} is not installed, and the Sui double runs the framework's bytecode out of it: use Python 3.11 or "
            "3.12 on Linux (x86-64), for which it has wheels"
        )
    modules: dict[tuple[bytes, str], CompiledModule] = {}
    for library in sorted(Path(specification.origin).parent.glob("*.so")):
        for module in _embedded_modules(library.read_bytes()):
            modules.setdefault(module.id, module)
    if not modules:
        raise NoFramework(f"{WHEEL} is installed, and holds no Move modules: install the pinned version")
    return tuple(modules.values())


@cache
def framework() -> Modules:
    """Return the framework's modules, linked: the base of every chain's. Raises `NoFramework`."""
    linked = Modules(all_natives())
    linked.add(framework_modules())
    return linked


def _embedded_modules(data: bytes) -> list[CompiledModule]:
    """Return the modules in a binary: each is preceded by its length, as in the BCS form of a list of byte strings."""
    found: list[CompiledModule] = []
    for match in re.finditer(re.escape(MAGIC), data):
        for length_bytes in range(1, _LENGTH_BYTES + 1):
            length = _length(data, match.start(), length_bytes)
            if length is None:
                continue
            try:
                found.append(read_module(data[match.start() : match.start() + length]))
            except BadBytecode:
                continue
            break
    return found


def _length(data: bytes, start: int, length_bytes: int) -> int | None:
    """Return the number in the bytes before `start` if it can be a module's length."""
    reader = Reader(data, start - length_bytes, start)
    try:
        length = reader.uleb(LONGEST_MODULE_BYTES)
    except BadBytes:
        return None
    return length if reader.at_end and length >= SHORTEST_MODULE_BYTES else None
