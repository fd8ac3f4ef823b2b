"""Object stores for tests: in memory, as files, failing and lying ones."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path

import obstore
from obstore.store import MemoryStore

from storage.node.sqlite import StoreUnavailable
from storage.node.store.objects import MARK, Connection, Objects, ObjectStorage

Connect = Callable[[str], Objects]


def in_memory() -> Connection:
    """A new object store, which lasts as long as the connection to it."""
    memory = MemoryStore()
    return Connection("memory:", memory, memory)


class Files:
    """An object store in a folder, by calls that a test can count; slow and simple."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def claim(self) -> None:
        self._folder.mkdir(exist_ok=True)
        self._write(MARK, [memoryview(b"mark")])

    def require_own(self) -> None:
        assert (self._folder / MARK).exists()

    def write(self, name: str, blocks: Iterable[memoryview]) -> None:
        assert not (self._folder / name).exists(), "objects are never written over"
        self._write(name, blocks)

    def _write(self, name: str, blocks: Iterable[memoryview]) -> None:
        part = self._folder / f"part-of-{name}"
        part.write_bytes(b"".join(blocks))
        part.rename(self._folder / name)

    def length(self, name: str) -> int | None:
        path = self._folder / name
        return path.stat().st_size if path.exists() else None

    def read(self, name: str, spans: Sequence[tuple[int, int]]) -> list[memoryview | None]:
        path = self._folder / name
        content = memoryview(path.read_bytes() if path.exists() else b"")
        found = [content[offset : offset + size_bytes] for offset, size_bytes in spans]
        return [one if len(one) == span[1] else None for one, span in zip(found, spans, strict=True)]

    def remove(self, name: str) -> None:
        if (self._folder / name).exists():
            (self._folder / name).unlink()

    def names(self) -> Iterator[list[str]]:
        yield sorted(path.name for path in self._folder.iterdir() if path.name != MARK)

    def failing_s(self) -> float:
        return 0.0


class Faulty:
    """An object store in memory that does what a test has set; all else is right."""

    def __init__(self) -> None:
        self._connection = in_memory()
        self.fails: set[str] = set()
        """Methods that fail; the reason is the method's name."""
        self.made_of: Callable[[bytes], bytes | None] = lambda content: content
        """What is there of an object that was written; None for nothing."""
        self.deletes = True
        """Whether what is deleted is gone."""
        self.listed: Iterable[list[str]] | None = None
        """What is listed, whatever is there."""
        self.before: Callable[[str, str], None] = lambda method, name: None
        """Called before each request."""
        self.asked: list[tuple[str, str]] = []
        """(method, name) of each request."""
        self.is_the_same = True
        """Whether it is the object store that was marked."""

    def connect(self, store_id: str) -> Faulty:
        self._real = ObjectStorage(self._connection, store_id)
        return self

    def _asked(self, method: str, name: str = "") -> None:
        self.asked.append((method, name))
        self.before(method, name)
        if method in self.fails:
            raise StoreUnavailable(f"the object store fails: {method}")

    def claim(self) -> None:
        self._asked("claim")
        self._real.claim()

    def require_own(self) -> None:
        self._asked("require_own")
        if not self.is_the_same:
            raise StoreUnavailable("another object store")
        self._real.require_own()

    def write(self, name: str, blocks: Iterable[memoryview]) -> None:
        self._asked("write", name)
        content = self.made_of(b"".join(blocks))
        if content is not None:
            self._real.write(name, [memoryview(content)])

    def length(self, name: str) -> int | None:
        self._asked("length", name)
        if not self.is_the_same:
            self.require_own()
        return self._real.length(name)

    def read(self, name: str, spans: Sequence[tuple[int, int]]) -> list[memoryview | None]:
        self._asked("read", name)
        if not self.is_the_same:
            self.require_own()
        return self._real.read(name, spans)

    def remove(self, name: str) -> None:
        self._asked("remove", name)
        if self.deletes:
            self._real.remove(name)

    def names(self) -> Iterator[list[str]]:
        self._asked("names")
        yield from self._real.names() if self.listed is None else self.listed

    def failing_s(self) -> float:
        return 0.0

    def there(self) -> list[str]:
        """Return the names of all objects that are there."""
        (found,) = list(obstore.list(self._connection.reads, chunk_size=10_000)) or [[]]
        names = (one["path"].rpartition("/")[2] for one in found)
        return sorted(name for name in names if name != MARK)

    def put_in(self, name: str, content: bytes) -> None:
        """Have other bytes be there in an object."""
        self._real.remove(name)
        if content:
            self._real.write(name, [memoryview(content)])
