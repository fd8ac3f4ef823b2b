"""An operator's block list: blobs that a node does not serve to strangers (PROTOCOL section 6).

Strangers are answered 451; members that show themselves and a shard's new owner get such a blob's metadata, slivers and
symbols, since they have to repair and attest them (`Admission.refuse_blocked`).

The file has one blob id a line, in its text form; what follows a `#` is a comment. It is read when the node starts, and
again soon after it has changed. A line that is no blob id is logged and skipped. A file that cannot be read any more
leaves the list as it was, and health says so: a slip of the operator's must not have a blocked blob served.
"""

from __future__ import annotations

import asyncio
import hashlib
import os
import time
from pathlib import Path
from typing import Any

from committee.errors import HauloutError
from committee.files import decoded, open_regular
from committee.logs import Log
from storage.redstuff import InvalidEncoding, parse_blob_id

log = Log()

LOOK_S = 2.0
"""Seconds between two looks at whether the file has changed."""
MAX_BYTES = 2**24
"""Largest file, of some 380 000 blobs."""
BAD_LINES_LOGGED = 10
COARSE_S = 3.0
"""Some file systems tell the time of a change in steps of 2 s: a file changed since may change again unseen."""

Version = tuple[int, int, int]
"""A file's inode, size and time of its last change: a new one of them is a new file."""


class BlockListError(HauloutError):
    """The file cannot be read; the message says why."""


class BlockList:
    """The blobs on the list; empty without a file."""

    def __init__(self, path: Path | None) -> None:
        self._path = path
        self._blob_ids: frozenset[bytes] = frozenset()
        self._digest = b""
        """Of the content that was read last."""
        self._version: Version | None = None
        """None while the file may change and look the same."""
        self._bad_lines = 0
        self._problem = ""

    def __contains__(self, blob_id: bytes) -> bool:
        return blob_id in self._blob_ids

    def health(self) -> dict[str, Any]:
        """Return what `/v1/health` tells of the list: blobs, lines skipped, and why it is not up to date."""
        return {"blobs": len(self._blob_ids), "badLines": self._bad_lines, "problem": self._problem}

    def read(self) -> None:
        """Read the file unless it is as it was. Raises `BlockListError` and keeps the list."""
        if self._path is None:
            return
        try:
            found = self._path.stat()
            version = (found.st_ino, found.st_size, found.st_mtime_ns)
            if version == self._version:
                return
            may_change_unseen = found.st_mtime > time.time() - COARSE_S
            with os.fdopen(open_regular(self._path, follow=True), "rb") as file:
                content = file.read(MAX_BYTES + 1)
        except OSError as error:
            raise BlockListError(f"cannot read the block list {self._path}: {error.strerror}") from None
        if len(content) > MAX_BYTES:
            raise BlockListError(f"the block list {self._path} is larger than {MAX_BYTES} bytes")
        digest = hashlib.sha256(content).digest()
        if digest != self._digest:
            self._digest = digest
            self._take(*parse(content))
        self._version = None if may_change_unseen else version

    def _take(self, blob_ids: frozenset[bytes], bad_lines: list[tuple[int, str]]) -> None:
        for number, why in bad_lines[:BAD_LINES_LOGGED]:
            log.warning("a line of the block list is skipped", file=str(self._path), line=number, why=why)
        log.info("block list read", file=str(self._path), blobs=len(blob_ids), bad_lines=len(bad_lines))
        self._blob_ids, self._bad_lines = blob_ids, len(bad_lines)

    async def run(self) -> None:
        """Read the file again each time it has changed, for ever."""
        while True:
            await asyncio.sleep(LOOK_S)
            await self.look()

    async def look(self) -> None:
        """Read the file if it has changed; log a failure once."""
        try:
            await asyncio.to_thread(self.read)
        except BlockListError as error:
            if not self._problem:
                log.error("the block list stays as it was", error=str(error), blobs=len(self._blob_ids))
            self._problem = "the file cannot be read; the list is as it was before"
        else:
            self._problem = ""


def parse(content: bytes) -> tuple[frozenset[bytes], list[tuple[int, str]]]:
    """Return the blob ids of a block list, and (line number, why) of each line that has none but should."""
    blob_ids, bad_lines = set(), []
    for number, line in enumerate(decoded(content, errors="replace").splitlines(), 1):
        text = line.partition("#")[0].strip()
        if not text:
            continue
        try:
            blob_ids.add(parse_blob_id(text))
        except InvalidEncoding as error:
            bad_lines.append((number, str(error)))
    return frozenset(blob_ids), bad_lines
