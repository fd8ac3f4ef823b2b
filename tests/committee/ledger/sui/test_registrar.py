"""What accounts send about their nodes, and what the registry has of it then."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import ExitStack, closing
from dataclasses import replace
from pathlib import Path

import pytest

from committee import bls
from committee.bls import SecretKey
from committee.errors import LedgerRefused
from committee.ledger.sui.deployment import SuiDeployment
from committee.ledger.sui.grpc import SuiRpc
from committee.ledger.sui.keys import SuiKey
from committee.ledger.sui.objects import Objects, address_text
from committee.ledger.sui.package import Package
from committee.ledger.sui.registrar import Registrar
from committee.ledger.sui.sending import SuiSender
from committee.ledger.sui.state import RegistryNode, State
from tests.committee.ledger.sui.registered import newest
from tests.contracts.sui.network import Network
from tests.localnet.sui_double.packages import needs_framework

pytestmark = needs_framework

SECRETS = iter(map(SecretKey, range(9000, 9100)))
RECEIVER = address_text(bytes([7]) * 32)


class Accounts:
    """An owner and an operator, each with what it sends with."""

    def __init__(
        self, network: Network, rpc: SuiRpc, deployment: SuiDeployment, package: Package, folder: Path
    ) -> None:
        self.network = network
        self.objects = Objects(rpc)
        self.state = State(self.objects, deployment, package)
        self.opened = ExitStack()
        self.owner, self.operator = SuiKey.generate(), SuiKey.generate()
        registrars = []
        for key in (self.owner, self.operator):
            network.chain.fund(key.address)
            sender = self.opened.enter_context(closing(SuiSender(rpc, key, package, folder)))
            registrars.append(Registrar(sender, self.objects, self.state, deployment, package))
        self.as_owner, self.as_operator = registrars

    def proof(self, secret: SecretKey) -> bytes:
        return bls.proof_of_possession(secret, address_text(self.owner.address), self.network.domain)

    async def register(self) -> RegistryNode:
        """Register a node whose operator is the other account; return it."""
        secret = next(SECRETS)
        node_id, transaction = await self.as_owner.register_node(
            "baffin",
            "http://node.example:1",
            secret.public_key,
            self.proof(secret),
            commission=250,
            operator=address_text(self.operator.address),
            receiver=RECEIVER,
            tls_key=bytes([3]) * 32,
        )
        assert transaction.block == newest(self.network)
        node = await self.state.node(node_id)
        assert node == RegistryNode(
            node_id=node_id,
            owner_cap=node.owner_cap,
            operator_cap=node.operator_cap,
            receiver=RECEIVER,
            name="baffin",
            address="http://node.example:1",
            tls_key=bytes([3]) * 32,
            public_keys=((0, secret.public_key),),
            commissions=((0, 250),),
            is_candidate=True,
            barred_until_period=0,
        )
        return node


@pytest.fixture
async def accounts(
    network: Network, rpc: SuiRpc, deployment: SuiDeployment, package: Package, tmp_path: Path
) -> AsyncIterator[Accounts]:
    accounts = Accounts(network, rpc, deployment, package, tmp_path)
    yield accounts
    accounts.opened.close()


async def test_operator_acts_for_the_node(accounts: Accounts) -> None:
    node = await accounts.register()
    node_id = node.node_id
    await accounts.as_operator.update_address(node_id, "http://moved.example:2")
    moved = replace(node, address="http://moved.example:2", tls_key=bytes(32))
    assert await accounts.state.node(node_id) == moved
    await accounts.as_operator.leave(node_id)
    assert await accounts.state.node(node_id) == replace(moved, is_candidate=False)
    await accounts.as_operator.become_candidate(node_id)
    assert await accounts.state.node(node_id) == moved
    await accounts.as_operator.resign(node_id)
    assert await accounts.state.node(node_id) == replace(moved, operator_cap=None)
    with pytest.raises(LedgerRefused, match="NotAnOperator"):
        await accounts.as_operator.leave(node_id)


async def test_owner_decides_about_the_node(accounts: Accounts) -> None:
    node = await accounts.register()
    node_id, secret = node.node_id, next(SECRETS)
    await accounts.as_owner.change_receiver(node_id, address_text(accounts.owner.address))
    await accounts.as_owner.change_commission(node_id, 300)
    await accounts.as_owner.change_public_key(node_id, secret.public_key, accounts.proof(secret))
    await accounts.as_owner.change_operator(node_id, address_text(accounts.owner.address))
    changed = await accounts.state.node(node_id)
    assert changed == replace(
        node,
        receiver=address_text(accounts.owner.address),
        operator_cap=changed.operator_cap,
        commissions=((0, 250), (1, 300)),
        public_keys=(*node.public_keys, (1, secret.public_key)),
    )
    assert changed.operator_cap != node.operator_cap
    with pytest.raises(LedgerRefused, match=f"NotAnOperator .nodeId={node_id}"):
        await accounts.as_operator.update_address(node_id, "http://moved.example:2")
    await accounts.as_owner.update_address(node_id, "http://moved.example:3")


async def test_account_without_the_right_is_refused(accounts: Accounts) -> None:
    node = await accounts.register()
    with pytest.raises(LedgerRefused, match="NotNodeOwner"):
        await accounts.as_operator.change_commission(node.node_id, 1)
    with pytest.raises(LedgerRefused, match="UnknownNode"):
        await accounts.as_owner.change_commission(node.node_id + 1, 1)


async def test_packages_refusal_is_told(accounts: Accounts) -> None:
    node = await accounts.register()
    with pytest.raises(LedgerRefused, match=r"refused registry.changeCommission: CommissionTooHigh"):
        await accounts.as_owner.change_commission(node.node_id, 3001)
    secret = next(SECRETS)
    with pytest.raises(LedgerRefused, match=r"refused registry.register: InvalidProofOfPossession"):
        await accounts.as_owner.register_node(
            "baffin", "http://node.example:1", secret.public_key, accounts.proof(next(SECRETS))
        )
