"""Runs the build and the unit tests of Move packages: build.mjs and test.mjs in contracts/sui."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path

from tests.contracts.node import node

SUI = Path(__file__).parents[3] / "contracts" / "sui"
ARTIFACT = SUI / "artifacts" / "haulout.json"
LIMIT_S = 120.0

_RESULT = re.compile(r"\[ (\w+) +\] \w+::(\w+::\w+)")
_COLOUR = re.compile(r"\x1b\[[0-9;]*m")


class BuildFailed(Exception):
    """The build refused a package; the text is what it printed."""


def build(output: Path, package: Path = SUI) -> Path:
    """Compile the Move package in a folder; return the artifact, which is in `output`. Raises `BuildFailed`."""
    result = _run("build.mjs", output, package)
    if result.returncode != 0:
        raise BuildFailed(result.stderr)
    (artifact,) = output.iterdir()
    return artifact


def run_unit_tests(package: Path = SUI) -> dict[str, str]:
    """Run a Move package's unit tests in the compiler's virtual machine; return `module::test` → its result.

    The result of a test that passes is "PASS"; what the others printed is printed. Raises `BuildFailed` for a package
    that does not compile.
    """
    result = _run("test.mjs", package)
    output = _COLOUR.sub("", result.stdout)
    found = {name: verdict for verdict, name in _RESULT.findall(output)}
    if not found:
        raise BuildFailed(output + result.stderr)
    if result.returncode != 0:
        print(output)
    return found


def copy_package(folder: Path) -> Path:
    """Copy our package into a folder; return the folder."""
    folder.mkdir()
    shutil.copy(SUI / "Move.toml", folder)
    for part in ("sources", "tests"):
        shutil.copytree(SUI / part, folder / part)
    return folder


def _run(script: str, *arguments: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [node(), str(SUI / script), *map(str, arguments)], capture_output=True, text=True, timeout=LIMIT_S
    )


def write_package(folder: Path, name: str, **sources: str) -> Path:
    """Write a Move package of these modules into a folder; return the folder."""
    (folder / "sources").mkdir(parents=True)
    (folder / "Move.toml").write_text(
        f'[package]\nname = "{name}"\nedition = "2024"\n\n[addresses]\n{name} = "0x0"\n'
    )
    for module, text in sources.items():
        (folder / "sources" / f"{module}.move").write_text(f"module {name}::{module};\n{text}")
    return folder
