"""Settings: what is wrong is named."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from committee import files, key_files
from committee.errors import InvalidKey
from committee.ledger.providers import listed
from storage.node import folder
from storage.node.config import ConfigError, account_key, bls_key, load_config, parse_settings
from storage.node.folder import make_folder

GOOD = 'name = "a"\nport = 1234\nrpc_url = "http://127.0.0.1:1"\ndeployment = "d.json"\n'

SETTINGS: dict[str, str | int | bool] = {
    "name": "a",
    "port": 1234,
    "rpc_url": "http://a:1",
    "deployment": "/d.json",
}


def write(folder: Path, text: str) -> Path:
    (folder / "node.toml").write_text(text)
    return folder


def test_settings_are_read_and_the_environment_wins(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert load_config(write(tmp_path, GOOD)).address == "http://127.0.0.1:1234"
    monkeypatch.setenv("HAULOUT_NODE_PUBLIC_ADDRESS", "https://node.example")
    assert load_config(tmp_path).address == "https://node.example"


@pytest.mark.parametrize("umask", [0o000, 0o022, 0o077])
def test_a_nodes_folder_is_its_owners_whatever_the_umask(tmp_path: Path, umask: int) -> None:
    """ontola/atomic-server#325, steemit/steem#717, NLnetLabs/cascade#238."""
    place = tmp_path / "new" / "node"
    before = os.umask(umask)
    try:
        make_folder(place, SETTINGS)
    finally:
        os.umask(before)
    modes = {one.relative_to(tmp_path).as_posix(): one.stat().st_mode & 0o777 for one in tmp_path.rglob("*")}
    assert modes == {
        "new": 0o755 & ~umask,
        "new/node": 0o755 & ~umask,
        "new/node/keys": 0o700,
        "new/node/node.toml": 0o600,
        "new/node/keys/bls.key": 0o600,
        "new/node/keys/account.key": 0o600,
    }


def test_files_that_settings_name_lie_beside_them(tmp_path: Path) -> None:
    config = load_config(
        write(tmp_path, GOOD + 'rpc_headers = "headers.toml"\nblock_list = "/etc/blocked"\n')
    )
    assert (config.rpc_headers, config.block_list) == (tmp_path / "headers.toml", Path("/etc/blocked"))


def test_what_an_orchestrator_leaves_in_the_environment_is_no_setting(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A service named `haulout-node` sets the first; a variable that is not set is empty in a compose file."""
    write(tmp_path, GOOD + "confirmations = 3\n")
    monkeypatch.setenv("HAULOUT_NODE_PORT", "tcp://10.43.161.118:9000")
    monkeypatch.setenv("HAULOUT_NODE_PORT_9000_TCP_ADDR", "10.43.161.118")
    for name in ("HAULOUT_NODE_CONFIRMATIONS", "HAULOUT_NODE_HOST", "HAULOUT_NODE_NAME"):
        monkeypatch.setenv(name, "")
    config = load_config(tmp_path)
    assert (config.port, config.host, config.name, config.confirmations) == (1234, "127.0.0.1", "a", 3)


def test_a_wrong_setting_of_the_environment_is_named_as_such(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HAULOUT_NODE_PORT", '"9000"')
    with pytest.raises(
        ConfigError, match="HAULOUT_NODE_PORT in the environment: Input should be a valid integer"
    ):
        load_config(write(tmp_path, GOOD))


def test_a_mark_at_the_beginning_of_a_file_is_not_part_of_it(tmp_path: Path) -> None:
    """Editors of another system begin UTF-8 text with U+FEFF."""
    (tmp_path / "node.toml").write_text("\ufeff" + GOOD.replace("\n", "\r\n"), encoding="utf-8")
    assert load_config(tmp_path).port == 1234


def test_what_cannot_be_loaded_of_python_keeps_no_file_from_being_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As in a process that has no descriptor left, or may not see Python's own files."""
    folder = tmp_path / "node"
    make_folder(folder, SETTINGS)
    monkeypatch.setenv("FOLDER", str(folder))
    read_all = """
import os, pathlib, sys
from storage.node.block_list import parse
from storage.node.config import account_key, load_config
sys.modules["encodings.utf_8_sig"] = None
folder = pathlib.Path(os.environ["FOLDER"])
print(load_config(folder).port, account_key(folder).address != "", parse(b"\\xef\\xbb\\xbf# none"))
"""
    ended = subprocess.run([sys.executable, "-c", read_all], capture_output=True, text=True, check=False)
    assert (ended.stdout, ended.stderr) == ("1234 True (frozenset(), [])\n", "")


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("name = ", "is not TOML"),
        (GOOD.replace("1234", "99999"), "port"),
        (GOOD + "colour = 1\n", "colour"),
        (GOOD + 'public_address = "foo"\n', "public_address"),
        (
            GOOD + 'host = "0.0.0.0"\n',
            r"^\S*node\.toml: host 0\.0\.0\.0 is every interface .*set public_address",
        ),
        (GOOD + 'host = "::"\n', "host :: is every interface of this machine and no address for others"),
        (GOOD + 'host = "a b"\n', "public_address"),
        (GOOD.replace('"a"', '"🐻"'), "name: 1 to 64 printable ASCII characters"),
        ("", "name"),
    ],
    ids=[
        "broken",
        "port out of range",
        "unknown setting",
        "no address",
        "all of IPv4",
        "all of IPv6",
        "a bad host",
        "an emoji",
        "empty",
    ],
)
def test_wrong_settings_are_named(tmp_path: Path, text: str, told: str) -> None:
    with pytest.raises(ConfigError, match=told):
        load_config(write(tmp_path, text))


def test_several_endpoints_and_confirmations_are_settings(tmp_path: Path) -> None:
    text = GOOD.replace('"http://127.0.0.1:1"', '"http://a:1, http://b:2"') + "confirmations = 3\n"
    config = load_config(write(tmp_path, text))
    assert [one.url for one in listed(config.rpc_url)] == ["http://a:1", "http://b:2"]
    assert config.confirmations == 3
    with pytest.raises(ConfigError, match="confirmations"):
        load_config(write(tmp_path, text.replace("= 3", "= -1")))


def test_missing_settings_say_where_they_belong(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"node\.toml"):
        load_config(tmp_path)


def test_a_relative_manifest_is_beside_the_settings(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir("/")
    assert load_config(write(tmp_path, GOOD)).deployment == tmp_path / "d.json"
    absolute = GOOD.replace("d.json", "/elsewhere/d.json")
    assert load_config(write(tmp_path, absolute)).deployment == Path("/elsewhere/d.json")
    monkeypatch.setenv("HAULOUT_NODE_DEPLOYMENT", "here.json")
    assert load_config(tmp_path).deployment == Path("here.json"), "the environment's is from where it is set"


def test_a_path_may_begin_with_the_home_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """No shell has seen the settings, nor the environment that a service manager or an orchestrator sets."""
    monkeypatch.setenv("HOME", "/home/walrus")
    write(tmp_path, GOOD.replace("d.json", "~/d.json") + 'block_list = "~/blocked"\n')
    config = load_config(tmp_path)
    assert (config.deployment, config.block_list) == (
        Path("/home/walrus/d.json"),
        Path("/home/walrus/blocked"),
    )
    monkeypatch.setenv("HAULOUT_NODE_DEPLOYMENT", "~/e.json")
    assert load_config(tmp_path).deployment == Path("/home/walrus/e.json")
    monkeypatch.setenv("HAULOUT_NODE_DEPLOYMENT", "~nobody-of-this-name/e.json")
    assert load_config(tmp_path).deployment == Path("~nobody-of-this-name/e.json")


def test_a_new_folder_has_settings_and_keys_that_load(tmp_path: Path) -> None:
    folder = tmp_path / "baffin"
    settings = {**SETTINGS, "name": 'with "quotes"', "deployment": "/🐻/\x7f\\\n\t'd\".json"}
    account = make_folder(folder, settings)
    assert str(load_config(folder).deployment) == settings["deployment"]
    assert load_config(folder).name == 'with "quotes"'
    assert account_key(folder).address == account
    make_folder(tmp_path / "barents", settings)
    assert bls_key(folder).public_key != bls_key(tmp_path / "barents").public_key
    assert {path.stat().st_mode & 0o777 for path in (folder / "keys").iterdir()} == {0o600}


@pytest.mark.parametrize("there", ["node.toml", "keys/bls.key", "keys/account.key"])
def test_a_folder_that_has_any_of_a_node_is_left_alone(tmp_path: Path, there: str) -> None:
    (tmp_path / "keys").mkdir()
    (tmp_path / there).write_text("mine")
    with pytest.raises(ConfigError, match=there):
        make_folder(tmp_path, SETTINGS)
    assert [path for path in tmp_path.rglob("*") if path.is_file()] == [tmp_path / there]
    assert (tmp_path / there).read_text() == "mine"


def test_a_folder_that_cannot_be_made_is_told_in_one_line(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(ConfigError, match="cannot make a node in"):
        make_folder(tmp_path / "file" / "node", SETTINGS)


def test_settings_in_latin_1_are_told_in_one_line(tmp_path: Path) -> None:
    (tmp_path / "node.toml").write_bytes(GOOD.replace('"a"', '"Bär"').encode("latin-1"))
    with pytest.raises(ConfigError, match=r"node\.toml are not UTF-8 text") as error:
        load_config(tmp_path)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("settings", "address"),
    [
        ({"host": "::1"}, "http://[::1]:1234"),
        ({"host": "[::1]"}, "http://[::1]:1234"),
        ({"host": "node.example"}, "http://node.example:1234"),
        ({"host": "0.0.0.0", "public_address": "https://node.example"}, "https://node.example"),
        ({"host": "::", "public_address": "http://[2606:4700::1]:9"}, "http://[2606:4700::1]:9"),
    ],
)
def test_the_address_for_others_may_be_another_than_where_the_node_listens(
    settings: dict[str, str], address: str
) -> None:
    assert parse_settings({**SETTINGS, **settings}, "").address == address


@pytest.mark.parametrize("host", ["127.0.0.1", "::1", "10.0.0.7", "localhost", "node", "169.254.169.254"])
def test_an_address_that_others_cannot_reach_has_to_be_allowed(host: str) -> None:
    config = parse_settings({**SETTINGS, "host": host}, "")
    config.require_reachable(allow_private=True)
    with pytest.raises(
        ConfigError, match=r"other nodes cannot reach http://.*--public-address.*--allow-private"
    ):
        config.require_reachable(allow_private=False)
    elsewhere = parse_settings({**SETTINGS, "host": host, "public_address": "http://node.example:9000"}, "")
    elsewhere.require_reachable(allow_private=False)


WRONG: dict[str, dict[str, str | int | bool]] = {
    "a bad name": {"name": "🐻"},
    "no address": {"host": "0.0.0.0"},
    "bytes that are no text": {"deployment": "/\udcff/d.json"},
}


@pytest.mark.parametrize("settings", WRONG.values(), ids=WRONG)
def test_wrong_settings_make_no_folder(tmp_path: Path, settings: dict[str, str | int | bool]) -> None:
    with pytest.raises(ConfigError):
        make_folder(tmp_path / "above" / "baffin", {**SETTINGS, **settings})
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("error", [OSError(28, "No space left on device"), KeyboardInterrupt()])
@pytest.mark.parametrize("after", [0, 1, 2])
def test_what_fails_half_way_leaves_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, after: int, error: BaseException
) -> None:
    """The first key, the second, or the settings cannot be written."""
    written, write = 0, files.write_whole

    def fail(*arguments: Any) -> None:
        nonlocal written
        if written == after:
            raise error
        written += 1
        write(*arguments)

    for module in (folder, key_files):
        monkeypatch.setattr(module, "write_whole", fail)
    (tmp_path / "mine").write_text("mine")
    expected = KeyboardInterrupt if isinstance(error, KeyboardInterrupt) else (ConfigError, InvalidKey)
    for place in (tmp_path, tmp_path / "above" / "baffin"):
        written = 0
        with pytest.raises(expected):
            make_folder(place, SETTINGS)
        assert list(tmp_path.rglob("*")) == [tmp_path / "mine"]
    monkeypatch.undo()
    make_folder(tmp_path, SETTINGS)
