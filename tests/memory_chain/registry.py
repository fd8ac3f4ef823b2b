"""The rules of nodes and candidates: `contracts/evm/src/Registry.sol` and `Staking.sol`."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from committee import bls
from committee.addresses import is_name, is_registrable
from committee.ledger import Absence, NetworkAddressChanged, RegisteredNode
from committee.membership import Committee
from tests.memory_chain.contracts import Contracts, Outcome, Revert
from tests.memory_chain.space import NOBODY


def register_node(
    now: Contracts,
    account: str,
    name: str,
    address: str,
    public_key: bytes,
    proof_of_possession: bytes | None,
    *,
    operator: str | None = None,
    receiver: str | None = None,
    tls_key: bytes = bytes(32),
    commission: int = 0,
) -> Outcome:
    """Register a node of the account's, which stands for election. The proof is None for a node added by hand."""
    if not is_name(name):
        raise Revert("InvalidName")
    _require_address(address)
    node_id, operator = len(now.nodes) + 1, operator or account
    nodes = dict(now.nodes)
    if other := now.node_of(operator):
        if operator != account or nodes[other].owner == account:
            raise Revert("AccountHasNode", account=operator, nodeId=other)
        nodes[other] = replace(nodes[other], operator=NOBODY)
    for one in now.nodes.values():
        if one.public_key == public_key:
            raise Revert("KeyInUse", nodeId=one.node_id)
    if proof_of_possession is not None and not bls.verify_possession(
        public_key, account, now.parameters.domain, proof_of_possession
    ):
        raise Revert("InvalidProofOfPossession")
    node = RegisteredNode(
        node_id=node_id,
        owner=account,
        next_owner=None,
        operator=operator,
        receiver=receiver or account,
        name=name,
        address=address,
        tls_key=tls_key,
        public_key=public_key,
        commission=commission,
        stake=0,
        is_candidate=True,
        barred_until_period=0,
        pending_public_key=public_key,
        public_key_from=0,
        pending_commission=commission,
        commission_from=0,
    )
    nodes[node_id] = node
    return replace(now, nodes=nodes, candidates=(*now.candidates, node_id)), ()


def update_address(
    now: Contracts, account: str, node_id: int, address: str, tls_key: bytes = bytes(32)
) -> Outcome:
    """Change the address at which a node is reached, at once."""
    _require_operator(now, account, node_id)
    _require_address(address)
    return moved(now, node_id, address, tls_key)


def moved(now: Contracts, node_id: int, address: str, tls_key: bytes = bytes(32)) -> Outcome:
    """Move a node to another address, whatever it is: committees are shown with the addresses of today."""

    def shown_in(committee: Committee | None) -> Committee | None:
        if committee is None:
            return None
        members = (
            replace(one, address=address) if one.node_id == node_id else one for one in committee.members
        )
        return replace(committee, members=tuple(members))

    state = now.state
    shown = now.changed(
        previous=shown_in(state.previous),
        current=shown_in(state.current),
        next=shown_in(state.next),
        unattested={
            shard: replace(one, address=address) if one.node_id == node_id else one
            for shard, one in state.unattested.items()
        },
    )
    node = replace(now.nodes[node_id], address=address, tls_key=tls_key)
    told = NetworkAddressChanged(state.block, node_id)
    return replace(shown, nodes={**now.nodes, node_id: node}), (told,)


def offer(now: Contracts, account: str, node_id: int, next_owner: str | None) -> Outcome:
    """Offer a node to another account; None withdraws the offer. Owner only."""
    node = _known(now, node_id)
    if account != node.owner:
        raise Revert("NotNodeOwner", account=account, nodeId=node_id)
    return replace(now, nodes={**now.nodes, node_id: replace(node, next_owner=next_owner)}), ()


def accept(now: Contracts, account: str, node_id: int) -> Outcome:
    """Make the account the owner of a node that is offered to it."""
    node = _known(now, node_id)
    if account != node.next_owner:
        raise Revert("NotOffered", account=account, nodeId=node_id)
    return replace(now, nodes={**now.nodes, node_id: replace(node, owner=account, next_owner=None)}), ()


def stake(now: Contracts, node_id: int, amount: int) -> Outcome:
    """Add stake to a node, from the first period on whose committee is not elected yet."""
    _known(now, node_id)
    if amount == 0:
        raise Revert("ZeroAmount")
    late = now.late_stakes
    if now.state.next is not None and not now.state.next_is_replacement:
        late = {**late, node_id: late.get(node_id, 0) + amount}
    return replace(more_stake(now, {node_id: amount}), late_stakes=late), ()


def more_stake(now: Contracts, amounts: Mapping[int, int]) -> Contracts:
    """Return the contracts with stake added to nodes, or taken off, that counts at the next selection."""
    changed = {
        node_id: replace(now.nodes[node_id], stake=now.nodes[node_id].stake + amount)
        for node_id, amount in amounts.items()
    }
    return replace(now, nodes={**now.nodes, **changed})


def leave(now: Contracts, account: str, node_id: int) -> Outcome:
    """End a node's candidacy; in committees already selected it stays."""
    _require_operator(now, account, node_id)
    if node_id not in now.candidates:
        raise Revert("NotCandidate", nodeId=node_id)
    return removed(now, node_id, Absence.LEFT), ()


def become_candidate(now: Contracts, account: str, node_id: int) -> Outcome:
    """Make a node a candidate again, behind the other candidates."""
    _require_operator(now, account, node_id)
    node = now.nodes[node_id]
    if node.is_candidate:
        raise Revert("AlreadyCandidate", nodeId=node_id)
    if now.state.period < node.barred_until_period and not now.is_stalled:
        raise Revert("Barred", nodeId=node_id, until=node.barred_until_period)
    nodes = {**now.nodes, node_id: replace(node, is_candidate=True)}
    return replace(now, nodes=nodes, candidates=(*now.candidates, node_id)), ()


def removed(now: Contracts, node_id: int, why: Absence, barred_until_period: int | None = None) -> Contracts:
    """Return the contracts with this node no candidate; its bar stays unless another is given."""
    node = replace(now.nodes[node_id], is_candidate=False)
    if barred_until_period is not None:
        node = replace(node, barred_until_period=barred_until_period)
    left = tuple(one for one in now.candidates if one != node_id)
    absences = now.absences if node_id not in now.candidates else {**now.absences, node_id: why}
    return replace(now, nodes={**now.nodes, node_id: node}, candidates=left, absences=absences)


def _require_address(address: str) -> None:
    if not is_registrable(address):
        raise Revert("InvalidNetworkAddress")


def _known(now: Contracts, node_id: int) -> RegisteredNode:
    if node_id not in now.nodes:
        raise Revert("UnknownNode", nodeId=node_id)
    return now.nodes[node_id]


def _require_operator(now: Contracts, account: str, node_id: int) -> None:
    node = _known(now, node_id)
    if account not in (node.owner, node.operator):
        raise Revert("NotAnOperator", account=account, nodeId=node_id)
