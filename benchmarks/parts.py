"""The command line of a benchmark in parts: all of them are run and written down, or those that are named run only."""

from __future__ import annotations

import argparse
import asyncio
import sys
from collections.abc import Awaitable, Callable, Mapping

from benchmarks.rows import Row

Parts = Mapping[str, Callable[[], Awaitable[list[Row]]]]


def run(module: str, description: str, parts: Parts) -> tuple[list[Row], bool]:
    """Run the parts that the command line names, or all; return their rows, and whether they are all.

    Exits with the usage for `--help` and for a part that does not exist.
    """
    parser = argparse.ArgumentParser(prog=f"python -m {module}", description=description)
    parser.add_argument("parts", nargs="*", metavar="PART", help=", ".join(parts))
    asked: list[str] = parser.parse_args(sys.argv[1:]).parts
    if unknown := set(asked) - set(parts):
        parser.error(f"no such part: {', '.join(sorted(unknown))}; there are {', '.join(parts)}")
    return asyncio.run(_rows(parts, asked or list(parts))), not asked


async def _rows(parts: Parts, names: list[str]) -> list[Row]:
    return [row for name in names for row in await parts[name]()]
