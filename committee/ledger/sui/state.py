"""What the package's shared objects keep, in the records of the ledger."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from committee import bcs
from committee.errors import LedgerError, LedgerRefused
from committee.ledger.records import BlockMark, Parameters
from committee.ledger.sui.deployment import SuiDeployment
from committee.ledger.sui.objects import Objects, ObjectVersion, address_text
from committee.ledger.sui.package import Keyed, Package, field_id
from committee.ledger.sui.types import Scalar, Type, type_text

KEY_BYTES, UNCOMPRESSED_BYTES = 48, 96
_HALF = 0x0D0088F51CBFF34D258DD3DB21A5D66BB23BA5C279C2895FB39869507B587B120F55FFFF58A9FFFFDCFF7FFFFFFFD555
"""(p - 1) / 2 of BLS12-381: the greater of a point's two possible ys is above it."""
_COMPRESSED, _IS_GREATER = 0x80, 0x20
"""Bits of a compressed point's first byte."""


@dataclass(frozen=True, slots=True)
class RegistryNode:
    """What the registry keeps of a node. Its stake is kept elsewhere."""

    node_id: int
    owner_cap: bytes
    """The object that gives the owner's right, for life."""
    operator_cap: bytes | None
    """The object that gives the operator's right; None when the operator has resigned."""
    receiver: str
    name: str
    address: str
    tls_key: bytes
    public_keys: tuple[tuple[int, bytes], ...]
    """BLS, compressed, 48 bytes, each with the first period in which it counts, ascending."""
    commissions: tuple[tuple[int, int], ...]
    """In hundredths of a percent, likewise."""
    is_candidate: bool
    barred_until_period: int


class State:
    """Reads the state of one deployment."""

    def __init__(self, objects: Objects, deployment: SuiDeployment, package: Package) -> None:
        self._objects = objects
        self._deployment = deployment
        self._package = package

    async def parameters(self, at: BlockMark | None = None) -> tuple[Parameters, BlockMark]:
        """Return what the deployment goes by at a checkpoint, the newest when None; and that checkpoint."""

        async def read(objects: Objects, shared: list[ObjectVersion]) -> Parameters:
            return self._parameters_of(await self.state_of(objects, shared[0], "system", "System"))

        return await self._objects.together([self._deployment.system], read, at)

    async def nodes(self, at: BlockMark | None = None) -> tuple[list[RegistryNode], BlockMark]:
        """Return all registered nodes at a checkpoint, by node id, and that checkpoint."""

        async def read(objects: Objects, shared: list[ObjectVersion]) -> list[RegistryNode]:
            state = await self.state_of(objects, shared[0], "registry", "Registry")
            return await self.nodes_of(objects, state, range(1, state["node_count"] + 1))

        return await self._objects.together([self._deployment.registry], read, at)

    async def node(self, node_id: int, at: BlockMark | None = None) -> RegistryNode:
        """Return one node at a checkpoint. Raises `LedgerRefused` when there is none."""

        async def read(objects: Objects, shared: list[ObjectVersion]) -> RegistryNode:
            state = await self.state_of(objects, shared[0], "registry", "Registry")
            if not 1 <= node_id <= state["node_count"]:
                raise LedgerRefused("registry.node", "UnknownNode", {"nodeId": node_id})
            (found,) = await self.nodes_of(objects, state, [node_id])
            return found

        found, _ = await self._objects.together([self._deployment.registry], read, at)
        return found

    async def operated_by(self, account: bytes) -> list[tuple[RegistryNode, ObjectVersion]]:
        """Return the nodes that an account operates now, each with the capability that the node names."""
        type_ = self._package.type("registry", "OperatorCap")
        caps = await self._objects.owned(account, type_text(type_))
        named = {cap.id: self._package.decode(type_, cap.contents)["node_id"] for cap in caps}
        operated = []
        for cap in caps:
            node = await self.node(named[cap.id])
            if node.operator_cap == cap.id:
                operated.append((node, cap))
        return operated

    async def state_of(
        self, objects: Objects, shared: ObjectVersion, module: str, name: str
    ) -> dict[str, Any]:
        """Return the state of a shared object: the dynamic field that is named for its version."""
        type_ = self._package.type(module, name)
        if shared.type != type_text(type_):
            raise LedgerError(
                f"the object {address_text(shared.id)} is a {shared.type[:200]}, and no {name} of the deployment's"
            )
        version = self._package.decode(type_, shared.contents)["version"]
        (state,) = await self.fields(
            objects, shared.id, Scalar.U64, [bcs.u64(version)], self._package.type(module, "State")
        )
        found: dict[str, Any] = state
        return found

    async def nodes_of(
        self, objects: Objects, state: dict[str, Any], node_ids: Sequence[int]
    ) -> list[RegistryNode]:
        """Return registered nodes, out of the registry's state."""
        table: Keyed = state["nodes"]
        keys = [bcs.u32(node_id) for node_id in node_ids]
        values = await self.fields(
            objects, table.id, Scalar.U32, keys, self._package.type("registry", "Node")
        )
        return [_node(node_id, value) for node_id, value in zip(node_ids, values, strict=True)]

    async def fields(
        self, objects: Objects, parent: bytes, key_type: Scalar, keys: Sequence[bytes], value: Type
    ) -> list[Any]:
        """Return the values of dynamic fields, by their keys in BCS. Raises `LedgerError` when one is not there."""
        found = await self.fields_there(objects, parent, key_type, keys, value)
        if None in found:
            key = keys[found.index(None)].hex()
            raise LedgerError(
                f"the object {address_text(parent)} lacks its field 0x{key}, a {type_text(value)}"
            )
        return found

    async def fields_there(
        self, objects: Objects, parent: bytes, key_type: Scalar, keys: Sequence[bytes], value: Type
    ) -> list[Any]:
        """Return the values of dynamic fields, by their keys in BCS; None for one that is not there."""
        ids = [field_id(parent, key_type, key) for key in keys]
        return [
            None if found is None else self._package.decode_field(key_type, value, found.contents)[1]
            for found in await objects.newest(ids)
        ]

    def _parameters_of(self, state: dict[str, Any]) -> Parameters:
        if state["domain"] != self._deployment.domain:
            raise LedgerError(
                "the system was created for another chain or by another package than the deployment names: its domain "
                f"is {state['domain'].hex()}, and {self._deployment.domain.hex()} would be right"
            )
        told = state["parameters"]
        return Parameters(
            n_shards=state["n_shards"],
            period_duration_s=told["period_duration_s"],
            handover_deadline_s=told["handover_deadline_s"],
            patience_s=told["patience_s"],
            band_millis=told["band_millis"],
            domain=state["domain"],
            certificate_grace_s=told["certificate_grace_s"],
            notice_s=told["notice_s"],
            shrink_s=told["shrink_duration_s"],
        )


def compressed_key(uncompressed: bytes) -> bytes:
    """Return the 48 bytes of a public key that the chain keeps in 96. Raises `ValueError`."""
    if len(uncompressed) != UNCOMPRESSED_BYTES or uncompressed[0] & 0xE0:
        raise ValueError("a public key that is no uncompressed point")
    x, y = uncompressed[:KEY_BYTES], int.from_bytes(uncompressed[KEY_BYTES:], "big")
    return bytes([x[0] | _COMPRESSED | (_IS_GREATER if y > _HALF else 0)]) + x[1:]


def _node(node_id: int, value: dict[str, Any]) -> RegistryNode:
    return RegistryNode(
        node_id=node_id,
        owner_cap=value["owner_cap"],
        operator_cap=value["operator_cap"],
        receiver=address_text(value["receiver"]),
        name=value["name"],
        address=value["network_address"],
        tls_key=value["tls_key"],
        public_keys=tuple((period, compressed_key(key)) for period, key in _changes(value["public_keys"])),
        commissions=tuple(_changes(value["commissions"])),
        is_candidate=value["is_candidate"],
        barred_until_period=value["barred_until"],
    )


def _changes(value: dict[str, Any]) -> list[tuple[int, Any]]:
    """Return the values of what changes with periods, each with its first period."""
    return [(change["from_period"], change["value"]) for change in value["changes"]]
