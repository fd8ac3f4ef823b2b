"""The file that names a deployment: JSON, and of which kind of chain it is."""

from __future__ import annotations

from collections.abc import Callable
from enum import StrEnum
from pathlib import Path
from typing import Any, TypeVar

from committee.errors import LedgerError
from committee.files import read_settings
from committee.untrusted import InvalidJson, parse_json

Deployment = TypeVar("Deployment")

MAX_MANIFEST_BYTES = 1 << 16
MAX_MANIFEST_BRACKETS = 16
KIND = "chain_kind"
"""The field that names the kind of chain. A manifest without it is of an EVM chain."""


class ChainKind(StrEnum):
    """The kinds of chain that there are contracts for."""

    EVM = "evm"
    SUI = "sui"


def read_manifest(text: str, wanted: ChainKind) -> dict[str, Any]:
    """Return the fields of a manifest without its kind. Raises `LedgerError` when it is of another kind than wanted."""
    try:
        values = parse_json(text, MAX_MANIFEST_BRACKETS)
    except InvalidJson as error:
        raise LedgerError(f"deployment manifest is not JSON: {error}") from None
    if not isinstance(values, dict):
        raise LedgerError("deployment manifest is not a JSON object")
    kind = values.pop(KIND, ChainKind.EVM.value)
    if kind not in list(ChainKind):
        raise LedgerError(f"deployment manifest: {KIND} is none of {', '.join(ChainKind)}")
    if kind != wanted:
        hint = "; no command serves a deployment on Sui yet" if kind == ChainKind.SUI else ""
        raise LedgerError(f"deployment manifest is of a chain of kind {kind}, and {wanted} is needed{hint}")
    return values


def require_fields(values: dict[str, Any], names: set[str]) -> None:
    """Raise `LedgerError` unless a manifest has exactly the named fields, beside its kind."""
    if set(values) != names:
        raise LedgerError(f"deployment manifest must have exactly the fields {', '.join(sorted(names))}")


def load_manifest(path: Path, from_json: Callable[[str], Deployment]) -> Deployment:
    """Return what `from_json` makes of a manifest file. Raises `LedgerError` naming the file."""
    try:
        return from_json(read_settings(path, MAX_MANIFEST_BYTES))
    except OSError as error:
        raise LedgerError(f"cannot read the deployment manifest {path}: {error.strerror}") from None
    except UnicodeDecodeError as error:
        raise LedgerError(f"cannot read the deployment manifest {path}: {error}") from None
    except LedgerError as error:
        raise LedgerError(f"{path}: {error}") from None
