"""The adapter for Haulout's Solidity contracts, and how they are deployed."""

from committee.ledger.evm.account import AccountKey
from committee.ledger.evm.adapter import EvmLedger
from committee.ledger.evm.deploy import DeploymentUnfinished, deploy
from committee.ledger.evm.deployment import Deployment, DeploymentParameters, Roles
from committee.ledger.interface import DryRun
from committee.ledger.providers import Provider, Providers, with_headers

__all__ = [
    "AccountKey",
    "Deployment",
    "DeploymentParameters",
    "DeploymentUnfinished",
    "DryRun",
    "EvmLedger",
    "Provider",
    "Providers",
    "Roles",
    "deploy",
    "with_headers",
]
