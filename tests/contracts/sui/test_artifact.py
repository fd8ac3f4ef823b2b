"""The committed Move package is what the sources compile to, byte for byte; the build refuses what it should."""

from __future__ import annotations

import base64
import json
from pathlib import Path

import pytest

from tests.contracts.sui.build import ARTIFACT, SUI, BuildFailed, build, write_package


def test_committed_package_equals_a_fresh_build(tmp_path: Path) -> None:
    fresh = build(tmp_path)
    assert fresh.name == ARTIFACT.name
    assert fresh.read_bytes() == ARTIFACT.read_bytes(), (
        "the package differs from its sources: node contracts/sui/build.mjs, and commit"
    )


def test_package_has_a_module_for_each_source() -> None:
    artifact = json.loads(ARTIFACT.read_bytes())
    assert list(artifact) == ["packageName", "compiler", "modules", "dependencies", "digest", "errors"]
    assert set(artifact["modules"]) == {path.stem for path in (SUI / "sources").glob("*.move")}
    assert all(base64.b64decode(one).startswith(b"\xa1\x1c\xeb\x0b") for one in artifact["modules"].values())
    assert len(bytes.fromhex(artifact["digest"])) == 32


def test_compiler_warning_fails_the_build(tmp_path: Path) -> None:
    package = write_package(tmp_path / "package", "other", sums="const EUnused: u64 = 7;\n")
    with pytest.raises(BuildFailed, match="unused constant"):
        build(tmp_path / "refused", package)


ONE = "const EOne: u64 = 1;\npublic fun fail() { abort EOne }\n"


@pytest.mark.parametrize(
    ("other", "refusal"),
    [
        (ONE.replace("EOne", "EOther"), "abort code 1 is both EOne and EOther"),
        (ONE.replace("= 1", "= 2"), "error EOne has the abort codes 1 and 2"),
    ],
)
def test_abort_code_means_one_thing_in_a_package(tmp_path: Path, other: str, refusal: str) -> None:
    package = write_package(tmp_path / "package", "pair", left=ONE, right=other)
    with pytest.raises(BuildFailed, match=refusal):
        build(tmp_path / "refused", package)


def test_another_package_builds_and_two_modules_may_share_an_error(tmp_path: Path) -> None:
    package = write_package(tmp_path / "package", "pair", left=ONE, right=ONE)
    artifact = json.loads(build(tmp_path / "built", package).read_bytes())
    assert (artifact["packageName"], list(artifact["modules"])) == ("pair", ["left", "right"])
    assert artifact["errors"] == {"1": "EOne"}
