"""The chain as all other folders see it.

`roles` and `interface` say what a ledger does, `records` and `events` what it tells, `steps` what moves the epochs on;
`evm` is the adapter for the Solidity contracts, and `follower` keeps up with a chain through reorganisations and
outages. Nothing outside an adapter knows which chain it is.
"""

from committee.ledger.events import (
    BlobCertified,
    BlobDeleted,
    BlobInvalidated,
    BlobRegistered,
    BlobTransferred,
    CommitteeSelected,
    EpochStarted,
    Event,
    HandoverDone,
    MemberEjected,
    NetworkAddressChanged,
    ShardsAttested,
    Stretch,
)
from committee.ledger.interface import DryRun, Ledger
from committee.ledger.records import (
    MEBIBYTE,
    Absence,
    Attestation,
    BlobObjects,
    BlobRecord,
    BlockMark,
    Candidate,
    EpochState,
    Parameters,
    PlannedTransaction,
    Quote,
    RegisteredNode,
    Reservation,
    SentTransaction,
    StakePosition,
    Transaction,
)
from committee.ledger.roles import ChainLedger, ClientLedger, NodeLedger
from committee.ledger.steps import EpochStep, StepKind, next_step, pay_out_step

__all__ = [
    "MEBIBYTE",
    "Absence",
    "Attestation",
    "BlobCertified",
    "BlobDeleted",
    "BlobInvalidated",
    "BlobObjects",
    "BlobRecord",
    "BlobRegistered",
    "BlobTransferred",
    "BlockMark",
    "Candidate",
    "ChainLedger",
    "ClientLedger",
    "CommitteeSelected",
    "DryRun",
    "EpochStarted",
    "EpochState",
    "EpochStep",
    "Event",
    "HandoverDone",
    "Ledger",
    "MemberEjected",
    "NetworkAddressChanged",
    "NodeLedger",
    "Parameters",
    "PlannedTransaction",
    "Quote",
    "RegisteredNode",
    "Reservation",
    "SentTransaction",
    "ShardsAttested",
    "StakePosition",
    "StepKind",
    "Stretch",
    "Transaction",
    "next_step",
    "pay_out_step",
]
