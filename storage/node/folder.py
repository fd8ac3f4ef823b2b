"""Making a node's folder: its keys and its settings (`storage.node.config` says what is in it)."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Mapping
from pathlib import Path

import tomli_w

from committee.bls import SecretKey
from committee.files import write_whole
from committee.key_files import write_secret
from committee.ledger.evm import AccountKey
from storage.node.config import ACCOUNT_KEY, BLS_KEY, SETTINGS_FILE, ConfigError, parse_settings


def make_folder(folder: Path, settings: Mapping[str, str | int | bool]) -> str:
    """Make fresh keys and `node.toml` in a folder that has neither; return the address of the node's account.

    Whatever the umask, only their owner may read them, or write to the folder.

    Raises `ConfigError` when one of them exists, a setting is wrong or the folder cannot be written, and `InvalidKey`
    when a key cannot be. On any error nothing is left of what was made.
    """
    files = [folder / name for name in (SETTINGS_FILE, BLS_KEY, ACCOUNT_KEY)]
    if there := [str(path) for path in files if path.exists()]:
        raise ConfigError(f"a node has this folder already, it would be lost: {', '.join(there)}")
    parse_settings(settings, "the settings")
    for name, value in settings.items():
        if not _is_utf8(str(value)):
            raise ConfigError(
                f"{name}: {value!r} is not UTF-8 text, which a setting has to be; name another one"
            )
    text = tomli_w.dumps(settings).encode()
    key, keys = AccountKey.generate(), (folder / BLS_KEY).parent
    with contextlib.ExitStack() as undo:
        try:
            for place in reversed([one for one in (keys, *keys.parents) if not one.exists()]):
                place.mkdir(0o700 if place == keys else 0o755)
                undo.callback(_remove, place.rmdir)
            for path, secret in ((BLS_KEY, SecretKey.generate().to_bytes()), (ACCOUNT_KEY, key.to_bytes())):
                write_secret(folder / path, secret)
                undo.callback(_remove, (folder / path).unlink)
            write_whole(folder / SETTINGS_FILE, text, 0o600)  # the endpoint's URL may hold a password
        except OSError as error:
            raise ConfigError(f"cannot make a node in {folder}: {error.strerror}") from None
        undo.pop_all()
    return key.address


def _is_utf8(text: str) -> bool:
    """Return whether a text can be written as UTF-8.

    A file name whose bytes are not UTF-8 cannot: Python keeps those bytes as lone surrogates (PEP 383).
    """
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def _remove(remove: Callable[[], None]) -> None:
    """Call `remove` on a file or folder that was made, and ignore an `OSError`: it then stays."""
    with contextlib.suppress(OSError):
        remove()
