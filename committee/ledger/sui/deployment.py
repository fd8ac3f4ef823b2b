"""A deployment of the Move package on one chain: what its ledger has to know to find and to judge everything else."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass, fields
from pathlib import Path

from eth_utils.crypto import keccak

from committee.errors import LedgerError
from committee.files import write_whole
from committee.ledger.manifest import KIND, ChainKind, load_manifest, read_manifest, require_fields

ID = re.compile(r"0x[0-9a-f]{64}")
"""32 bytes in a manifest."""


@dataclass(frozen=True, slots=True)
class SuiDeployment:
    """The package and the shared objects of one network. All are 32 bytes."""

    chain: bytes
    """Digest of the chain's first checkpoint."""
    package: bytes
    """The id under which the package was published first."""
    system: bytes
    registry: bytes
    staking: bytes
    blobs: bytes

    @property
    def domain(self) -> bytes:
        """The 32 bytes that bind a signature to this deployment (PROTOCOL section 2)."""
        return keccak(self.chain + self.package)

    @classmethod
    def from_json(cls, text: str) -> SuiDeployment:
        """Read a manifest. Raises `LedgerError` naming the field that is missing or wrong."""
        values = read_manifest(text, ChainKind.SUI)
        names = [field.name for field in fields(cls)]
        require_fields(values, {*names, "domain"})
        for name, value in values.items():
            if not (isinstance(value, str) and ID.fullmatch(value)):
                raise LedgerError(
                    f"deployment manifest: {name} is not 0x and 64 hexadecimal digits in lower case"
                )
        found = cls(**{name: bytes.fromhex(values[name][2:]) for name in names})
        if values["domain"] != _hex(found.domain):
            raise LedgerError("deployment manifest: domain does not belong to this chain and package")
        return found

    def to_json(self) -> str:
        """Return the manifest."""
        ids = {field.name: _hex(getattr(self, field.name)) for field in fields(self)}
        return json.dumps({KIND: ChainKind.SUI, **ids, "domain": _hex(self.domain)}, indent=2) + "\n"

    @classmethod
    def load(cls, path: Path) -> SuiDeployment:
        """Read a manifest file. Raises `LedgerError` naming the file."""
        return load_manifest(path, cls.from_json)

    def save(self, path: Path) -> None:
        """Write a new manifest file, whole or not at all. Raises `OSError`, also when it exists."""
        write_whole(path, self.to_json().encode())


def _hex(content: bytes) -> str:
    return "0x" + content.hex()
