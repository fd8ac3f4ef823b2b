"""The state of a deployment, read over gRPC: as it is at one checkpoint, though it changes meanwhile."""

from __future__ import annotations

from dataclasses import replace

import pytest

from committee.errors import LedgerError, LedgerRefused, LedgerStateGone, LedgerUnavailable
from committee.ledger.records import Parameters
from committee.ledger.sui.deployment import SuiDeployment
from committee.ledger.sui.grpc import SuiRpc
from committee.ledger.sui.objects import Objects, ObjectVersion, address_text
from committee.ledger.sui.package import Package
from committee.ledger.sui.state import RegistryNode, State, compressed_key
from localnet.sui_double.rpc.server import SuiDouble
from tests.committee.ledger.sui.registered import Node, newest
from tests.contracts.sui.network import Network
from tests.localnet.sui_double.packages import needs_framework

pytestmark = needs_framework


@pytest.fixture(scope="module")
def nodes(network: Network) -> list[Node]:
    return [Node(network, number) for number in range(3)]


@pytest.fixture
def state(rpc: SuiRpc, deployment: SuiDeployment, package: Package) -> State:
    return State(Objects(rpc), deployment, package)


async def test_parameters_are_those_of_the_creation(
    network: Network, state: State, deployment: SuiDeployment
) -> None:
    assert await state.parameters() == (
        Parameters(
            n_shards=10,
            period_duration_s=1000,
            handover_deadline_s=100,
            patience_s=30,
            certificate_grace_s=20,
            notice_s=50,
            shrink_s=4000,
            band_millis=500,
            domain=network.domain,
        ),
        newest(network),
    )


async def test_system_of_another_domain_is_refused(
    rpc: SuiRpc, deployment: SuiDeployment, package: Package
) -> None:
    elsewhere = replace(deployment, chain=bytes(32))
    with pytest.raises(LedgerError, match="created for another chain or by another package"):
        await State(Objects(rpc), elsewhere, package).parameters()


async def test_object_of_another_type_is_refused(
    rpc: SuiRpc, deployment: SuiDeployment, package: Package
) -> None:
    swapped = replace(deployment, registry=deployment.system)
    with pytest.raises(LedgerError, match="system::System, and no Registry of the deployment's"):
        await State(Objects(rpc), swapped, package).nodes()


async def test_nodes_are_as_the_registry_keeps_them(
    network: Network, nodes: list[Node], state: State
) -> None:
    nodes[1].move("http://moved.example:1")
    expected = [
        RegistryNode(
            node_id=number + 1,
            owner_cap=node.owner_cap,
            operator_cap=node.operator_cap,
            receiver=address_text(node.owner.address),
            name="baffin",
            address="https://node.example",
            tls_key=bytes(32),
            public_keys=((0, node.key.public_key),),
            commissions=((0, 300),),
            is_candidate=True,
            barred_until_period=0,
        )
        for number, node in enumerate(nodes)
    ]
    expected[1] = replace(expected[1], address="http://moved.example:1", tls_key=bytes([9]) * 32)
    assert await state.nodes() == (expected, newest(network))
    assert await state.node(2) == expected[1]
    ((operated, cap),) = await state.operated_by(nodes[1].operator.address)
    assert (operated, cap.id) == (expected[1], nodes[1].operator_cap)
    assert await state.operated_by(nodes[1].owner.address) == []
    with pytest.raises(LedgerRefused, match=r"UnknownNode \(nodeId=4\)"):
        await state.node(4)


async def test_replaced_capability_operates_nothing(
    network: Network, nodes: list[Node], state: State
) -> None:
    owner = nodes[2].owner
    (cap,) = (one.id for one in network.chain.objects.owned_by(owner.address) if one.type.name == "OwnerCap")
    draft = owner.draft()
    replaced = draft.call(
        network.package, "registry::replace_operator", draft.object(network.registry.id), draft.object(cap)
    )
    draft.transfer(owner.address, replaced)
    owner.succeed(draft)
    assert await state.operated_by(nodes[2].operator.address) == []
    ((operated, _),) = await state.operated_by(owner.address)
    assert operated.node_id == 3


async def test_state_that_changes_while_it_is_read_is_read_again(
    network: Network, nodes: list[Node], rpc: SuiRpc, deployment: SuiDeployment, package: Package
) -> None:
    versions: list[int] = []

    async def read(objects: Objects, shared: list[ObjectVersion]) -> int:
        versions.append(shared[0].version)
        if len(versions) < 3:
            nodes[0].move(f"http://moved.example:{len(versions)}")
        return shared[0].version

    version, mark = await Objects(rpc).together([deployment.registry], read)
    assert len(set(versions)) == 3
    assert version == versions[-1]
    assert mark == newest(network)


async def test_state_that_never_rests_is_unavailable(
    nodes: list[Node], rpc: SuiRpc, deployment: SuiDeployment, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("committee.ledger.sui.objects.READ_TIMES", 3)
    monkeypatch.setattr("committee.ledger.sui.objects.FIRST_PAUSE_S", 0.0)

    async def read(_: Objects, shared: list[ObjectVersion]) -> None:
        nodes[0].move(f"http://moved.example:{shared[0].version}")

    with pytest.raises(LedgerUnavailable, match="read 3 times and had changed each time"):
        await Objects(rpc).together([deployment.registry], read)


async def test_state_is_that_of_an_older_checkpoint_while_it_has_not_changed(
    network: Network, nodes: list[Node], state: State
) -> None:
    before = newest(network)
    told, _ = await state.nodes()
    nodes[0].owner.succeed(nodes[0].owner.draft())
    assert await state.nodes(before) == (told, before)
    nodes[0].move("http://moved.example:999")
    with pytest.raises(LedgerStateGone, match=f"the state at checkpoint {before.number} is gone"):
        await state.nodes(before)


async def test_transaction_that_is_in_no_checkpoint_yet_is_waited_for(
    network: Network, nodes: list[Node], double: SuiDouble, state: State, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("committee.ledger.sui.objects.READ_TIMES", 2)
    monkeypatch.setattr("committee.ledger.sui.objects.FIRST_PAUSE_S", 0.001)
    nodes[0].move("http://moved.example:998")
    double.faults.checkpoint_lag = 1
    with pytest.raises(LedgerUnavailable, match="had changed each time"):
        await state.nodes()
    with pytest.raises(LedgerUnavailable, match="is at checkpoint"):
        await state.nodes(newest(network))
    double.faults.checkpoint_lag = 0
    _, mark = await state.nodes()
    assert mark == newest(network)


async def test_object_whose_transaction_is_pruned_is_read(
    network: Network, nodes: list[Node], double: SuiDouble, state: State
) -> None:
    nodes[0].owner.succeed(nodes[0].owner.draft())
    double.faults.first_checkpoint = newest(network).number
    found, mark = await state.nodes()
    assert (len(found), mark) == (3, newest(network))


async def test_state_is_told_by_one_endpoint_alone(
    network: Network, nodes: list[Node], double: SuiDouble, deployment: SuiDeployment, package: Package
) -> None:
    """One that goes down in the middle leaves nothing half told: all is read again from another."""
    async with SuiDouble(network.chain) as second:
        rpc = SuiRpc([double.url, second.url], deployment.chain)
        second.faults.checkpoint_lag = 1
        seen: list[str] = []

        async def read(objects: Objects, shared: list[ObjectVersion]) -> int:
            seen.append(str(objects._rpc))
            double.faults.is_down = True
            return len(await objects.newest([deployment.system]))

        nodes[0].owner.succeed(nodes[0].owner.draft())
        _, mark = await Objects(rpc).together([deployment.registry], read)
        assert seen == [double.url, second.url]
        assert mark.number == newest(network).number - 1
        await rpc.close()


async def test_account_with_many_objects_is_read_by_pages(
    network: Network, rpc: SuiRpc, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("committee.ledger.sui.objects.PAGE_SIZE", 3)
    account = bytes([77]) * 32
    coins = [network.chain.fund(account, mist=number).id for number in range(1, 9)]
    type_ = "0x2::coin::Coin<0x2::sui::SUI>"
    assert [one.id for one in await Objects(rpc).owned(account, type_)] == coins
    assert [one.id for one in await Objects(rpc).owned(account, type_, limit=4)] == coins[:4]


@pytest.mark.parametrize("data", [bytes(95), b"\x80" + bytes(95), bytes(97)])
def test_key_that_is_no_uncompressed_point_is_refused(data: bytes) -> None:
    with pytest.raises(ValueError, match="uncompressed"):
        compressed_key(data)
