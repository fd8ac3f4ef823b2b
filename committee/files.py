"""Files that have to be regular ones, opened without waiting; and files that appear whole or not at all.

A plain `open` waits for a writer when a FIFO lies in a file's place, follows a symbolic link out of the folder, and
truncates or creates what the link names. These functions do none of it: what is no regular file is `NotRegular`.
"""

from __future__ import annotations

import contextlib
import errno
import os
import secrets
import stat
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

FOLDER = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
"""Flags that open a folder and nothing else, no link to one either."""
_KINDS = (
    (stat.S_ISDIR, "a folder"),
    (stat.S_ISLNK, "a symbolic link"),
    (stat.S_ISFIFO, "a FIFO"),
    (stat.S_ISSOCK, "a socket"),
    (stat.S_ISREG, "a regular file"),
)


LEASE_LIMIT_S = 60.0
"""How long a file is waited for of which another program has a lease, as file servers take it for a machine that has
the file open: the first try to open it asks for it back, and the kernel ends it after 45 s (`fs.lease-break-time`)."""
LEASE_POLL_S = 0.05
_NO_SYNC = frozenset({errno.EINVAL, errno.ENOSYS, errno.ENOTSUP, errno.EOPNOTSUPP})
"""The errors of a file system that does not sync files."""


class NotRegular(OSError):
    """Something else lies where a regular file, or a folder, has to be; the message names the path and both."""

    def __init__(self, path: str | Path, mode: int, expected: str = "a regular file") -> None:
        super().__init__(errno.EINVAL, f"it is {kind_of(mode)}, and has to be {expected}", str(path))

    def __str__(self) -> str:
        return f"{self.filename}: {self.strerror}"

    def __reduce__(self) -> tuple[Any, ...]:
        """Pickle path and message: the file's mode is not kept."""
        return _revived, (self.filename, self.strerror)


def _revived(path: str, why: str) -> NotRegular:
    error = NotRegular(path, 0)
    error.args, error.strerror = (errno.EINVAL, why), why
    return error


def kind_of(mode: int) -> str:
    """Return in words what kind of file has an `st_mode`: "a FIFO"."""
    return next((words for is_kind, words in _KINDS if is_kind(mode)), "a device")


def open_regular(
    path: str | Path,
    flags: int = os.O_RDONLY,
    mode: int = 0o644,
    *,
    follow: bool = False,
    dir_fd: int | None = None,
) -> int:
    """Open a regular file and return its descriptor; follows links only if asked to.

    It waits for the end of another program's lease of the file, up to LEASE_LIMIT_S, and for nothing else.

    Raises `NotRegular`, and `OSError` as `os.open`. `flags` must not truncate: the kind is known only once it is open.
    """
    with contextlib.suppress(FileNotFoundError):  # a device is not even opened: that alone may do something
        _require_regular(path, os.stat(path, dir_fd=dir_fd, follow_symlinks=follow).st_mode)
    flags |= os.O_NONBLOCK | os.O_CLOEXEC | (0 if follow else os.O_NOFOLLOW)
    descriptor = _open_leased(path, flags, mode, dir_fd)
    try:
        _require_regular(path, os.fstat(descriptor).st_mode)
    except BaseException:
        os.close(descriptor)
        raise
    return descriptor


def _open_leased(path: str | Path, flags: int, mode: int, dir_fd: int | None) -> int:
    """As `os.open` without waiting, again and again while another program has a lease of the file."""
    until = time.monotonic() + LEASE_LIMIT_S
    while True:
        try:
            return os.open(path, flags, mode, dir_fd=dir_fd)
        except BlockingIOError:
            if time.monotonic() >= until:
                raise
        time.sleep(LEASE_POLL_S)


@contextlib.contextmanager
def opened(descriptor: int) -> Iterator[int]:
    """Close an open descriptor at the end of the block."""
    try:
        yield descriptor
    finally:
        os.close(descriptor)


def expanded(path: Path) -> Path:
    """Return a path of the settings, with "~" or "~user" at its beginning replaced by the home folder, as shells do.

    The path stays as it is where that folder is not known.
    """
    return Path(os.path.expanduser(path))  # noqa: PTH111 - Path.expanduser raises


def read_settings(path: Path, most_bytes: int = 2**20) -> str:
    """Return the UTF-8 text of a small file, without the mark (BOM) that some editors begin it with.

    The path may be a link, as orchestrators mount settings and keys.

    Raises `NotRegular`; `OSError`, also for a file of more than `most_bytes`; `UnicodeDecodeError`.
    """
    with os.fdopen(open_regular(path, follow=True), "rb") as file:
        content = file.read(most_bytes + 1)
    if len(content) > most_bytes:
        raise OSError(errno.EFBIG, f"it has more than the {most_bytes} bytes that are expected", str(path))
    return decoded(content)


def decoded(content: bytes, errors: str = "strict") -> str:
    """Return the UTF-8 text of a file without the mark (BOM) that some editors begin it with.

    `errors` is as `bytes.decode` has it. Raises `UnicodeDecodeError`. Python's own codec for this is a module that is
    read from the disk at its first use: where that fails once, for want of a descriptor, it fails for ever.
    """
    return content.decode(errors=errors).removeprefix("\ufeff")


def require_folder(path: Path) -> None:
    """Make a folder unless it is there. Raises `NotRegular` when something else is, a link to a folder too."""
    try:
        path.mkdir()
    except FileExistsError:
        mode = path.lstat().st_mode
        if not stat.S_ISDIR(mode):
            raise NotRegular(path, mode, "a folder") from None


def require_regular_or_none(path: Path) -> bool:
    """Return whether a regular file is there, False when nothing is. Raises `NotRegular`."""
    try:
        mode = path.lstat().st_mode
    except FileNotFoundError:
        return False
    _require_regular(path, mode)
    return True


def clear_away(name: str | Path, dir_fd: int | None = None) -> None:
    """Free a name that something else than a regular file has taken. No link is followed, and no content deleted.

    A link, FIFO, socket or device loses its name, an empty folder too. A folder with anything in it, or a regular file,
    is renamed: `.aside-` and a random number are added.
    """
    mode = os.stat(name, dir_fd=dir_fd, follow_symlinks=False).st_mode
    if not (stat.S_ISDIR(mode) or stat.S_ISREG(mode)):
        os.unlink(name, dir_fd=dir_fd)
        return
    if stat.S_ISDIR(mode):
        try:
            os.rmdir(name, dir_fd=dir_fd)
            return
        except OSError as error:
            if error.errno not in (errno.ENOTEMPTY, errno.EEXIST):
                raise
    os.rename(name, f"{name}.aside-{secrets.token_hex(4)}", src_dir_fd=dir_fd, dst_dir_fd=dir_fd)


def write_whole(path: Path, content: bytes | bytearray, mode: int = 0o666) -> None:
    """Write a new file, as durable on return as its file system can make it. On any error nothing has its name.

    It is written beside, under another name, and renamed. Raises `FileExistsError` when anything has the name, a
    dangling link too; `OSError` as the disk does.
    """
    beside = path.with_name(f".haulout-{secrets.token_hex(8)}.part")
    try:
        with os.fdopen(
            os.open(beside, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, mode), "wb"
        ) as file:
            file.write(content)
            file.flush()
            _sync(file.fileno())
        _take_name(beside, path)
    finally:
        with contextlib.suppress(OSError):
            beside.unlink()
    with contextlib.suppress(OSError), opened(os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY)) as folder:
        os.fsync(folder)


def free_bytes(folder: Path) -> int:
    """Return how many bytes the file system of a folder can still take; 2^63 where it tells no size.

    It tells of 0 blocks in all then: ramfs does, tmpfs without a limit, and some file systems in user space.
    """
    disk = os.statvfs(folder)
    return disk.f_bavail * disk.f_frsize if disk.f_blocks else 2**63


def _sync(descriptor: int) -> None:
    """Sync a file to its disk; do nothing on a file system that cannot, as some that are mounted over a network."""
    try:
        os.fsync(descriptor)
    except OSError as error:
        if error.errno not in _NO_SYNC:
            raise


def _take_name(beside: Path, path: Path) -> None:
    """Give a finished file its name, which must be free."""
    try:
        os.link(beside, path)
    except FileExistsError:
        raise
    except OSError:  # a file system without hard links
        if os.path.lexists(path):
            raise FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST), str(path)) from None
        beside.rename(path)


def _require_regular(path: str | Path, mode: int) -> None:
    if not stat.S_ISREG(mode):
        raise NotRegular(path, mode)
