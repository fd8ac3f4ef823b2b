"""The object store that a node's settings name, and the keys for it.

Keys come from the environment (`AWS_ACCESS_KEY_ID`, `AWS_SECRET_ACCESS_KEY`, `AWS_SESSION_TOKEN`, or what else obstore
reads there), or from the file `object_store_credentials`, which only its owner may read:

    access_key_id = "…"
    secret_access_key = "…"
"""

from __future__ import annotations

import asyncio
import tomllib
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path

from committee.errors import InvalidKey
from committee.key_files import read_private
from storage.node.config import NodeConfig
from storage.node.store.objects import REQUESTS_AT_ONCE, Objects, ObjectStorage, connect

THREADS = 2 * REQUESTS_AT_ONCE
"""Half of them for requests to the object store that are at work."""
SECRETS = frozenset({"access_key_id", "secret_access_key", "session_token"})


def connector(config: NodeConfig) -> Callable[[str], Objects] | None:
    """Return what gives the object store for a store's id; None when the settings name none. Nothing is sent yet.

    Raises `InvalidKey` for a wrong file of keys, and `StoreError` for settings that obstore refuses.
    """
    if not config.object_store:
        return None
    path = config.object_store_credentials
    secrets = _secrets(path) if path is not None else {}
    return partial(ObjectStorage, connect(config.object_store, config.object_store_options, secrets))


def have_threads(config: NodeConfig) -> None:
    """Give the running event loop THREADS threads if there is an object store, each read of which holds a thread."""
    if config.object_store:
        asyncio.get_running_loop().set_default_executor(ThreadPoolExecutor(THREADS, "thread"))


def _secrets(path: Path) -> dict[str, str]:
    """Return the keys in a file. Raises `InvalidKey` without a trace of the content."""
    what = f"the credentials {path}"
    try:
        values = tomllib.loads(read_private(path, what))
    except tomllib.TOMLDecodeError:
        raise InvalidKey(f'{what} are not TOML: lines such as access_key_id = "…"') from None
    if not values.keys() <= SECRETS or not all(isinstance(value, str) for value in values.values()):
        raise InvalidKey(f"{what} are to have {', '.join(sorted(SECRETS))}, and nothing else, as text")
    return values
