"""Registered nodes, read over gRPC: their accounts are those that have their capabilities."""

from __future__ import annotations

from dataclasses import replace

import pytest

from committee import bcs, bls
from committee.bls import SecretKey
from committee.errors import LedgerRefused
from committee.ledger.records import RegisteredNode
from committee.ledger.sui.deployment import SuiDeployment
from committee.ledger.sui.grpc import SuiRpc
from committee.ledger.sui.nodes import NO_ACCOUNT, NodeReader
from committee.ledger.sui.objects import Objects, address_text
from committee.ledger.sui.package import Package
from committee.ledger.sui.stakes import StakeReader
from committee.ledger.sui.state import State
from localnet.sui_double.chain import CLOCK_ID
from localnet.sui_double.move.natives.registry import SUI
from localnet.sui_double.move.types import Datatype, ModuleId
from localnet.sui_double.rpc.server import SuiDouble
from tests.committee.ledger.sui.registered import Node, deployed
from tests.contracts.sui.committees import secret
from tests.contracts.sui.epoch_network import STAKE, EpochNetwork, read
from tests.contracts.sui.network import Network, written
from tests.localnet.sui_double.packages import needs_framework
from tests.localnet.sui_double.wallet import Wallet, text

pytestmark = needs_framework


def reader(rpc: SuiRpc, deployment: SuiDeployment) -> NodeReader:
    objects, package = Objects(rpc), Package(deployment.package)
    state = State(objects, deployment, package)
    return NodeReader(objects, state, StakeReader(objects, state, deployment, package), deployment)


@pytest.fixture
def nodes(rpc: SuiRpc, deployment: SuiDeployment) -> NodeReader:
    return reader(rpc, deployment)


@pytest.fixture(scope="module")
def node(network: Network) -> Node:
    return Node(network, 1)


def as_registered(node: Node) -> RegisteredNode:
    """Return a first node as it is just after its registration."""
    owner, key = address_text(node.owner.address), node.key.public_key
    return RegisteredNode(
        node_id=1,
        owner=owner,
        next_owner=None,
        operator=address_text(node.operator.address),
        receiver=owner,
        name="baffin",
        address="https://node.example",
        tls_key=bytes(32),
        public_key=key,
        commission=300,
        stake=0,
        is_candidate=True,
        barred_until_period=0,
        pending_public_key=key,
        public_key_from=0,
        pending_commission=300,
        commission_from=0,
    )


async def test_accounts_are_those_that_have_the_capabilities(
    network: Network, node: Node, nodes: NodeReader
) -> None:
    registered = as_registered(node)
    assert await nodes.node(1) == registered
    heir = Wallet(network.chain, "heir")
    draft = node.owner.draft()
    draft.transfer(heir.address, draft.object(node.owner_cap))
    node.owner.succeed(draft)
    registered = replace(registered, owner=address_text(heir.address))
    assert await nodes.node(1) == registered, "the receiver stays"
    draft = heir.draft()
    registry, cap = draft.object(network.registry.id), draft.object(node.owner_cap)
    replaced = draft.call(network.package, "registry::replace_operator", registry, cap)
    draft.transfer(heir.address, replaced)
    operator_cap = written(heir.succeed(draft), "OperatorCap").id
    registered = replace(registered, operator=address_text(heir.address))
    assert await nodes.node(1) == registered, "the replaced capability is still the first operator's"
    draft = heir.draft()
    registry, cap = draft.object(network.registry.id), draft.object(operator_cap)
    draft.call(network.package, "registry::resign_operator", registry, cap)
    heir.succeed(draft)
    assert (await nodes.nodes())[0] == replace(registered, operator=NO_ACCOUNT)


async def test_capability_that_no_account_has_names_none(
    network: Network, node: Node, nodes: NodeReader
) -> None:
    frozen = Node(network, 2)
    before = (await nodes.nodes())[-1]
    draft = frozen.owner.draft()
    cap_type = Datatype(ModuleId(network.package, "registry"), "OwnerCap")
    draft.call(SUI, "transfer::public_freeze_object", draft.object(frozen.owner_cap), types=(cap_type,))
    frozen.owner.succeed(draft)
    assert await nodes.node(before.node_id) == replace(before, owner=NO_ACCOUNT)


@pytest.mark.parametrize("node_id", [0, 99])
async def test_node_that_there_is_not_is_refused(nodes: NodeReader, node_id: int) -> None:
    with pytest.raises(LedgerRefused, match=rf"UnknownNode \(nodeId={node_id}\)"):
        await nodes.node(node_id)


async def test_changes_count_from_their_period_on() -> None:
    network = EpochNetwork(10, 4)
    new_key, account = SecretKey(77), address_text(network.wallet.address)
    async with SuiDouble(network.chain) as double:
        rpc = SuiRpc(double.url, deployed(network).chain)
        nodes = reader(rpc, deployed(network))
        before = await nodes.node(2)
        assert (before.public_key, before.stake) == (secret(1).public_key, STAKE)
        (cap,) = (
            one.id
            for one in network.chain.objects.owned_by(network.wallet.address)
            if one.type.name == "OwnerCap" and one.contents[32:36] == (2).to_bytes(4, "little")
        )
        draft = network.wallet.draft()
        registry, system = draft.object(network.registry.id), *read(draft, network.system.id)
        draft.call(
            network.package, "registry::change_commission", registry, system, draft.object(cap), bcs.u16(7)
        )
        proof = bls.proof_of_possession(new_key, account, network.domain)
        keys = text(new_key.public_key), text(proof)
        draft.call(
            network.package,
            "registry::change_public_key",
            *(registry, system, draft.object(cap), *keys, *read(draft, CLOCK_ID)),
        )
        network.wallet.succeed(draft)
        pending = replace(
            before,
            pending_public_key=new_key.public_key,
            public_key_from=1,
            pending_commission=7,
            commission_from=1,
        )
        assert await nodes.node(2) == pending
        network.now_s += 1000
        network.select()
        assert await nodes.node(2) == pending
        network.now_s += 50
        network.start()
        assert await nodes.node(2) == replace(pending, public_key=new_key.public_key, commission=7)
        await rpc.close()
