"""Work on any number of blobs in batches, some of them at once, in bounded memory; results come in the blobs' order."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncIterable, AsyncIterator, Awaitable, Callable, Iterable, Sequence
from typing import TypeVar

BLOBS_IN_A_BATCH = 64
BYTES_IN_A_BATCH = 2**25
"""Of encoded blobs; one that is larger is a batch of its own."""
BATCHES_AT_ONCE = 3
"""One is registered, one uploaded and one certified, while all take about as long."""

Result = TypeVar("Result")
Data = bytes | bytearray | memoryview
Blobs = Iterable[Data] | AsyncIterable[Data]


async def in_batches(
    blobs: Blobs,
    kept_bytes: Callable[[int], int],
    work: Callable[[Sequence[Data]], Awaitable[Sequence[Result]]],
) -> AsyncIterator[Result]:
    """Yield what `work` makes of each blob, in order; `kept_bytes` is what one of a length takes in memory.

    No more blobs are taken than BATCHES_AT_ONCE batches have. When the iteration is given up, what is under way is
    cancelled, and waited for. Raises what `blobs` or `work` raises; a cancellation has the notes of all that was under
    way.
    """
    under_way: deque[asyncio.Task[Sequence[Result]]] = deque()
    try:
        async for batch in _batches(blobs, kept_bytes):
            under_way.append(asyncio.create_task(_run(work, batch)))
            while len(under_way) == BATCHES_AT_ONCE or (under_way and under_way[0].done()):
                for result in await under_way[0]:
                    yield result
                under_way.popleft()
        while under_way:
            for result in await under_way[0]:
                yield result
            under_way.popleft()
    except asyncio.CancelledError as cancelled:
        for note in await _given_up(under_way):
            cancelled.add_note(note)
        raise
    finally:
        await _given_up(under_way)


async def _run(
    work: Callable[[Sequence[Data]], Awaitable[Sequence[Result]]], batch: Sequence[Data]
) -> Sequence[Result]:
    return await work(batch)


async def _given_up(tasks: deque[asyncio.Task[Sequence[Result]]]) -> list[str]:
    """Cancel tasks and wait for them; return the notes of their cancellations, once."""
    gone = list(tasks)
    tasks.clear()
    for task in gone:
        task.cancel()
    ended = await asyncio.gather(*gone, return_exceptions=True)
    return [note for one in ended if isinstance(one, BaseException) for note in getattr(one, "__notes__", ())]


async def _batches(blobs: Blobs, kept_bytes: Callable[[int], int]) -> AsyncIterator[Sequence[Data]]:
    batch: list[Data] = []
    size_bytes = 0
    async for blob in _each(blobs):
        more_bytes = kept_bytes(_length(blob))
        if batch and (len(batch) == BLOBS_IN_A_BATCH or size_bytes + more_bytes > BYTES_IN_A_BATCH):
            yield batch
            batch, size_bytes = [], 0
        batch.append(blob)
        size_bytes += more_bytes
    if batch:
        yield batch


def _length(blob: Data) -> int:
    """Return the bytes of a blob; 0 for what is none, of which `work` tells."""
    try:
        return memoryview(blob).nbytes
    except (TypeError, ValueError):
        return 0


async def _each(blobs: Blobs) -> AsyncIterator[Data]:
    if isinstance(blobs, AsyncIterable):
        async for blob in blobs:
            yield blob
    else:
        for blob in blobs:
            yield blob
