"""Secrets as their owner keeps them: 32 bytes in hex, in a file that nobody else can read."""

from __future__ import annotations

import stat
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

from committee.errors import InvalidKey

Key = TypeVar("Key")

SECRET_BYTES = 32
LONGEST_FILE_BYTES = 4096


def read_key(path: Path, make: Callable[[bytes], Key]) -> Key:
    """The key that `make` makes of a key file's 32 bytes. Raises `InvalidKey` naming the file."""
    secret = read_secret(path)
    try:
        return make(secret)
    except InvalidKey as error:
        raise InvalidKey(f"the key {path}: {error}") from None


def write_secret(path: Path, secret: bytes) -> None:
    """Write a key file that only its owner can read, from its making on.

    Raises `InvalidKey` when it exists: a key that is overwritten is lost.
    """
    try:
        path.touch(0o600, exist_ok=False)
        path.write_text(secret.hex() + "\n")
    except FileExistsError:
        raise InvalidKey(f"the key {path} exists: overwritten it would be lost; name another file") from None
    except OSError as error:
        raise InvalidKey(f"cannot write the key {path}: {error.strerror}") from None


def read_secret(path: Path) -> bytes:
    """The 32 bytes of a key file. Raises `InvalidKey` without a trace of the content."""
    try:
        mode = path.stat().st_mode
        with path.open(encoding="ascii", errors="replace") as file:
            text = file.read(LONGEST_FILE_BYTES)
    except OSError as error:
        raise InvalidKey(f"cannot read the key {path}: {error.strerror}") from None
    if mode & (stat.S_IRWXG | stat.S_IRWXO):
        raise InvalidKey(f"the key {path} can be read by others than its owner: chmod 600 {path}")
    return parse_secret(text, f"the key {path}")


def parse_secret(text: str, where: str) -> bytes:
    """32 bytes from hex. Raises `InvalidKey` saying `where` it stands, without a trace of the content."""
    try:
        secret = bytes.fromhex(text.strip().removeprefix("0x"))
    except ValueError:
        secret = b""
    if len(secret) != SECRET_BYTES:
        raise InvalidKey(f"{where} does not hold {SECRET_BYTES} bytes in hex")
    return secret
