"""What the processor can do, as numba's code generator sees it (NUMBA_CPU_NAME and NUMBA_CPU_FEATURES included)."""

from __future__ import annotations

from functools import cache

import llvmlite.binding as llvm
from numba.core import config
from numba.core.registry import cpu_target


@cache
def target() -> tuple[str, ...]:
    """Triple, processor name and features: code made for one target must not run on another."""
    return tuple(cpu_target.target_context.codegen().magic_tuple())


@cache
def features() -> frozenset[str]:
    """Names of the features present, such as "avx2"."""
    listed = target()[2]
    if not listed and config.CPU_NAME:
        listed = _FEATURES_BY_NAME.get(config.CPU_NAME, "")
    elif not listed:
        listed = llvm.get_host_cpu_features().flatten()
    return frozenset(one[1:] for one in listed.split(",") if one.startswith("+"))


_FEATURES_BY_NAME = {"x86-64-v3": "+avx,+avx2,+bmi2"}
