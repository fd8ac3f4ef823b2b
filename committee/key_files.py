"""Secrets as their owner keeps them: 32 bytes in hex, in a file that nobody else can read."""

from __future__ import annotations

import stat
from pathlib import Path

from committee.errors import InvalidKey

SECRET_BYTES = 32
LONGEST_FILE_BYTES = 4096


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
