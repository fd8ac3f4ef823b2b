"""The version of this project, as a node tells it in its health."""

from __future__ import annotations

from importlib.metadata import PackageNotFoundError, version

UNKNOWN = "unknown"
"""The version where the sources are without the package's metadata: a checkout on the path, a bundled program."""


def _installed() -> str:
    try:
        return version("haulout")
    except PackageNotFoundError:
        return UNKNOWN


VERSION = _installed()
