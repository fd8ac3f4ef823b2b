"""The bytecode of Sui's packages comes out of the wheel, or the double says why it cannot run."""

from __future__ import annotations

import importlib.util
from collections import Counter
from importlib.machinery import ModuleSpec
from pathlib import Path

import pytest

from localnet.sui_double import framework
from localnet.sui_double.chain import Chain
from localnet.sui_double.move.natives import all_natives
from localnet.sui_double.move.types import short_address
from tests.localnet.sui_double.packages import needs_framework


@needs_framework
def test_all_modules_of_the_framework_are_found_and_pass_their_checks() -> None:
    modules = framework.framework_modules()
    assert Counter(short_address(module.id.address) for module in modules) == {
        "0x1": 22,
        "0x2": 61,
        "0x3": 11,
    }
    for module in modules:
        framework.framework().check(module.id)


@needs_framework
def test_every_native_of_the_double_is_one_that_the_framework_declares() -> None:
    declared = {
        (module.id, function.handle.name)
        for module in framework.framework_modules()
        for function in module.functions
        if function.code is None
    }
    assert set(all_natives()) <= declared


@pytest.fixture
def forgotten() -> None:
    framework.framework_modules.cache_clear()
    framework.framework.cache_clear()


@pytest.mark.usefixtures("forgotten")
def test_missing_wheel_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda _: None)
    assert not framework.is_available()
    with pytest.raises(framework.NoFramework, match=r"sui-sandbox is not installed.* use Python 3.11 or"):
        Chain()


@pytest.mark.usefixtures("forgotten")
def test_wheel_without_modules_is_named(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "empty.so").write_bytes(bytes(100) + bytes.fromhex("a11ceb0b") * 10)
    found = ModuleSpec("sui_sandbox", None, origin=str(tmp_path / "__init__.py"))
    monkeypatch.setattr(importlib.util, "find_spec", lambda _: found)
    with pytest.raises(framework.NoFramework, match="holds no Move modules"):
        framework.framework_modules()
