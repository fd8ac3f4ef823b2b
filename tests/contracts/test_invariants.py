"""The contracts' stateful invariants in longer runs than `make test` has: foundry.toml's profile `slow`."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

EVM = Path(__file__).parents[2] / "contracts" / "evm"
LIMIT_S = 4 * 3600.0


@pytest.mark.slow
@pytest.mark.parametrize(
    ("suite", "runs"),
    [("InvariantsTest", 2000), ("CaptureInvariantsTest", 2000), ("ProofInvariantsTest", 256)],
)
def test_invariants_hold_in_many_runs_of_320_actions(suite: str, runs: int) -> None:
    # The machine's node, or the one that was installed with the virtual environment.
    path = os.pathsep.join([os.environ["PATH"], str(Path(sys.executable).parent)])
    forge = EVM / "node_modules" / ".bin" / "forge"
    result = subprocess.run(
        [forge, "test", "--offline", "--use", "./solc-shim", "--match-contract", f"^{suite}$"],
        cwd=EVM,
        env={**os.environ, "PATH": path, "FOUNDRY_PROFILE": "slow"},
        capture_output=True,
        text=True,
        timeout=LIMIT_S,
    )
    assert result.returncode == 0, result.stdout + result.stderr
    assert f"runs: {runs}, calls: {320 * runs}" in result.stdout, result.stdout
