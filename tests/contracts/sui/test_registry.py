"""Nodes in the Move package: who may register what, what the capabilities allow, and that the events tell it all."""

from __future__ import annotations

import random
from dataclasses import dataclass, field, replace
from typing import Any

import pytest
from eth_utils.crypto import keccak

from committee import bls
from committee.bls import SecretKey
from localnet.sui_double.move.natives.registry import SUI
from localnet.sui_double.move.types import Datatype, ModuleId
from localnet.sui_double.move.values import Value
from tests.contracts.sui.deployments import CHAIN, DOMAIN, OWNER, STRANGER, Deployment, id_of, text
from tests.contracts.sui.double import PACKAGE, Refused
from tests.localnet.sui_double.packages import needs_framework

pytestmark = needs_framework

TLS_KEY = bytes([3]) * 32


@dataclass(frozen=True)
class Registration:
    """What a node is registered with."""

    name: str = "baffin"
    network_address: str = "http://node.example:9000"
    tls_key: bytes = TLS_KEY
    secret: SecretKey = field(default_factory=lambda: SecretKey(5))
    public_key: bytes | None = None
    """Of the secret key, if None."""
    proven_for: bytes = OWNER
    domain: bytes = DOMAIN
    commission: int = 3_000
    receiver: bytes = OWNER


class Nodes(Deployment):
    """A deployment with its registry."""

    def call_registry(self, name: str, *arguments: Value, sender: bytes = OWNER) -> Any:
        """Call a function of the module."""
        return self.call("registry", name, *arguments, sender=sender)

    def register(self, given: Registration, sender: bytes = OWNER) -> tuple[Value, Value]:
        """Return the owner's and the operator's capability."""
        proof = bls.proof_of_possession(given.secret, f"0x{given.proven_for.hex()}", given.domain)
        owner_cap, operator_cap = self.call_registry(
            "register",
            self.registry,
            self.system,
            text(given.name),
            text(given.network_address),
            given.tls_key,
            given.public_key if given.public_key is not None else given.secret.public_key,
            proof,
            given.commission,
            given.receiver,
            self.clock,
            sender=sender,
        )
        return owner_cap, operator_cap

    def change_key(self, owner_cap: Value, secret: SecretKey, proven_for: bytes = OWNER) -> None:
        """Give a node another key."""
        proof = bls.proof_of_possession(secret, f"0x{proven_for.hex()}", DOMAIN)
        self.call_registry(
            *("change_public_key", self.registry, self.system),
            *(owner_cap, secret.public_key, proof, self.clock),
        )

    def key_in(self, node_id: int, period: int) -> Value:
        """Return a node's key in a period."""
        return self.call_registry("key_in", self.registry, node_id, period)

    def uncompressed(self, public_key: bytes) -> Value:
        """Return a key as committees have it."""
        compressed = self.transaction.call("bls12381", "g1_from_bytes", public_key, package=SUI)
        return self.transaction.call("bls12381", "g1_to_uncompressed_g1", compressed, package=SUI)

    def node(self, node_id: int) -> Any:
        """Return a node as the registry keeps it, a value of `Node`."""
        name = Datatype(ModuleId(PACKAGE, "registry"), "Node")
        (value,) = (
            child.place[0][2]
            for child in self.transaction.host.children.values()
            if child.type.arguments[1:] == (name,) and child.place[0][1] == node_id
        )
        return value


def test_registered_node_has_what_it_was_registered_with() -> None:
    deployment, given = Nodes(), Registration()
    owner_cap, operator_cap = deployment.register(given)
    assert (owner_cap[1], operator_cap[1]) == (1, 1)
    key = deployment.uncompressed(given.secret.public_key)
    assert deployment.node(1) == [
        id_of(owner_cap),
        [[id_of(operator_cap)]],
        OWNER,
        text(given.name),
        text(given.network_address),
        TLS_KEY,
        [[[0, key]]],
        [[[0, 3_000]]],
        True,
        0,
    ]
    second, _ = deployment.register(Registration(secret=SecretKey(6)))
    assert second[1] == 2


@pytest.mark.parametrize(
    ("change", "error"),
    [
        ({"name": " baffin"}, "EInvalidName"),
        ({"name": "b\u00e4ffin"}, "EInvalidName"),
        ({"network_address": "node.example:9000"}, "EInvalidNetworkAddress"),
        ({"tls_key": bytes(31)}, "EInvalidTlsKey"),
        ({"commission": 3_001}, "ECommissionTooHigh"),
        ({"public_key": SecretKey(5).public_key[:-1]}, "EInvalidKey"),
        ({"public_key": b"\xc0" + bytes(47)}, "EInvalidKey"),
        ({"public_key": SecretKey(6).public_key}, "EInvalidProofOfPossession"),
        ({"public_key": b"\x80" + bytes(46) + b"\x01"}, "EInvalidProofOfPossession"),
        ({"proven_for": STRANGER}, "EInvalidProofOfPossession"),
        ({"domain": keccak(CHAIN + OWNER)}, "EInvalidProofOfPossession"),
        ({"domain": keccak(bytes(32) + PACKAGE)}, "EInvalidProofOfPossession"),
    ],
)  # fmt: skip
def test_invalid_registration_is_refused(change: dict[str, Any], error: str) -> None:
    with pytest.raises(Refused, match=f"^{error}$"):
        Nodes().register(replace(Registration(), **change))


def test_proof_of_possession_serves_its_account_alone() -> None:
    with pytest.raises(Refused, match=r"^EInvalidProofOfPossession$"):
        Nodes().register(Registration(), sender=STRANGER)
    Nodes().register(Registration(proven_for=STRANGER), sender=STRANGER)


def test_key_is_registered_once() -> None:
    deployment = Nodes()
    deployment.register(Registration())
    with pytest.raises(Refused, match=r"^EKeyInUse$"):
        deployment.register(Registration(name="another"))


def test_replaced_operator_can_do_nothing_more() -> None:
    deployment = Nodes()
    owner_cap, first = deployment.register(Registration())
    second = deployment.call_registry("replace_operator", deployment.registry, owner_cap)
    moved = (text("https://new.example"), bytes(32))
    deployment.call_registry("change_network_address", deployment.registry, second, *moved)
    assert deployment.node(1)[4:6] == [moved[0], moved[1]]
    with pytest.raises(Refused, match=r"^ENotOperator$"):
        deployment.call_registry("change_network_address", deployment.registry, first, *moved)
    deployment.call_registry("resign_operator", deployment.registry, first)
    assert deployment.node(1)[1] == [[id_of(second)]], "one that is replaced takes nothing with it"


def test_node_without_an_operator_gets_one_from_its_owner() -> None:
    deployment = Nodes()
    owner_cap, operator_cap = deployment.register(Registration())
    deployment.call_registry("resign_operator", deployment.registry, operator_cap)
    assert deployment.node(1)[1] == [[]]
    again = deployment.call_registry("replace_operator", deployment.registry, owner_cap)
    assert deployment.node(1)[1] == [[id_of(again)]]


@pytest.mark.parametrize(
    ("address", "tls_key", "error"),
    [("http://node:0", TLS_KEY, "EInvalidNetworkAddress"), ("http://node", bytes(33), "EInvalidTlsKey")],
)
def test_invalid_address_is_refused_of_an_operator(address: str, tls_key: bytes, error: str) -> None:
    deployment = Nodes()
    _, operator_cap = deployment.register(Registration())
    with pytest.raises(Refused, match=f"^{error}$"):
        deployment.call_registry(
            "change_network_address", deployment.registry, operator_cap, text(address), tls_key
        )


def test_registry_of_another_version_is_refused() -> None:
    deployment = Nodes()
    deployment.registry.get()[1] = 2
    with pytest.raises(Refused, match=r"^EWrongVersion$"):
        deployment.register(Registration())


def test_nobody_registers_while_that_is_paused() -> None:
    deployment = Nodes()
    deployment.call("system", "pause", deployment.system, deployment.guardian, 0, deployment.clock)
    with pytest.raises(Refused, match=r"^EPaused$"):
        deployment.register(Registration())


def test_new_key_and_commission_count_from_the_first_period_that_is_not_elected() -> None:
    deployment, secret = Nodes(), SecretKey(6)
    owner_cap, _ = deployment.register(Registration())
    first = deployment.key_in(1, 0)
    deployment.change_key(owner_cap, secret)
    assert deployment.events()[-1] == ("PublicKeyChanged", [1, secret.public_key, 1])
    assert deployment.key_in(1, 0) == first
    assert deployment.key_in(1, 1) == deployment.key_in(1, 2) == deployment.uncompressed(secret.public_key)
    deployment.call_registry("change_commission", deployment.registry, deployment.system, owner_cap, 0)
    assert deployment.events()[-1] == ("CommissionChanged", [1, 0, 1])
    commissions = [
        deployment.call_registry("commission_in", deployment.registry, 1, period) for period in (0, 1)
    ]
    assert commissions == [3_000, 0]
    deployment.call_registry("change_commission", deployment.registry, deployment.system, owner_cap, 7)
    assert deployment.call_registry("commission_in", deployment.registry, 1, 1) == 7, "the last one counts"


def test_keys_of_periods_that_are_over_are_forgotten() -> None:
    deployment = Nodes()
    owner_cap, _ = deployment.register(Registration())
    deployment.stake(1, 10**9)
    keys = [SecretKey(60 + number) for number in range(4)]
    for key in keys:
        deployment.change_key(owner_cap, key)
        deployment.begin_period()
    assert [period for period, _ in deployment.node(1)[6][0]] == [3, 4]
    assert deployment.key_in(1, 4) == deployment.uncompressed(keys[3].public_key)


def test_invalid_key_or_commission_is_no_change() -> None:
    deployment = Nodes()
    owner_cap, _ = deployment.register(Registration())
    with pytest.raises(Refused, match=r"^ECommissionTooHigh$"):
        deployment.call_registry(
            "change_commission", deployment.registry, deployment.system, owner_cap, 3_001
        )
    with pytest.raises(Refused, match=r"^EKeyInUse$"):
        deployment.change_key(owner_cap, SecretKey(5))
    with pytest.raises(Refused, match=r"^EInvalidProofOfPossession$"):
        deployment.change_key(owner_cap, SecretKey(7), proven_for=STRANGER)
    deployment.call("system", "pause", deployment.system, deployment.guardian, 2, deployment.clock)
    with pytest.raises(Refused, match=r"^EPaused$"):
        deployment.change_key(owner_cap, SecretKey(8))


def test_events_tell_all_of_the_nodes() -> None:
    """The nodes as events tell them, after a random history, are those that the registry keeps."""
    deployment, draw = Nodes(), random.Random(3)
    caps: dict[int, list[Value]] = {}
    for step in range(60):
        action = draw.choice(
            ("register", "move", "replace", "resign", "receiver", "key", "commission", "leave")
        )
        if action == "register" or not caps:
            secret = SecretKey(100 + step)
            owner_cap, operator_cap = deployment.register(Registration(name=f"n{step}", secret=secret))
            caps[owner_cap[1]] = [owner_cap, operator_cap]
            continue
        node_id = draw.choice(sorted(caps))
        owner_cap, operator_cap = caps[node_id]
        if action == "move" and operator_cap:
            address = text(f"http://n{step}.example")
            deployment.call_registry(
                "change_network_address", deployment.registry, operator_cap, address, draw.randbytes(32)
            )
        elif action == "resign" and operator_cap:
            deployment.call_registry("resign_operator", deployment.registry, operator_cap)
            caps[node_id][1] = None
        elif action == "replace":
            caps[node_id][1] = deployment.call_registry("replace_operator", deployment.registry, owner_cap)
        elif action == "key":
            deployment.change_key(owner_cap, SecretKey(1000 + step))
        elif action == "commission":
            arguments = (deployment.system, owner_cap, draw.randrange(3_000))
            deployment.call_registry("change_commission", deployment.registry, *arguments)
        elif action == "leave" and operator_cap and deployment.node(node_id)[8]:
            deployment.call("candidates", "leave", deployment.registry, operator_cap)
        elif action == "receiver":
            deployment.call_registry("change_receiver", deployment.registry, owner_cap, draw.randbytes(32))
    told = nodes_told(deployment.events())
    assert sorted(told) == list(range(1, len(caps) + 1))
    for node_id, node in told.items():
        kept = deployment.node(node_id)
        keys = [
            [period, deployment.transaction.call("bls12381", "uncompressed_g1_to_g1", key, package=SUI)[0]]
            for period, key in kept[6][0]
        ]
        commissions = [list(change) for change in kept[7][0]]
        assert node == [*kept[:6], keys, commissions, *kept[8:]]
    assert candidates_told(deployment.events()) == deployment.state_of(deployment.registry)[3]


def nodes_told(events: list[tuple[str, Any]]) -> dict[int, list[Any]]:
    """Return the nodes that events tell of, each as the registry keeps it, but the key compressed."""
    nodes: dict[int, list[Any]] = {}
    for name, (node_id, *fields) in events:
        match name:
            case "NodeRegistered":
                _, owner_cap, operator_cap, receiver, *contact, key, commission = fields
                nodes[node_id] = [
                    owner_cap,
                    [[operator_cap]],
                    receiver,
                    *contact,
                    [[0, key]],
                    [[0, commission]],
                    False,
                    0,
                ]
            case "PublicKeyChanged" | "CommissionChanged":
                value, period = fields
                changes = nodes[node_id][6 if name == "PublicKeyChanged" else 7]
                if changes[-1][0] == period:
                    changes.pop()
                changes.append([period, value])
            case "CandidateJoined" | "CandidateLeft":
                nodes[node_id][8] = name == "CandidateJoined"
            case "OperatorChanged":
                nodes[node_id][1] = fields[0]
            case "ReceiverChanged":
                nodes[node_id][2] = fields[0]
            case "NetworkAddressChanged":
                nodes[node_id][4:6] = fields
    return nodes


def candidates_told(events: list[tuple[str, Any]]) -> list[int]:
    """Return the candidates that events tell of, in their order."""
    candidates: list[int] = []
    for name, fields in events:
        if name == "CandidateJoined":
            candidates.append(fields[0])
        elif name == "CandidateLeft":
            candidates.remove(fields[0])
    return candidates
