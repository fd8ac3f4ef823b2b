"""What an account sends about its nodes. Rights are objects: an account acts as what it has a capability for."""

from __future__ import annotations

from committee import bcs
from committee.errors import LedgerRefused
from committee.ledger.records import Transaction
from committee.ledger.sui.deployment import SuiDeployment
from committee.ledger.sui.objects import Objects, address_text, read_address
from committee.ledger.sui.package import Package
from committee.ledger.sui.sending import SuiSender
from committee.ledger.sui.state import State
from committee.ledger.sui.transactions import Argument, Draft, Owned, Pure, Shared
from committee.ledger.sui.types import type_text

CLOCK = Shared(bytes(31) + b"\x06", is_mutable=False)
"""Sui's clock."""


class Registrar:
    """Registers nodes and changes them, as one account."""

    def __init__(
        self,
        sender: SuiSender,
        objects: Objects,
        state: State,
        deployment: SuiDeployment,
        package: Package,
    ) -> None:
        self._sender = sender
        self._account = read_address(sender.account)
        self._objects = objects
        self._state = state
        self._package = package
        self._registry = Shared(deployment.registry, is_mutable=True)
        self._system = Shared(deployment.system, is_mutable=False)
        self._staking = Shared(deployment.staking, is_mutable=False)

    async def register_node(
        self,
        name: str,
        address: str,
        public_key: bytes,
        proof_of_possession: bytes,
        *,
        commission: int = 0,
        operator: str | None = None,
        receiver: str | None = None,
        tls_key: bytes = bytes(32),
    ) -> tuple[int, Transaction]:
        """Register a node of the account: (node id, transaction). The account gets its `OwnerCap`.

        The operator gets the `OperatorCap`; operator and receiver are the account unless named.
        """
        draft = Draft()
        owner_cap, operator_cap = self._call(
            draft,
            "registry::register",
            self._system,
            Pure(bcs.text(name)),
            Pure(bcs.text(address)),
            Pure(bcs.sequence(tls_key)),
            Pure(bcs.sequence(public_key)),
            Pure(bcs.sequence(proof_of_possession)),
            Pure(bcs.u16(commission)),
            Pure(read_address(receiver or self._sender.account)),
            CLOCK,
        )
        draft.transfer(self._account, owner_cap)
        draft.transfer(read_address(operator or self._sender.account), operator_cap)
        sent = await self._sender.send("registry.register", draft)
        type_ = self._package.type("registry", "NodeRegistered")
        (contents,) = (contents for told, contents in sent.outcome.events if told == type_text(type_))
        return int(self._package.decode(type_, contents)["node_id"]), sent.transaction

    async def update_address(self, node_id: int, address: str, tls_key: bytes = bytes(32)) -> Transaction:
        """Change where a node is reached, at once, as its operator."""
        cap, given = await self._cap("OperatorCap", node_id), (bcs.text(address), bcs.sequence(tls_key))
        return await self._send("registry::change_network_address", cap, *map(Pure, given))

    async def leave(self, node_id: int) -> Transaction:
        """Stand for no further selection, as the node's operator."""
        return await self._send("candidates::leave", await self._cap("OperatorCap", node_id))

    async def become_candidate(self, node_id: int) -> Transaction:
        """Stand again, after leaving or an ejection, as the node's operator."""
        cap = await self._cap("OperatorCap", node_id)
        return await self._send("candidates::become", self._system, self._staking, cap, CLOCK)

    async def resign(self, node_id: int) -> Transaction:
        """Operate a node no more; its owner can name another operator."""
        return await self._send("registry::resign_operator", await self._cap("OperatorCap", node_id))

    async def change_operator(self, node_id: int, operator: str) -> Transaction:
        """Let another account operate a node, as its owner: the capability of the one before counts no more."""
        draft, cap = Draft(), await self._cap("OwnerCap", node_id)
        operator_cap, _ = self._call(draft, "registry::replace_operator", cap)
        draft.transfer(read_address(operator), operator_cap)
        return (await self._sender.send("registry.replaceOperator", draft)).transaction

    async def change_receiver(self, node_id: int, receiver: str) -> Transaction:
        """Send a node's commission to another account, as its owner."""
        cap = await self._cap("OwnerCap", node_id)
        return await self._send("registry::change_receiver", cap, Pure(read_address(receiver)))

    async def change_commission(self, node_id: int, commission: int) -> Transaction:
        """Change a node's commission, as its owner, from the next period on whose committee is not elected yet."""
        cap = await self._cap("OwnerCap", node_id)
        return await self._send("registry::change_commission", self._system, cap, Pure(bcs.u16(commission)))

    async def change_public_key(
        self, node_id: int, public_key: bytes, proof_of_possession: bytes
    ) -> Transaction:
        """Give a node another BLS key, as its owner, from the next period on whose committee is not elected yet."""
        cap = await self._cap("OwnerCap", node_id)
        proven = Pure(bcs.sequence(public_key)), Pure(bcs.sequence(proof_of_possession))
        return await self._send("registry::change_public_key", self._system, cap, *proven, CLOCK)

    async def _send(self, function: str, *arguments: Argument) -> Transaction:
        draft = Draft()
        self._call(draft, function, *arguments)
        return (await self._sender.send(_action(function), draft)).transaction

    def _call(self, draft: Draft, function: str, *arguments: Argument) -> tuple[Argument, Argument]:
        return draft.call(self._package.id, function, self._registry, *arguments)

    async def _cap(self, name: str, node_id: int) -> Owned:
        """Return the account's capability for a node. Raises `LedgerRefused` when it has none that counts."""
        type_ = self._package.type("registry", name)
        caps = await self._objects.owned(self._account, type_text(type_))
        named = [cap.id for cap in caps if self._package.decode(type_, cap.contents)["node_id"] == node_id]
        node = await self._state.node(node_id)
        if name == "OperatorCap":
            named = [id_ for id_ in named if id_ == node.operator_cap]
        if not named:
            reason = "NotAnOperator" if name == "OperatorCap" else "NotNodeOwner"
            raise LedgerRefused(
                f"node {node_id}", reason, {"nodeId": node_id, "account": address_text(self._account)}
            )
        return Owned(named[0])


def _action(function: str) -> str:
    """Return how messages name a function: `registry::change_receiver` as `registry.changeReceiver`."""
    module, _, name = function.partition("::")
    first, *rest = name.split("_")
    return f"{module}.{first}{''.join(part.capitalize() for part in rest)}"
