"""Names and network addresses of nodes (PROTOCOL section 6): what the chain takes, and what can be connected to. Pure.

Anyone may register a node, so each name and address on the chain is a stranger's text. The contracts refuse what
`is_name` and `is_registrable` refuse. A client or node connects only to what `NetworkAddress.parse` accepts, which is
stricter, and to IP addresses that are not public only where its operator allows it.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from ipaddress import AddressValueError, IPv4Address, IPv6Address, IPv6Network, ip_address

from committee.errors import InvalidAddress
from committee.untrusted import printable

MAX_NAME_BYTES = 64
MAX_ADDRESS_BYTES = 256
MAX_HOST_CHARACTERS = 253
MAX_LABEL_CHARACTERS = 63
MAX_PORT = 65_535

DEFAULT_PORTS = {"http": 80, "https": 443}
"""Scheme → the port of an address that names none."""

_NAME = re.compile(r"[!-~](?:[ -~]*[!-~])?")
_ADDRESS = re.compile(r"(https?)://(\[[0-9A-Fa-f:.]+\]|[A-Za-z0-9._-]+)(?::([1-9][0-9]{0,4}))?")
_NUMBER = re.compile(r"[0-9]+|0[xX][0-9A-Fa-f]*")
"""A host's last label that makes system resolvers read the host as an IPv4 address: decimal, octal or hexadecimal."""
_PRIVATE_NAMES = ("localhost", "local", "internal", "home.arpa")
"""Domains that mean something else, or nothing, to every machine (RFC 6761, RFC 6762, RFC 8375)."""
_GLOBAL_UNICAST = IPv6Network("2000::/3")
_SIX_TO_FOUR = IPv6Network("2002::/16")
_NAT64 = IPv6Network("64:ff9b::/96")


def is_name(text: str) -> bool:
    """Return whether the contracts take a node's name: 1 to 64 printable ASCII characters, no space first or last."""
    return len(text) <= MAX_NAME_BYTES and _NAME.fullmatch(text) is not None


def is_registrable(address: str) -> bool:
    """Return whether the contracts take a network address: `http(s)://host[:port]`, at most 256 bytes."""
    found = _ADDRESS.fullmatch(address) if len(address) <= MAX_ADDRESS_BYTES else None
    return found is not None and int(found[3] or 1) <= MAX_PORT


def is_public(ip: IPv4Address | IPv6Address) -> bool:
    """Return whether an IP address is a machine's on the public internet.

    Not public are private, shared, loopback, link-local, multicast, unspecified, reserved and documentation addresses,
    and the IPv6 forms that stand for such an IPv4 address (mapped, NAT64) or tunnel to one (6to4, Teredo).
    """
    if isinstance(ip, IPv4Address):
        return ip.is_global and not ip.is_multicast
    if ip.ipv4_mapped is not None:
        return is_public(ip.ipv4_mapped)
    if ip in _NAT64:
        return is_public(IPv4Address(ip.packed[-4:]))
    return ip.is_global and ip in _GLOBAL_UNICAST and ip not in _SIX_TO_FOUR


def is_unspecified(host: str) -> bool:
    """Return whether a host to listen at stands for every interface of its machine."""
    try:
        return ip_address(host).is_unspecified
    except ValueError:
        return False


@dataclass(frozen=True, slots=True)
class NetworkAddress:
    """A node's network address: scheme, host, port and nothing else."""

    scheme: str
    """`http` or `https`."""
    host: str
    """A name in lower case, or an IP address in its canonical form, without brackets."""
    port: int

    @classmethod
    def parse(cls, text: str) -> NetworkAddress:
        """Return the address that `text` names. Raises `InvalidAddress` saying why there is none."""
        found = _ADDRESS.fullmatch(text) if len(text) <= MAX_ADDRESS_BYTES else None
        if found is None and not text.isascii():
            raise _invalid(
                text, "a name beyond ASCII is written as DNS has it, such as xn--mnchen-3ya.example"
            )
        if found is None:
            raise _invalid(text, "it must be scheme, host and port and nothing else")
        scheme, host, port = found[1], found[2].lower(), int(found[3] or DEFAULT_PORTS[found[1]])
        if port > MAX_PORT:
            raise _invalid(text, f"a port is at most {MAX_PORT}")
        return cls(scheme, _host(text, host), port)

    def __str__(self) -> str:
        return f"{self.scheme}://{f'[{self.host}]' if ':' in self.host else self.host}:{self.port}"

    @property
    def ip(self) -> IPv4Address | IPv6Address | None:
        """The host's IP address; None for a name."""
        try:
            return ip_address(self.host)
        except ValueError:
            return None

    @property
    def may_be_public(self) -> bool:
        """Whether machines elsewhere may reach it; of a name only its resolved addresses tell for certain."""
        ip = self.ip
        if ip is not None:
            return is_public(ip)
        return "." in self.host and not any(
            self.host == name or self.host.endswith(f".{name}") for name in _PRIVATE_NAMES
        )


def can_be_reached(address: str, allow_private: bool) -> bool:
    """Return whether a node may register an address as its own: others may reach it, in private networks if allowed.

    To which addresses of others it connects is decided by `committee.connections`. Raises `InvalidAddress`.
    """
    read = NetworkAddress.parse(address)
    return read.may_be_public or (allow_private and not is_unspecified(read.host))


def _host(text: str, host: str) -> str:
    """Return the canonical form of an address's host. Raises `InvalidAddress`."""
    try:
        if host.startswith("["):
            return str(IPv6Address(host[1:-1]))
        labels = host.split(".")
        if _NUMBER.fullmatch(labels[-1]):
            return str(IPv4Address(host))
    except AddressValueError:
        raise _invalid(text, "its host is like an IP address and is none") from None
    if len(host) > MAX_HOST_CHARACTERS or not all(1 <= len(one) <= MAX_LABEL_CHARACTERS for one in labels):
        raise _invalid(
            text,
            f"a host has at most {MAX_HOST_CHARACTERS} characters, 1 to {MAX_LABEL_CHARACTERS} between two dots, and "
            "does not end with a dot",
        )
    return host


def _invalid(text: str, why: str) -> InvalidAddress:
    return InvalidAddress(
        f"{printable(text, MAX_ADDRESS_BYTES)!r} is no address of a node, such as http://node.example:9000: {why}"
    )
