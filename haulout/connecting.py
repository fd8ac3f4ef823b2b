"""From an endpoint, a manifest and a key file to a client, in one step."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from committee.key_files import read_key
from committee.ledger.evm import AccountKey, Deployment, EvmLedger, Providers
from storage.client.client import Client


@asynccontextmanager
async def connect(
    rpc: Providers,
    deployment: str | Path | Deployment,
    key: str | Path | AccountKey | None = None,
    *,
    confirmations: int | None = None,
    allow_private: bool | None = None,
) -> AsyncIterator[Client]:
    """Yield a client of a network; its `ledger` is the chain seen from the key's account. Both are closed at the end.

    `rpc` is an endpoint's URL, or a list of several in order of preference; as a `Provider` one has headers, such as a
    key. `deployment` the manifest or its file; `key` the account
    that pays or its key file, None for a client that only reads. `confirmations` is as in `EvmLedger.open`,
    `allow_private` as in `Client`.

    Raises `LedgerError` when the manifest is none, every endpoint serves another chain or the contracts are not there,
    and `InvalidKey`.
    """
    manifest = deployment if isinstance(deployment, Deployment) else Deployment.load(Path(deployment))
    account = read_key(Path(key), AccountKey) if isinstance(key, str | Path) else key
    async with (
        await EvmLedger.connect(rpc, manifest, account, confirmations) as ledger,
        Client(ledger, allow_private=allow_private) as client,
    ):
        yield client
