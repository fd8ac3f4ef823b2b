"""Where a node listens, and what that exposes."""

from __future__ import annotations

import errno
import os
import socket

from committee.addresses import is_unspecified
from storage.node.config import ConfigError, NodeConfig

INTERFACE = "blobs, slivers, symbols, status, health and metrics, over HTTP without TLS and without a login"
"""What anyone that reaches the node may ask for (PROTOCOL section 6)."""


def listen(host: str, port: int) -> socket.socket:
    """Return a socket that listens at an IPv4 or IPv6 address or a name of this machine; "::" stands for both kinds.

    Raises `ConfigError`.
    """
    try:
        places = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
        family, _, _, _, place = min(places, key=lambda one: one[0] != socket.AF_INET)
        is_both = is_unspecified(host) and family == socket.AF_INET6 and socket.has_dualstack_ipv6()
        return socket.create_server(place, family=family, dualstack_ipv6=is_both, reuse_port=False)
    except (OSError, UnicodeError) as error:
        raise ConfigError(f"cannot listen on {host}, port {port}: {_why(error)}") from None


def _why(error: OSError | UnicodeError) -> str:
    """Return why a node cannot listen, and what to do."""
    if isinstance(error, UnicodeError):
        why = "it is no name of a machine"
    elif isinstance(error, socket.gaierror) or error.errno is None:
        why = str(error.strerror)
    else:
        why = os.strerror(error.errno)
    if getattr(error, "errno", None) == errno.EADDRINUSE:
        return f"{why}; stop what uses the port, or set another one"
    if getattr(error, "errno", None) == errno.EACCES:
        return f"{why}; set a port above 1023, or allow the process to use this one"
    if getattr(error, "errno", None) == errno.EAFNOSUPPORT:
        return f"{why}; set host to an IPv4 address of this machine, or 0.0.0.0 for all of them"
    return f"{why}; set host to an address of this machine"


def exposure(config: NodeConfig, allow_private: bool) -> dict[str, str]:
    """Return in words what a node that serves with these settings is open to, for its operator."""
    everywhere = " (every interface of this machine)" if is_unspecified(config.host) else ""
    return {
        "listens": f"{config.host}, port {config.port}{everywhere}",
        "reached_by": config.address,
        "to_anyone": INTERFACE,
        "connects_to": "members at public and private addresses"
        if allow_private
        else "members at public addresses",
    }
