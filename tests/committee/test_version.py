"""The version that nodes tell."""

from __future__ import annotations

from importlib import metadata

import pytest

from committee import version


def test_the_version_is_the_installed_one_or_unknown(monkeypatch: pytest.MonkeyPatch) -> None:
    """A checkout on the path, or a bundled program, has no metadata: that must not keep a node from being imported."""
    monkeypatch.setattr(version, "version", lambda name: f"1.2.3 of {name}")
    assert version._installed() == "1.2.3 of haulout"

    def missing(name: str) -> str:
        raise metadata.PackageNotFoundError(name)

    monkeypatch.setattr(version, "version", missing)
    assert version._installed() == version.UNKNOWN
