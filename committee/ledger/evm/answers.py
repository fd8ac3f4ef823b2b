"""What JSON-RPC methods answer, read strictly (Ethereum execution APIs). Pure.

Every reader takes a `result` as it came and raises `Unreadable` for anything but what the method answers: `Rpc` takes
that for a fault of the endpoint. Python's own conversions are too kind for it: `int("-0x1", 16)` is a number.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any, TypeVar

from committee.ledger.records import BlockMark

Item = TypeVar("Item")

MAX_NUMBER = 2**63 - 1
"""The largest block, log index, nonce, gas or time that is read: SQLite keeps no larger number."""
MAX_FEE_WEI = 10**13
"""Per unit of gas, 10 000 gwei. A tip is paid whatever the chain asks, so an endpoint must not make one up."""
BLOOM_BYTES = 256
NO_BLOOM = (None, "0x", "0x0")
"""What endpoints tell as the bloom filter of a block without logs, beside zeros."""
NO_HASH = (None, "0x" + "00" * 32)
"""What endpoints tell as the hash of a log's block where they leave it out."""
HASH_NOT_TOLD = bytes(32)
NO_CONTRACT = (None, "0x", "")
"""What endpoints tell as the contract that a transaction created, where it created none."""

_QUANTITY = re.compile(r"0x[0-9a-fA-F]{0,64}")
_DATA = re.compile(r"0x(?:[0-9a-fA-F]{2})*+")


class Unreadable(ValueError):
    """A result is not what its method answers; the message says in which respect, and quotes nothing."""


@dataclass(frozen=True, slots=True)
class Block:
    """One block's header, as far as it is used."""

    mark: BlockMark
    parent: bytes
    bloom: int
    timestamp_s: int
    base_fee_wei: int | None
    """None on a chain without EIP-1559."""


@dataclass(frozen=True, slots=True)
class RawLog:
    """One log of a block."""

    block: BlockMark
    """Its hash is HASH_NOT_TOLD where the endpoint tells none."""
    index: int
    address: bytes
    topics: tuple[bytes, ...]
    data: bytes

    def placed(self, block: BlockMark) -> RawLog:
        """Return the log as one of `block` if the endpoint told that block's number and no hash, else as it is."""
        is_untold = self.block == BlockMark(block.number, HASH_NOT_TOLD)
        return replace(self, block=block) if is_untold else self


@dataclass(frozen=True, slots=True)
class RawReceipt:
    """What became of a transaction that was mined."""

    hash: bytes
    block: BlockMark
    gas_used: int
    succeeded: bool
    logs: tuple[RawLog, ...]
    contract: str | None
    """The address of the contract that the transaction created, as the endpoint wrote it."""


def quantity(result: Any, most: int = MAX_NUMBER) -> int:
    """Read a number from 0 to `most`: "0x" and hexadecimal digits.

    Some endpoints write zero without a digit, or numbers as JSON has them.
    """
    if type(result) is int and result >= 0:
        number = result
    elif isinstance(result, str) and _QUANTITY.fullmatch(result):
        number = int(result.removeprefix("0x") or "0", 16)
    else:
        raise Unreadable("not a number")
    if number > most:
        raise Unreadable("a number too large to be right")
    return number


def fee(result: Any) -> int:
    """Read a fee: wei per unit of gas."""
    wei = quantity(result)
    if wei > MAX_FEE_WEI:
        raise Unreadable(f"a price of gas above {MAX_FEE_WEI // 10**9} gwei, which is not believed")
    return wei


def data(result: Any, length: int | None = None) -> bytes:
    """Read bytes: "0x" and pairs of hexadecimal digits; of a given length in bytes when it is fixed."""
    if not isinstance(result, str) or not _DATA.fullmatch(result):
        raise Unreadable("not bytes in hex")
    content = bytes.fromhex(result[2:])
    if length is not None and len(content) != length:
        raise Unreadable(f"{len(content)} bytes instead of {length}")
    return content


def block(result: Any) -> Block:
    """Read an answer to `eth_getBlockByNumber`."""
    fields = _fields(result, "block")
    base_fee = fields.get("baseFeePerGas")
    return Block(
        _mark(fields, "number", "hash"),
        data(fields.get("parentHash"), 32),
        bloom(fields.get("logsBloom")),
        quantity(fields.get("timestamp")),
        None if base_fee is None else fee(base_fee),
    )


def bloom(result: Any) -> int:
    """Read a header's bloom filter; 0 where the endpoint tells none, as some do of blocks without logs."""
    return 0 if result in NO_BLOOM else int.from_bytes(data(result, BLOOM_BYTES), "big")


def log(result: Any) -> RawLog:
    """Read one log, of a block that is mined."""
    fields = _fields(result, "log")
    topics = listed(fields.get("topics"), lambda topic: data(topic, 32))
    if len(topics) > 4:
        raise Unreadable("a log of more than 4 topics")
    block_hash = fields.get("blockHash")
    return RawLog(
        BlockMark(
            quantity(fields.get("blockNumber")),
            HASH_NOT_TOLD if block_hash in NO_HASH else data(block_hash, 32),
        ),
        quantity(fields.get("logIndex")),
        data(fields.get("address"), 20),
        tuple(topics),
        data(fields.get("data")),
    )


def receipt(result: Any, transaction: bytes) -> RawReceipt | None:
    """Read the receipt of the transaction of this hash; None while it is not mined.

    Some endpoints tell a receipt without a block of a transaction that waits.
    """
    if result is None:
        return None
    fields = _fields(result, "receipt")
    if fields.get("blockHash") is None and fields.get("blockNumber") is None:
        return None
    if data(fields.get("transactionHash"), 32) != transaction:
        raise Unreadable("a receipt of another transaction")
    contract = fields.get("contractAddress")
    if contract in NO_CONTRACT:
        contract = None
    else:
        data(contract, 20)
    mark = _mark(fields, "blockNumber", "blockHash")
    logs = [one.placed(mark) for one in listed(fields.get("logs"), log)]
    if any(one.block != mark for one in logs):
        raise Unreadable("a receipt with logs of another block")
    return RawReceipt(
        transaction,
        mark,
        quantity(fields.get("gasUsed")),
        quantity(fields.get("status"), 1) == 1,
        tuple(logs),
        contract,
    )


def logs(result: Any) -> list[RawLog]:
    """Read an answer to `eth_getLogs`, without the logs of blocks that are no longer on the chain (`removed`).

    Some endpoints answer null where there are none.
    """
    told = [] if result is None else listed(result, lambda one: _fields(one, "log"))
    return [log(one) for one in told if one.get("removed") is not True]


def is_known(result: Any, transaction: bytes) -> bool:
    """Return whether an endpoint has the transaction of this hash, mined or waiting."""
    if result is None:
        return False
    if data(_fields(result, "transaction").get("hash"), 32) != transaction:
        raise Unreadable("another transaction")
    return True


def newest_rewards(result: Any) -> list[int]:
    """Read an answer to `eth_feeHistory`: the tips that the blocks' transactions paid, in wei per unit of gas."""
    rewards = listed(_fields(result, "fee history").get("reward"), lambda one: listed(one, fee))
    return [tip for block_rewards in rewards for tip in block_rewards]


def balance(result: Any) -> int:
    """Read the wei of an account."""
    return quantity(result, 2**256 - 1)


def listed(result: Any, read: Callable[[Any], Item]) -> list[Item]:
    """Read a list, each of its items by `read`."""
    if not isinstance(result, list):
        raise Unreadable("not a list")
    return [read(one) for one in result]


def anything(result: Any) -> Any:
    """Return a result as the endpoint sent it, unchecked."""
    return result


def _fields(result: Any, what: str) -> dict[str, Any]:
    if not isinstance(result, dict):
        raise Unreadable(f"not a {what}")
    return result


def _mark(fields: dict[str, Any], number: str, digest: str) -> BlockMark:
    return BlockMark(quantity(fields.get(number)), data(fields.get(digest), 32))


OF_METHOD: Mapping[str, Callable[[Any], int]] = {
    "eth_chainId": quantity,
    "eth_gasPrice": fee,
    "eth_getBalance": balance,
    "eth_getTransactionCount": quantity,
    "eth_maxPriorityFeePerGas": fee,
}
"""Method that web3.py asks for → the function that reads its result."""
