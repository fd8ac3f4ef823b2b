"""Byte for byte what the real Walrus encoder made."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from storage.redstuff import Axis, BlobMetadata, RedStuff, blob_id_text, parse_blob_id

VECTORS = json.loads((Path(__file__).parent / "vectors.json").read_text())["vectors"]


@pytest.mark.parametrize("vector", VECTORS, ids=lambda v: f"{v['n_shards']}-{v['size']}-{v['content']}")
@pytest.mark.parametrize("threads", [1, 2])
def test_encode_is_the_real_encoders(
    vector: dict[str, Any], threads: int, content: Callable[[int, int], bytes]
) -> None:
    size, n = vector["size"], vector["n_shards"]
    if vector["content"] == "fmix32":
        data = content(size, vector["seed"])
    else:
        data = bytes((7 * i + 13) % 256 for i in range(size))
    assert hashlib.sha256(data).hexdigest() == vector["content_sha256"]
    code = RedStuff(n, threads=threads)
    assert (code.p, code.s, code.symbol_size(size)) == (
        vector["primary_symbols"],
        vector["secondary_symbols"],
        vector["symbol_size"],
    )
    blob = code.encode(data)
    assert blob.blob_id.hex() == vector["blob_id"]
    assert blob_id_text(blob.blob_id) == vector["blob_id_b64"]
    assert parse_blob_id(vector["blob_id_b64"]) == blob.blob_id
    metadata = blob.metadata
    assert metadata.root.hex() == vector["root_hash"]
    pairs = list(zip(metadata.primary_roots, reversed(metadata.secondary_roots), strict=True))
    assert hashlib.sha256(b"".join(p + s for p, s in pairs)).hexdigest() == vector["hashes_sha256"]
    assert hashlib.sha256(blob.primary.tobytes()).hexdigest() == vector["primary_slivers_sha256"]
    assert hashlib.sha256(blob.secondary[::-1].tobytes()).hexdigest() == vector["secondary_slivers_sha256"]
    if "primary" in vector:
        of_pairs = [(Axis.PRIMARY, vector["primary"]), (Axis.SECONDARY, vector["secondary"])]
        for axis, slivers in of_pairs:
            for pair, sliver in enumerate(slivers):
                assert blob.sliver(axis, code.sliver_of_pair(pair, axis)).tobytes().hex() == sliver
    # The roots found by the kernels are those that the metadata, read anew, hashes to.
    assert BlobMetadata.from_bcs(metadata.to_bcs(), blob.blob_id) == metadata
