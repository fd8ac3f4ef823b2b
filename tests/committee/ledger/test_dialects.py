"""What endpoints of different kinds say for the same: reverts, refusals, errors that pass, logs and blocks."""

from __future__ import annotations

import asyncio
import dataclasses
import json
from typing import TYPE_CHECKING, Any

import pytest
from aiohttp import web
from eth_account.typed_transactions.typed_transaction import TypedTransaction
from hexbytes import HexBytes

from committee.errors import FinalityUnknown, LedgerError, LedgerRefused, LedgerUnavailable
from committee.ledger.evm import AccountKey, EvmLedger, deploy
from committee.ledger.evm.refusals import Verdict, least_tip_wei, verdict
from tests.committee.ledger.conftest import PARAMETERS
from tests.committee.ledger.following import STAKES, fresh, register, settled_ledger
from tests.committee.ledger.test_evm_sender import HOLDER, spoilt_operator
from tests.committee.ledger.test_many_machines import error, writer
from tests.committee.ledger.test_paying_on_chain import LENGTH, ROOT, in_epoch_1

if TYPE_CHECKING:
    from tests.committee.ledger.conftest import Launch, SpoiltConnection

GWEI = 10**9

WORDS = {
    "already known": Verdict.HAS_IT,
    "AlreadyKnown": Verdict.HAS_IT,
    "Known transaction": Verdict.HAS_IT,
    "transaction already imported": Verdict.HAS_IT,
    "tx already in mempool": Verdict.HAS_IT,  # berachain/polaris#351
    "tx already exist": Verdict.HAS_IT,  # Conflux
    "nonce too low: next nonce 6, tx nonce 5": Verdict.NONCE_TAKEN,
    "INTERNAL_ERROR: could not replace existing tx": Verdict.NONCE_TAKEN,  # erigontech/erigon#5214
    "replace by fee has too low GasPremium": Verdict.NONCE_TAKEN,  # Lotus
    "OldNonce, Current nonce: 6, nonce of rejected tx: 5": Verdict.NONCE_TAKEN,
    "replacement transaction underpriced": Verdict.NONCE_TAKEN,
    "nonce too high. allowed nonce range: 0 - 20, actual: 25": Verdict.NONCE_TOO_HIGH,
    "NonceGap, Future nonce. Expected nonce 5": Verdict.NONCE_TOO_HIGH,
    "Transaction nonce is too distant from current sender nonce": Verdict.NONCE_TOO_HIGH,
    "gapped-nonce tx from delegated accounts": Verdict.NONCE_TOO_HIGH,  # ethereum/go-ethereum#31430
    "in-flight transaction limit reached for delegated accounts": Verdict.NONCE_TOO_HIGH,  # verdikta-arbiter#29
    "future transaction tries to replace pending": Verdict.NONCE_TOO_HIGH,  # ethereum/go-ethereum#26890
    "txpool is full": Verdict.BID_TOO_LOW,  # scroll-tech/rollup-node#112
    "transaction underpriced": Verdict.BID_TOO_LOW,
    "transaction gas price below minimum: gas tip cap 1, minimum needed 25000000000": Verdict.BID_TOO_LOW,
    "FeeTooLow, MaxFeePerGas too low": Verdict.BID_TOO_LOW,
    "Gas price below configured minimum gas price": Verdict.BID_TOO_LOW,
    "max fee per gas less than block base fee: address 0x01, maxFeePerGas: 1, baseFee: 2": Verdict.BID_TOO_LOW,
    "insufficient funds for gas * price + value: balance 0, tx cost 1": Verdict.TOO_POOR,
    "InsufficientFunds, Account balance: 0, cumulative cost: 1": Verdict.TOO_POOR,
    "Upfront cost exceeds account balance": Verdict.TOO_POOR,
    "insufficient MaxFeePerGas for sender balance": Verdict.TOO_POOR,
    "exceeds block gas limit": Verdict.OTHER,
}
"""Of geth, Nethermind, Besu, OpenEthereum, Bor, zkSync and Reth."""


@pytest.mark.parametrize("words", WORDS)
def test_a_refusal_of_a_transaction_is_understood(words: str) -> None:
    assert verdict(words) is WORDS[words]


def test_a_refusal_names_the_least_tip() -> None:
    assert least_tip_wei("gas tip cap 1, minimum needed 25000000000") == 25 * GWEI
    assert least_tip_wei("transaction underpriced: tip needed 30000000000, tip permitted 1") == 30 * GWEI
    assert least_tip_wei("minimum needed " + "9" * 4000) == least_tip_wei("transaction underpriced") == 0


@pytest.mark.parametrize(
    ("code", "message", "data"),
    [
        (-32015, "VM execution error.", "Reverted {}"),
        (-32015, "revert", None),
        (-32000, "execution reverted", None),
        (3, "execution reverted", "0x"),
    ],
)
async def test_a_revert_is_understood_in_every_form(
    launch: Launch, spoilt: SpoiltConnection, code: int, message: str, data: str | None
) -> None:
    """Some tell its data with calls alone: cowprotocol/watch-tower#11, NethermindEth/nethermind#4761, #6224."""
    network = await in_epoch_1(launch, 10**15)
    ledger = await writer(network, spoilt)
    is_told = data is not None and "{}" in data

    async def rule(method: str, parameters: list[Any]) -> web.StreamResponse | None:
        if method != "eth_estimateGas" and not (is_told and method == "eth_call"):
            return None
        body = {"jsonrpc": "2.0", "id": 1, "method": method, "params": parameters}
        answer = json.loads(await spoilt.forward(body))
        if "error" not in answer:
            return web.json_response(answer)
        return error(code, message, data and data.format(answer["error"]["data"]))

    spoilt.rules.append(rule)
    # Its reason must be understood for the permit to be signed.
    assert (await ledger.register_blob(ROOT, LENGTH, 2))[0] == 1
    with pytest.raises(LedgerRefused, match="NotSelected"):
        await ledger.start()


async def test_errors_of_a_providers_own_pass(launch: Launch, spoilt: SpoiltConnection) -> None:
    """DimensionDev/Maskbook#12484 (-32046), Optimism's proxyd (-32011), Nethermind and others."""
    network = await in_epoch_1(launch)
    operator = await spoilt_operator(network, spoilt)
    told = {
        "eth_estimateGas": (-32046, "Cannot fulfill request"),
        "eth_maxPriorityFeePerGas": (-32011, "no backends available for method"),
        "eth_getBlockByNumber": (-32002, "request timed out"),
        "eth_getTransactionCount": (-32090, "temporary failure"),
        "eth_call": (-32000, "request timed out"),
    }
    for method, (code, message) in told.items():
        spoilt.fail(method, code, message)
    await operator.register_blob(ROOT, LENGTH, 2)
    assert len((await operator.blob_objects(ROOT, LENGTH)).objects) == 1


@pytest.mark.parametrize("code", [-32603, -32602])
async def test_an_endpoint_that_does_not_count_what_waits_is_asked_for_the_rest(
    launch: Launch, spoilt: SpoiltConnection, code: int
) -> None:
    """mybucks-online/app#63."""
    network = await launch()
    operator = await spoilt_operator(network, spoilt)

    async def rule(method: str, parameters: list[Any]) -> web.StreamResponse | None:
        is_pending = method == "eth_getTransactionCount" and parameters[1] == "pending"
        return error(code, "pending block is not available") if is_pending else None

    spoilt.rules.append(rule)
    await operator.drain()
    await operator.mint(HOLDER, 1)
    assert await network.operator.balance(HOLDER) == 1


@pytest.mark.parametrize(
    "words", ["transaction underpriced", "gas tip cap {}, minimum needed 25000000000", "FeeTooLow"]
)
async def test_a_bid_that_is_too_low_for_an_endpoint_is_raised(
    launch: Launch, spoilt: SpoiltConnection, words: str
) -> None:
    """It names one that it does not take: 0xPolygon/launch#62, WayfinderFoundation/wayfinder-paths-sdk#379."""
    network = await launch()
    operator = await spoilt_operator(network, spoilt)
    bids: list[tuple[int, int]] = []

    async def rule(method: str, parameters: list[Any]) -> web.StreamResponse | None:
        if method != "eth_sendRawTransaction":
            return None
        sent = TypedTransaction.from_bytes(HexBytes(parameters[0])).as_dict()
        bids.append((sent["nonce"], sent["maxPriorityFeePerGas"]))
        is_low = sent["maxPriorityFeePerGas"] < 25 * GWEI
        return error(-32000, words.format(sent["maxPriorityFeePerGas"])) if is_low else None

    spoilt.rules.append(rule)
    await operator.mint(HOLDER, 5)
    nonces, tips = zip(*bids, strict=True)
    assert len(set(nonces)) == 1
    assert tips[-1] <= 27 * GWEI


async def test_a_bid_is_not_raised_for_ever(launch: Launch, spoilt: SpoiltConnection) -> None:
    network = await launch()
    operator = await spoilt_operator(network, spoilt)
    spoilt.asked.clear()
    spoilt.fail("eth_sendRawTransaction", -32000, "transaction underpriced", times=100)
    with pytest.raises(LedgerUnavailable, match=r"mint was not sent: .* finds its fees too low"):
        await operator.mint(HOLDER, 5)
    assert spoilt.asked.count("eth_sendRawTransaction") == 4
    assert not operator.sent


async def test_null_in_the_place_of_no_logs_is_none(launch: Launch, spoilt: SpoiltConnection) -> None:
    """smartbch/smartbch#67, onflow/flow-evm-gateway#695. Where a block has logs it is an outage."""
    network = await launch(STAKES)
    await network.begin_epoch()
    view = await fresh(await settled_ledger(network, spoilt.url, 0))
    is_forgetful = False

    def null(method: str, result: Any) -> Any:
        is_null = method == "eth_getLogs" and (result == [] or is_forgetful)
        return None if is_null else result

    spoilt.changes.append(null)
    await network.chain.mine(3)
    await view.refresh()
    assert view.block == await network.operator.head()
    is_forgetful = True
    await register(network, 1)
    with pytest.raises(LedgerUnavailable, match="not all the logs of block"):
        await view.refresh()


@pytest.mark.parametrize(
    ("code", "message"),
    [
        (-32602, "block range extends beyond current head block"),
        (-32602, "invalid block range params"),
        (-32000, "requested to block 23734227 after last accepted block 23734226"),
        (-32001, "8633830 could not be found"),
    ],
    ids=["geth", "geth, of the first block", "Avalanche", "Nethermind"],
)
async def test_a_machine_that_lacks_the_newest_block_has_no_limit_of_a_range(
    launch: Launch, spoilt: SpoiltConnection, code: int, message: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """go-ethereum#24078, execution-apis#875: many are behind one URL. A limit would be remembered for minutes."""
    monkeypatch.setattr("committee.ledger.evm.history.BEHIND_PAUSES_S", (0.0,) * 2)
    network = await launch(STAKES)
    await network.begin_epoch()
    view = await fresh(await settled_ledger(network, spoilt.url, 0))
    blob_id, _ = await register(network, 1)
    await network.chain.mine(7)
    spoilt.fail("eth_getLogs", code, message, times=2)
    spoilt.asked.clear()
    await view.refresh()
    assert view.is_registered(blob_id)
    assert view.block == await network.operator.head()
    assert spoilt.asked.count("eth_getLogs") == 3


@pytest.mark.parametrize("told", ["the newest block", "the block it has just told of"])
async def test_a_block_that_is_there_and_told_as_null_is_asked_for_again(
    launch: Launch, spoilt: SpoiltConnection, told: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """ethereumjs/ethrpc#113, INFURA/infura#43: some of the machines behind a URL do not know it for a moment."""
    for module in ("newest", "reader"):
        monkeypatch.setattr(f"committee.ledger.evm.{module}.BEHIND_PAUSES_S", (0.0,) * 2)
    network = await launch()
    operator = await spoilt_operator(network, spoilt)
    is_newest, left = told == "the newest block", 2

    async def rule(method: str, parameters: list[Any]) -> web.StreamResponse | None:
        nonlocal left
        if method != "eth_getBlockByNumber" or (parameters[0] == "latest") != is_newest or not left:
            return None
        left -= 1
        return web.json_response({"jsonrpc": "2.0", "id": 1, "result": None})

    spoilt.rules.append(rule)
    if is_newest:
        await operator.mint(HOLDER, 5)  # at a price that the newest block tells
    else:
        assert await operator.block_time_s(network.deployment.block) > 0
    assert not left


@pytest.mark.parametrize("told", ["0x", None])
async def test_a_block_without_a_bloom_filter_has_no_logs(
    launch: Launch, spoilt: SpoiltConnection, told: str | None
) -> None:
    """onflow/flow-evm-gateway#372, filecoin-project/ref-fvm#1212. Where a block has logs it cannot be followed."""
    network = await launch(STAKES)
    await network.begin_epoch()
    view = await fresh(await settled_ledger(network, spoilt.url, 0))
    operator = await spoilt_operator(network, spoilt)
    has_any = True

    def without(method: str, result: Any) -> Any:
        is_block = method == "eth_getBlockByNumber" and result is not None
        is_empty = is_block and not (has_any and int(result["logsBloom"], 16))
        return result | {"logsBloom": told} if is_empty else result

    spoilt.changes.append(without)
    await network.chain.mine(3)
    await view.refresh()
    assert view.block == await network.operator.head()
    await network.chain.mine()  # the newest block, by which fees are found, has none
    await operator.mint(HOLDER, 1)
    has_any = False
    await register(network, 1)
    with pytest.raises(LedgerUnavailable, match="logsBloom that is not made of its logs"):
        await view.refresh()


async def test_logs_of_blocks_that_were_replaced_are_left_out(
    launch: Launch, spoilt: SpoiltConnection
) -> None:
    """filecoin-project/lotus#12584: they come with those of the chain, and `removed` is true."""
    network = await launch(STAKES)
    await network.begin_epoch()
    view = await fresh(await settled_ledger(network, spoilt.url, 0))

    def with_removed(method: str, result: Any) -> Any:
        if method != "eth_getLogs" or not result:
            return result
        return [one | {"removed": True, "blockHash": "0x" + "ab" * 32} for one in result] + result

    spoilt.changes.append(with_removed)
    blob_id, _ = await register(network, 1)
    await view.refresh()
    assert view.is_registered(blob_id)


async def test_logs_of_polygons_state_syncs_are_left_out(launch: Launch, spoilt: SpoiltConnection) -> None:
    """They stand behind a block's logs, and its bloom filter does not know them: 0xPolygon/bor#432, #519."""
    network, other = await launch(STAKES), await launch()
    await network.begin_epoch()
    ledger = await settled_ledger(network, spoilt.url, 0)
    view = await fresh(ledger)
    ours = network.deployment.blobs
    source = "0x" + "00" * 18 + "1010"

    async def rule(method: str, parameters: list[Any]) -> web.StreamResponse | None:
        if method != "eth_getLogs" or "blockHash" not in parameters[0]:
            return None
        body = {"jsonrpc": "2.0", "id": 1, "method": method, "params": parameters}
        answer = json.loads(await spoilt.forward(body))
        last = answer["result"][-1]
        synced = {"address": source, "topics": ["0x" + "ab" * 32], "data": "0x"}
        answer["result"].append(last | synced | {"logIndex": hex(int(last["logIndex"], 16) + 1)})
        return web.json_response(answer)

    spoilt.rules.append(rule)
    # Behind our own event in the same block one of a contract that is not ours.
    await network.chain.request("evm_setAutomine", False)
    registering = asyncio.create_task(register(network, 1))
    minting = asyncio.create_task(other.operator.mint(HOLDER, 1))
    for _ in range(1000):
        if int(await network.chain.request("eth_getBlockTransactionCountByNumber", "pending"), 16) == 2:
            break
        await asyncio.sleep(0.01)
    await network.chain.mine()
    await minting
    blob_id, _ = await registering
    await view.refresh()
    assert view.is_registered(blob_id)
    source = ours
    await network.chain.request("evm_setAutomine", True)
    with pytest.raises(LedgerUnavailable, match=r"a log that block .* does not have"):
        await ledger.events(view.block.number, view.block.number)


@pytest.mark.parametrize("told", ["1", 1.0])
async def test_the_number_of_a_request_comes_back_in_another_form(
    launch: Launch, spoilt: SpoiltConnection, told: object
) -> None:
    """modelcontextprotocol/rust-sdk#1021, btcsuite/btcrpcclient#79: so gateways tell it that read it into another type.

    Text, or a floating-point number.
    """
    network = await launch(STAKES)

    async def rule(method: str, parameters: list[Any]) -> web.StreamResponse | None:
        body = {"jsonrpc": "2.0", "id": 1, "method": method, "params": parameters}
        return web.json_response(json.loads(await spoilt.forward(body)) | {"id": told})

    spoilt.rules.append(rule)
    operator = await spoilt_operator(network, spoilt)
    await operator.mint(HOLDER, 5)
    assert await operator.balance(HOLDER) == 5


@pytest.mark.parametrize(
    "answer",
    [
        lambda: error(-39001, "Unknown block"),
        lambda: error(-32000, "finalized block not found"),
        lambda: web.json_response({"jsonrpc": "2.0", "id": 1, "result": None}),
    ],
    ids=["Erigon", "geth", "null"],
)
async def test_a_chain_without_finality_says_what_to_do(
    launch: Launch, spoilt: SpoiltConnection, answer: Any
) -> None:
    """node-real/bsc-erigon#376, and every chain of proof of authority."""
    network = await launch()

    async def rule(method: str, parameters: list[Any]) -> web.StreamResponse | None:
        return answer() if method == "eth_getBlockByNumber" and parameters[0] == "finalized" else None

    spoilt.rules.append(rule)
    deployment = dataclasses.replace(network.deployment, finality="finalized")
    async with EvmLedger.open(spoilt.url, deployment) as ledger:
        with pytest.raises(FinalityUnknown, match=r'no finalized block: .* "finality": "latest"'):
            await ledger.head()
    key, parameters = AccountKey.generate(), dataclasses.replace(PARAMETERS, finality="finalized")
    spoilt.asked.clear()
    with pytest.raises(LedgerError, match="deploy with --finality latest"):
        await deploy(spoilt.url, key, parameters)
    assert "eth_sendRawTransaction" not in spoilt.asked


async def test_an_endpoint_that_knows_no_block_by_its_hash_is_told_as_such(
    launch: Launch, spoilt: SpoiltConnection
) -> None:
    """iotaledger/wasp-legacy#486, evmos/ethermint#460. It is not told that the state is pruned."""
    network = await launch()
    ledger = await settled_ledger(network, spoilt.url, 0)
    words = "invalid argument 1: json: cannot unmarshal object into Go value of type string"

    async def rule(method: str, parameters: list[Any]) -> web.StreamResponse | None:
        is_by_hash = method == "eth_call" and isinstance(parameters[1], dict)
        return error(-32602, words) if is_by_hash else None

    spoilt.rules.append(rule)
    with pytest.raises(LedgerUnavailable, match=r"no block by its hash \(EIP-1898\).*use another endpoint"):
        await fresh(ledger)
