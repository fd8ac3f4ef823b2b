"""Keys of accounts on Sui: the forms that files have them in, and that no message shows one."""

from __future__ import annotations

import base64
import json
import traceback
from pathlib import Path

import pysui_fastcrypto
import pytest

from committee.errors import InvalidKey
from committee.ledger.sui.keys import SuiKey
from localnet.sui_double.signatures import signer

SECRET = bytes(range(1, 33))
BECH32 = pysui_fastcrypto.encode_bech32(b"\0" + SECRET, "suiprivkey")
ENTRY = base64.b64encode(b"\0" + SECRET).decode()


def written(folder: Path, content: str) -> Path:
    path = folder / "account.key"
    path.write_text(content)
    path.chmod(0o600)
    return path


@pytest.mark.parametrize(
    "content", [SECRET.hex(), f"0x{SECRET.hex()}\n", BECH32, f"{ENTRY}\n", json.dumps([ENTRY], indent=2)]
)
def test_key_is_the_same_in_every_form(tmp_path: Path, content: str) -> None:
    assert SuiKey.read(written(tmp_path, content)).address == SuiKey(SECRET).address


@pytest.mark.parametrize("scheme", [0, 1, 2])
def test_key_of_every_scheme_signs_for_its_address(scheme: int) -> None:
    key = SuiKey.parse(pysui_fastcrypto.encode_bech32(bytes([scheme]) + SECRET, "suiprivkey"), "the key")
    assert signer(b"transaction", key.sign(b"transaction")) == key.address


def test_generated_keys_are_different() -> None:
    assert SuiKey.generate().address != SuiKey.generate().address


@pytest.mark.parametrize(
    "content",
    [
        "",
        SECRET.hex()[:-1],
        SECRET.hex() + "00",
        BECH32[:-1] + ("q" if BECH32[-1] != "q" else "p"),
        BECH32.upper(),
        base64.b64encode(b"\3" + SECRET).decode(),
        base64.b64encode(b"\1" + bytes(32)).decode(),
        base64.b64encode(SECRET).decode(),
        json.dumps([ENTRY, ENTRY]),
        json.dumps([[ENTRY]]),
        "[" + ENTRY,
        "[" * 3000,
    ],
)
def test_file_without_a_key_is_refused_and_not_shown(tmp_path: Path, content: str) -> None:
    with pytest.raises(InvalidKey) as refused:
        SuiKey.read(written(tmp_path, content))
    shown = "".join(traceback.format_exception(refused.value))
    assert not [part for part in (SECRET.hex()[:20], BECH32[12:30], ENTRY[:20]) if part in shown]


def test_file_that_others_can_read_is_refused(tmp_path: Path) -> None:
    path = written(tmp_path, BECH32)
    path.chmod(0o644)
    with pytest.raises(InvalidKey, match="can be read or changed by others"):
        SuiKey.read(path)


def test_key_is_not_shown() -> None:
    key = SuiKey(SECRET)
    assert repr(key) == str(key) == f"SuiKey(0x{key.address.hex()})"
    assert not hasattr(key, "__dict__")
