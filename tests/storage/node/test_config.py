"""Settings: what is wrong is named."""

from __future__ import annotations

from pathlib import Path

import pytest

from committee.ledger.evm.endpoints import endpoint_urls
from storage.node.config import ConfigError, account_key, bls_key, load_config
from storage.node.folder import make_folder

GOOD = 'name = "a"\nport = 1234\nrpc_url = "http://127.0.0.1:1"\ndeployment = "d.json"\n'


def write(folder: Path, text: str) -> Path:
    (folder / "node.toml").write_text(text)
    return folder


def test_settings_are_read_and_the_environment_wins(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert load_config(write(tmp_path, GOOD)).address == "http://127.0.0.1:1234"
    monkeypatch.setenv("HAULOUT_NODE_PUBLIC_ADDRESS", "https://node.example")
    assert load_config(tmp_path).address == "https://node.example"


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("name = ", "is not TOML"),
        (GOOD.replace("1234", "99999"), "port"),
        (GOOD + "colour = 1\n", "colour"),
        (GOOD + 'public_address = "foo"\n', "public_address"),
        ("", "name"),
    ],
    ids=["broken", "port out of range", "unknown setting", "no address", "empty"],
)
def test_wrong_settings_are_named(tmp_path: Path, text: str, told: str) -> None:
    with pytest.raises(ConfigError, match=told):
        load_config(write(tmp_path, text))


def test_several_endpoints_and_confirmations_are_settings(tmp_path: Path) -> None:
    text = GOOD.replace('"http://127.0.0.1:1"', '"http://a:1, http://b:2"') + "confirmations = 3\n"
    config = load_config(write(tmp_path, text))
    assert endpoint_urls(config.rpc_url) == ["http://a:1", "http://b:2"]
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


def test_a_new_folder_has_settings_and_keys_that_load(tmp_path: Path) -> None:
    folder = tmp_path / "baffin"
    settings: dict[str, str | int] = {
        "name": 'with "quotes"',
        "port": 1234,
        "rpc_url": "http://a:1",
        "deployment": "/d.json",
    }
    account = make_folder(folder, settings)
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
        make_folder(tmp_path, {"name": "a"})
    assert [path for path in tmp_path.rglob("*") if path.is_file()] == [tmp_path / there]
    assert (tmp_path / there).read_text() == "mine"


def test_a_folder_that_cannot_be_made_is_told_in_one_line(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(ConfigError, match="cannot make a node in"):
        make_folder(tmp_path / "file" / "node", {"name": "a"})
