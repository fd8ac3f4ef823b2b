"""Key files: 32 bytes in hex, in a file that only its owner can read."""

from __future__ import annotations

import logging
import os
import stat
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

from committee.errors import InvalidKey
from committee.files import decoded, open_regular, write_whole

Key = TypeVar("Key")

log = logging.getLogger("haulout")

KEY_VARIABLE = "HAULOUT_KEY"
"""Environment variable with an account's secret, in place of a key file."""
SECRET_BYTES = 32
LONGEST_FILE_BYTES = 4096
_OTHERS = stat.S_IRWXG | stat.S_IRWXO
"""The permissions of all but a file's owner."""


def read_key(path: Path, make: Callable[[bytes], Key]) -> Key:
    """Return the key that `make` makes of a key file's 32 bytes. Raises `InvalidKey` naming the file."""
    secret = read_secret(path)
    try:
        return make(secret)
    except InvalidKey as error:
        raise InvalidKey(f"the key {path}: {error}") from None


def write_secret(path: Path, secret: bytes) -> None:
    """Write a key file that only its owner can read, from its making on; whole or not at all.

    Raises `InvalidKey` when it exists: a key that is overwritten is lost. And where the file system keeps no
    permissions, as those of other systems that are mounted: nothing is left there then.
    """
    try:
        write_whole(path, f"{secret.hex()}\n".encode(), 0o600)
        if path.stat().st_mode & _OTHERS:
            path.unlink()
            raise InvalidKey(
                f"the key {path} would be everybody's: the file system keeps no permissions; name a file on another"
            )
    except FileExistsError:
        raise InvalidKey(f"the key {path} exists: overwritten it would be lost; name another file") from None
    except OSError as error:
        raise InvalidKey(f"cannot write the key {path}: {error.strerror}") from None


def read_secret(path: Path) -> bytes:
    """Return the 32 bytes of a key file. Raises `InvalidKey`, which says nothing of its content, for any other file."""
    return parse_secret(read_private(path, f"the key {path}"), f"the key {path}")


def read_private(path: Path, what: str) -> str:
    """Return the text of a file with a secret. Raises `InvalidKey` that says `what` it is, and nothing of its content.

    The path may be a link to a regular file, as orchestrators mount keys. Only its owner may read the file; its
    group may, and a warning is logged, where the process cannot change that (`_is_mounted`).
    """
    try:
        with os.fdopen(open_regular(path, follow=True), "rb") as file:
            mode, is_mounted = os.fstat(file.fileno()).st_mode, _is_mounted(file.fileno())
            text = decoded(file.read(LONGEST_FILE_BYTES), errors="replace")
    except OSError as error:
        raise InvalidKey(f"cannot read {what}: {error.strerror}") from None
    exposed = mode & _OTHERS
    if exposed == stat.S_IRGRP and is_mounted:
        log.warning("%s can be read by its group: mount it with mode 0400 if that is possible", what)
    elif exposed:
        remedy = (
            "mount it with mode 0400, or 0440 and the node's group"
            if is_mounted
            else f"chmod 600 {path}, or move it if the file system keeps no permissions"
        )
        raise InvalidKey(f"{what} can be read or changed by others than its owner: {remedy}")
    return text


def _is_mounted(descriptor: int) -> bool:
    """Return whether an orchestrator mounted the file: it is another user's, or read-only, so `chmod` fails."""
    is_read_only = bool(os.fstatvfs(descriptor).f_flag & os.ST_RDONLY)
    return is_read_only or os.fstat(descriptor).st_uid != os.geteuid()


def parse_secret(text: str, where: str) -> bytes:
    """Return 32 bytes from hex. Raises `InvalidKey` saying `where` it stands, without a trace of the content."""
    try:
        secret = bytes.fromhex(text.strip().removeprefix("0x"))
    except ValueError:
        secret = b""
    if len(secret) != SECRET_BYTES:
        raise InvalidKey(f"{where} does not hold {SECRET_BYTES} bytes in hex")
    return secret


def key_from_environment() -> str | None:
    """Return what `KEY_VARIABLE` holds, None when it is unset or empty, and take it out of the environment.

    So no process that is started later inherits it. A second call returns None.
    """
    return os.environ.pop(KEY_VARIABLE, None) or None


def child_environment(**more: str) -> dict[str, str]:
    """Return the environment for a child process: this one's without the account's secret, and `more`."""
    return {name: value for name, value in os.environ.items() if name != KEY_VARIABLE} | more
