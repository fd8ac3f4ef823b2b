"""The committed packages of the double's tests are what their sources compile to, byte for byte."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.contracts.sui.build import build

PACKAGES = [
    Path(__file__).parents[2] / "localnet" / "sui_double" / name / "Move.toml"
    for name in ("harness", "shelf")
]


@pytest.mark.parametrize("manifest", PACKAGES, ids=lambda manifest: str(manifest.parent.name))
def test_committed_test_package_equals_a_fresh_build(manifest: Path, tmp_path: Path) -> None:
    fresh = build(tmp_path, manifest.parent)
    committed = manifest.parent / fresh.name
    assert fresh.read_bytes() == committed.read_bytes(), f"build {manifest.parent} again, and commit"
