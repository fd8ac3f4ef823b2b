"""The contracts' hashes and trees against hashlib and `storage.redstuff.merkle`: one digest over thousands of cases.

`contracts/evm/test/Trees.t.sol` computes both digests from the same inputs on the EVM.
"""

from __future__ import annotations

import re
from hashlib import blake2b
from pathlib import Path

from storage.redstuff import merkle_root

SOLIDITY = Path(__file__).parents[3] / "contracts" / "evm" / "test" / "Trees.t.sol"
COUNTS = (1, 2, 3, 4, 5, 7, 8, 9, 31, 101, 334, 1000, 2000)


def expected(name: str) -> str:
    """A constant of the Solidity test."""
    found = re.search(rf"{name} = 0x([0-9a-f]{{64}});", SOLIDITY.read_text())
    assert found is not None
    return found[1]


def digest(message: bytes) -> bytes:
    """Blake2b-256."""
    return blake2b(message, digest_size=32).digest()


def test_hashes_are_those_of_the_contracts() -> None:
    last = bytes(32)
    for length in (*range(641), 65534):
        last = digest(bytes(last[i] if i < 32 else (7 * i + length) % 256 for i in range(length)))
    assert last.hex() == expected("HASHES")


def test_roots_are_those_of_the_contracts() -> None:
    together = bytes(32)
    for count in COUNTS:
        together = digest(together + merkle_root([i.to_bytes(4, "big") for i in range(count)]))
    assert together.hex() == expected("ROOTS")
