"""Haulout for programs: store and read blobs, and have a network of one's own in tests. All that README and docs use.

    async with haulout.connect("http://127.0.0.1:8545", "deployment.json", "account.key") as client:
        stored = await client.store(b"hauled out", periods=5)
        assert await client.read(stored.blob_id) == b"hauled out"

Every error is a `HauloutError`; those that a program may want to tell apart are here, the others in their folders.
"""

from committee.errors import HauloutError, LedgerError, LedgerRefused, LedgerUnavailable, TransactionUnknown
from committee.ledger import Ledger
from committee.ledger.evm import AccountKey, Deployment, DeploymentParameters, DryRun, EvmLedger, Provider
from haulout.connecting import connect
from localnet.network import LocalNetwork
from storage.client.client import Client
from storage.client.errors import (
    BlobUnavailable,
    ClientError,
    InvalidBlob,
    NoCommittee,
    NotCertified,
    NotEnoughConfirmations,
    NotExtended,
    ObjectEnded,
    UnknownBlob,
    WrongBlob,
)
from storage.client.purchase import Outcome, StoredBlob
from storage.redstuff import BlobId, RedStuff, RedStuffError

__all__ = [
    "AccountKey",
    "BlobId",
    "BlobUnavailable",
    "Client",
    "ClientError",
    "Deployment",
    "DeploymentParameters",
    "DryRun",
    "EvmLedger",
    "HauloutError",
    "InvalidBlob",
    "Ledger",
    "LedgerError",
    "LedgerRefused",
    "LedgerUnavailable",
    "LocalNetwork",
    "NoCommittee",
    "NotCertified",
    "NotEnoughConfirmations",
    "NotExtended",
    "ObjectEnded",
    "Outcome",
    "Provider",
    "RedStuff",
    "RedStuffError",
    "StoredBlob",
    "TransactionUnknown",
    "UnknownBlob",
    "WrongBlob",
    "connect",
]
