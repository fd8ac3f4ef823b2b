"""Key files: what is wrong is named, and no secret is told."""

from __future__ import annotations

from pathlib import Path

import pytest

from committee.errors import InvalidKey
from committee.key_files import parse_secret, read_secret


def key_file(folder: Path, text: str, mode: int = 0o600) -> Path:
    path = folder / "some.key"
    path.touch(mode)
    path.write_text(text)
    return path


def test_a_key_is_read(tmp_path: Path) -> None:
    assert read_secret(key_file(tmp_path, "0x" + "ab" * 32 + "\n")) == bytes([0xAB]) * 32


def test_a_key_others_can_read_is_refused(tmp_path: Path) -> None:
    path = key_file(tmp_path, "ab" * 32)
    path.chmod(0o640)
    with pytest.raises(InvalidKey, match="chmod 600"):
        read_secret(path)


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
