"""A node's object store: settings, keys, the mover, and `haulout node move`."""

from __future__ import annotations

import asyncio
import json
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from typer.testing import CliRunner

from committee.errors import InvalidKey
from storage.cli import app
from storage.node import object_store
from storage.node.config import ConfigError, NodeConfig, load_config, parse_settings
from storage.node.object_store import connector
from storage.node.store import SliverStore, StoreError, StoreInUse
from storage.node.store import objects as objects_module
from storage.node.store.objects import REQUESTS_AT_ONCE, Connection
from storage.node.upkeep.mover import Mover
from storage.redstuff import Axis
from tests.storage.node.places import segments_of
from tests.storage.node.store.object_stores import Faulty

P = Axis.PRIMARY
SETTINGS = {"name": "a", "port": 1234, "rpc_url": "http://a:1", "deployment": "/d.json"}
KEY = "a-key-that-nobody-may-see"


def config(**settings: object) -> NodeConfig:
    return parse_settings({**SETTINGS, **settings}, "here")


def blob(number: int) -> bytes:
    return number.to_bytes(32, "big")


# settings


@pytest.mark.parametrize(
    "url", ["s3://bucket", "s3://bucket/a/prefix", "file:///a/folder", "file:///a%20folder", ""]
)
def test_an_object_store_is_named_by_its_url(url: str) -> None:
    assert config(object_store=url).object_store == url


@pytest.mark.parametrize(
    "url",
    [
        "bucket",
        "s3://",
        "s3:///prefix",
        f"s3://id:{KEY}@bucket",
        f"s3://bucket?key={KEY}",
        f"s3://bucket#{KEY}",
        "file://host/folder",
        "file:folder",
        "/a/folder",
        "gs://bucket",
        "http://bucket",
    ],
)
def test_another_url_is_refused_and_not_shown(url: str) -> None:
    with pytest.raises(
        ConfigError, match="here: object_store: s3://BUCKET/PREFIX or file:///FOLDER"
    ) as caught:
        config(object_store=url)
    assert KEY not in str(caught.value)


@pytest.mark.parametrize(
    "options",
    [
        {"secret_access_key": KEY},
        {"aws_secret_access_key": KEY},
        {"timeout": KEY},
        {"proxy_url": KEY},
        {"": KEY},
    ],
)
def test_keys_and_unknown_options_have_no_place_in_the_settings(options: dict[str, str]) -> None:
    with pytest.raises(ConfigError, match=r"no option .*; there are allow_http, .*region.*a file") as caught:
        config(object_store_options=options)
    assert KEY not in str(caught.value)


def test_a_key_in_the_endpoint_is_refused_and_not_shown() -> None:
    with pytest.raises(ConfigError, match="endpoint: a URL without user and password") as caught:
        config(object_store_options={"endpoint": f"https://user:{KEY}@host"})
    assert KEY not in str(caught.value)


def test_files_have_room_for_some_segments() -> None:
    with pytest.raises(ConfigError, match="object_store_file_bytes"):
        config(object_store_file_bytes=2**30 - 1)


# keys


@pytest.fixture
def credentials(tmp_path: Path) -> Path:
    path = tmp_path / "credentials.toml"
    path.write_text(f'access_key_id = "an-id"\nsecret_access_key = "{KEY}"\n')
    path.chmod(0o600)
    return path


@pytest.fixture
def given(monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, dict[str, str], dict[str, str]]]:
    """What a connection is made with."""
    given: list[tuple[str, dict[str, str], dict[str, str]]] = []

    def connect(url: str, options: dict[str, str], secrets: dict[str, str]) -> Connection:
        given.append((url, options, secrets))
        return real(url, options, secrets)

    real = objects_module.connect
    monkeypatch.setattr("storage.node.object_store.connect", connect)
    return given


def test_keys_are_read_from_a_file_beside_the_settings(
    credentials: Path, given: list[tuple[str, dict[str, str], dict[str, str]]]
) -> None:
    (credentials.parent / "node.toml").write_text(
        'name = "a"\nport = 1\nrpc_url = "http://a:1"\ndeployment = "d"\nobject_store = "s3://bucket"\n'
        'object_store_credentials = "credentials.toml"\n[object_store_options]\nregion = "eu-west-1"\n'
    )
    settings = load_config(credentials.parent)
    made = connector(settings)
    assert given == [
        ("s3://bucket", {"region": "eu-west-1"}, {"access_key_id": "an-id", "secret_access_key": KEY})
    ]
    assert made is not None
    assert KEY not in f"{settings!r} {made!r} {made('an-id')!r}"


def test_without_a_file_the_keys_are_the_environments(
    given: list[tuple[str, dict[str, str], dict[str, str]]],
) -> None:
    assert connector(config()) is None
    assert connector(config(object_store="s3://bucket")) is not None
    assert given == [("s3://bucket", {}, {})]


def test_keys_that_others_can_read_are_refused(credentials: Path) -> None:
    credentials.chmod(0o644)
    with pytest.raises(InvalidKey, match=f"the credentials {credentials} can be read or changed by others"):
        connector(config(object_store="s3://bucket", object_store_credentials=credentials))


@pytest.mark.parametrize(
    ("text", "why"),
    [
        (f"secret_access_key = {KEY}", "are not TOML"),
        (f'secret_access_key = "{KEY}"\nregion = "r"', "are to have access_key_id, .*, and nothing else"),
        ("secret_access_key = 7", "are to have .* as text"),
    ],
)
def test_wrong_credentials_are_named_without_a_trace_of_them(credentials: Path, text: str, why: str) -> None:
    credentials.write_text(text)
    with pytest.raises(InvalidKey, match=f"the credentials {credentials} {why}") as caught:
        connector(config(object_store="s3://bucket", object_store_credentials=credentials))
    assert KEY not in str(caught.value)
    assert caught.value.__cause__ is None


async def test_reads_that_wait_for_an_object_store_leave_threads_to_others(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    answered = threading.Event()
    object_store.have_threads(config(object_store="s3://bucket"))
    waiting = [asyncio.create_task(asyncio.to_thread(answered.wait)) for _ in range(REQUESTS_AT_ONCE)]
    async with asyncio.timeout(10):
        assert await asyncio.to_thread(lambda: "another's work") == "another's work"
    answered.set()
    await asyncio.gather(*waiting)


# the mover


@pytest.fixture
def objects() -> Faulty:
    return Faulty()


@pytest.fixture
def store(tmp_path: Path, objects: Faulty, monkeypatch: pytest.MonkeyPatch) -> Iterator[SliverStore]:
    """Three segments, two of them full."""
    monkeypatch.setattr("storage.node.store.segments.SEGMENT_BYTES", 2000)
    with SliverStore(tmp_path / "store", objects.connect) as opened:
        for number in range(5):
            opened.put_sliver(blob(number), 0, P, bytes([number]) * 1000)
        yield opened


async def test_the_mover_sends_what_is_full_and_tries_again_after_failures(
    store: SliverStore, objects: Faulty, monkeypatch: pytest.MonkeyPatch
) -> None:
    pauses: list[float] = []
    real = asyncio.sleep

    async def sleep(time_s: float) -> None:
        pauses.append(time_s)
        if len(pauses) == 3:
            objects.fails = set()
        if len(pauses) == 4:
            raise asyncio.CancelledError
        await real(0)

    monkeypatch.setattr("storage.node.upkeep.mover.asyncio.sleep", sleep)
    objects.fails = {"write"}
    with pytest.raises(asyncio.CancelledError):
        await Mover(store.moving).run()
    assert pauses == [10, 20, 40, 5]
    assert segments_of(store.folder) == ["0-3"]
    assert len(objects.there()) == 2


async def test_a_mover_that_is_cancelled_waits_for_no_upload(store: SliverStore, objects: Faulty) -> None:
    begun = asyncio.Event()
    loop = asyncio.get_running_loop()

    def wait(method: str, name: str) -> None:
        if method == "write":
            loop.call_soon_threadsafe(begun.set)
            assert store.moving._stopped.wait(20)

    objects.before = wait
    running = asyncio.create_task(Mover(store.moving).run())
    await begun.wait()
    running.cancel()
    with pytest.raises(asyncio.CancelledError):
        await running
    assert len(segments_of(store.folder)) == 3


# the command


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A node's folder with three slivers and an object store in a folder."""
    folder = tmp_path / "node"
    folder.mkdir()
    (folder / "node.toml").write_text(
        'name = "a"\nport = 1\nrpc_url = "http://a:1"\ndeployment = "d"\n'
        f'object_store = "{(tmp_path / "objects").as_uri()}"\n'
    )
    with SliverStore(folder / "store") as store:
        for shard in range(3):
            store.put_sliver(blob(shard), shard, P, bytes([shard]) * 1000)
    return folder


def run(folder: Path, *options: str) -> str:
    answer = CliRunner().invoke(app, ["node", "move", str(folder), *options])
    if answer.exception is not None and not isinstance(answer.exception, SystemExit):
        raise answer.exception
    assert answer.exit_code == 0, answer.output
    return answer.stdout


def objects_of(folder: Path) -> list[Path]:
    return [path for path in (folder.parent / "objects").rglob("*-*") if path.is_file()]


def test_a_node_moves_to_its_object_store_and_back(folder: Path) -> None:
    told = json.loads(run(folder, "--to", "objects", "--json"))
    assert told == {"folder": str(folder), "to": "objects", "segments": 3, "bytes": 3000}
    assert (segments_of(folder / "store"), len(objects_of(folder))) == ([], 3)
    assert json.loads(run(folder, "--to", "objects", "--json"))["segments"] == 0
    with SliverStore(folder / "store", connector(load_config(folder))) as store:
        assert store.sliver(blob(1), 1, P) == b"\x01" * 1000
        with pytest.raises(StoreInUse):
            run(folder, "--to", "disk")
    told = json.loads(run(folder, "--to", "disk", "--json"))
    assert told == {"folder": str(folder), "to": "disk", "segments": 3, "bytes": 3000}
    assert [path for path in (folder.parent / "objects").rglob("*") if path.is_file()] == []
    with SliverStore(folder / "store") as store:
        assert store.sliver(blob(1), 1, P) == b"\x01" * 1000


def test_without_an_object_store_nothing_moves(folder: Path) -> None:
    settings = folder / "node.toml"
    settings.write_text(settings.read_text().partition("object_store")[0])
    with pytest.raises(StoreError, match=r"no object store is named: set object_store in node\.toml"):
        run(folder, "--to", "objects")
    assert json.loads(run(folder, "--to", "disk", "--json"))["segments"] == 0
