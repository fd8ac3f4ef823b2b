"""Endpoints as users name them: by URL, and with headers of HTTP where a provider wants its key in one.

A header's value is a secret, as a URL's password is. It stands in a file that only its owner can read, never on a
command line, and goes to the endpoint that the file names it for and to no other:

    ["https://rpc.example"]
    Authorization = "Bearer …"
"""

from __future__ import annotations

import re
import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import SplitResult, urlsplit

from committee.errors import InvalidKey, LedgerError
from committee.key_files import read_private

URL = re.compile(r"https?://[^/?#\s]+\S*")
NAME = re.compile(r"[A-Za-z0-9!#$%&'*+.^_`|~-]{1,100}")
"""A header's name (RFC 9110, section 5.1)."""
VALUE = re.compile(r"[!-~](?:[ -~]*[!-~])?")
"""A header's value: printable ASCII, no space first or last."""
OWN_HEADERS = frozenset(
    {"accept-encoding", "connection", "content-length", "content-type", "host", "transfer-encoding"}
)
"""Headers that are set by the connection itself."""


@dataclass(frozen=True, slots=True)
class Provider:
    """An endpoint's URL, and the headers that it wants with each request. Neither is shown by `repr`."""

    url: str = field(repr=False)
    headers: Mapping[str, str] = field(default_factory=dict, repr=False)

    def __post_init__(self) -> None:
        """Raise `LedgerError`, which quotes no value, for what is no header or is set by the connection itself."""
        for name, value in self.headers.items():
            if not NAME.fullmatch(name) or name.lower() in OWN_HEADERS:
                raise LedgerError(f"{name!r} is no header that can be set for an endpoint of the chain")
            if not VALUE.fullmatch(value):
                raise LedgerError(
                    f"the header {name} for an endpoint of the chain is not printable ASCII text"
                )


Providers = str | Sequence[str | Provider]
"""Endpoints in order of preference: a list, or a text that separates their URLs by commas."""


def listed(providers: Providers) -> list[Provider]:
    """Return the endpoints that are named, each once. Raises `LedgerError` when there is none, or one not of HTTP."""
    some = providers.split(",") if isinstance(providers, str) else providers
    named = [one if isinstance(one, Provider) else Provider(one.strip()) for one in some]
    found = list({one.url: one for one in named if one.url}.values())
    if not found:
        raise LedgerError("no endpoint of the chain is set")
    for place, one in enumerate(found, start=1):
        if not URL.fullmatch(one.url) or parts(one.url) is None:
            # Not quoted: what is wrong may be the password in it.
            raise LedgerError(
                f"endpoint {place} of the chain is not a URL such as http://host:port or https://host/path: without "
                "quotes, and with %40 for @, %2F for / and %23 for # in a password"
            )
    return found


def with_headers(providers: Providers, path: Path | None) -> Providers:
    """Return the endpoints with the headers that a file has for them; as they are when there is no file.

    Raises `InvalidKey`, without a trace of the file's values, when it cannot be used, others can read it, or it names
    an endpoint that is not among them; `LedgerError` as `listed`.
    """
    if path is None:
        return providers
    what = f"the headers for the chain's endpoints, {path},"
    headers = _read(path, what)
    endpoints = listed(providers)
    origins = [origin(one.url) for one in endpoints]
    if unknown := sorted(headers.keys() - set(origins)):
        raise InvalidKey(
            f"{what} are for {unknown[0]} too, which is no endpoint that is set: these are {', '.join(origins)}"
        )
    try:
        return [
            Provider(one.url, {**one.headers, **headers.get(place, {})})
            for one, place in zip(endpoints, origins, strict=True)
        ]
    except LedgerError as error:
        raise InvalidKey(f"{what} cannot be used: {error}") from None


def _read(path: Path, what: str) -> dict[str, dict[str, str]]:
    """Return scheme, host and port of an endpoint → its headers. Raises `InvalidKey`."""
    try:
        tables = tomllib.loads(read_private(path, what))
    except tomllib.TOMLDecodeError:
        tables = {"": None}
    headers: dict[str, dict[str, str]] = {}
    for url, table in tables.items():
        is_table = isinstance(table, dict) and all(isinstance(value, str) for value in table.values())
        if not is_table or not URL.fullmatch(url) or parts(url) is None:
            raise InvalidKey(
                f'{what} are to be TOML such as ["https://rpc.example"], and below that Authorization = "Bearer …"'
            )
        headers.setdefault(origin(url), {}).update(table)
    return headers


def origin(url: str) -> str:
    """Return scheme, host and port of a URL, for messages; "an endpoint" for what is no URL."""
    found = parts(url)
    if found is None:
        return "an endpoint"
    host = f"[{found.hostname}]" if ":" in (found.hostname or "") else found.hostname
    return f"{found.scheme}://{host}" + (f":{found.port}" if found.port is not None else "")


def parts(url: str) -> SplitResult | None:
    """Return the parts of a URL; None if it has no host, an impossible port, or is cut off within its password.

    A "#", "/" or "?" in a password ends the host's part: "@" then stands behind it.
    """
    try:
        found = urlsplit(url)
        is_cut = "@" in f"{found.path}{found.query}{found.fragment}" and "@" not in found.netloc
        return found if found.hostname and (found.port is None or found.port > 0) and not is_cut else None
    except ValueError:
        return None
