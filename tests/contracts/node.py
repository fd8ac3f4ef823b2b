"""The JavaScript runtime that compiles the contracts."""

from __future__ import annotations

import shutil
import sys
from pathlib import Path


def node() -> str:
    """Return the node on PATH, or the one that was installed with the virtual environment."""
    found = shutil.which("node") or shutil.which("node", path=str(Path(sys.executable).parent))
    assert found, "no node to compile the contracts with; `make setup` installs one"
    return found
