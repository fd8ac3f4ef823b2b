"""What the processor can do, as numba's code generator sees it: NUMBA_CPU_NAME and NUMBA_CPU_FEATURES are obeyed."""

from __future__ import annotations

from functools import cache

from numba.core.registry import cpu_target


@cache
def target() -> tuple[str, ...]:
    """Return the triple, processor name and features: code made for one target must not run on another."""
    return tuple(cpu_target.target_context.codegen().magic_tuple())


@cache
def features() -> frozenset[str]:
    """Return the names of the features present, such as "avx2"."""
    return frozenset(one[1:] for one in target()[2].split(",") if one.startswith("+"))
