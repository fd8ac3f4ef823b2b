"""What an operator sets for one node, and the node's keys.

A node's folder:

    node.toml         the settings below
    keys/bls.key      BLS12-381 secret, 32 bytes in hex, readable by the owner alone (see `committee.key_files`)
    keys/account.key  secret of the account that acts on the chain, 32 bytes in hex, likewise
    store/            slivers and their index (`storage.node.store`)
    chain.sqlite      what the node has followed of the chain (`storage.node.chain.store`)
    proofs/           trees over its slivers, for attestations and proofs (`storage.node.proving`)

The settings and keys are read only, and may be links to regular files, as orchestrators mount them. The node writes in
its folder alone and follows no link there: to keep slivers on another disk, mount it at `store/`, or put the whole
folder there.
"""

from __future__ import annotations

import os
import re
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from pydantic import Field, ValidationError, field_validator, model_validator
from pydantic_settings import (
    BaseSettings,
    EnvSettingsSource,
    PydanticBaseSettingsSource,
    SettingsConfigDict,
)

from committee.addresses import MAX_NAME_BYTES, NetworkAddress, can_be_reached, is_name, is_unspecified
from committee.bls import SecretKey
from committee.errors import HauloutError, InvalidAddress
from committee.files import expanded, read_settings
from committee.key_files import read_key
from committee.ledger.evm import AccountKey
from storage.node import budgets

SETTINGS_FILE = "node.toml"
BLS_KEY = Path("keys", "bls.key")
ACCOUNT_KEY = Path("keys", "account.key")


ENVIRONMENT_PREFIX = "HAULOUT_NODE_"
"""Prefix of the environment's variables that override settings."""
OBJECT_STORE_OPTIONS = frozenset(
    {
        "allow_http",
        "checksum_algorithm",
        "endpoint",
        "region",
        "request_payer",
        "server_side_encryption",
        "sse_bucket_key_enabled",
        "sse_kms_key_id",
        "virtual_hosted_style_request",
    }
)
"""Options of object stores that may be set, by their names in obstore; `allow_http` allows endpoints without TLS."""
SERVICE_LINK = re.compile(r"(tcp|udp|sctp)://\S+")
"""What Kubernetes sets HAULOUT_NODE_PORT to in all containers of a namespace that has a service `haulout-node`."""


class ConfigError(HauloutError):
    """A setting or key file is missing or wrong; the message says which and what to do."""


class _Environment(EnvSettingsSource):
    """Reads settings from the environment.

    A HAULOUT_NODE_PORT that Kubernetes has set for a service named `haulout-node` is left out.
    """

    def __call__(self) -> dict[str, Any]:
        """Return the settings by name."""
        values = super().__call__()
        if SERVICE_LINK.fullmatch(str(values.get("port", ""))):
            del values["port"]
        return values


class NodeConfig(BaseSettings):
    """Settings of one node: from `node.toml`, overridden by the environment (`HAULOUT_NODE_…`), if not empty there."""

    model_config = SettingsConfigDict(env_prefix=ENVIRONMENT_PREFIX, env_ignore_empty=True, extra="forbid")

    name: str
    """1 to 64 printable ASCII characters, as the contracts take it."""
    host: str = "127.0.0.1"
    """Where the node listens: an IP address or name of this machine, or `0.0.0.0` or `::` for all its interfaces."""
    port: int = Field(ge=1, le=65535)
    public_address: str = ""
    """What others reach the node by, which is registered on the chain; `http://host:port` when empty."""
    allow_private_addresses: bool | None = None
    """Whether the network's nodes have IP addresses that are not public, this one's own too; unset: on a development
    chain only."""
    rpc_url: str = Field(repr=False)
    """Where the chain is asked; several endpoints, in order of preference, are separated by commas."""
    rpc_headers: Path | None = None
    """A file with headers for the endpoints (`committee.ledger.providers`), for its owner alone; a relative path in
    `node.toml` is one from its folder."""
    confirmations: int | None = Field(default=None, ge=0)
    """Blocks behind a block that make it settled; when None, the blocks that the chain calls finalized are."""
    deployment: Path
    """The deployment manifest: addresses, chain id, block, domain. In `node.toml` a relative path is one from its
    folder."""
    stake: int = Field(default=0, ge=0)
    """What the node stakes on itself when it registers, in the token's smallest unit."""
    poll_interval_s: float = Field(default=0.5, gt=0)
    """How often the chain is asked for news; more rarely, down to once in 12 s, where it settles blocks more rarely."""
    watch_interval_s: float = Field(default=1.0, gt=0)
    """How often fellow members are asked for their health."""
    keeper: bool = True
    """Whether the node, when it is its turn, sends what moves on the epochs (`storage.node.upkeep.keeper`) and rounds
    of storage proofs (`storage.node.rounds`); it pays the gas. It says in any case what is due and whose turn it is."""
    scrub_bytes_per_s: float = Field(default=4 * 2**20, ge=0)
    """How fast stored slivers are read again and checked, at most, and in a quarter of a core's time; 0 for never."""
    scrub_interval_s: float = Field(default=3600, gt=0)
    """A pass over all of them begins no sooner than this after the one before."""

    block_list: Path | None = None
    """A file of blobs that the node does not serve (`storage.node.block_list`); a relative path in `node.toml` is one
    from its folder."""

    object_store: str = ""
    """Where segments of slivers go that are full: `s3://BUCKET/PREFIX`, or `file:///FOLDER`; nowhere when empty."""
    object_store_options: dict[str, str] = Field(default_factory=dict)
    """Options of the object store, of OBJECT_STORE_OPTIONS, that the environment (`AWS_…`) does not set."""
    object_store_credentials: Path | None = None
    """A file with the keys of the object store (`storage.node.object_store`), where the environment has none; a
    relative path in `node.toml` is one from its folder."""
    object_store_file_bytes: int = Field(default=8 * 2**30, ge=2**30)
    """What segments take on the disk at most while they are filled or wait to be sent to the object store."""

    bulk_bytes_per_s: int = Field(default=budgets.BYTES_PER_S, ge=2**10)
    """What handover and repair may receive a second, and give to peers a second."""
    bulk_requests_at_once: int = Field(default=budgets.REQUESTS_AT_ONCE, ge=1, le=64)
    bulk_memory_bytes: int = Field(default=budgets.MEMORY_BYTES, ge=2**20)

    def bulk_budget(self) -> budgets.Budget:
        """Return a new budget of bulk traffic: one for what the node receives, another for what it gives to peers."""
        return budgets.Budget(self.bulk_bytes_per_s, self.bulk_requests_at_once, self.bulk_memory_bytes)

    @field_validator("name")
    @classmethod
    def _name(cls, text: str) -> str:
        if not is_name(text):
            raise ValueError(f"1 to {MAX_NAME_BYTES} printable ASCII characters, no space first or last")
        return text

    @field_validator("object_store")
    @classmethod
    def _object_store(cls, text: str) -> str:
        parts = urlsplit(text)
        if parts.scheme == "file" and not parts.netloc and parts.path.startswith("/"):
            return text
        is_plain = "@" not in parts.netloc and not (parts.query or parts.fragment)
        if text and not (parts.scheme == "s3" and parts.netloc and is_plain):
            raise ValueError(
                "s3://BUCKET/PREFIX or file:///FOLDER, without keys, which have a file or the environment"
            )
        return text

    @field_validator("object_store_options")
    @classmethod
    def _object_store_options(cls, options: dict[str, str]) -> dict[str, str]:
        if unknown := sorted(options.keys() - OBJECT_STORE_OPTIONS):
            raise ValueError(
                f"no option {', '.join(unknown)}; there are {', '.join(sorted(OBJECT_STORE_OPTIONS))}, and keys have a "
                "file of their own (object_store_credentials), or the environment"
            )
        if "@" in options.get("endpoint", ""):
            raise ValueError("endpoint: a URL without user and password")
        return options

    @field_validator("deployment", "block_list", "object_store_credentials", "rpc_headers")
    @classmethod
    def _path(cls, path: Path | None) -> Path | None:
        return path and expanded(path)

    @field_validator("host")
    @classmethod
    def _host(cls, text: str) -> str:
        return text.removeprefix("[").removesuffix("]")

    @model_validator(mode="after")
    def _addresses(self) -> NodeConfig:
        if not self.public_address and is_unspecified(self.host):
            raise ValueError(
                f"host {self.host} is every interface of this machine and no address for others: set public_address "
                f"(--public-address) to what they reach the node by, such as http://node.example:{self.port}"
            )
        try:
            NetworkAddress.parse(self.address)
        except InvalidAddress as error:
            raise ValueError(f"public_address: {error}") from None
        return self

    @property
    def address(self) -> str:
        """The network address to register."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return self.public_address or f"http://{host}:{self.port}"

    def require_reachable(self, allow_private: bool) -> None:
        """Raise `ConfigError` if other machines cannot reach the registered address, unless `allow_private`."""
        if not can_be_reached(self.address, allow_private):
            raise ConfigError(
                f"other nodes cannot reach {self.address}: set public_address (--public-address) to what they reach "
                f"this node by, such as http://node.example:{self.port}; or, for a network of private addresses, allow "
                "them with allow_private_addresses = true (--allow-private)"
            )

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """The environment wins over the file."""
        return _Environment(settings_cls), init_settings


def load_config(folder: Path) -> NodeConfig:
    """Read a node's settings. Raises `ConfigError` naming the file and each wrong setting."""
    path = folder / SETTINGS_FILE
    try:
        values: dict[str, Any] = tomllib.loads(read_settings(path))
    except FileNotFoundError:
        raise ConfigError(f"no {path}: a node's folder needs its settings there") from None
    except OSError as error:
        raise ConfigError(f"cannot read the settings {path}: {error.strerror}") from None
    except UnicodeDecodeError as error:
        raise ConfigError(f"the settings {path} are not UTF-8 text: {error.reason}") from None
    except tomllib.TOMLDecodeError as error:
        raise ConfigError(f"{path} is not TOML: {error}") from None
    for name in ("deployment", "block_list", "object_store_credentials", "rpc_headers"):
        if isinstance(relative := values.get(name), str):
            values[name] = folder / expanded(Path(relative))
    return parse_settings(values, str(path))


def parse_settings(values: Mapping[str, Any], where: str) -> NodeConfig:
    """Return the settings of these values and the environment. Raises `ConfigError` naming each wrong one."""
    try:
        return NodeConfig(**values)
    except ValidationError as error:
        wrong = "; ".join(
            ": ".join([*map(_setting, one["loc"]), one["msg"].removeprefix("Value error, ")])
            for one in error.errors(include_input=False)
        )
        raise ConfigError(f"{where}: {wrong}") from None


def _setting(name: int | str) -> str:
    """Return a setting's name; that of the environment's variable where it comes from there."""
    variable = f"{ENVIRONMENT_PREFIX}{name}".upper()
    return f"{variable} in the environment" if os.environ.get(variable) else str(name)


def bls_key(folder: Path) -> SecretKey:
    """The node's signing key. Raises `InvalidKey`."""
    return read_key(folder / BLS_KEY, SecretKey.from_bytes)


def account_key(folder: Path) -> AccountKey:
    """The key of the node's account on the chain. Raises `InvalidKey`."""
    return read_key(folder / ACCOUNT_KEY, AccountKey)
