"""What may lie in a file's or folder's place instead of it, and the checks that every such damage ends in."""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import socket
import stat
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from types import FrameType

USER = 12345
"""The user that damaged folders are used as when the tests run as root, for which no mode forbids anything."""
HANG_S = 20
"""A call that takes longer hangs: the slowest ones take a fraction of a second."""
SPARSE_BYTES = 2**40

Damage = Callable[[Path, Path], None]
"""Puts something into the place of a path, whatever lies there; the second path is a folder out of the node's own."""


def _gone(path: Path) -> None:
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)


def _content(path: Path) -> bytes:
    return path.read_bytes() if path.is_file() else b"some content of a file " * 300


def missing(path: Path, outside: Path) -> None:
    _gone(path)


def fifo(path: Path, outside: Path) -> None:
    _gone(path)
    os.mkfifo(path)


def empty_folder(path: Path, outside: Path) -> None:
    _gone(path)
    path.mkdir()


def full_folder(path: Path, outside: Path) -> None:
    _gone(path)
    (path / "below").mkdir(parents=True)
    (path / "below" / "notes.txt").write_text("an operator's")


def dangling_link(path: Path, outside: Path) -> None:
    _gone(path)
    path.symlink_to(outside / "nowhere")


def link_to_a_file(path: Path, outside: Path) -> None:
    _gone(path)
    path.symlink_to(outside / "file")


def link_to_a_folder(path: Path, outside: Path) -> None:
    _gone(path)
    path.symlink_to(outside / "folder")


def link_to_itself(path: Path, outside: Path) -> None:
    _gone(path)
    path.symlink_to(path.name)


def link_to_what_was_there(path: Path, outside: Path) -> None:
    """As after a move to another disk."""
    moved = outside / "moved"
    if path.exists():
        shutil.move(path, moved)
    else:
        moved.write_bytes(b"")
    path.symlink_to(moved)


def link_to_a_device(path: Path, outside: Path) -> None:
    _gone(path)
    path.symlink_to("/dev/zero")


def unix_socket(path: Path, outside: Path) -> None:
    _gone(path)
    here = Path.cwd()
    os.chdir(path.parent)  # the whole path is too long for a socket's name
    try:
        with socket.socket(socket.AF_UNIX) as one:
            one.bind("socket.tmp")
        Path("socket.tmp").rename(path)
    finally:
        os.chdir(here)


def device(path: Path, outside: Path) -> None:
    _gone(path)
    os.mknod(path, stat.S_IFCHR | 0o666, os.makedev(1, 5))


def empty(path: Path, outside: Path) -> None:
    _gone(path)
    path.write_bytes(b"")


def truncated(path: Path, outside: Path) -> None:
    content = _content(path)
    _gone(path)
    path.write_bytes(content[: len(content) // 2])


def noise(path: Path, outside: Path) -> None:
    """Other bytes, of the same number."""
    size = len(_content(path))
    _gone(path)
    path.write_bytes(bytes((at * 7919 + at // 256) % 251 for at in range(size)))


def noisy_middle(path: Path, outside: Path) -> None:
    """Other bytes behind the first ones, by which a kind of file is known."""
    content = bytearray(_content(path))
    for at in range(min(200, len(content) // 2), len(content)):
        content[at] ^= 0x5A
    _gone(path)
    path.write_bytes(content)


def sparse(path: Path, outside: Path) -> None:
    _gone(path)
    with path.open("wb") as file:
        file.truncate(SPARSE_BYTES)


def sparse_tail(path: Path, outside: Path) -> None:
    content = _content(path)
    _gone(path)
    path.write_bytes(content)
    os.truncate(path, SPARSE_BYTES)


def _chmod(path: Path, mode: int) -> None:
    if not path.exists():
        path.write_bytes(b"")
    path.chmod(mode)


def unreadable(path: Path, outside: Path) -> None:
    _chmod(path, 0)


def read_only(path: Path, outside: Path) -> None:
    _chmod(path, 0o555 if path.is_dir() else 0o444)


DAMAGES: tuple[Damage, ...] = (
    missing, fifo, empty_folder, full_folder, dangling_link, link_to_a_file, link_to_a_folder, link_to_itself,
    link_to_what_was_there, link_to_a_device, unix_socket, device, empty, truncated, noise, noisy_middle, sparse,
    sparse_tail, unreadable, read_only,
)  # fmt: skip


class Playground:
    """A folder to damage, and beside it one that nothing may touch; used by a user who is not root."""

    def __init__(self, top: Path) -> None:
        self.top = top
        self.inside = top / "inside"
        self.outside = top / "outside"
        self.inside.mkdir()
        (self.outside / "folder").mkdir(parents=True)
        (self.outside / "file").write_bytes(b"another's file")
        for name in ("file", "0-1", "0", "notes"):
            (self.outside / "folder" / name).write_bytes(b"another's file in a folder")

    def damage(self, damage: Damage, path: Path) -> None:
        """Damage one path, and give all of it to the user."""
        damage(path, self.outside)
        self._before = self._seen()
        if os.geteuid() == 0:
            for folder, folders, files in os.walk(self.top):
                for name in (".", *folders, *files):
                    os.chown(Path(folder, name), USER, USER, follow_symlinks=False)

    def check_outside(self) -> None:
        """Nothing out of the folder was written, truncated, made or removed."""
        assert self._seen() == self._before

    def _seen(self) -> dict[str, object]:
        return {
            str(path): (path.lstat().st_mode, path.read_bytes() if path.is_file() else None)
            for path in sorted(self.outside.rglob("*"))
        }


@contextlib.contextmanager
def playground() -> Iterator[Playground]:
    """A new playground, deleted at the end; a test's own folder is closed to other users."""
    top = Path(tempfile.mkdtemp(prefix="haulout-damage-")).resolve()
    try:
        yield Playground(top)
    finally:
        shutil.rmtree(top)


@contextlib.contextmanager
def as_user() -> Iterator[None]:
    """Be a user for whom modes count, and fail where a call hangs."""

    def too_long(_: int, __: FrameType | None) -> None:
        raise AssertionError(f"it hangs: nothing after {HANG_S} s")

    before = signal.signal(signal.SIGALRM, too_long)
    root = os.geteuid() == 0
    signal.setitimer(signal.ITIMER_REAL, HANG_S)
    if root:
        os.setegid(USER)
        os.seteuid(USER)
    try:
        yield
    finally:
        if root:
            os.seteuid(0)
            os.setegid(0)
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)
