"""Where segments lie: the same contract for files on the disk, obstore's folder and memory, and S3 over HTTP."""

from __future__ import annotations

import os
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Protocol

import pytest

from storage.node.sqlite import StoreError, StoreUnavailable
from storage.node.store import objects as module
from storage.node.store.files import Appended, SegmentFiles, SegmentName
from storage.node.store.objects import Connection, ObjectStorage, connect
from tests.moto.server import SECRETS, connection, s3
from tests.storage.node.store.object_stores import in_memory

CONTENT = bytes(range(256)) * 40


class Place(Protocol):
    """A place for segments, by numbers in place of names."""

    def write(self, number: int, blocks: list[bytes]) -> None: ...
    def read(self, number: int, spans: list[tuple[int, int]]) -> list[memoryview | None]: ...
    def length(self, number: int) -> int: ...
    def remove(self, number: int) -> None: ...
    def numbers(self) -> set[int]: ...


class Disk:
    """Files."""

    def __init__(self, folder: Path) -> None:
        self._files = SegmentFiles(folder)
        self._files.open()

    def write(self, number: int, blocks: list[bytes]) -> None:
        offset = 0
        for block in blocks:
            self._files.write([Appended(SegmentName(7, number), offset, [memoryview(block)])])
            offset += len(block)

    def read(self, number: int, spans: list[tuple[int, int]]) -> list[memoryview | None]:
        return self._files.read(SegmentName(7, number), spans)

    def length(self, number: int) -> int:
        return self._files.length(SegmentName(7, number))

    def remove(self, number: int) -> None:
        self._files.remove(SegmentName(7, number))

    def numbers(self) -> set[int]:
        return {name.number for name in self._files.listed()}


class Remote:
    """Objects."""

    def __init__(self, connection: Connection) -> None:
        self._objects = ObjectStorage(connection, "an-id")
        self._objects.claim()

    def write(self, number: int, blocks: list[bytes]) -> None:
        self._objects.write(f"7-{number}-00000000", map(memoryview, blocks))

    def read(self, number: int, spans: list[tuple[int, int]]) -> list[memoryview | None]:
        return self._objects.read(f"7-{number}-00000000", spans)

    def length(self, number: int) -> int:
        return self._objects.length(f"7-{number}-00000000") or 0

    def remove(self, number: int) -> None:
        self._objects.remove(f"7-{number}-00000000")

    def numbers(self) -> set[int]:
        return {int(name.split("-")[1]) for names in self._objects.names() for name in names}


@pytest.fixture(scope="module")
def endpoint() -> Iterator[str]:
    with s3() as server:
        yield server.url


@pytest.fixture(params=["disk", "folder", "memory", "S3"])
def place(request: pytest.FixtureRequest, tmp_path: Path) -> Place:
    if request.param == "disk":
        return Disk(tmp_path)
    if request.param == "folder":
        return Remote(connect((tmp_path / "a folder").as_uri(), {}, {}))
    if request.param == "memory":
        return Remote(in_memory())
    return Remote(connection(request.getfixturevalue("endpoint"), prefix=tmp_path.name))


@pytest.fixture
def on_s3(endpoint: str, tmp_path: Path) -> ObjectStorage:
    return ObjectStorage(connection(endpoint, prefix=tmp_path.name), "an-id")


def test_what_was_written_is_read_by_spans_in_any_order(place: Place) -> None:
    place.write(1, [CONTENT[:5000], CONTENT[5000:]])
    assert place.length(1) == len(CONTENT)
    spans = [(9000, 1240), (0, 1), (3, 5000), (3, 7), (10_239, 1), (4000, 2000)]
    found = place.read(1, spans)
    assert list(map(bytes, filter(None, found))) == [CONTENT[at : at + size] for at, size in spans]
    assert all(one is not None and one.contiguous and one.format == "B" for one in found)


def test_spans_that_are_not_there_whole_are_none_and_the_others_are_read(place: Place) -> None:
    place.write(1, [CONTENT])
    end = len(CONTENT)
    spans = [(end - 3, 4), (0, 2), (end, 1), (10**9, 5), (end - 3, 3)]
    assert place.read(1, spans) == [None, CONTENT[:2], None, None, CONTENT[-3:]]


def test_nothing_is_read_of_what_is_not_there(place: Place) -> None:
    assert place.read(1, [(0, 1), (5, 5)]) == [None, None]
    assert place.length(1) == 0
    place.remove(1)


def test_what_is_removed_is_gone_and_nothing_else(place: Place) -> None:
    for number in (1, 2, 3):
        place.write(number, [CONTENT[:number]])
    assert place.numbers() == {1, 2, 3}
    place.remove(2)
    place.remove(2)
    assert place.numbers() == {1, 3}
    assert [place.length(number) for number in (1, 2, 3)] == [1, 0, 3]
    assert place.read(2, [(0, 1)]) == [None]


def test_a_large_one_goes_up_in_parts(on_s3: ObjectStorage) -> None:
    blocks = [bytes([number]) * module.PART_BYTES for number in range(2)] + [b"end"]
    on_s3.write("7-1-00000000", map(memoryview, blocks))
    assert on_s3.length("7-1-00000000") == 2 * module.PART_BYTES + 3
    spans = [(module.PART_BYTES - 1, 2), (2 * module.PART_BYTES, 3)]
    assert list(map(bytes, filter(None, on_s3.read("7-1-00000000", spans)))) == [b"\x00\x01", b"end"]


def test_an_upload_that_its_source_ends_leaves_no_object(on_s3: ObjectStorage) -> None:
    class Broken(Exception):
        pass

    def blocks() -> Iterator[memoryview]:
        yield memoryview(bytes(module.PART_BYTES))
        yield memoryview(bytes(module.PART_BYTES))
        raise Broken

    on_s3.claim()
    with pytest.raises(Broken):
        on_s3.write("7-1-00000000", blocks())
    assert (on_s3.length("7-1-00000000"), list(on_s3.names())) == (None, [[]])
    on_s3.write("7-2-00000000", [memoryview(b"the next one")])


def test_spans_that_lie_near_each_other_are_read_by_one_request(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[tuple[int, int]] = []
    objects = ObjectStorage(in_memory(), "an-id")

    def a_range(self: ObjectStorage, name: str, first: int, end: int) -> memoryview:
        asked.append((first, end))
        return memoryview(bytes(end - first))

    monkeypatch.setattr(ObjectStorage, "_range", a_range)
    gap, most = module.GAP_BYTES, module.RANGE_BYTES
    objects.read("a", [(0, 10), (20, 10), (5, 3), (30 + gap, 5), (36 + 2 * gap, 5)])
    assert asked == [(0, 35 + gap), (36 + 2 * gap, 41 + 2 * gap)]
    spans = [one for one in objects.read("a", [(0, 10), (20, 10)]) if one is not None]
    assert [len(one.obj) for one in spans] == [10, 10], "what lies between is not held with them"  # type: ignore[arg-type]
    asked.clear()
    assert not objects.read("a", [])
    assert not asked
    objects.read("a", [(0, most), (most, 1), (most + 1, 2 * most)])
    assert asked == [(0, most), (most, most + 1), (most + 1, 3 * most + 1)]


def test_objects_in_a_folder_are_durable_with_their_folders(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "a folder"
    objects = ObjectStorage(connect(folder.as_uri(), {}, {}), "an-id")
    synced: list[int] = []
    monkeypatch.setattr(os, "fsync", lambda descriptor: synced.append(os.fstat(descriptor).st_ino))
    objects.claim()
    objects.write("7-1-00000000", [memoryview(CONTENT)])
    own = folder / "an-id"
    paths = [own / module.MARK, own, folder, own / "7-1-00000000", own, folder]
    assert synced == [path.stat().st_ino for path in paths]


def test_the_names_of_many_objects_come_some_at_a_time(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "NAMES_AT_ONCE", 2)
    objects = ObjectStorage(in_memory(), "an-id")
    objects.claim()
    names = [f"7-{number}-00000000" for number in range(5)]
    for name in names:
        objects.write(name, [memoryview(CONTENT)])
    pages = list(objects.names())
    assert sorted(name for page in pages for name in page) == names
    assert max(map(len, pages)) <= 2


# what fails


class Held:
    """A write that has a place until it is told to end."""

    def __init__(self, objects: ObjectStorage, name: str) -> None:
        self._begun, self._may_end = threading.Event(), threading.Event()
        self._thread = threading.Thread(target=objects.write, args=(name, self._blocks()))
        self._thread.start()
        assert self._begun.wait(30)

    def _blocks(self) -> Iterator[memoryview]:
        self._begun.set()
        assert self._may_end.wait(30)
        yield memoryview(CONTENT)

    def end(self) -> None:
        self._may_end.set()
        self._thread.join()


def test_a_request_without_a_place_fails_alone_and_places_are_given_back(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(module, "REQUESTS_AT_ONCE", 2)
    monkeypatch.setattr(module, "TURN_LIMIT_S", 0.01)
    objects = ObjectStorage(in_memory(), "an-id")
    objects.claim()
    first = Held(objects, "7-1-00000000")
    assert objects.read("7-9-00000000", [(0, 1)]) == [None]
    second = Held(objects, "7-2-00000000")
    for ask in (lambda: objects.read("7-1-00000000", [(0, 1)]), lambda: objects.remove("7-9-00000000")):
        with pytest.raises(StoreUnavailable, match=r"(read|delete) 7-.* too many requests wait"):
            ask()
    assert objects.failing_s() == 0, "it was not the object store that failed"
    first.end()
    for _ in range(3):
        (content,) = objects.read("7-1-00000000", [(0, 256)])
        assert content is not None and bytes(content) == CONTENT[:256]
        with pytest.raises(StoreUnavailable, match="cannot write"):
            objects.write("7-3-00000000", _failing())
        objects._writing.answered()
    second.end()
    assert objects.length("7-2-00000000") == len(CONTENT)


def _failing() -> Iterator[memoryview]:
    yield memoryview(CONTENT)
    raise OSError("the disk fails")


def test_how_long_requests_have_failed_counts_from_the_first_of_either_kind(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    now_s = [1000.0]
    monkeypatch.setattr("storage.node.store.objects.time.monotonic", lambda: now_s[0])
    objects = ObjectStorage(in_memory(), "an-id")
    objects._writing.failed("once")
    now_s[0] += 5
    objects._writing.failed("twice")
    objects._reading.failed("once")
    now_s[0] += 2
    assert objects.failing_s() == 7
    objects._writing.answered()
    assert objects.failing_s() == 2
    objects._reading.answered()
    assert objects.failing_s() == 0
    objects._reading.failed("anew")
    now_s[0] += 1
    assert objects.failing_s() == 1


def test_a_rest_is_as_short_as_at_first_once_a_request_was_answered(monkeypatch: pytest.MonkeyPatch) -> None:
    now_s = [1000.0]
    monkeypatch.setattr("storage.node.store.objects.time.monotonic", lambda: now_s[0])
    availability = module.Availability()
    for _ in range(4):
        availability.failed("down")
    with pytest.raises(StoreUnavailable, match="failed lately: down"):
        availability.require()
    availability.answered()
    availability.require()
    availability.failed("down again")
    now_s[0] += module.FIRST_REST_S
    availability.require()
    with pytest.raises(StoreUnavailable, match="failed lately: down again"):
        availability.require()  # one request tries, and the others rest meanwhile
    now_s[0] += module.FIRST_REST_S
    availability.require()


def test_a_bucket_that_is_not_there_is_no_lost_segment(endpoint: str) -> None:
    objects = ObjectStorage(connection(endpoint, bucket="another"), "an-id")
    for ask in (objects.require_own, lambda: objects.read("a", [(0, 1)]), lambda: objects.length("a")):
        with pytest.raises(StoreUnavailable, match="is not that of this store, or was emptied"):
            ask()
    for refused in (objects.claim, lambda: list(objects.names())):
        with pytest.raises(StoreUnavailable, match="NoSuchBucket"):
            refused()


@pytest.mark.parametrize("prefix", ["", "another"])
def test_another_stores_objects_are_not_this_ones(endpoint: str, prefix: str, tmp_path: Path) -> None:
    mine, other = (
        ObjectStorage(connection(endpoint, prefix=f"{tmp_path.name}{prefix}"), name)
        for name in ("one", "two")
    )
    mine.claim()
    mine.write("7-1-00000000", [memoryview(CONTENT)])
    with pytest.raises(StoreUnavailable, match="is not that of this store"):
        other.read("7-1-00000000", [(0, 1)])
    other.claim()
    assert other.read("7-1-00000000", [(0, 1)]) == [None]
    assert (list(mine.names()), list(other.names())) == ([["7-1-00000000"]], [[]])


class Deaf:
    """A server that takes connections and requests, and answers with what it is told to."""

    def __init__(self, answer: bytes) -> None:
        self._answer = answer
        self.requests = 0
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.url = f"http://127.0.0.1:{self._listener.getsockname()[1]}"
        self._held: list[socket.socket] = []
        self._thread = threading.Thread(target=self._run)
        self._thread.start()

    def _run(self) -> None:
        while True:
            try:
                one, _ = self._listener.accept()
            except OSError:
                return
            self._held.append(one)
            self.requests += 1
            if self._answer:
                one.recv(65536)
                with suppress(OSError):  # the client has heard enough
                    one.sendall(self._answer)
                one.close()

    def close(self) -> None:
        self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        while self._thread.is_alive():
            for one in self._held:
                with suppress(OSError):  # closed already
                    one.shutdown(
                        socket.SHUT_RDWR
                    )  # a client that gave up may have sent nothing to be received
            self._thread.join(0.1)
        for one in self._held:
            one.close()


@pytest.fixture
def deaf(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[bytes], Deaf]]:
    monkeypatch.setattr(module, "SILENCE_LIMIT_S", 0.2)
    monkeypatch.setattr(module, "ANSWER_LIMIT_S", 0.3)
    monkeypatch.setattr(module, "RETRIES", 1)
    servers: list[Deaf] = []

    def start(answer: bytes) -> Deaf:
        servers.append(Deaf(answer))
        return servers[-1]

    yield start
    for server in servers:
        server.close()


REFUSAL = b"HTTP/1.1 403 Forbidden\r\nContent-Length: %d\r\nConnection: close\r\n\r\n%s"
BODY = b"<Error><Code>AccessDenied</Code><AWSAccessKeyId>key-id-of-nobody</AWSAccessKeyId></Error>"


@pytest.mark.parametrize(
    ("answer", "why"),
    [
        (b"", "HTTP error"),
        (b"HTTP/1.1 503 Slow Down\r\nContent-Length: 0\r\nConnection: close\r\n\r\n", "503"),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\nConnection: close\r\n\r\nshort", "HTTP error|error"),
        (b"nonsense\r\n\r\n", "HTTP error"),
        (REFUSAL % (len(BODY), BODY), r"\(AccessDenied\)"),
    ],
    ids=["silence", "503", "cut short", "no HTTP", "refused"],
)
def test_a_server_that_fails_is_one_clear_error_without_keys(
    deaf: Callable[[bytes], Deaf], answer: bytes, why: str
) -> None:
    objects = ObjectStorage(connection(deaf(answer).url), "an-id")
    for ask in (
        lambda: objects.read("7-1-00000000", [(0, 9)]),
        lambda: objects.write("7-1-00000000", [memoryview(CONTENT)]),
    ):
        with pytest.raises(StoreUnavailable, match=why) as caught:
            ask()
        text = str(caught.value)
        assert "7-1-00000000" in text and "s3://haulout/a/prefix" in text
        assert "\n" not in text and len(text) < 600
        assert not any(secret in text for secret in SECRETS.values())
        assert "AWSAccessKeyId" not in text
    assert objects.failing_s() > 0


LAST_MODIFIED = b'ETag: "a"\r\nLast-Modified: Mon, 30 Nov 2026 19:00:00 GMT\r\nConnection: close\r\n'
PARTIAL = b"HTTP/1.1 206 Partial Content\r\nContent-Range: bytes 0-8/%d\r\n%s%s\r\n\r\n"


@pytest.mark.parametrize("is_told", [True, False], ids=["a length", "chunks"])
def test_no_more_is_read_than_was_asked_for(deaf: Callable[[bytes], Deaf], is_told: bool) -> None:
    """6 GB, which an answer to a question for 1 kB had, came to lie in memory."""
    size_bytes = 2**25
    length = b"Content-Length: %d" % size_bytes if is_told else b"Transfer-Encoding: chunked"
    body = bytes(size_bytes) if is_told else b"%x\r\n%s\r\n" % (size_bytes, bytes(size_bytes))
    objects = ObjectStorage(
        connection(deaf(PARTIAL % (size_bytes, LAST_MODIFIED, length) + body).url), "an-id"
    )
    with pytest.raises(StoreUnavailable, match=r"more than the 9 bytes|Content-Length"):
        objects.read("7-1-00000000", [(0, 9)])


def test_a_list_without_a_name_or_an_end_is_left(deaf: Callable[[bytes], Deaf]) -> None:
    page = b"""<?xml version="1.0"?><ListBucketResult><IsTruncated>true</IsTruncated>
<NextContinuationToken>again</NextContinuationToken></ListBucketResult>"""
    server = deaf(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\nConnection: close\r\n\r\n%s" % (len(page), page))
    with pytest.raises(StoreUnavailable, match="no name within"):
        list(ObjectStorage(connection(server.url), "an-id").names())
    assert server.requests > 1


def test_after_a_failure_requests_fail_at_once_but_for_one_that_tries(
    deaf: Callable[[bytes], Deaf], monkeypatch: pytest.MonkeyPatch
) -> None:
    now_s = [1000.0]
    monkeypatch.setattr("storage.node.store.objects.time.monotonic", lambda: now_s[0])
    monkeypatch.setattr(module, "RETRIES", 0)
    server = deaf(b"HTTP/1.1 500 Down\r\nContent-Length: 0\r\nConnection: close\r\n\r\n")
    objects = ObjectStorage(connection(server.url), "an-id")

    def read() -> bool:
        """Whether the server was asked."""
        before = server.requests
        with pytest.raises(StoreUnavailable):
            objects.read("7-1-00000000", [(0, 9)])
        return server.requests > before

    assert (read(), read()) == (True, False)
    for rest_s in (1, 2, 4, 8, 16, 30, 30):
        now_s[0] += rest_s - 0.01
        assert not read()
        now_s[0] += 0.02
        assert (read(), read()) == (True, False)


def test_an_object_store_that_answers_again_is_used_at_once(
    endpoint: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    now_s = [1000.0]
    monkeypatch.setattr("storage.node.store.objects.time.monotonic", lambda: now_s[0])
    objects = ObjectStorage(connection(endpoint), "another-id")
    objects._reading.failed("once")
    objects._reading.failed("twice")
    now_s[0] += 2.01
    with pytest.raises(StoreUnavailable, match="not that of this store"):
        objects.read("7-1-00000000", [(0, 9)])
    objects.claim()
    assert objects.read("7-1-00000000", [(0, 9)]) == [None]
    assert objects.failing_s() == 0


@pytest.mark.parametrize(
    ("url", "options"),
    [
        ("s3://bucket", {"nonsense": "1"}),
        ("file:///proc/none/there", {}),
    ],
)
def test_what_obstore_refuses_is_named(url: str, options: dict[str, str]) -> None:
    with pytest.raises(StoreError, match=f"cannot use the object store {url}"):
        connect(url, options, SECRETS)


def test_no_key_is_shown(endpoint: str) -> None:
    shown = f"{connection(endpoint)!r} {ObjectStorage(connection(endpoint), 'an-id')!r}"
    assert not any(secret in shown for secret in SECRETS.values())
