"""An object store that holds segments, each as one object: S3 and its like, or a folder.

    <prefix>/<store id>/store               a mark, by which the object store is known to be this store's
    <prefix>/<store id>/<shard>-<number>-…  a segment; the end of its name is new for every try to write it

No object is ever written over, and nothing here relies on what is listed: which objects there have to be is in the
store's index alone. So an object store that shows what was written, deleted or listed late does no harm.

An object store that fails, or does not answer in time, raises `StoreUnavailable`. Requests then fail at once for a
while, but for one at a time that tries: so they hold no threads, which all that the node answers needs.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import re
import threading
import time
from collections.abc import AsyncIterator, Iterable, Iterator, Mapping, Sequence
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple, Protocol, cast
from urllib.parse import unquote, urlsplit

import obstore
from obstore.exceptions import BaseError, GenericError
from obstore.store import LocalStore, S3Store

from committee.backoff import next_pause_s
from committee.files import opened
from storage.node.sqlite import StoreError, StoreUnavailable

if TYPE_CHECKING:
    from obstore import ObjectMeta
    from obstore.store import ClientConfig, ObjectStore, RetryConfig, S3Config

MARK = "store"
"""Name of the object that marks an object store as that of a store."""
PART_BYTES = 8 * 2**20
"""Bytes of one part of an upload; S3 allows 10 000 parts of 5 MiB at least."""
PARTS_AT_ONCE = 2
REQUESTS_AT_ONCE = 16
TURN_LIMIT_S = 1.0
"""A request that has no turn for so long, as all those at work stand still, has failed."""
GAP_BYTES = 256 * 2**10
RANGE_BYTES = 16 * 2**20
"""Spans that are no farther apart than the first are read by one request, up to the second; a larger one alone."""
CONNECT_LIMIT_S = 3.0
SILENCE_LIMIT_S = 5.0
"""A request that is not answered, or whose answer stands still, for so long has failed."""
ANSWER_LIMIT_S = 60.0
"""A request takes no longer, be its answer or the part that it uploads as large as they may."""
NAMES_AT_ONCE = 1000
CHUNK_BYTES = 2**20
"""Of an answer handed on at once."""
RETRIES = 2
FIRST_REST_S = 1.0
LONGEST_REST_S = 30.0
"""Rests after a failure, in which requests fail at once: each is twice the one before, up to the longest."""
ERROR_CHARACTERS = 300
CLIENT_OPTIONS = frozenset({"allow_http", "root_certificate", "proxy_url"})
"""Options of the connection; all others are the object store's own."""

_CODE = re.compile(r"<Code>(\w+)</Code>")


class Objects(Protocol):
    """Where segments may lie that take nothing more. Raises `StoreUnavailable`. Any thread may call."""

    def claim(self) -> None:
        """Mark the object store as this store's."""

    def require_own(self) -> None:
        """Raise `StoreUnavailable` when the mark is not there: the object store is another one, or was emptied."""

    def write(self, name: str, blocks: Iterable[memoryview]) -> None:
        """Make one object of blocks; what an error leaves of it is the caller's to remove."""

    def length(self, name: str) -> int | None:
        """Return an object's bytes; None when it is gone from this store's own object store."""

    def read(self, name: str, spans: Sequence[tuple[int, int]]) -> list[memoryview | None]:
        """Return the bytes of each span (offset, size) of an object; None for a span that is not there whole."""

    def remove(self, name: str) -> None:
        """Delete an object, if it is there."""

    def names(self) -> Iterator[list[str]]:
        """Yield the names of all objects but the mark, some at a time."""

    def failing_s(self) -> float:
        """Return for how many seconds requests have failed; 0 when the last one succeeded."""


class Availability:
    """Whether an object store answers, as far as requests have told."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._failing_since_s: float | None = None
        self._rest_s = 0.0
        self._until_s = 0.0
        self._error: str | None = None
        """The last failure, if no request has succeeded since."""

    @property
    def failing_s(self) -> float:
        """For how long requests have failed; 0 when the last one succeeded."""
        since_s = self._failing_since_s
        return 0.0 if since_s is None else time.monotonic() - since_s

    def require(self) -> None:
        """Raise `StoreUnavailable` in a rest; at its end let one request try, and rest for all others."""
        with self._lock:
            now_s = time.monotonic()
            if now_s < self._until_s:
                raise StoreUnavailable(f"the object store failed lately: {self._error}")
            if self._error is not None:
                self._until_s = now_s + self._rest_s

    def failed(self, error: str) -> None:
        """Note a failure; a rest begins."""
        with self._lock:
            now_s = time.monotonic()
            if self._failing_since_s is None:
                self._failing_since_s = now_s
            self._rest_s = next_pause_s(self._rest_s, FIRST_REST_S, LONGEST_REST_S)
            self._until_s = now_s + self._rest_s
            self._error = error

    def answered(self) -> None:
        """Note that a request has succeeded."""
        with self._lock:
            self._failing_since_s, self._rest_s, self._until_s, self._error = None, 0.0, 0.0, None


class Connection(NamedTuple):
    """How objects below a URL are reached by obstore."""

    url: str
    reads: ObjectStore
    writes: ObjectStore
    """The client for requests that write; it has other limits of time than `reads`."""
    folder: Path | None = None
    """The folder that has the objects as files, for `file:` URLs."""


def connect(url: str, options: Mapping[str, str], secrets: Mapping[str, str]) -> Connection:
    """Return the connection to `s3://bucket/prefix` or `file:///folder`; nothing is sent yet.

    `options` and `secrets` are obstore's, as `region`; what they lack is taken from the environment (`AWS_…`). Raises
    `StoreError`.
    """
    try:
        parts = urlsplit(url)
        if parts.scheme == "file":
            folder = Path(unquote(parts.path))
            local = LocalStore(folder, mkdir=True)
            return Connection(url, local, local, folder)
        own = {name: value for name, value in options.items() if name not in CLIENT_OPTIONS}
        client = {name: value for name, value in options.items() if name in CLIENT_OPTIONS}

        def with_limit(silence_limit_s: float) -> ObjectStore:
            limits = {
                "connect_timeout": timedelta(seconds=CONNECT_LIMIT_S),
                "read_timeout": timedelta(seconds=silence_limit_s),
                "timeout": timedelta(seconds=ANSWER_LIMIT_S),
            }
            retries: RetryConfig = {
                "max_retries": RETRIES,
                "retry_timeout": timedelta(seconds=silence_limit_s),
            }
            return S3Store.from_url(
                url,
                config=cast("S3Config", {**own, **secrets}),
                client_options=cast("ClientConfig", {**client, **limits}),
                retry_config=retries,
            )

        return Connection(url, with_limit(SILENCE_LIMIT_S), with_limit(ANSWER_LIMIT_S))
    except (BaseError, OSError, ValueError) as error:
        raise StoreError(f"cannot use the object store {url}: {_plain(error)}") from None


class ObjectStorage:
    """The objects of one store, by obstore; the methods are those of `Objects`."""

    def __init__(self, connection: Connection, store_id: str) -> None:
        self._url, self._reads, self._writes, self._folder = connection
        self._prefix = f"{store_id}/"
        self._reading, self._writing = Availability(), Availability()
        """Apart, as an object store may refuse writes and serve reads."""
        self._free = threading.BoundedSemaphore(REQUESTS_AT_ONCE)

    def claim(self) -> None:
        """Mark the object store as this store's."""
        with self._asked("cannot mark", self._writing):
            obstore.put(self._writes, self._prefix + MARK, b"The segments of a store of Haulout.\n")
            self._sync(MARK)

    def require_own(self) -> None:
        """Raise `StoreUnavailable` when the mark is not there: the object store is another one, or was emptied."""
        if self._length(MARK) is None:
            raise StoreUnavailable(
                f"the object store {self._url} is not that of this store, or was emptied: it has no {self._prefix}"
                f"{MARK}; name the one that was used before, or move the store's folder away, to have its slivers "
                "rebuilt from the other members"
            )

    def write(self, name: str, blocks: Iterable[memoryview]) -> None:
        """Make one object of blocks; what an error leaves of it is the caller's to remove."""
        with self._asked(f"cannot write {name} to", self._writing):
            obstore.put(
                *(self._writes, self._prefix + name, iter(blocks)),
                use_multipart=True,
                chunk_size=PART_BYTES,
                max_concurrency=PARTS_AT_ONCE,
            )
            self._sync(name)

    def length(self, name: str) -> int | None:
        """Return an object's bytes; None when it is gone from this store's own object store."""
        size_bytes = self._length(name)
        if size_bytes is None:
            self.require_own()
        return size_bytes

    def read(self, name: str, spans: Sequence[tuple[int, int]]) -> list[memoryview | None]:
        """Return the bytes of each span (offset, size) of an object; None for a span that is not there whole."""
        found: list[memoryview | None] = [None] * len(spans)
        for first, end, numbers in _gathered(spans):
            content = self._range(name, first, end)
            for number in numbers:
                offset, size_bytes = spans[number]
                span = content[offset - first : offset - first + size_bytes]
                if len(numbers) > 1:
                    span = memoryview(bytes(span))  # what lies between the spans is not to be held with them
                found[number] = span if len(span) == size_bytes else None
        return found

    def remove(self, name: str) -> None:
        """Delete an object, if it is there."""
        with self._asked(f"cannot delete {name} from", self._writing), contextlib.suppress(FileNotFoundError):
            obstore.delete(self._reads, self._prefix + name)

    def names(self) -> Iterator[list[str]]:
        """Yield the names of all objects but the mark, some at a time."""
        pages = aiter(obstore.list(self._reads, prefix=self._prefix, chunk_size=NAMES_AT_ONCE))
        while True:
            with self._asked("cannot list", self._reading):
                page = asyncio.run(_next(pages))
            if page is None:
                return
            names = (one["path"].removeprefix(self._prefix) for one in page)
            yield [name for name in names if name != MARK]

    def failing_s(self) -> float:
        """Return for how many seconds requests have failed; 0 when the last one succeeded."""
        return max(self._reading.failing_s, self._writing.failing_s)

    def _length(self, name: str) -> int | None:
        """Return an object's bytes; None when there is none."""
        with self._asked(f"cannot look for {name} in", self._reading):
            try:
                return int(obstore.head(self._reads, self._prefix + name)["size"])
            except FileNotFoundError:
                return None

    def _range(self, name: str, first: int, end: int) -> memoryview:
        """Return the bytes of an object from one to another place, as many of them as there are."""
        path = self._prefix + name
        with self._asked(f"cannot read {name} from", self._reading):
            try:
                return self._bytes_of(path, first, end)
            except FileNotFoundError:
                pass
            except GenericError:
                if not self._ends_before(path, first):
                    raise
                return memoryview(b"")
        self.require_own()
        return memoryview(b"")

    def _bytes_of(self, path: str, first: int, end: int) -> memoryview:
        """Return the bytes that are there of a range. Raises `ValueError` for an answer that has more."""
        if self._folder is not None:
            return memoryview(obstore.get_range(self._reads, path, start=first, end=end))
        # (`get_range` would take as many gigabytes as the answer has.)
        content = bytearray()
        for chunk in obstore.get(self._reads, path, options={"range": (first, end)}).stream(CHUNK_BYTES):
            content += memoryview(chunk)
            if len(content) > end - first:
                raise ValueError(f"more than the {end - first} bytes that were asked for")
        return memoryview(content)

    def _ends_before(self, path: str, first: int) -> bool:
        """Whether an object is no longer than `first`, which is an error of its own where a range is asked for."""
        with contextlib.suppress(BaseError):
            return int(obstore.head(self._reads, path)["size"]) <= first
        return False

    @contextlib.contextmanager
    def _asked(self, what: str, availability: Availability) -> Iterator[None]:
        """Have a place for a request, and turn what fails it into `StoreUnavailable`."""
        availability.require()
        if not self._free.acquire(timeout=TURN_LIMIT_S):
            raise StoreUnavailable(
                f"{what} the object store {self._url}: too many requests wait for its answers"
            )
        try:
            yield
        except (BaseError, OSError, ValueError) as error:
            text = f"{what} the object store {self._url}: {_plain(error)}"
            availability.failed(text)
            raise StoreUnavailable(text) from None
        else:
            availability.answered()
        finally:
            self._free.release()

    def _sync(self, name: str) -> None:
        """Make an object durable where it is a file, which obstore leaves to the system."""
        if self._folder is None:
            return
        path = self._folder / self._prefix / name
        for one in (path, path.parent, self._folder):
            with opened(os.open(one, os.O_RDONLY | os.O_CLOEXEC)) as descriptor:
                os.fsync(descriptor)


async def _next(pages: AsyncIterator[Sequence[ObjectMeta]]) -> Sequence[ObjectMeta] | None:
    """Return the next page of a list, which may have no end and no names; None at the end."""
    try:
        async with asyncio.timeout(SILENCE_LIMIT_S):
            return await anext(pages, None)
    except TimeoutError:
        raise TimeoutError(f"no name within {SILENCE_LIMIT_S:g} s") from None


def _gathered(spans: Sequence[tuple[int, int]]) -> Iterator[tuple[int, int, list[int]]]:
    """Yield ranges (first, end) that hold all spans, each with the numbers of those in it.

    Spans near each other share one, up to RANGE_BYTES.
    """
    first, end, numbers = 0, 0, list[int]()
    for number in sorted(range(len(spans)), key=lambda number: spans[number]):
        offset, size_bytes = spans[number]
        if numbers and (offset > end + GAP_BYTES or offset + size_bytes > first + RANGE_BYTES):
            yield first, end, numbers
            numbers = []
        first, end = (first, max(end, offset + size_bytes)) if numbers else (offset, offset + size_bytes)
        numbers.append(number)
    if numbers:
        yield first, end, numbers


def _plain(error: Exception) -> str:
    """Return in one line what an error says, without the answer's body, which may name keys."""
    text = str(error)
    code = _CODE.search(text)
    line = text.partition("\n")[0].partition(": <")[0][:ERROR_CHARACTERS]
    return f"{line} ({code[1]})" if code else line
