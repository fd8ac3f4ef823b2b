"""Calls of views by the thousand, many in one message: as many as the provider takes."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Any

from committee.ledger.evm import answers
from committee.ledger.evm.history import Portion
from committee.ledger.evm.reader import Call, Contract, Reader
from committee.ledger.evm.refusals import AskedTooMuch, EndpointError
from committee.ledger.evm.rpc import Rpc
from committee.ledger.records import BlockMark

CALLS_PER_REQUEST = 100
"""Halved whenever the provider refuses, doubled when it serves; a provider that counts calls counts each of them."""


async def call_many(
    rpc: Rpc, reader: Reader, contract: Contract, calls: Sequence[Call], at: BlockMark
) -> list[Any]:
    """Return what the views of a contract answer at one block, in the order of the calls.

    Raises as `Reader.call` does.
    """
    clock, portion = asyncio.get_running_loop().time, Portion(CALLS_PER_REQUEST)
    block = {"blockHash": "0x" + at.hash.hex(), "requireCanonical": True}
    told: list[Any] = []
    while len(told) < len(calls):
        asked = calls[len(told) : len(told) + portion.now]
        requests = [
            ({"to": contract.address, "data": "0x" + contract.abi.encode_call(view, *arguments).hex()}, block)
            for view, arguments in asked
        ]

        def read(results: list[Any], asked: Sequence[Call] = asked) -> list[Any]:
            data = map(answers.data, results)
            return [contract.abi.decode_result(view, one) for (view, _), one in zip(asked, data, strict=True)]

        try:
            told += await rpc.batch("eth_call", requests, read)
        except AskedTooMuch:
            portion.refused(len(asked), clock())
        except EndpointError:
            # Which of them it was, and why, a call of its own tells.
            told += [await reader.call(contract, view, *arguments, at=at) for view, arguments in asked]
        else:
            portion.served(clock())
    return told
