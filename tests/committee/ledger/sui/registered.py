"""Registered nodes of a deployment in the double, and what they send."""

from __future__ import annotations

from committee.bls import SecretKey
from committee.ledger.records import BlockMark
from committee.ledger.sui.deployment import SuiDeployment
from tests.contracts.sui.network import Network, written
from tests.localnet.sui_double.wallet import Wallet, text


def deployed(network: Network) -> SuiDeployment:
    """Return what a ledger has to know of the network."""
    shared = ("System", "Registry", "Staking", "Blobs")
    ids = [written(network.creation, name).id for name in shared]
    return SuiDeployment(network.chain.id, network.package, *ids)


def newest(network: Network) -> BlockMark:
    """Return what names the chain's newest checkpoint."""
    return marks(network)[-1]


def marks(network: Network) -> list[BlockMark]:
    """Return what names each of the chain's checkpoints."""
    return [BlockMark(one.sequence, one.digest) for one in network.chain.ledger.checkpoints]


class Node:
    """A registered node, its owner's account and its operator's."""

    def __init__(self, network: Network, number: int) -> None:
        self.network = network
        self.key = SecretKey(1000 + number)
        self.owner = Wallet(network.chain, f"owner {number}")
        self.operator = Wallet(network.chain, f"operator {number}")
        draft = self.owner.draft()
        owner_cap, operator_cap = network.register(draft, self.owner.address, self.key)
        draft.transfer(self.owner.address, owner_cap)
        draft.transfer(self.operator.address, operator_cap)
        effects = self.owner.succeed(draft)
        self.owner_cap, self.operator_cap = (
            written(effects, "OwnerCap").id,
            written(effects, "OperatorCap").id,
        )

    def move(self, *addresses: str) -> None:
        """Change where the node is reached, in one transaction, once for each address."""
        draft = self.operator.draft()
        registry = draft.object(self.network.registry.id)
        cap = draft.object(self.operator_cap)
        for address in addresses:
            arguments = (cap, text(address.encode()), text(bytes([9]) * 32))
            draft.call(self.network.package, "registry::change_network_address", registry, *arguments)
        self.operator.succeed(draft)
