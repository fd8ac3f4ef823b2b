"""The committed Move package is what the sources compile to, byte for byte; the build refuses what it should."""

from __future__ import annotations

import base64
import json
from pathlib import Path

import pytest

from localnet.sui_double.move.binary import read_module
from localnet.sui_double.move.types import ModuleId
from tests.contracts.sui.build import ARTIFACT, SUI, BuildFailed, build, write_package
from tests.contracts.sui.double import PACKAGE, artifact, modules
from tests.localnet.sui_double.packages import needs_framework


def test_committed_package_equals_a_fresh_build(tmp_path: Path) -> None:
    fresh = build(tmp_path)
    assert fresh.name == ARTIFACT.name
    assert fresh.read_bytes() == ARTIFACT.read_bytes(), (
        "the package differs from its sources: node contracts/sui/build.mjs, and commit"
    )


def test_package_has_a_module_for_each_source() -> None:
    committed = artifact()
    assert list(committed) == ["packageName", "compiler", "modules", "dependencies", "digest", "errors"]
    assert set(committed["modules"]) == {path.stem for path in (SUI / "sources").glob("*.move")}
    for name, module in committed["modules"].items():
        assert read_module(base64.b64decode(module)).id.name == name
    assert len(bytes.fromhex(committed["digest"])) == 32


@needs_framework
def test_package_is_linked_to_the_framework_as_it_is() -> None:
    """The declarations that it is compiled against are those of Sui's own packages."""
    for module in artifact()["modules"]:
        modules().check(ModuleId(PACKAGE, module))


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
    built = json.loads(build(tmp_path / "built", package).read_bytes())
    assert (built["packageName"], list(built["modules"])) == ("pair", ["left", "right"])
    assert built["errors"] == {"1": "EOne"}
