"""Runs the build of the Move package, contracts/sui/build.mjs."""

from __future__ import annotations

import subprocess
from pathlib import Path

from tests.contracts.node import node

SUI = Path(__file__).parents[3] / "contracts" / "sui"
ARTIFACT = SUI / "artifacts" / "haulout.json"
BUILD_LIMIT_S = 120.0


class BuildFailed(Exception):
    """The build refused a package; the text is what it printed."""


def build(output: Path, package: Path = SUI) -> Path:
    """Compile the Move package in a folder; return the artifact, which is in `output`. Raises `BuildFailed`."""
    result = subprocess.run(
        [node(), str(SUI / "build.mjs"), str(output), str(package)],
        capture_output=True,
        text=True,
        timeout=BUILD_LIMIT_S,
    )
    if result.returncode != 0:
        raise BuildFailed(result.stderr)
    (artifact,) = output.iterdir()
    return artifact


def write_package(folder: Path, name: str, **sources: str) -> Path:
    """Write a Move package of these modules into a folder; return the folder."""
    (folder / "sources").mkdir(parents=True)
    (folder / "Move.toml").write_text(
        f'[package]\nname = "{name}"\nedition = "2024"\n\n[addresses]\n{name} = "0x0"\n'
    )
    for module, text in sources.items():
        (folder / "sources" / f"{module}.move").write_text(f"module {name}::{module};\n{text}")
    return folder
