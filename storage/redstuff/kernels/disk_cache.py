"""Compiled kernels on disk, shared by processes.

numba's own cache looks only at the file of the function it compiles, not at the intrinsics and callees that
end up in it, and two processes that compile for different types at once may mix up each other's files. Here a
file belongs to one function, kind, processor, numba version and state of *all* kernel sources; it appears
whole or not at all; one process compiles and the others wait for it. Where nothing can be written, kernels
are compiled anew in each process.
"""

from __future__ import annotations

import hashlib
import os
import pickle
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from functools import cache
from pathlib import Path
from typing import Any, TextIO

import llvmlite
import numba
from numba.core import compiler, serialize

from storage.redstuff.kernels import cpu

try:
    import fcntl
except ImportError:  # Windows: processes may compile the same kernel twice, no more.
    fcntl = None  # type: ignore[assignment]

_HERE = Path(__file__).parent


@cache
def _state() -> str:
    """A digest of all that decides what a kernel compiles to."""
    digest = hashlib.sha256(repr((cpu.target(), numba.__version__, llvmlite.__version__)).encode())
    for source in sorted(_HERE.glob("*.py")):
        digest.update(source.name.encode() + b"\0" + source.read_bytes() + b"\0")
    return digest.hexdigest()[:16]


@cache
def _folders() -> tuple[Path, ...]:
    """Where to look, and to write to the first that takes it: beside the sources, then the user's own cache.

    HAULOUT_KERNEL_CACHE names another folder, or says "off".
    """
    named = os.environ.get("HAULOUT_KERNEL_CACHE")
    if named:
        return () if named == "off" else (Path(named),)
    user = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    return _HERE / "__pycache__" / "kernels", user / "haulout" / "kernels"


class _KernelCache:
    """What a numba dispatcher asks of its cache, for one function and kind."""

    def __init__(self, name: str) -> None:
        self._name = f"{name}-{_state()}.pickle"
        self.cache_path = str(_HERE)

    def load_overload(self, signature: Any, target_context: Any) -> Any:
        target_context.refresh()
        for folder in _folders():
            try:
                reduced = pickle.loads((folder / self._name).read_bytes())  # noqa: S301 - our own folders only
                return compiler.CompileResult._rebuild(target_context, *reduced)  # type: ignore[no-untyped-call]
            except (OSError, EOFError, pickle.UnpicklingError):
                continue
        return None

    def save_overload(self, signature: Any, compiled: Any) -> None:
        content = serialize.dumps(compiled._reduce())  # type: ignore[no-untyped-call]
        for folder in _folders():
            try:
                folder.mkdir(parents=True, exist_ok=True)
                whole = folder / f"{self._name}.{os.getpid()}.{threading.get_ident()}"
                whole.write_bytes(content)
                whole.replace(folder / self._name)
            except OSError:
                continue
            return

    @contextmanager
    def alone(self) -> Iterator[None]:
        """Hold the one place to compile this function, as far as files can be locked here."""
        lock = None if fcntl is None else self._lock_file()
        if lock is None:
            yield
            return
        with lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            yield

    def _lock_file(self) -> TextIO | None:
        for folder in _folders():
            with suppress(OSError):
                folder.mkdir(parents=True, exist_ok=True)
                return (folder / f"{self._name}.lock").open("w")
        return None


def cached(function: Any, kind: str) -> Callable[..., None]:
    """The jitted `function`, compiled or loaded at its first call; all calls are to have the same types."""
    dispatcher: Any = numba.njit(nogil=True)(function.py_func)
    dispatcher._cache = kernel_cache = _KernelCache(f"{function.__name__}-{kind}")
    ready: list[Any] = []
    compiling = threading.Lock()

    def call(*args: Any) -> None:
        if not ready:
            with compiling, kernel_cache.alone():
                if not ready:
                    dispatcher.compile(tuple(map(numba.typeof, args)))
                    dispatcher.disable_compile()
                    ready.append(True)
        dispatcher(*args)

    return call
