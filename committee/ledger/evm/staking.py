"""The part of the EVM adapter that stakes, unstakes and has nodes paid out."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

from committee.errors import LedgerError, LedgerRefused
from committee.ledger.evm.writer import Writer
from committee.ledger.records import Transaction

LATELY_BLOCKS = 7200
"""Newest blocks in which an equal stake is looked for: a day's blocks of 12 seconds."""
PAID_NODES = 16
PAID_PERIODS = 2
"""Nodes, and periods of each, that one transaction pays out: together 16 M gas at most, if members were replaced in
each period as often as they can be (contracts/evm/test/GasWorst.t.sol)."""


class StakingWriter(Writer):
    """What stakers send, and what moves pay to them."""

    async def stake(self, node_id: int, amount: int) -> Transaction:
        """Stake on a node, from the first period on whose committee is not elected yet."""
        try:
            return await self._stake(node_id, amount)
        except LedgerRefused as refusal:
            if refusal.reason != "NotSettled":
                raise
            # What was staked before has to join first.
            await self._pay_out_first(node_id, int(str(refusal.arguments["needed"])))
            return await self._stake(node_id, amount)

    async def _stake(self, node_id: int, amount: int) -> Transaction:
        """Stake, with a permit in the same transaction; approve the amount first if the token takes no permits."""
        staking = self._reader.staking
        try:
            call = staking.abi.encode_call("stake", node_id, amount)
            return (await self._spend(staking, [call], "Staking.stake", amount, payments=1)).transaction
        except LedgerRefused as refusal:
            async with self._spending:
                await self._approve(staking, refusal)
                return await self._stake_call("stake", node_id, amount)

    async def staked_lately(self, node_id: int, amount: int) -> int | None:
        """Return the newest block in which the account staked just this amount on a node, not long ago; else None."""
        sender = self._sending()
        account = sender.account
        newest = (await self._reader.newest(sender.mined_block)).number
        first = max(newest - LATELY_BLOCKS + 1, self._reader.first_block)
        staked = self._reader.newest_first(self._reader.staking, ["Staked"], [[node_id]], first, newest)
        async for log, block in staked:
            if log.arguments["staker"] == account and log.arguments["amount"] == amount:
                return block.number
        return None

    async def unstake(self, node_id: int, amount: int | None = None) -> Transaction:
        """Take stake off a node, all of it when None, from the first period on whose committee is not elected yet."""
        staking, account = self._reader.staking, self._sending().account
        period = await self._reader.call(self._reader.committee, "period")
        joinings = await self._reader.call(staking, "joiningsOf", node_id, account)
        joined = sum(one["amount"] for one in joinings if one["period"] <= period)
        if joined:
            await self._pay_out_first(node_id, period)
        shares = await self._reader.call(staking, "sharesOf", node_id, account)
        if joined and self._dry_run:  # about: the shares are known once the node is paid out
            shares += await self._reader.call(staking, "sharesFor", node_id, joined)
        if not shares and joinings:
            first = min(one["period"] for one in joinings)
            raise LedgerError(
                f"what {account} staked on node {node_id} joins it with period {first}, and can be unstaked from its "
                "start on"
            )
        if amount is not None:
            wanted = await self._reader.call(staking, "sharesFor", node_id, amount)
            worth = await self._reader.call(staking, "stakeOf", node_id, account)
            shares = shares if amount == worth else wanted
        return await self._stake_call("unstake", node_id, shares)

    async def cancel_unstaking(
        self, node_id: int, unlock_period: int, amount: int | None = None
    ) -> Transaction:
        """Cancel the unstaking of the stake that was to leave with `unlock_period`, all of it when None."""
        shares = await self._unbonding_shares(node_id, unlock_period, amount)
        return await self._stake_call("cancelUnstaking", node_id, unlock_period, shares)

    async def unstake_sooner(
        self, node_id: int, unlock_period: int, amount: int | None = None
    ) -> Transaction:
        """Let stake leave sooner that was to leave with `unlock_period`, all of it when None: as if unstaked now."""
        shares = await self._unbonding_shares(node_id, unlock_period, amount)
        return await self._stake_call("unstakeSooner", node_id, unlock_period, shares)

    async def _unbonding_shares(self, node_id: int, unlock_period: int, amount: int | None) -> int:
        """Return the account's shares of what leaves with a period that are worth an amount; all of them when None."""
        staking, account = self._reader.staking, self._sending().account
        views = await self._reader.call(staking, "unbondingsOf", node_id, account, unlock_period)
        mine = next(
            (one for one in views if one["unlockPeriod"] == unlock_period), {"shares": 0, "amount": 0}
        )
        if amount is None or amount == mine["amount"]:
            return int(mine["shares"])
        return int(amount * mine["shares"] // max(1, mine["amount"]))

    async def withdraw(self, node_id: int, unlock_period: int) -> Transaction:
        """Withdraw the stake that left with `unlock_period`; have the node paid out first where that is lacking."""
        try:
            return await self._stake_call("withdraw", node_id, unlock_period)
        except LedgerRefused as refusal:
            if refusal.reason == "NothingUnbonding":
                return await self._withdraw_joining(node_id, unlock_period, refusal)
            if refusal.reason != "NotSettled":
                raise
            await self._pay_out_first(node_id, unlock_period)
            return await self._stake_call("withdraw", node_id, unlock_period)

    async def _withdraw_joining(self, node_id: int, period: int, refusal: LedgerRefused) -> Transaction:
        """Withdraw, at a standstill, the stake that was to join with a period; raise the refusal for none."""
        staking, account = self._reader.staking, self._sending().account
        joinings = await self._reader.call(staking, "joiningsOf", node_id, account)
        if all(one["period"] != period for one in joinings):
            raise refusal
        return await self._stake_call("cancelStaking", node_id, period)

    async def pay_out(
        self, node_ids: Sequence[int] | None = None, until: int | None = None
    ) -> list[Transaction]:
        """Have nodes paid what they earned in periods that are over, before the period `until` if not None."""
        blobs, staking = self._reader.blobs, self._reader.staking
        if node_ids is None:
            node_ids = range(1, 1 + await self._reader.call(self._reader.registry, "nodeCount"))
        end, *firsts = await asyncio.gather(
            self._reader.call(self._reader.committee, "payableUntil"),
            *(self._reader.call(staking, "settledPeriod", node_id) for node_id in node_ids),
        )
        if until is not None:
            end = min(end, until)
        behind = sorted(
            (first, node_id) for first, node_id in zip(firsts, node_ids, strict=True) if first < end
        )
        calls: list[tuple[list[int], int]] = []
        for place in range(0, len(behind), PAID_NODES):
            chosen = [node_id for _, node_id in behind[place : place + PAID_NODES]]
            ends = (*range(behind[place][0] + PAID_PERIODS, end, PAID_PERIODS), end)
            calls.extend((chosen, part_end) for part_end in ends)
        return [(await self._send(blobs, "payOut", *call)).transaction for call in calls]

    async def withdraw_earnings(self) -> Transaction:
        """Take the account's commissions."""
        return await self._stake_call("withdrawEarnings")

    async def _pay_out_first(self, node_id: int, until: int) -> None:
        """Have a node paid out, before something that needs it is sent."""
        if not self._dry_run:
            await self.pay_out([node_id], until)
            return
        blobs = self._reader.blobs
        data = blobs.abi.encode_call("payOut", [node_id], until)
        self._planned.append(await self._sending().plan("Blobs.payOut", blobs.address, data))
