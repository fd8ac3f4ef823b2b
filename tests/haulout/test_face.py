"""The public face: what a program imports is there, and its errors have one root."""

from __future__ import annotations

import pickle
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

import haulout
from localnet.chain import ChainError
from localnet.demo import DemoFailed
from localnet.node_process import NetworkError
from localnet.ports import NoFreePort
from storage.client.files import FileError
from storage.node.config import ConfigError
from storage.node.repair import RepairError
from storage.node.store import StoreError
from storage.redstuff import InvalidEncoding

ROOTS = (ChainError, ConfigError, DemoFailed, FileError, NetworkError, NoFreePort, RepairError, StoreError)
"""The roots of the folders' errors that the face does not name."""

TEXT = "M5YQinGO3RbVoG-VC2x7QtCmZjFlBDOFU6PeVKtTmwY"


def test_all_that_the_face_names_is_there() -> None:
    assert haulout.__all__ == sorted(haulout.__all__)
    for name in haulout.__all__:
        assert getattr(haulout, name).__name__ == name


@pytest.mark.parametrize(
    "kind",
    [
        *ROOTS,
        *(one for one in vars(haulout).values() if isinstance(one, type) and issubclass(one, Exception)),
    ],
)
def test_every_error_is_a_haulout_error(kind: type[Exception]) -> None:
    assert issubclass(kind, haulout.HauloutError)


@given(st.binary(min_size=32, max_size=32))
def test_a_blob_id_has_three_forms_and_is_its_bytes(blob_id: bytes) -> None:
    one = haulout.BlobId(blob_id)
    assert one == blob_id
    assert hash(one) == hash(blob_id)
    assert haulout.BlobId(str(one)) == haulout.BlobId(int.from_bytes(blob_id, "little")) == one
    assert f"{one}" == str(one)
    assert repr(one) == f"BlobId('{one}')"
    assert f"{one:>45}" == f"  {one}"
    assert type(pickle.loads(pickle.dumps(one))) is haulout.BlobId


@pytest.mark.parametrize("value", [b"", bytes(31), bytes(33), "", TEXT[:-1], TEXT + "=", -1, 1 << 256])
def test_what_is_no_blob_id_is_refused(value: Any) -> None:
    with pytest.raises(InvalidEncoding, match=r"(is|are) no blob id"):
        haulout.BlobId(value)


@pytest.mark.parametrize("manifest", ["{", "[]"])
async def test_connecting_with_no_manifest_fails_before_anything_is_opened(
    tmp_path: Any, manifest: str
) -> None:
    path = tmp_path / "deployment.json"
    path.write_text(manifest)
    with pytest.raises(haulout.LedgerError, match="manifest"):
        async with haulout.connect("http://127.0.0.1:1", path):
            pass
