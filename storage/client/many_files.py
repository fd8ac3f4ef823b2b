"""Store several files together, for the command `haulout blob store FILE…`."""

from __future__ import annotations

import dataclasses
from collections.abc import AsyncIterator, Callable, Sequence
from typing import Any

from storage.client.batching import Data
from storage.client.client import Client
from storage.client.errors import ClientError, PaidObjectError
from storage.client.files import content_of, source_of
from storage.client.purchase import StoredBlob
from storage.client.waiting import Progress
from storage.redstuff import RedStuffError, blob_id_text

Told = dict[str, Any]


class NotAllStored(ClientError):
    """Some of several files were not stored; `details` tell what came of each file."""

    def __init__(self, stored: Sequence[Told], failed: Sequence[Told]) -> None:
        named = "; ".join(f"{one['file']}: {one['error']}" for one in failed[:3])
        more = f"; and {len(failed) - 3} more" if len(failed) > 3 else ""
        super().__init__(
            f"{len(failed)} of {len(stored) + len(failed)} files were not stored: {named}{more}. Store the same files "
            "again to go on: what is paid for is not paid again"
        )
        self.details = {"stored": list(stored), "failed": list(failed)}


async def store_files(
    client: Client,
    files: Sequence[str],
    periods: int,
    deletable: bool,
    force: bool,
    symbol_size: Callable[[int], int],
    progress: Progress,
) -> list[Told]:
    """Store files together, by their names; return what became of each, in their order.

    `progress` is also told ("store", files done, files in all). `symbol_size` raises for a length that is too large.
    One file that fails holds up no other; `NotAllStored` is raised in the end. Files are read as they are stored.
    """
    outcomes: dict[int, StoredBlob | Exception] = {}
    read: list[int] = []
    """Places of the files that could be read, in order."""

    async def contents() -> AsyncIterator[Data]:
        for place, name in enumerate(files):
            try:
                content = await content_of(source_of(name), symbol_size)
            except (ClientError, RedStuffError) as error:
                outcomes[place] = error
                continue
            read.append(place)
            yield content

    done = 0
    async for stored in client.store_many(contents(), periods, deletable, progress, force=force):
        outcomes[read[done]] = stored
        done += 1
        progress("store", len(outcomes), len(files))
    told = [_told(name, outcomes[place]) for place, name in enumerate(files)]
    failed = [one for one in told if "error" in one]
    if failed:
        raise NotAllStored([one for one in told if "error" not in one], failed)
    return told


def _told(name: str, outcome: StoredBlob | Exception) -> Told:
    """What is printed of one file."""
    if isinstance(outcome, StoredBlob):
        fields = dataclasses.asdict(outcome) | {"blob_id": blob_id_text(outcome.blob_id)}
        return {"file": name, **fields}
    told: Told = {"file": name, "error": str(outcome)}
    return told | (outcome.details if isinstance(outcome, PaidObjectError) else {})
