"""What a ledger tells of what happened: typed events, and stretches of blocks with all of theirs.

Blob ids are the 32 bytes of PROTOCOL section 1.
"""

from __future__ import annotations

from dataclasses import dataclass

from committee.ledger.records import BlobRecord, BlockMark


@dataclass(frozen=True, slots=True)
class BlobRegistered:
    """A blob object exists and its slivers may be uploaded."""

    block: BlockMark
    object_id: int
    blob_id: bytes
    owner: str
    epoch: int
    length: int
    end_period: int
    deletable: bool

    @property
    def record(self) -> BlobRecord:
        """The object as it was registered."""
        return BlobRecord(
            object_id=self.object_id,
            blob_id=self.blob_id,
            length=self.length,
            owner=self.owner,
            registered_epoch=self.epoch,
            certified_epoch=None,
            end_period=self.end_period,
            deletable=self.deletable,
        )


@dataclass(frozen=True, slots=True)
class BlobCertified:
    """An object was certified, or a certified one extended: its blob is live until `end_period`."""

    block: BlockMark
    object_id: int
    blob_id: bytes
    epoch: int
    end_period: int
    deletable: bool
    is_extension: bool


@dataclass(frozen=True, slots=True)
class BlobTransferred:
    """A blob object belongs to another account."""

    block: BlockMark
    object_id: int
    owner: str


@dataclass(frozen=True, slots=True)
class BlobDeleted:
    """The owner gave up a deletable blob object."""

    block: BlockMark
    object_id: int
    blob_id: bytes
    epoch: int


@dataclass(frozen=True, slots=True)
class BlobInvalidated:
    """The writer's encoding was proven inconsistent."""

    block: BlockMark
    blob_id: bytes
    epoch: int


@dataclass(frozen=True, slots=True)
class CommitteeSelected:
    """The committee of `epoch` is known; it has not started."""

    block: BlockMark
    epoch: int


@dataclass(frozen=True, slots=True)
class EpochStarted:
    """`epoch` is the current epoch; its gaining members fill their shards."""

    block: BlockMark
    epoch: int
    period: int
    """The period that the epoch belongs to."""


@dataclass(frozen=True, slots=True)
class ShardsAttested:
    """A member attested shards it gained."""

    block: BlockMark
    epoch: int
    node_id: int
    shards: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class HandoverDone:
    """A quorum of the shards is attested or kept."""

    block: BlockMark
    epoch: int


@dataclass(frozen=True, slots=True)
class MemberEjected:
    """A quorum found a member silent: it is left out of the next selection."""

    block: BlockMark
    epoch: int
    node_id: int
    reason: int


@dataclass(frozen=True, slots=True)
class NetworkAddressChanged:
    """A node is reached elsewhere from now on: every committee is shown with its new address, also the current one."""

    block: BlockMark
    node_id: int


Event = (
    BlobRegistered
    | BlobCertified
    | BlobTransferred
    | BlobDeleted
    | BlobInvalidated
    | CommitteeSelected
    | EpochStarted
    | ShardsAttested
    | HandoverDone
    | MemberEjected
    | NetworkAddressChanged
)


@dataclass(frozen=True, slots=True)
class Stretch:
    """Blocks of one chain that follow each other, and all that happened in them."""

    marks: tuple[BlockMark, ...]
    """The newest of its blocks, ascending, the last one included."""
    events: list[Event]
    """The events of all the blocks, in chain order."""
    lacks_address_changes: bool = False
    """Whether `NetworkAddressChanged` may lack: a block has more logs than can be told."""
