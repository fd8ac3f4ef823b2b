"""The transactions that moved the epochs on, as a chain has them."""

from __future__ import annotations

from typing import NamedTuple

from committee.ledger import StepKind
from committee.ledger.evm.abi import load_contract
from localnet.network import LocalNetwork
from storage.node.config import account_key

FUNCTIONS = [
    ("Committee", "select", StepKind.SELECT),
    ("Committee", "replace", StepKind.REPLACE),
    ("Committee", "start", StepKind.START),
    ("Committee", "close", StepKind.CLOSE),
    ("Blobs", "payOut", StepKind.PAY_OUT),
]


class Sent(NamedTuple):
    kind: StepKind
    by: str
    succeeded: bool


async def steps_sent(network: LocalNetwork, first_block: int) -> list[Sent]:
    """Every transaction with a step of the epochs from a block on, in order."""
    addresses = {"Committee": network.deployment.committee, "Blobs": network.deployment.blobs}
    kinds = {
        (addresses[name].lower(), "0x" + load_contract(name).selectors[function].hex()): kind
        for name, function, kind in FUNCTIONS
    }
    names = {
        account_key(node.folder).address.lower(): name
        for name, node in network.nodes.items()
        if node.folder.is_dir()
    }
    sent = []
    for number in range(first_block, (await network.operator.newest()).number + 1):
        block = await network.chain.request("eth_getBlockByNumber", hex(number), True)
        for one in block["transactions"]:
            kind = kinds.get((one["to"], one["input"][:10]))
            if kind is not None:
                receipt = await network.chain.request("eth_getTransactionReceipt", one["hash"])
                sent.append(Sent(kind, names[one["from"]], receipt["status"] == "0x1"))
    return sent
