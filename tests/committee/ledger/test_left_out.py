"""What some chains and endpoints leave out: blocks of some numbers, and the hash of the block in logs."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest

from committee.ledger.evm import answers
from committee.ledger.records import BlockMark
from tests.committee.ledger.following import STAKES, fresh, register, settled_ledger
from tests.committee.ledger.test_evm_sender import HOLDER, spoilt_operator

if TYPE_CHECKING:
    from tests.committee.ledger.conftest import Launch, SpoiltConnection

ZEROS = "0x" + "00" * 32


def leave_out(spoilt: SpoiltConnection, number: int, parent: bytes, error: dict[str, Any] | None) -> None:
    """Have an endpoint know no block of a number: the next one is the child of `parent`. It says null, or an error."""
    forward = spoilt.forward

    async def one(request: Any) -> Any:
        answer = json.loads(await forward(request))
        block = answer.get("result")
        if request["method"] != "eth_getBlockByNumber" or block is None:
            return answer
        if int(block["number"], 16) == number:
            told = {"result": None} if error is None else {"error": error}
            return {"jsonrpc": "2.0", "id": request["id"], **told}
        if int(block["number"], 16) == number + 1:
            block["parentHash"] = "0x" + parent.hex()
        return answer

    async def changed(body: Any) -> bytes:
        return json.dumps(
            [await one(each) for each in body] if isinstance(body, list) else await one(body)
        ).encode()

    spoilt.forward = changed  # type: ignore[method-assign]


@pytest.mark.parametrize(
    "error",
    [None, {"code": 12, "message": "requested epoch was a null round (30)", "data": 30}],
    ids=["null", "error"],
)
async def test_numbers_without_a_block_are_passed_over(
    launch: Launch, spoilt: SpoiltConnection, error: dict[str, Any] | None
) -> None:
    """filecoin-project/lotus#12633, indexsupply/shovel#293."""
    network = await launch(STAKES)
    await network.begin_epoch()
    ledger = await settled_ledger(network, spoilt.url, 0)
    view = await fresh(ledger)
    before = await network.operator.head()
    leave_out(spoilt, before.number + 1, before.hash, error)
    await network.chain.mine(3)
    blob_id, _ = await register(network, 1)
    await view.refresh()
    assert view.is_registered(blob_id)
    if error is not None:
        known = await ledger.block_time_s(before.number)
        assert await ledger.block_time_s(before.number + 1) == known


@pytest.mark.parametrize("told", [ZEROS, None])
async def test_a_log_without_its_blocks_hash_is_of_the_block_of_its_number(
    launch: Launch, spoilt: SpoiltConnection, told: str | None
) -> None:
    """bnb-chain/bsc#138, #443, ethereum/go-ethereum#1226. Another endpoint that tells the hash does not disagree."""
    network = await launch(STAKES)
    await network.begin_epoch()

    def without_hash(method: str, result: Any) -> Any:
        if method == "eth_getTransactionReceipt" and result:
            return result | {"logs": [log | {"blockHash": told} for log in result["logs"]]}
        return [log | {"blockHash": told} for log in result] if method == "eth_getLogs" else result

    spoilt.changes.append(without_hash)
    operator = await spoilt_operator(network, spoilt)
    await operator.mint(HOLDER, 1)
    urls = spoilt.url, f"{network.chain.rpc_url},{spoilt.url}"
    views = [await fresh(await settled_ledger(network, one, 0)) for one in urls]
    blob_id, _ = await register(network, 1)
    for view in views:
        await view.refresh()
        assert view.is_registered(blob_id)


def test_a_log_that_names_another_block_stays_there() -> None:
    block, other = BlockMark(7, bytes([1]) * 32), BlockMark(7, bytes([2]) * 32)
    log = {"blockNumber": "0x7", "logIndex": "0x0", "address": "0x" + "11" * 20, "topics": [], "data": "0x"}
    assert answers.log(log | {"blockHash": ZEROS}).placed(block).block == block
    assert answers.log(log | {"blockHash": "0x" + other.hash.hex()}).placed(block).block == other
    assert answers.log(log | {"blockHash": ZEROS, "blockNumber": "0x8"}).placed(block).block != block
    with pytest.raises(answers.Unreadable):
        answers.log(log | {"blockHash": None, "blockNumber": None})
