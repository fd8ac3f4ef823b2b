"""A process that pays from an account and kills itself on the way; it is started by the tests.

    python killed.py URL CHAIN PACKAGE FOLDER PLACE AMOUNT

The key is in FOLDER/account.key. PLACE is where it ends: `signing`, `sending` or `sent`.
"""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from pathlib import Path
from typing import Any, NoReturn

from committee.ledger.sui.grpc import SuiRpc
from committee.ledger.sui.keys import SuiKey
from committee.ledger.sui.package import Package
from committee.ledger.sui.sending import SuiSender
from committee.ledger.sui.signed import Signed
from committee.ledger.sui.transactions import GAS_COIN, Draft


def die(*_: object) -> NoReturn:
    os.kill(os.getpid(), signal.SIGKILL)
    raise AssertionError("it lives on")


async def pay(url: str, chain: str, package: str, folder: str, place: str, amount: str) -> None:
    key = SuiKey.read(Path(folder, "account.key"))
    sender = SuiSender(SuiRpc(url, bytes.fromhex(chain)), key, Package(bytes.fromhex(package)), Path(folder))
    hand_over = sender._hand_over

    async def handed_over(signed: Signed) -> Any:
        if place == "sent":
            await hand_over(signed)
        die()

    if place == "signing":
        setattr(SuiKey, "sign", die)  # noqa: B010 (mypy takes no assignment)
    setattr(sender, "_hand_over", handed_over)  # noqa: B010
    draft = Draft()
    draft.transfer(bytes([0xEE]) * 32, draft.split(GAS_COIN, int(amount)))
    await sender.send("pay", draft)


if __name__ == "__main__":
    asyncio.run(pay(*sys.argv[1:]))
