"""Slither's findings, each answered: `make test` runs this with Slither's own virtual environment.

Slither looks at what Foundry compiled. Every finding is named by its detector and by the function, contract or event
that it is about, and must stand in slither-answers.toml with a reason; an answer without a finding is stale. Exit
status 1 names both.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import tempfile
import tomllib
from pathlib import Path

HERE = Path(__file__).resolve().parent
ANSWERS = HERE / "slither-answers.toml"
INPUTS = ("src", "foundry.toml", "solc-shim", "package.json")
LIMIT_S = 300.0

Finding = tuple[str, str]
"""(detector, what it is about)."""


def findings() -> set[Finding]:
    """What Slither has to say. Raises `SystemExit` when the build or Slither itself fails."""
    with tempfile.TemporaryDirectory() as folder:
        place = Path(folder)
        for name in INPUTS:
            source = HERE / name
            (shutil.copytree if source.is_dir() else shutil.copy)(source, place / name)
        (place / "node_modules").symlink_to(HERE / "node_modules")
        path = os.pathsep.join([str(HERE / "node_modules" / ".bin"), os.environ["PATH"]])
        environment = {**os.environ, "PATH": path}
        build = ["forge", "build", "--offline", "--use", "./solc-shim", "--build-info"]
        _run(build, place, environment)
        report = place / "report.json"
        slither = [str(Path(sys.executable).with_name("slither")), ".", "--ignore-compile"]
        slither += ["--foundry-out-directory", "out", "--filter-paths", "node_modules", "--json", str(report)]
        _run(slither, place, environment, allowed=(0, 255))
        results = json.loads(report.read_text())["results"].get("detectors", [])
        return {(one["check"], _place(one)) for one in results}


def answers() -> dict[Finding, str]:
    """(detector, place) → why it is as it should be."""
    entries = tomllib.loads(ANSWERS.read_text(encoding="utf-8"))["answer"]
    return {(one["detector"], place): one["why"] for one in entries for place in one["where"]}


def _place(finding: dict) -> str:  # type: ignore[type-arg]
    """The function (with its contract), event or contract that a finding is about."""
    for element in finding["elements"]:
        parent = element.get("type_specific_fields", {}).get("parent", {})
        if element["type"] in ("function", "event"):
            return f"{parent['name']}.{element['name']}"
        if element["type"] in ("variable", "node") and parent.get("type") == "function":
            return f"{parent['type_specific_fields']['parent']['name']}.{parent['name']}"
    return str(finding["elements"][0]["name"])


def _run(
    command: list[str], place: Path, environment: dict[str, str], allowed: tuple[int, ...] = (0,)
) -> None:
    done = subprocess.run(
        command, cwd=place, env=environment, capture_output=True, text=True, timeout=LIMIT_S, check=False
    )
    if done.returncode not in allowed:
        sys.exit(f"{command[0]} failed with {done.returncode}:\n{done.stdout[-2000:]}{done.stderr[-4000:]}")


def main() -> None:
    """Compare findings and answers."""
    found, answered = findings(), answers()
    unanswered, stale = sorted(found - answered.keys()), sorted(answered.keys() - found)
    for detector, place in unanswered:
        sys.stderr.write(f"no answer to {detector} in {place}\n")
    for detector, place in stale:
        sys.stderr.write(f"an answer without a finding: {detector} in {place}\n")
    if unanswered or stale:
        sys.exit(f"{ANSWERS.name}: {len(unanswered)} findings unanswered, {len(stale)} answers stale")
    sys.stdout.write(f"slither: {len(found)} findings, each answered\n")


if __name__ == "__main__":
    main()
