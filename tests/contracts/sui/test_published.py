"""The Move package on the chain of the Sui double: published, and used by transactions of several accounts."""

from __future__ import annotations

import base64

import pytest
from eth_utils.crypto import keccak

from committee import bls
from committee.bls import SecretKey
from localnet.sui_double.chain import CLOCK_ID, Chain
from localnet.sui_double.effects import Effects
from localnet.sui_double.stored import Owner, OwnerKind, StoredObject
from localnet.sui_double.transactions import ResultOf
from tests.contracts.sui.double import artifact
from tests.localnet.sui_double.packages import needs_framework
from tests.localnet.sui_double.wallet import Draft, Wallet, text, u64

pytestmark = needs_framework

COMMISSION = (300).to_bytes(2, "little")


class Network:
    """A chain on which the package is published, and the registry created."""

    def __init__(self) -> None:
        self.chain = Chain()
        self.deployer = Wallet(self.chain, "deployer")
        draft = self.deployer.draft()
        modules = tuple(base64.b64decode(module) for module in artifact()["modules"].values())
        draft.transfer(self.deployer.address, draft.publish(modules))
        self.publication = self.deployer.succeed(draft)
        (package,) = self.publication.published
        self.package = package.id
        self.founder = written(self.publication, "Founder")
        self.creation = self.deployer.succeed(self.create())
        self.system = written(self.creation, "System")
        self.registry = written(self.creation, "Registry")
        self.domain = keccak(self.chain.id + self.package)

    def create(self) -> Draft:
        draft = self.deployer.draft()
        times = map(u64, (1000, 100, 30, 20, 50, 4000))
        parameters = draft.call(self.package, "parameters::new", *times, (500).to_bytes(2, "little"))
        opening = draft.call(self.package, "parameters::new_opening", bytes(2), bytes(8), bytes(8))
        created = draft.call(
            self.package,
            "deployment::create",
            draft.object(self.founder.id),
            text(self.chain.id),
            (10).to_bytes(2, "little"),
            parameters,
            opening,
            draft.object(CLOCK_ID, is_mutable=False),
        )
        draft.transfer(self.deployer.address, *(ResultOf(created.command, place) for place in range(2)))
        return draft

    def register(self, draft: Draft, owner: bytes, secret: SecretKey) -> tuple[ResultOf, ...]:
        """Add a registration to a draft; return the capabilities of owner and operator."""
        registered = draft.call(
            self.package,
            "registry::register",
            draft.object(self.registry.id),
            draft.object(self.system.id, is_mutable=False),
            text(b"baffin"),
            text(b"https://node.example"),
            text(bytes(32)),
            text(secret.public_key),
            text(bls.proof_of_possession(secret, f"0x{owner.hex()}", self.domain)),
            COMMISSION,
            owner,
            draft.object(CLOCK_ID, is_mutable=False),
        )
        return ResultOf(registered.command, 0), ResultOf(registered.command, 1)


def written(effects: Effects, name: str) -> StoredObject:
    (found,) = (one.after for one in effects.changes if one.after is not None and one.after.type.name == name)
    return found


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
