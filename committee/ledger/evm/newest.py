"""The chain's newest block, as transactions need it: for the price of gas, and for where a deployment begins."""

from __future__ import annotations

import asyncio
from contextlib import suppress

from committee.ledger.evm import answers
from committee.ledger.evm.answers import Block
from committee.ledger.evm.refusals import Behind
from committee.ledger.evm.rpc import Rpc

BEHIND_PAUSES_S = (0.1, 0.2, 0.4, 0.8, 1.6)
"""Pauses between requests while the machines behind an endpoint's URL tell no newest block."""


async def newest_block(rpc: Rpc) -> Block:
    """Return the newest block; an endpoint that answers null for it is asked again. Raises `LedgerUnavailable`."""
    for pause_s in BEHIND_PAUSES_S:
        with suppress(Behind):
            return await _asked(rpc)
        await asyncio.sleep(pause_s)
    return await _asked(rpc)


async def _asked(rpc: Rpc) -> Block:
    return await rpc.request("eth_getBlockByNumber", "latest", False, read=answers.block)
