"""The Move packages of these tests, as compiled: their artifacts lie beside their sources."""

from __future__ import annotations

import base64
import json
from functools import cache
from pathlib import Path

import pytest

from localnet.sui_double import framework

HERE = Path(__file__).parent

needs_framework = pytest.mark.skipif(
    not framework.is_available(),
    reason=f"{framework.WHEEL} is not installed: it has wheels for Linux (x86-64) and Python 3.11 and 3.12 only",
)
"""Skips tests where the bytecode of Sui's own packages is missing."""


@cache
def harness_modules() -> tuple[bytes, ...]:
    """Return the modules of the differential tests' package."""
    return _modules("harness")


@cache
def shelf_modules() -> tuple[bytes, ...]:
    """Return the modules of the package of the chain's tests."""
    return _modules("shelf")


def _modules(package: str) -> tuple[bytes, ...]:
    artifact = json.loads((HERE / package / f"{package}.json").read_text())
    return tuple(base64.b64decode(module) for module in artifact["modules"].values())
