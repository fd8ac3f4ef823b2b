"""Making a node's folder: its keys and its settings (`storage.node.config` says what is in it)."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path

from committee.bls import SecretKey
from committee.key_files import write_secret
from committee.ledger.evm import AccountKey
from storage.node.config import ACCOUNT_KEY, BLS_KEY, SETTINGS_FILE, ConfigError


def make_folder(folder: Path, settings: Mapping[str, str | int]) -> str:
    """Make fresh keys and `node.toml` in a folder that has neither; the address of the node's account.

    Raises `ConfigError` when one of them exists or the folder cannot be written.
    """
    files = [folder / name for name in (SETTINGS_FILE, BLS_KEY, ACCOUNT_KEY)]
    if there := [str(path) for path in files if path.exists()]:
        raise ConfigError(f"a node has this folder already, it would be lost: {', '.join(there)}")
    key = AccountKey.generate()
    try:
        (folder / BLS_KEY).parent.mkdir(parents=True, exist_ok=True)
        write_secret(folder / BLS_KEY, SecretKey.generate().to_bytes())
        write_secret(folder / ACCOUNT_KEY, key.to_bytes())
        lines = [f"{name} = {json.dumps(value)}\n" for name, value in settings.items()]
        (folder / SETTINGS_FILE).write_text("".join(lines), encoding="utf-8")
    except OSError as error:
        raise ConfigError(f"cannot make a node in {folder}: {error.strerror}") from None
    return key.address
