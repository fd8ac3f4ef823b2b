"""Compiled kernels on disk, shared by processes.

numba's own cache looks only at the file of the function it compiles, not at the intrinsics and callees that
end up in it, and two processes that compile for different types at once may mix up each other's files. Here a
file belongs to one function, kind, processor, version of Python and numba, and state of *all* kernel sources; it
appears whole or not at all; one process compiles and the others wait for it. Where nothing can be written, kernels
are compiled anew in each process.

    magic (8 bytes) ‖ SHA-256 of the rest (32 bytes) ‖ pickle of the compiled function

Machine code that a disk has changed ends the process when it is loaded. So a file is unpickled only if its digest is
right and nobody else than this user, the sources' owner or root can have written it. Any other is deleted, and its
kernel compiled anew.

The sources may lie in a zip archive: then there is no folder beside them, and kernels are kept in the user's own cache.
"""

from __future__ import annotations

import errno
import hashlib
import os
import pickle
import stat
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from functools import cache
from importlib import resources
from pathlib import Path
from typing import Any

import llvmlite
import numba
import numpy as np
from numba.core import compiler, serialize

from storage.redstuff.kernels import cpu
from storage.redstuff.kernels.jit import compiling

try:
    import fcntl
except ImportError:  # Windows: processes may compile the same kernel twice, no more.
    fcntl = None  # type: ignore[assignment]

_HERE = Path(__file__).parent
_SAFE = os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK
_MAGIC = b"HAULOUT1"
_DIGEST_BYTES = 32
_MOST_BYTES = 64 * 2**20
"""A file is never as large: one has some 100 KiB."""


@cache
def _state() -> str:
    """Return a digest of all that decides what a kernel compiles to, and of what reads it."""
    versions = (sys.version, np.__version__, numba.__version__, llvmlite.__version__)
    digest = hashlib.sha256(repr((cpu.target(), versions)).encode())
    sources = {one.name: one for one in resources.files(__package__).iterdir() if one.name.endswith(".py")}
    for name in sorted(sources):
        digest.update(name.encode() + b"\0" + sources[name].read_bytes() + b"\0")
    return digest.hexdigest()[:16]


@cache
def _folders() -> tuple[Path, ...]:
    """Where to look, and to write to the first that takes it: beside the sources, then the user's own cache.

    HAULOUT_KERNEL_CACHE names another folder, which may begin with "~", or says "off". XDG_CACHE_HOME counts if it is
    an absolute path, as its specification has it.
    """
    named = os.environ.get("HAULOUT_KERNEL_CACHE")
    if named:
        return () if named == "off" else (Path(os.path.expanduser(named)),)  # noqa: PTH111 - Path.expanduser raises
    beside = (_HERE / "__pycache__" / "kernels",) if os.path.isdir(_HERE) else ()  # noqa: PTH112 - Path.is_dir raises
    user = Path(os.environ.get("XDG_CACHE_HOME", ""))
    try:
        user = user if user.is_absolute() else Path.home() / ".cache"
    except RuntimeError:  # no HOME and no entry in the user data base, as in a container
        return beside
    return *beside, user / "haulout" / "kernels"


class _KernelCache:
    """What a numba dispatcher asks of its cache, for one function and kind."""

    def __init__(self, name: str) -> None:
        self._name = f"{name}-{_state()}.pickle"
        self.cache_path = str(_HERE)

    def load_overload(self, signature: Any, target_context: Any) -> Any:
        target_context.refresh()
        for folder in _folders():
            content = _read(folder / self._name)
            if content is not None:
                reduced = pickle.loads(content)  # noqa: S301 - verified, and from our own folders only
                return compiler.CompileResult._rebuild(target_context, *reduced)  # type: ignore[no-untyped-call]
        return None

    def save_overload(self, signature: Any, compiled: Any) -> None:
        content = serialize.dumps(compiled._reduce())  # type: ignore[no-untyped-call]
        for folder in _folders():
            whole = folder / f"{self._name}.{os.getpid()}.{threading.get_ident()}"
            try:
                folder.mkdir(parents=True, exist_ok=True)
                with os.fdopen(os.open(whole, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o644), "wb") as file:
                    file.write(_MAGIC + hashlib.sha256(content).digest() + content)
                whole.replace(folder / self._name)
            except OSError:
                with suppress(OSError):
                    whole.unlink()
                continue
            return

    @contextmanager
    def alone(self) -> Iterator[None]:
        """Hold the one place to compile this function, as far as files can be locked here."""
        lock = None if fcntl is None else self._lock_file()
        if lock is None:
            yield
            return
        try:
            with suppress(OSError):  # some network file systems have no locks
                fcntl.flock(lock, fcntl.LOCK_EX)
            yield
        finally:
            os.close(lock)

    def _lock_file(self) -> int | None:
        for folder in _folders():
            with suppress(OSError):
                folder.mkdir(parents=True, exist_ok=True)
                return _open(folder / f"{self._name}.lock", os.O_RDWR | os.O_CREAT)
        return None


def _open(path: Path, flags: int) -> int:
    """Open a regular file through no link and without waiting. Raises `OSError`."""
    descriptor = os.open(path, flags | _SAFE, 0o644)
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        os.close(descriptor)
        raise OSError(errno.EINVAL, "it is no regular file", str(path))
    return descriptor


def _trusted_users() -> set[int]:
    """Return the users whose code runs here anyway: root, this one, and the owner of the sources' folder.

    The sources' folder has no owner where it cannot be looked at: in an archive, or below a folder closed to this user.
    """
    trusted = {0, os.geteuid()}
    with suppress(OSError):
        trusted.add(_HERE.stat().st_uid)
    return trusted


def _read(path: Path) -> bytes | None:
    """Return the verified content of a file; None when there is none. What does not verify is deleted."""
    try:
        with os.fdopen(_open(path, os.O_RDONLY), "rb") as file:
            owner = os.fstat(file.fileno()).st_uid
            content = file.read(_MOST_BYTES)
    except OSError:
        return None
    magic, digest, rest = content[:8], content[8 : 8 + _DIGEST_BYTES], content[8 + _DIGEST_BYTES :]
    if owner in _trusted_users() and magic == _MAGIC and hashlib.sha256(rest).digest() == digest:
        return rest
    with suppress(OSError):
        path.unlink()
    return None


def cached(function: Any, kind: str) -> Callable[..., None]:
    """The jitted `function`, compiled or loaded at its first call; all calls are to have the same types."""
    dispatcher: Any = numba.njit(nogil=True)(function.py_func)
    dispatcher._cache = kernel_cache = _KernelCache(f"{function.__name__}-{kind}")
    ready: list[Any] = []
    lock = threading.Lock()

    def call(*args: Any) -> None:
        if not ready:
            with lock, kernel_cache.alone(), compiling():
                if not ready:
                    dispatcher.compile(tuple(map(numba.typeof, args)))
                    dispatcher.disable_compile()
                    ready.append(True)
        dispatcher(*args)

    return call
