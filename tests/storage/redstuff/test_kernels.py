"""The compiled kernels: every kind makes the same bytes; hashing is hashlib's."""

from __future__ import annotations

import hashlib
import mmap
import os
import subprocess
import sys
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from storage.redstuff import Axis, RedStuff, kernels
from storage.redstuff.engine import Engine
from storage.redstuff.errors import KernelsUnavailable
from storage.redstuff.kernels import KINDS, best_kind, disk_cache, load
from storage.redstuff.merkle import leaf_hash, root_of_hashes
from storage.redstuff.parameters import Parameters
from tests.damages import DAMAGES, as_user, device, playground, read_only

Content = Callable[[int, int], bytes]
HERE = KINDS[KINDS.index(best_kind()) :]


@pytest.mark.parametrize("n", [4, 10, 100, 301])
@pytest.mark.parametrize("kind", HERE)
def test_every_kind_makes_the_same_bytes(kind: str, n: int, content: Content) -> None:
    code, best = RedStuff(n, kernels=kind), RedStuff(n)
    for size in (1, 1000, code.p * code.s * 70):
        data = content(size, n)
        ours, expected = code.encode(data), best.encode(data)
        assert ours.blob_id == expected.blob_id
        assert np.array_equal(ours.primary, expected.primary)
        assert np.array_equal(ours.secondary, expected.secondary)
        for axis in Axis:
            needed = code.source_symbols(axis.other)
            slivers = {index: ours.sliver(axis, index) for index in range(n - needed, n)}
            assert code.decode(ours.metadata, axis, slivers) == data


@pytest.mark.parametrize("t", [2, 6, 62, 64, 66, 70, 72, 126, 128, 130, 254, 256, 1000])
@pytest.mark.parametrize("n", [4, 7, 9, 64, 100])
def test_sliver_roots_are_the_trees_of_hashlib(t: int, n: int) -> None:
    shape = Parameters(n)
    engine = Engine(n, shape.p, shape.s, 1, None)
    for axis in Axis:
        k = engine.code(axis).k
        for count in (1, 3, 9):
            slivers = np.random.default_rng(t + n).integers(0, 256, 256 + count * k * t).astype(np.uint8)
            found = engine.sliver_roots(axis, slivers, count, t)
            for number, root in enumerate(found):
                sliver = slivers[128 + number * k * t : 128 + (number + 1) * k * t]
                symbols = engine.expanded(axis, sliver, t)
                assert root.tobytes() == root_of_hashes([leaf_hash(one.tobytes()) for one in symbols])


def test_hashing_ignores_what_lies_around_the_slivers() -> None:
    engine = Engine(7, 3, 5, 1, None)
    slivers = np.full(256 + 5 * 74, 0xAA, np.uint8)
    first = engine.sliver_roots(Axis.PRIMARY, slivers, 1, 74)
    slivers[:128], slivers[-128:] = 0x55, 0x55
    assert np.array_equal(first, engine.sliver_roots(Axis.PRIMARY, slivers, 1, 74))


def test_unknown_kind_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(ValueError, match="gfni, avx2, portable"):
        load("sse9")
    monkeypatch.setenv("HAULOUT_KERNELS", "sse9")
    for ask in (best_kind, kernels.require):
        with pytest.raises(KernelsUnavailable, match="gfni, avx2, portable"):
            ask()


def test_a_process_without_executable_memory_is_told_so(monkeypatch: pytest.MonkeyPatch) -> None:
    """As in a systemd unit with MemoryDenyWriteExecute=yes, where numba cannot be imported."""

    def refuse(*_: object, **__: object) -> None:
        raise PermissionError(13, "cannot allocate executable memory")

    kernels.require()
    monkeypatch.setattr(mmap, "mmap", refuse)
    kernels.require()  # numba has the last word
    monkeypatch.setattr(kernels, "_load", refuse)
    with pytest.raises(KernelsUnavailable, match=r"executable memory\): allow .*MemoryDenyWriteExecute=no"):
        kernels.require()


IMPORT = """
import sys
import storage.redstuff as redstuff
code = redstuff.RedStuff(10)
code.pair_of_shard(bytes(32), 3)
assert not {"galois", "numba", "llvmlite"} & set(sys.modules), "an import too many"
"""
SYMBOL = """
from storage.redstuff import Axis, RedStuff
print(RedStuff(4, kernels="portable").recovery_symbols(Axis.PRIMARY, b"walrus", [3], 2)[3].hex())
"""


EXPECTED = "6e60\n"


def start(program: str, cache: Path | str, **environment: Any) -> subprocess.Popen[str]:
    """Start a process with a cache of its own, for which it compiles without optimising, in half the time."""
    environment |= {"NUMBA_OPT": 0, "HAULOUT_KERNEL_CACHE": cache}
    return subprocess.Popen(
        [sys.executable, "-c", program],
        env=os.environ | {name: str(value) for name, value in environment.items()},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def test_import_compiles_nothing_and_makes_no_field() -> None:
    process = start(IMPORT, "off")
    _, errors = process.communicate()
    assert process.returncode == 0, errors


def test_several_processes_may_fill_one_cache(tmp_path: Path) -> None:
    folder = tmp_path / "cache"
    processes = [start(SYMBOL, folder) for _ in range(3)]
    answers = [process.communicate() for process in processes]
    assert {answer for answer, _ in answers} == {EXPECTED}, answers
    assert len(list(folder.glob("expand_vectors-portable-*.pickle"))) == 1
    assert {path.suffix for path in folder.iterdir()} == {".pickle", ".lock"}


def test_a_damaged_cache_file_is_deleted_and_compiled_anew(tmp_path: Path) -> None:
    first = start(SYMBOL, tmp_path)
    assert first.communicate()[1] == ""
    (kernel,) = tmp_path.glob("expand_vectors-portable-*.pickle")
    content = bytearray(kernel.read_bytes())
    content[200::97] = bytes(byte ^ 0xFF for byte in content[200::97])  # loaded, this ends the process
    kernel.write_bytes(content)
    second = start(SYMBOL, tmp_path, NUMBA_DISABLE_JIT=1)
    assert second.communicate() == (EXPECTED, "")
    assert disk_cache._read(kernel) is not None


def kept(path: Path, content: bytes = b"a compiled kernel " * 1000) -> bytes:
    path.write_bytes(disk_cache._MAGIC + hashlib.sha256(content).digest() + content)
    return content


def test_nothing_is_loaded_from_a_file_that_does_not_verify(tmp_path: Path) -> None:
    for damage in DAMAGES:
        with playground() as ground:
            path = ground.inside / "kernel.pickle"
            content = kept(path)
            if damage is device and os.geteuid() != 0:
                continue
            ground.damage(damage, path)
            with as_user():
                found = disk_cache._read(path)
            assert found == (content if damage is read_only else None), damage
            ground.check_outside()
    path = tmp_path / "kernel.pickle"
    for at in range(0, len(kept(path)), 101):
        kept(path)
        changed = bytearray(path.read_bytes())
        changed[at] ^= 1
        path.write_bytes(changed)
        assert disk_cache._read(path) is None
        assert not path.exists()


def test_nothing_is_loaded_that_another_user_wrote(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "kernel.pickle"
    content = kept(path)
    assert disk_cache._read(path) == content
    monkeypatch.setattr(disk_cache, "_trusted_users", lambda: {path.stat().st_uid + 1})
    assert disk_cache._read(path) is None


def test_without_a_home_the_kernels_are_kept_beside_the_sources_alone(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def no_entry(user_id: int) -> None:
        raise KeyError(user_id)

    for name in ("HOME", "XDG_CACHE_HOME", "HAULOUT_KERNEL_CACHE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr("pwd.getpwuid", no_entry)
    (folder,) = disk_cache._folders.__wrapped__()
    assert folder.parent.parent == Path(disk_cache.__file__).parent


def test_a_cache_is_in_the_home_folder_where_its_name_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    """A service manager sets variables as they are; a relative XDG_CACHE_HOME is none."""
    monkeypatch.setenv("HOME", "/home/walrus")
    monkeypatch.setenv("HAULOUT_KERNEL_CACHE", "~/kernels")
    assert disk_cache._folders.__wrapped__() == (Path("/home/walrus/kernels"),)
    monkeypatch.delenv("HAULOUT_KERNEL_CACHE")
    for name, folder in (
        ("~/.caches", "/home/walrus/.cache"),
        ("", "/home/walrus/.cache"),
        ("/var/c", "/var/c"),
    ):
        monkeypatch.setenv("XDG_CACHE_HOME", name)
        assert disk_cache._folders.__wrapped__()[1] == Path(folder, "haulout", "kernels")


def test_sources_in_a_zip_archive_have_the_same_kernels_in_the_users_cache(tmp_path: Path) -> None:
    root, archive = Path(disk_cache.__file__).parents[3], tmp_path / "haulout.zip"
    with zipfile.ZipFile(archive, "w") as packed:
        for source in (root / "storage/__init__.py", *sorted((root / "storage/redstuff").rglob("*.py"))):
            packed.write(source, source.relative_to(root))
    command = (
        "import sys; sys.path.insert(0, sys.argv[1]); from storage.redstuff.kernels import disk_cache as cache;"
        "print(cache.__file__, cache._state(), *cache._folders(), cache._trusted_users())"
    )
    environment = {"PATH": os.environ["PATH"], "XDG_CACHE_HOME": str(tmp_path)}
    told = subprocess.run(
        [sys.executable, "-I", "-c", command, archive],
        env=environment,
        capture_output=True,
        text=True,
        check=True,
    )
    inside = archive / "storage/redstuff/kernels/disk_cache.py"
    users = {0, os.geteuid()}
    assert told.stdout == f"{inside} {disk_cache._state()} {tmp_path / 'haulout/kernels'} {users}\n"


def test_sources_below_a_closed_folder_have_no_owner_to_trust(monkeypatch: pytest.MonkeyPatch) -> None:
    with playground() as ground:
        ground.inside.chmod(0)
        monkeypatch.setattr(disk_cache, "_HERE", ground.inside / "kernels")
        with as_user():
            assert disk_cache._trusted_users() == {0, os.geteuid()}
            assert len(disk_cache._folders.__wrapped__()) == 1


def test_a_folder_that_cannot_be_written_is_done_without(tmp_path: Path) -> None:
    folder = tmp_path / "file"
    folder.write_text("in the way")
    process = start(SYMBOL, folder)
    assert process.communicate() == (EXPECTED, "")


def test_hash_is_blake2b_256() -> None:
    assert leaf_hash(b"abc") == hashlib.blake2b(b"\0abc", digest_size=32).digest()
