"""The trees of errors that modules draw in their docstrings are those of their classes."""

from __future__ import annotations

import re
from types import ModuleType

import pytest

import committee.errors
import localnet.sui_double.errors
import localnet.sui_double.move.errors
import storage.client.errors
import storage.redstuff.errors

BRANCH = re.compile(r"^((?:│   |    )*)(?:├── |└── )(\w+)(?!.*\(`storage\.)", re.MULTILINE)
"""Not those of another module, which the line then names."""


def drawn(module: ModuleType, root: str) -> dict[str, str]:
    """Return class → its parent, as the module's docstring draws them below `root`."""
    path, parents = [root], {}
    for indent, name in BRANCH.findall(module.__doc__ or ""):
        depth = 1 + len(indent) // 4
        del path[depth:]
        parents[name] = path[-1]
        path.append(name)
    return parents


def defined(module: ModuleType) -> dict[str, str]:
    """Return class → its parent, of the module's own errors but the roots."""
    own = {
        name: one
        for name, one in vars(module).items()
        if isinstance(one, type) and issubclass(one, Exception) and one.__module__ == module.__name__
    }
    return {
        name: above.__name__
        for name, one in own.items()
        if (above := one.__base__) is not None and above in own.values()
    }


@pytest.mark.parametrize(
    ("module", "root", "above"),
    [
        (committee.errors, "CommitteeError", {"CommitteeError": "HauloutError"}),
        (localnet.sui_double.errors, "ChainRefusal", {}),
        (localnet.sui_double.move.errors, "MoveError", {}),
        (storage.client.errors, "ClientError", {}),
        (storage.redstuff.errors, "RedStuffError", {}),
    ],
    ids=lambda one: one.__name__ if isinstance(one, ModuleType) else "",
)
def test_a_tree_of_errors_is_that_of_the_classes(
    module: ModuleType, root: str, above: dict[str, str]
) -> None:
    assert drawn(module, root) | above == defined(module)
