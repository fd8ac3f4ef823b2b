"""The Move package on the chain of the Sui double: published, and used by transactions of several accounts."""

from __future__ import annotations

import pytest

from committee.bls import SecretKey
from localnet.sui_double.stored import Owner, OwnerKind
from tests.contracts.sui.double import artifact
from tests.contracts.sui.network import Network, written
from tests.localnet.sui_double.packages import needs_framework
from tests.localnet.sui_double.wallet import Wallet, text

pytestmark = needs_framework


@pytest.fixture(scope="module")
def network() -> Network:
    return Network()


def test_publisher_founds_the_deployment_once(network: Network) -> None:
    assert network.founder.owner == Owner(OwnerKind.ADDRESS, network.deployer.address)
    assert network.registry.owner.kind is OwnerKind.SHARED
    assert network.system.owner.kind is OwnerKind.SHARED
    for cap in ("GovernorCap", "GuardianCap"):
        assert written(network.creation, cap).owner == Owner(OwnerKind.ADDRESS, network.deployer.address)
    (created,) = (one for one in network.creation.events if one.type.name == "SystemCreated")
    assert created.contents.startswith(network.system.id + text(network.domain))
    assert network.chain.objects.get(network.founder.id) is None


def test_node_is_registered_and_its_operator_is_another_account(network: Network) -> None:
    owner, operator = Wallet(network.chain, "owner"), Wallet(network.chain, "operator")
    draft = owner.draft()
    owner_cap, operator_cap = network.register(draft, owner.address, SecretKey(11))
    draft.transfer(owner.address, owner_cap)
    draft.transfer(operator.address, operator_cap)
    effects = owner.succeed(draft)
    assert written(effects, "OwnerCap").owner == Owner(OwnerKind.ADDRESS, owner.address)
    hot = written(effects, "OperatorCap")
    assert hot.owner == Owner(OwnerKind.ADDRESS, operator.address)
    draft = operator.draft()
    arguments = (draft.object(hot.id), text(b"https://moved.example"), text(bytes(32)))
    draft.call(
        network.package, "registry::change_network_address", draft.object(network.registry.id), *arguments
    )
    (moved,) = operator.succeed(draft).events
    assert moved.type.name == "NetworkAddressChanged"
    assert b"https://moved.example" in moved.contents


def test_refused_registration_leaves_nothing_behind(network: Network) -> None:
    owner, key = Wallet(network.chain, "late owner"), SecretKey(12)
    draft = owner.draft()
    caps = network.register(draft, bytes(32), key)
    draft.transfer(owner.address, *caps)
    failure = owner.fail(draft, "MOVE_ABORT").failure
    assert failure is not None
    assert artifact()["errors"][str(failure.abort_code)] == "EInvalidProofOfPossession"
    draft = owner.draft()
    draft.transfer(owner.address, *network.register(draft, owner.address, key))
    owner.succeed(draft)


def test_functions_of_the_package_alone_cannot_be_called(network: Network) -> None:
    draft = network.deployer.draft()
    draft.call(network.package, "messages::permanent_blob", bytes(32))
    network.deployer.fail(draft, "NON_ENTRY_FUNCTION_INVOKED")
