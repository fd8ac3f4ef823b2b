"""An account on Sui whose transactions a test watches on their way to the chain."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest
from grpclib.const import Status
from grpclib.exceptions import GRPCError

from committee import bcs
from committee.bls import SecretKey
from committee.ledger.sui.grpc import SuiRpc
from committee.ledger.sui.keys import SuiKey
from committee.ledger.sui.package import Package
from committee.ledger.sui.sending import SuiSender
from committee.ledger.sui.transactions import GAS_COIN, Draft, Owned, Pure, Shared
from committee.ledger.sui.wire import v2
from localnet.sui_double.chain import Chain
from localnet.sui_double.transactions import OwnedInput, read_transaction
from tests.contracts.sui.network import Network, written
from tests.localnet.sui_double.wallet import Wallet

OTHER = bytes([0xEE]) * 32
"""An account that is paid."""


class Submitted:
    """All that was handed to the chain, and what of it was executed."""

    def __init__(self, chain: Chain, monkeypatch: pytest.MonkeyPatch) -> None:
        self.users: dict[tuple[bytes, int], set[bytes]] = defaultdict(set)
        """(object, version) → digests of the transactions that use it and were handed over."""
        self.handed_over: list[bytes] = []
        self.losses = 0
        """Transactions, from now on, that do not arrive."""
        self._submit = chain.submit
        monkeypatch.setattr(Chain, "submit", self)

    def __call__(self, data: bytes, signatures: list[bytes]) -> Any:
        transaction = read_transaction(data)
        refs = [one.ref for one in transaction.inputs if isinstance(one, OwnedInput)]
        for ref in (*refs, *transaction.gas.coins):
            self.users[ref.id, ref.version].add(transaction.digest)
        self.handed_over.append(transaction.digest)
        if self.losses:
            self.losses -= 1
            raise GRPCError(Status.UNAVAILABLE, "it is lost on the way")
        return self._submit(data, signatures)

    def check(self) -> None:
        """Fail if two transactions of one version of an object were ever handed over."""
        assert [users for users in self.users.values() if len(users) > 1] == []


class Account:
    """An account that operates a node, and a folder for what it signs."""

    _number = 0

    def __init__(self, network: Network, rpc: SuiRpc, package: Package, folder: Path) -> None:
        Account._number += 1
        self.network, self.rpc, self.package, self.folder = network, rpc, package, folder
        self.key = SuiKey.generate()
        network.chain.fund(self.key.address)
        self.owner = Wallet(network.chain, f"owner of {Account._number}")
        draft = self.owner.draft()
        caps = network.register(draft, self.owner.address, SecretKey(5000 + Account._number))
        draft.transfer(self.owner.address, caps[0])
        draft.transfer(self.key.address, caps[1])
        effects = self.owner.succeed(draft)
        self.owner_cap, self.cap = written(effects, "OwnerCap").id, written(effects, "OperatorCap").id

    def sender(self, folder: Path | None = None) -> SuiSender:
        return SuiSender(self.rpc, self.key, self.package, folder or self.folder)

    def move(self, address: str) -> Draft:
        """Return the transaction that changes where the node is reached."""
        draft = Draft()
        draft.call(
            self.network.package,
            "registry::change_network_address",
            Shared(self.network.registry.id, is_mutable=True),
            Owned(self.cap),
            Pure(bcs.text(address)),
            Pure(bcs.sequence(bytes(32))),
        )
        return draft

    def pay(self, mist: int) -> Draft:
        """Return the transaction that gives another account something."""
        draft = Draft()
        draft.transfer(OTHER, draft.split(GAS_COIN, mist))
        return draft

    def replace_operator(self) -> None:
        """Take the capability's meaning from it, as the node's owner."""
        draft = self.owner.draft()
        registry = draft.object(self.network.registry.id)
        replaced = draft.call(
            self.network.package, "registry::replace_operator", registry, draft.object(self.owner_cap)
        )
        draft.transfer(self.owner.address, replaced)
        self.owner.succeed(draft)

    def paid(self) -> list[int]:
        """Return what the other account has got from this one, sorted."""
        chain = self.network.chain
        return sorted(
            int.from_bytes(coin.contents[32:], "little")
            for coin in chain.objects.owned_by(OTHER)
            if sender_of(chain, coin.previous_transaction) == self.key.address
        )


def sender_of(chain: Chain, digest: bytes) -> bytes:
    """Return who sent a transaction."""
    return chain.ledger.transactions[digest].effects.transaction.sender


def epoch_of(number: int, price: int = 1000) -> Callable[[Any], Awaitable[Any]]:
    """Return what answers `GetEpoch` with this epoch and price of gas."""

    async def answer(_: Any) -> Any:
        return v2.GetEpochResponse(epoch=v2.Epoch(epoch=number, reference_gas_price=price))

    return answer
