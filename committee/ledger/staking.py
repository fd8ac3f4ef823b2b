"""What Haulout asks of a chain about stake and what it earns: the part of `Ledger` for stakers and their nodes."""

from __future__ import annotations

from typing import Protocol

from committee.ledger.records import StakePosition, Transaction


class StakeLedger(Protocol):
    """Stake and earnings of a chain, seen from one account; errors as those of `Ledger`."""

    async def stakes(self, account: str) -> list[StakePosition]:
        """Return what an account has staked and is unstaking, by node id; nodes where it has nothing are left out."""

    async def earnings(self, account: str) -> int:
        """Return the commissions that an account has not withdrawn yet."""

    async def owed(self, period: int, node_id: int) -> int:
        """Return what a node earned in a period that is over and is still to be paid."""

    async def staked_lately(self, node_id: int, amount: int) -> int | None:
        """Return the newest block in which the account staked just this amount on a node, not long ago; else None.

        "Not long ago" is the adapter's limit. A caller that may repeat a stake whose answer was lost calls `drain` and
        this first.
        """

    async def unstake(self, node_id: int, amount: int | None = None) -> Transaction:
        """Take stake off a node, all of it when None, from the first period on whose committee is not elected yet.

        Has the node paid out first where the stake has joined with a period for which it is not settled. The stake can
        be withdrawn when the last period that it stands for is over and the evidence window has passed.
        """

    async def unstake_sooner(
        self, node_id: int, unlock_period: int, amount: int | None = None
    ) -> Transaction:
        """Let stake leave sooner that was to leave with `unlock_period`, all of it when None: as if unstaked now.

        Of use where it was unstaked behind a selection that was dropped since. Refused once that period's committee is
        elected.
        """

    async def cancel_unstaking(
        self, node_id: int, unlock_period: int, amount: int | None = None
    ) -> Transaction:
        """Cancel the unstaking of the stake that was to leave with `unlock_period`, all of it when None.

        Refused once that period's committee is elected.
        """

    async def withdraw(self, node_id: int, unlock_period: int) -> Transaction:
        """Withdraw the stake that left with `unlock_period`; have the node paid out first where that is lacking.

        When epochs have come to a standstill, also what was to join with that period and elected no committee.
        """

    async def withdraw_earnings(self) -> Transaction:
        """Take the account's commissions."""
