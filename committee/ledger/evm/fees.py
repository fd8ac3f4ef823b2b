"""What a transaction bids for a unit of gas, from what endpoints of different kinds tell."""

from __future__ import annotations

import contextlib

from committee.errors import LedgerUnavailable
from committee.ledger.evm import answers
from committee.ledger.evm.newest import newest_block
from committee.ledger.evm.rpc import Rpc
from committee.ledger.evm.together import both

BASE_FEE_HEADROOM = 2
"""A bid is this many times the newest base fee: enough for five full blocks in a row."""
LEGACY_HEADROOM_PERCENT = 25
"""Added to the price that an endpoint names for a legacy transaction."""
RAISE = 3
"""A raised bid is at least this many times the one that an endpoint found too low."""
RAISES = 3
"""The most times that the bid of a transaction that no endpoint takes is raised."""
LEAST_TIP_WEI = 10**9
"""The least tip that is bid where it is guessed from what other accounts paid; as in web3.py."""
FEE_HISTORY_BLOCKS = 10
FEE_HISTORY_PERCENTILE = 50


async def bid(rpc: Rpc) -> dict[str, int]:
    """Return what to bid for a unit of gas, in wei, by the transaction's field.

    A legacy transaction's `gasPrice` where nothing tells a tip.
    """
    block, tip = await both(newest_block(rpc), _tip(rpc))
    if block.base_fee_wei is None or tip is None:
        price = await rpc.eth.gas_price
        return {"gasPrice": price * (100 + LEGACY_HEADROOM_PERCENT) // 100}
    return _with_tip(block.base_fee_wei, tip)


async def raised(rpc: Rpc, offer: dict[str, int], least_tip_wei: int) -> dict[str, int]:
    """Return a bid for an endpoint that takes no transaction with the bid `offer`: RAISE times as much, or more.

    That is the tip that its refusal names (0 for none), and the price that it names for legacy transactions: some name
    a tip in `eth_maxPriorityFeePerGas` that they do not take. Raises `LedgerUnavailable`.
    """
    block = await newest_block(rpc)
    price = await rpc.eth.gas_price
    if block.base_fee_wei is None or "gasPrice" in offer:
        return {
            "gasPrice": max(RAISE * most_per_gas_wei(offer), price, min(least_tip_wei, answers.MAX_FEE_WEI))
        }
    tips = RAISE * offer["maxPriorityFeePerGas"], price - block.base_fee_wei, least_tip_wei
    return _with_tip(block.base_fee_wei, min(max(tips), answers.MAX_FEE_WEI))


def _with_tip(base_fee_wei: int, tip_wei: int) -> dict[str, int]:
    return {"maxFeePerGas": base_fee_wei * BASE_FEE_HEADROOM + tip_wei, "maxPriorityFeePerGas": tip_wei}


def most_per_gas_wei(offer: dict[str, int]) -> int:
    """Return the most that a bid may cost for a unit of gas."""
    return offer["maxFeePerGas"] if "maxFeePerGas" in offer else offer["gasPrice"]


async def _tip(rpc: Rpc) -> int | None:
    """Return the tip to bid for a unit of gas, in wei, from the first method that an endpoint has; None for none."""
    with contextlib.suppress(LedgerUnavailable):
        return await rpc.eth.max_priority_fee
    with contextlib.suppress(LedgerUnavailable):
        history = hex(FEE_HISTORY_BLOCKS), "latest", [FEE_HISTORY_PERCENTILE]
        rewards = await rpc.request("eth_feeHistory", *history, read=answers.newest_rewards)
        paid = sorted(filter(None, rewards))
        return max(paid[len(paid) // 2], LEAST_TIP_WEI) if paid else LEAST_TIP_WEI
    return None
