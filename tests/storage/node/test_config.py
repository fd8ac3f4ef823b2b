"""Settings: what is wrong is named."""

from __future__ import annotations

from pathlib import Path

import pytest

from committee.ledger.evm.endpoints import endpoint_urls
from storage.node.config import ConfigError, load_config

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
        ("", "name"),
    ],
    ids=["broken", "port out of range", "unknown setting", "empty"],
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
