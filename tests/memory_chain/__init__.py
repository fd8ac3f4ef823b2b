"""A chain in memory with the rules of the contracts, for tests and benchmarks.

It answers what nodes and clients ask of a chain (`NodeLedger`, `ClientLedger`), and holds reservations (`SpaceLedger`).

`contracts` is what the contracts hold behind one block; `registry`, `epochs`, `blobs` and `proofs` are their rules,
pure functions from what they hold to what they hold then; `chain` makes blocks of them and can be reorganised; `ledger`
is its face for one account. `tests/localnet/test_memory_chain.py` tells the same stories to it and to the contracts.

Left out: tokens, payments, bonds and capacity, stake that is withdrawn or young, keys and commissions that change, the
limit of candidates, pauses and the governor.
"""

from tests.memory_chain.chain import WRITER, MemoryChain
from tests.memory_chain.ledger import MemoryLedger

__all__ = ["WRITER", "MemoryChain", "MemoryLedger"]
