"""Uploads of slivers that break off: what is kept of them, for which requester, how long, how they are gone on with."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from contextlib import suppress
from typing import Any, cast

import pytest
from aiohttp import helpers
from hypothesis import given
from hypothesis import strategies as st

from storage.client.bodies import Bytes
from storage.client.progress import LEAST_BYTES
from storage.node.budgets import Pool, Requester
from storage.node.face import Refusal
from storage.node.http import blobs, uploads
from storage.node.http.admission import Admission
from storage.node.http.transfer import IncomingBody
from storage.node.http.uploads import ENTRY_BYTES, Uploads
from storage.redstuff import Axis
from tests.storage.node.http.conftest import LIMIT_S, SHARD, Serve, ServedNode, until

P = Axis.PRIMARY
HALF = 70_000
"""Of a primary sliver of 140 000 bytes; more than LEAST_BYTES."""
WHOLE = "Upload-Complete: ?1\r\n"
REST = {"Upload-Complete": "?1", "Content-Type": "application/partial-upload"}


@pytest.fixture
def kept(monkeypatch: pytest.MonkeyPatch) -> list[Uploads]:
    """The uploads of each node that is served."""
    made: list[Uploads] = []

    class Seen(Uploads):
        def __init__(self) -> None:
            super().__init__()
            made.append(self)

    monkeypatch.setattr(blobs, "Uploads", Seen)
    return made


@pytest.fixture
async def served(serve_node: Serve, kept: list[Uploads]) -> ServedNode:
    """A node that has the metadata of a blob, and of its own shards' slivers those of shard 0."""
    return await serve_node(None, (0,))


def arrived_bytes(kept: list[Uploads]) -> int:
    """Bytes of the bodies that arrive."""
    return sum(one.body._size_bytes for one in kept[0]._uploads.values() if one.body is not None)


def is_arriving(kept: list[Uploads]) -> bool:
    """Whether a body arrives of which something may be kept."""
    return any(one.body is not None for one in kept[0]._uploads.values())


async def broken(served: ServedNode, kept: list[Uploads], content: bytes, length: int) -> None:
    """Send a sliver's beginning, and break the connection once the node has it."""
    connection = await served.begin("PUT", served.sliver_path(SHARD), content, length, fields=WHOLE)
    await until(lambda: arrived_bytes(kept) == len(content))
    connection.close()
    await until(lambda: not is_arriving(kept))


async def state(
    served: ServedNode, shard: int = SHARD, local: str = "127.0.0.1"
) -> tuple[int, Mapping[str, str]]:
    status, _, headers = await served.talk("HEAD", served.sliver_path(shard) + "/upload", local=local)
    return status, headers


async def go_on(
    served: ServedNode, rest: bytes, offset: int, **changes: str
) -> tuple[int, bytes, Mapping[str, str]]:
    fields = (
        REST | {"Upload-Offset": str(offset)} | {name.replace("_", "-"): one for name, one in changes.items()}
    )
    return await served.talk("PATCH", served.sliver_path(SHARD) + "/upload", rest, fields=fields)


async def test_an_upload_that_broke_off_is_gone_on_with(served: ServedNode, kept: list[Uploads]) -> None:
    body = served.sliver_body(SHARD)
    await broken(served, kept, body[:HALF], len(body))
    status, headers = await state(served)
    assert (status, headers["Upload-Complete"], headers["Upload-Length"]) == (204, "?0", str(len(body)))
    assert headers["Cache-Control"] == "no-store"
    assert 0 < int(headers["Upload-Limit"].removeprefix("max-age=")) <= uploads.KEPT_S
    assert int(headers["Upload-Offset"]) == HALF
    status, _, headers = await go_on(served, body[HALF:], HALF)
    assert (status, headers["Upload-Complete"]) == (201, "?1")
    assert (await served.ask("GET", served.sliver_path(SHARD)))[1] == body
    status, headers = await state(served)
    assert (status, headers["Upload-Complete"], headers["Upload-Offset"]) == (204, "?1", str(len(body)))
    assert not kept[0]._uploads
    assert not kept[0]._held.total()


async def test_the_rest_takes_memory_for_what_was_kept_too(
    served: ServedNode, kept: list[Uploads], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The whole sliver is put together: a short rest must not take little of the memory and much of the machine."""
    body = served.sliver_body(SHARD)
    await broken(served, kept, body[:-5], len(body))
    lent, really = list[int](), Pool.lent

    def watched(pool: Pool, amount: int = 1, *requester: Requester, weight: int | None = None) -> Any:
        lent.append(amount)
        return really(pool, amount, *requester, weight=weight)

    monkeypatch.setattr(Pool, "lent", watched)
    assert (await go_on(served, body[-5:], len(body) - 5))[0] == 201
    assert len(body) in lent


async def test_a_media_type_that_takes_long_to_read_is_not_read(
    served: ServedNode, kept: list[Uploads], monkeypatch: pytest.MonkeyPatch
) -> None:
    """As a stranger's PATCH may have one, and nothing else runs meanwhile."""
    body, read, really = served.sliver_body(SHARD), list[str](), helpers.parse_content_type

    def parse(field: str) -> Any:
        read.append(field)
        return really(field)

    monkeypatch.setattr(helpers, "parse_content_type", parse)
    await broken(served, kept, body[:HALF], len(body))
    parameters = 1000 * ";"
    answer = await go_on(served, body[HALF:], HALF, Content_Type=REST["Content-Type"] + parameters)
    assert answer[0] == 201
    assert not [one for one in read if parameters in one]


async def test_the_rest_may_break_off_too(served: ServedNode, kept: list[Uploads]) -> None:
    body = served.sliver_body(SHARD)
    await broken(served, kept, body[:HALF], len(body))
    fields = f"{WHOLE}Upload-Offset: {HALF}\r\nContent-Type: application/partial-upload\r\n"
    path = served.sliver_path(SHARD) + "/upload"
    connection = await served.begin("PATCH", path, body[HALF:-5], len(body) - HALF, fields=fields)
    await until(lambda: arrived_bytes(kept) == len(body) - HALF - 5)
    connection.close()
    await until(lambda: not is_arriving(kept))
    assert (await state(served))[1]["Upload-Offset"] == str(len(body) - 5)
    assert (await go_on(served, body[-5:], len(body) - 5))[0] == 201


async def test_a_request_that_its_client_has_given_up_is_ended_by_the_question(
    served: ServedNode, kept: list[Uploads], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A connection may be gone for the client alone: the node would wait for its rest for half a minute."""
    body = served.sliver_body(SHARD)
    monkeypatch.setattr(uploads, "QUIET_S", 0.0)
    connection = await served.begin("PUT", served.sliver_path(SHARD), body[:HALF], len(body), fields=WHOLE)
    await until(lambda: arrived_bytes(kept) == HALF)
    assert (await state(served))[1]["Upload-Offset"] == str(HALF)
    with pytest.raises(ConnectionResetError):
        assert await asyncio.get_running_loop().sock_recv(connection, 1) == b""
        raise ConnectionResetError
    assert (await go_on(served, body[HALF:], HALF))[0] == 201


async def test_a_request_whose_bytes_come_is_ended_by_no_other_one(
    served: ServedNode, kept: list[Uploads]
) -> None:
    """All strangers may come from one address, that of a proxy before the node."""
    body, loop = served.sliver_body(SHARD), asyncio.get_running_loop()
    connection = await served.begin("PUT", served.sliver_path(SHARD), body[:HALF], len(body), fields=WHOLE)
    await until(lambda: arrived_bytes(kept) == HALF)
    assert (await state(served))[0] == 503
    assert (await go_on(served, body[HALF:], HALF))[0] == 503
    wrong = bytes(len(body))
    assert (await served.talk("PUT", served.sliver_path(SHARD), wrong, fields={"Upload-Complete": "?1"}))[
        0
    ] == 400
    await loop.sock_sendall(connection, body[HALF:])
    assert b" 201 " in await loop.sock_recv(connection, 100)


@pytest.mark.parametrize(
    ("offset", "changes", "status"),
    [
        (HALF + 1, {}, 409),
        (0, {}, 409),
        (HALF, {"Upload_Offset": "070000"}, 409),
        (HALF, {"Upload_Complete": "?0"}, 400),
        (HALF, {"Content_Type": "application/octet-stream"}, 415),
    ],
)
async def test_what_is_not_the_rest_is_refused_and_the_part_is_kept(
    served: ServedNode, kept: list[Uploads], offset: int, changes: dict[str, str], status: int
) -> None:
    body = served.sliver_body(SHARD)
    await broken(served, kept, body[:HALF], len(body))
    answered, _, headers = await go_on(served, body[offset:], offset, **changes)
    assert answered == status
    assert headers.get("Upload-Offset") == (str(HALF) if status == 409 else None)
    assert "Upload-Complete" not in headers
    assert (await go_on(served, body[HALF:-1], HALF))[0] == 400
    assert (await go_on(served, body[HALF:], HALF))[0] == 201


async def test_a_part_that_is_wrong_is_dropped_with_the_refusal(
    served: ServedNode, kept: list[Uploads]
) -> None:
    body = served.sliver_body(SHARD)
    await broken(served, kept, body[: HALF - 1] + bytes((body[HALF - 1] ^ 1,)), len(body))
    status, answer, headers = await go_on(served, body[HALF:], HALF)
    assert (status, headers["Upload-Complete"]) == (400, "?1")
    assert b"INVALID_SLIVER" in answer
    assert (await state(served))[0] == 404
    assert (await go_on(served, body[HALF:], HALF))[0] == 404


async def test_a_part_is_its_requesters_alone(served: ServedNode, kept: list[Uploads]) -> None:
    body = served.sliver_body(SHARD)
    await broken(served, kept, body[:HALF], len(body))
    assert (await state(served, local="127.0.0.2"))[0] == 404
    assert (await state(served))[0] == 204


async def test_a_sliver_sent_anew_drops_the_part_of_before(served: ServedNode, kept: list[Uploads]) -> None:
    body = served.sliver_body(SHARD)
    for size_bytes in (HALF, LEAST_BYTES):
        await broken(served, kept, body[:size_bytes], len(body))
        assert (await state(served))[1]["Upload-Offset"] == str(size_bytes)
    status, _, _ = await served.talk("PUT", served.sliver_path(SHARD), body, fields={"Upload-Complete": "?1"})
    assert status == 201
    assert not kept[0]._held.total()


async def test_a_beginning_that_is_small_is_not_kept(served: ServedNode, kept: list[Uploads]) -> None:
    body = served.sliver_body(SHARD)
    await broken(served, kept, body[: LEAST_BYTES - 1], len(body))
    assert (await state(served))[0] == 404
    assert not kept[0]._uploads


@pytest.mark.parametrize(
    ("longer", "fields", "shard"),
    [(0, "", SHARD), (0, "Upload-Complete: yes\r\n", SHARD), (-1, WHOLE, SHARD), (0, WHOLE, 0)],
    ids=["unasked", "no boolean", "of another size", "stored"],
)
async def test_nothing_is_kept_of_an_upload(
    served: ServedNode,
    kept: list[Uploads],
    monkeypatch: pytest.MonkeyPatch,
    longer: int,
    fields: str,
    shard: int,
) -> None:
    received, begun = Admission.received, asyncio.Event()

    async def receive(*arguments: Any) -> Bytes:
        begun.set()
        return await received(*arguments)

    monkeypatch.setattr(Admission, "received", receive)
    body = served.sliver_body(shard)
    await served.begin("PUT", served.sliver_path(shard), body[:HALF], len(body) + longer, fields=fields)
    async with asyncio.timeout(LIMIT_S):
        await begun.wait()
    assert not kept[0]._uploads


async def test_nothing_is_kept_of_a_blob_that_is_not_registered_or_of_a_foreign_shard(
    served: ServedNode, kept: list[Uploads]
) -> None:
    body = served.sliver_body(SHARD)
    foreign = next(one for one in range(10) if one not in served.node.view.my_shards())
    status, answer = await served.ask("HEAD", served.sliver_path(foreign) + "/upload")
    assert status == 400
    unknown = f"/v1/blobs/{'A' * 43}/slivers/0/primary"
    for method, path in (("PUT", unknown), ("PATCH", unknown + "/upload")):
        status, answer, _ = await served.talk(method, path, body, fields={"Upload-Complete": "?1"})
        assert (status, b"NOT_REGISTERED" in answer) == (400, True)
    assert not kept[0]._uploads


async def test_a_sliver_in_several_requests_from_the_start_is_refused(served: ServedNode) -> None:
    status, answer, _ = await served.talk(
        "PUT", served.sliver_path(SHARD), served.sliver_body(SHARD)[:HALF], fields={"Upload-Complete": "?0"}
    )
    assert (status, b"send it whole" in answer) == (400, True)


async def test_a_part_is_dropped_after_its_time(
    served: ServedNode, kept: list[Uploads], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(uploads, "KEPT_S", 0.0)
    body = served.sliver_body(SHARD)
    await broken(served, kept, body[:HALF], len(body))
    await until(lambda: not kept[0]._uploads)
    assert not kept[0]._held.total()


# what is kept in all


class Body:
    """A body of which `count` bytes arrive."""

    came_s = -uploads.QUIET_S
    """Nothing comes any more."""
    is_read = True

    def __init__(self, count: int) -> None:
        self.count = count

    def content(self) -> bytes:
        return bytes(self.count)


def held_bytes(kept: Uploads, requester: Requester | None = None) -> int:
    parts = [one for one in kept._uploads.values() if one.content and requester in (None, one.key[0])]
    return sum(one.offset + ENTRY_BYTES for one in parts)


def break_off(kept: Uploads, name: str, shard: int, count: int) -> uploads.Upload:
    """Have `count` bytes of a requester's sliver arrive before its connection breaks, or go on so."""
    key = (Requester(name), bytes(32), shard, P)
    upload = kept.interrupted(key) or kept.begin(key, 2**30)
    assert upload is not None
    with suppress(ConnectionResetError), kept.receiving(upload, cast(IncomingBody, Body(count)), None):
        raise ConnectionResetError
    return upload


async def test_who_holds_most_gives_way_its_oldest_part_first(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(uploads, "LIMIT_BYTES", 8 * LEAST_BYTES)
    kept, time_s = Uploads(), asyncio.get_running_loop().time
    first, second = (break_off(kept, "greedy", shard, LEAST_BYTES) for shard in (1, 2))
    first.until_s = time_s()  # the older one
    for number, count in ((3, 2), (4, 1)):
        break_off(kept, "another", number, count * LEAST_BYTES)
    assert break_off(kept, "late", 5, LEAST_BYTES).content
    assert held_bytes(kept) == kept._held.total() <= 8 * LEAST_BYTES
    assert second.key in kept._uploads
    assert break_off(kept, "late", 6, 8 * LEAST_BYTES).key not in kept._uploads
    kept.close()


async def test_a_byte_now_and_then_keeps_no_part_for_good() -> None:
    kept = Uploads()
    upload = break_off(kept, "slow", 1, LEAST_BYTES)
    upload.until_s -= 7.0
    before_s = upload.until_s
    break_off(kept, "slow", 1, 1)
    assert (upload.offset, upload.until_s) == (LEAST_BYTES + 1, before_s)
    break_off(kept, "slow", 1, LEAST_BYTES)
    assert upload.until_s > before_s
    kept.close()


async def test_an_upload_that_waits_for_this_node_is_ended_by_no_other_request() -> None:
    kept, body = Uploads(), Body(1)
    key = (Requester("one"), bytes(32), 1, P)
    upload = kept.begin(key, 2**20)
    assert upload is not None
    with (
        pytest.raises(Refusal, match="still under way"),
        kept.receiving(upload, cast(IncomingBody, body), None),
    ):
        body.is_read = False  # it waits for memory
        kept.interrupted(key)
    kept.close()


async def test_an_upload_that_another_request_took_over_is_not_taken_for_whole() -> None:
    kept, key = Uploads(), (Requester("one"), bytes(32), 1, P)
    upload = kept.begin(key, 2**20)
    assert upload is not None
    with (
        pytest.raises(Refusal, match="another request"),
        kept.receiving(upload, cast(IncomingBody, Body(LEAST_BYTES)), None),
    ):
        assert kept.interrupted(key) is upload
    kept.close()


Step = tuple[int, int, int, str]
steps = st.lists(
    st.tuples(
        st.integers(0, 2),
        st.integers(0, 3),
        st.integers(0, 3 * LEAST_BYTES),
        st.sampled_from(("breaks", "is given up", "ends", "hangs")),
    ),
    max_size=30,
)


@given(steps=steps)
def test_what_is_kept_stays_within_the_limit_and_is_all_accounted_for(steps: list[Step]) -> None:
    async def run() -> None:
        kept = Uploads()
        hanging: list[Any] = []
        for source, shard, count, end in steps:
            requester = Requester(str(source))
            key = (requester, bytes(32), shard, P)
            before = held_bytes(kept, requester)
            upload = kept.interrupted(key) or kept.begin(key, 2**20)
            assert upload is not None
            block = kept.receiving(upload, cast(IncomingBody, Body(count)), None)
            block.__enter__()
            if end == "breaks":
                assert not block.__exit__(ConnectionResetError, ConnectionResetError(), None)
            elif end == "is given up":
                kept.interrupted(key)
            elif end == "ends":
                block.__exit__(None, None, None)
                assert kept.interrupted(key) is None
            else:
                hanging.append(block)
            held = held_bytes(kept)
            assert held == kept._held.total() <= uploads.LIMIT_BYTES
            own = held_bytes(kept, requester)
            assert own <= before or own <= uploads.LIMIT_BYTES - held
        kept.close()
        assert not kept._uploads
        assert not kept._held.total()

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(uploads, "LIMIT_BYTES", 8 * LEAST_BYTES)
        asyncio.run(run())
