"""Key files: what is wrong is named, and no secret is told."""

from __future__ import annotations

import errno
import os
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from committee import files
from committee.bls import SecretKey
from committee.errors import InvalidKey
from committee.key_files import (
    KEY_VARIABLE,
    child_environment,
    key_from_environment,
    parse_secret,
    read_key,
    read_secret,
    write_secret,
)


def key_file(folder: Path, text: str, mode: int = 0o600) -> Path:
    path = folder / "some.key"
    path.touch(mode)
    path.write_text(text)
    return path


@pytest.mark.parametrize("text", ["{}\n", "0x{}", "\ufeff{}\r\n"], ids=["plain", "0x", "a mark and CR"])
def test_a_key_is_read(tmp_path: Path, text: str) -> None:
    assert read_secret(key_file(tmp_path, text.format("ab" * 32))) == bytes([0xAB]) * 32


def test_a_key_others_can_read_is_refused(tmp_path: Path) -> None:
    path = key_file(tmp_path, "ab" * 32)
    path.chmod(0o640)
    with pytest.raises(InvalidKey, match="chmod 600"):
        read_secret(path)


def test_the_end_of_another_programs_lease_is_waited_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As a file server has it of a file that a machine of its network has open (fcntl(2), "Leases")."""
    real, refusals = os.open, iter([True, True])

    def refuse_at_first(path: Any, flags: int, *rest: Any, **named: Any) -> int:
        if next(refusals, False):
            assert flags & os.O_NONBLOCK
            raise BlockingIOError(errno.EWOULDBLOCK, os.strerror(errno.EWOULDBLOCK))
        return real(path, flags, *rest, **named)

    path = key_file(tmp_path, "ab" * 32)
    monkeypatch.setattr(files, "LEASE_POLL_S", 0.001)
    monkeypatch.setattr(os, "open", refuse_at_first)
    assert read_secret(path) == bytes([0xAB]) * 32
    refusals = iter(lambda: True, None)
    monkeypatch.setattr(files, "LEASE_LIMIT_S", 0.01)
    with pytest.raises(InvalidKey, match="Resource temporarily unavailable"):
        read_secret(path)


@pytest.fixture
def mounted(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """A key as an orchestrator mounts it: behind two links, in a file of another user."""
    (tmp_path / "..2026").mkdir()
    (tmp_path / "..data").symlink_to("..2026")
    (tmp_path / "bls.key").symlink_to("..data/bls.key")
    (tmp_path / "..2026" / "bls.key").write_text("ab" * 32)
    monkeypatch.setattr(os, "geteuid", lambda: (tmp_path / "bls.key").stat().st_uid + 1)
    return tmp_path / "bls.key"


@pytest.mark.parametrize("mode", [0o400, 0o600])
def test_a_mounted_key_of_its_owner_alone_is_read(
    mounted: Path, caplog: pytest.LogCaptureFixture, mode: int
) -> None:
    mounted.chmod(mode)
    assert read_secret(mounted) == bytes([0xAB]) * 32
    assert caplog.records == []


@pytest.mark.parametrize("mode", [0o440, 0o640])
def test_a_mounted_key_its_group_can_read_is_read_with_a_warning(
    mounted: Path, caplog: pytest.LogCaptureFixture, mode: int
) -> None:
    mounted.chmod(mode)
    assert read_secret(mounted) == bytes([0xAB]) * 32
    (record,) = caplog.records
    assert str(mounted) in record.getMessage()
    assert "ab" * 32 not in record.getMessage()


@pytest.mark.parametrize("mode", [0o444, 0o644, 0o660, 0o604, 0o620])
def test_a_mounted_key_that_others_can_read_or_its_group_can_write_is_refused(
    mounted: Path, mode: int
) -> None:
    mounted.chmod(mode)
    with pytest.raises(InvalidKey, match=r"mount it with mode 0400, or 0440 and the node's group"):
        read_secret(mounted)


def test_a_key_on_a_read_only_mount_may_be_read_by_its_group(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = key_file(tmp_path, "ab" * 32)
    path.chmod(0o440)
    with pytest.raises(InvalidKey, match="chmod 600"):
        read_secret(path)
    monkeypatch.setattr(os, "fstatvfs", lambda _: SimpleNamespace(f_flag=os.ST_RDONLY))
    assert read_secret(path) == bytes([0xAB]) * 32


@pytest.mark.parametrize(
    "text", ["", "ab" * 31, "ab" * 33, "zz" * 32], ids=["empty", "short", "long", "no hex"]
)
def test_a_key_that_is_none_is_refused_without_telling_it(tmp_path: Path, text: str) -> None:
    with pytest.raises(InvalidKey, match="32 bytes") as refused:
        read_secret(key_file(tmp_path, text))
    assert not text or text not in str(refused.value)


def test_a_missing_key_is_named(tmp_path: Path) -> None:
    with pytest.raises(InvalidKey, match=r"nowhere\.key"):
        read_secret(tmp_path / "nowhere.key")


def test_a_secret_from_elsewhere_says_where_it_stood() -> None:
    with pytest.raises(InvalidKey, match=r"\$SOME_KEY does not hold 32 bytes"):
        parse_secret("abc", "$SOME_KEY")


def test_a_key_out_of_range_is_named_by_its_file(tmp_path: Path) -> None:
    with pytest.raises(InvalidKey, match=r"some\.key: secret key out of range") as refused:
        read_key(key_file(tmp_path, "ff" * 32), SecretKey.from_bytes)
    assert "ff" * 32 not in str(refused.value)


def test_a_written_key_is_its_owners_alone_and_overwrites_none(tmp_path: Path) -> None:
    path = tmp_path / "new.key"
    write_secret(path, bytes([7]) * 32)
    assert path.stat().st_mode & 0o777 == 0o600
    with pytest.raises(InvalidKey, match="exists"):
        write_secret(path, bytes([8]) * 32)
    assert read_secret(path) == bytes([7]) * 32


def test_no_key_is_written_where_there_are_no_permissions(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As on a disk of another system, where every file is everybody's and `chmod` changes nothing."""
    real = os.open

    def open_for_all(path: str, flags: int, mode: int = 0o777, **more: int) -> int:
        descriptor = real(path, flags, mode, **more)
        os.fchmod(descriptor, 0o777)
        return descriptor

    with monkeypatch.context() as patched:
        patched.setattr(os, "open", open_for_all)
        with pytest.raises(
            InvalidKey, match=r"new\.key would be everybody's: the file system keeps no permissions"
        ):
            write_secret(tmp_path / "new.key", bytes(32))
    assert list(tmp_path.iterdir()) == []


def test_a_key_that_cannot_be_written_is_told_in_one_line(tmp_path: Path) -> None:
    with pytest.raises(InvalidKey, match="cannot write the key"):
        write_secret(tmp_path / "nowhere" / "new.key", bytes(32))


def test_a_key_in_the_environment_is_read_once_and_not_inherited(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(KEY_VARIABLE, "ab" * 32)
    assert KEY_VARIABLE not in child_environment()
    show = (sys.executable, "-c", "import os; print(sorted(os.environ))")
    told = subprocess.run(show, env=child_environment(), capture_output=True, text=True, check=True).stdout
    assert "PATH" in told
    assert KEY_VARIABLE not in told
    assert child_environment(MORE="1")["MORE"] == "1"
    assert key_from_environment() == "ab" * 32
    assert KEY_VARIABLE not in os.environ
    assert key_from_environment() is None
