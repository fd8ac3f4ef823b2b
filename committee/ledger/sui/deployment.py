"""A deployment of the Move package on one chain: what its ledger has to know to find and to judge everything else."""

from __future__ import annotations

from dataclasses import dataclass

from eth_utils.crypto import keccak


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
