"""What happened on the chain, block by block, without a gap: headers that link by hash, and all logs of each.

Endpoints forget logs, tell them twice or in disorder, or tell those of another fork. So nothing is taken from the
answer to `eth_getLogs` alone: a log must stand in a block of the chain of headers, and the logs of a block must be what
its header's bloom filter says (Ethereum yellow paper, section 4.4.3), with indices that leave none out.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import AsyncIterator, Iterable, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any

from eth_utils.crypto import keccak

from committee.errors import LedgerReorganised, LedgerUnavailable
from committee.ledger.evm.endpoints import EndpointFault
from committee.ledger.evm.rpc import EndpointError, Rpc
from committee.ledger.records import (
    BlockMark,
)

LONGEST_LOG_RANGE = 10_000
"""Blocks per request for logs; halved whenever the provider refuses, doubled when it serves."""
HEADERS_PER_REQUEST = 50
"""Likewise."""
BLOCKS_IN_A_STRETCH = 1000
"""Read before what they told is kept."""


@dataclass(frozen=True, slots=True)
class Header:
    """Of a block, what binds its logs to the chain."""

    mark: BlockMark
    parent: bytes
    bloom: int

    @classmethod
    def read(cls, block: Any) -> Header:
        """From a block as an endpoint tells it. Raises `EndpointFault`."""
        try:
            return cls(
                BlockMark(int(block["number"], 16), bytes.fromhex(block["hash"][2:])),
                bytes.fromhex(block["parentHash"][2:]),
                int(block["logsBloom"], 16),
            )
        except (KeyError, TypeError, ValueError) as error:
            raise EndpointFault(f"a block without what makes a header: {error!r}") from error


@dataclass(frozen=True, slots=True)
class RawLog:
    """One log of a block."""

    block: BlockMark
    index: int
    address: bytes
    topics: tuple[bytes, ...]
    data: bytes

    @classmethod
    def read(cls, log: Any) -> RawLog:
        """From a log as an endpoint tells it. Raises `EndpointFault`."""
        try:
            return cls(
                BlockMark(int(log["blockNumber"], 16), bytes.fromhex(log["blockHash"][2:])),
                int(log["logIndex"], 16),
                bytes.fromhex(log["address"][2:]),
                tuple(bytes.fromhex(topic[2:]) for topic in log["topics"]),
                bytes.fromhex(log["data"][2:]),
            )
        except (KeyError, TypeError, ValueError) as error:
            raise EndpointFault(f"a log without what makes one: {error!r}") from error


@dataclass(slots=True)
class Portion:
    """How much is asked for at once: halved at a provider's limit, then grown again."""

    longest: int
    now: int = field(init=False)

    def __post_init__(self) -> None:
        self.now = self.longest

    def halve(self, asked: int) -> None:
        """So many were too many."""
        self.now = max(asked // 2, 1)

    def grow(self) -> None:
        """The last request was served."""
        self.now = min(self.now * 2, self.longest)


class History:
    """The headers and logs of the contracts at `addresses`, of whose events `topics` are wanted."""

    def __init__(self, rpc: Rpc, addresses: Iterable[bytes], topics: Iterable[bytes]) -> None:
        self._rpc = rpc
        self._addresses = frozenset(addresses)
        self._topics = frozenset(topics)
        self._log_range = Portion(LONGEST_LOG_RANGE)
        self._header_range = Portion(HEADERS_PER_REQUEST)

    async def headers(self, first: int, last: int) -> list[Header]:
        """The headers of the blocks first..last, each the next one's parent.

        Raises `LedgerUnavailable` also when the chain changed meanwhile.
        """
        headers: list[Header] = []
        while first <= last:
            end = min(first + self._header_range.now - 1, last)
            numbers = range(first, end + 1)
            parameters = [(hex(number), False) for number in numbers]

            def check(blocks: list[Any], numbers: range = numbers) -> None:
                if [Header.read(block).mark.number for block in blocks] != list(numbers):
                    raise EndpointFault(f"other blocks were told than {numbers.start} to {numbers.stop - 1}")

            try:
                blocks = await self._rpc.batch("eth_getBlockByNumber", parameters, check)
            except EndpointError as error:
                if end == first:
                    raise LedgerUnavailable(f"no header of block {first}: {error}") from error
                self._header_range.halve(end - first + 1)
                continue
            for header in map(Header.read, blocks):
                if headers and header.parent != headers[-1].mark.hash:
                    raise LedgerUnavailable(
                        f"the chain changed while it was read: block {header.mark.number} is no child of the one before"
                    )
                headers.append(header)
            first = end + 1
            self._header_range.grow()
        return headers

    async def headers_after(self, after: BlockMark, until: BlockMark) -> list[Header]:
        """The headers behind `after`, up to `until` or `BLOCKS_IN_A_STRETCH` of them.

        Raises `LedgerReorganised` when `after` is not on the chain, `LedgerUnavailable` when `until` is not (yet).
        """
        first, last = after.number + 1, min(until.number, after.number + BLOCKS_IN_A_STRETCH)
        headers = await self.headers(first, last)
        if headers[0].parent != after.hash:
            # An endpoint that went over to another chain would look the same.
            self._rpc.doubt()
            headers = await self.headers(first, last)
            if headers[0].parent != after.hash:
                raise LedgerReorganised(f"block {after.number} was replaced")
        if last == until.number and headers[-1].mark != until:
            raise LedgerUnavailable(f"the chain changed while it was read: block {last} is not what it was")
        return headers

    async def logs(self, headers: Sequence[Header]) -> list[RawLog]:
        """All wanted logs of blocks that follow each other, in chain order.

        Raises `LedgerUnavailable` when no endpoint tells the logs that the headers promise.
        """
        if not headers:
            return []
        told: dict[int, list[RawLog]] = defaultdict(list)
        first, last = headers[0].mark.number, headers[-1].mark.number
        for log in await self._told(first, last):
            told[log.block.number].append(log)
        logs: list[RawLog] = []
        for header in headers:
            block = in_order(header, told.get(header.mark.number, []))
            if block is None or (not is_all(header, block) and self._may_lack(header, block)):
                block = await self._all_of(header)
            logs.extend(log for log in block if self._is_wanted(log))
        return logs

    async def _told(self, first: int, last: int) -> list[RawLog]:
        """What the endpoints tell of the contracts in the blocks first..last, asked in portions."""
        addresses = ["0x" + address.hex() for address in sorted(self._addresses)]
        logs: list[RawLog] = []
        while first <= last:
            end = min(first + self._log_range.now - 1, last)
            criteria = {"fromBlock": hex(first), "toBlock": hex(end), "address": addresses}
            try:
                answer = await self._rpc.request("eth_getLogs", criteria, has_block=end, check=_check_is_list)
            except EndpointError as error:
                if end == first:
                    raise LedgerUnavailable(f"no logs of block {end}: {error}") from error
                self._log_range.halve(end - first + 1)
                continue
            logs.extend(RawLog.read(log) for log in answer)
            first = end + 1
            self._log_range.grow()
        return logs

    async def newest_first(
        self, address: str, topics: Sequence[Sequence[bytes]], first: int, last: int
    ) -> AsyncIterator[RawLog]:
        """Logs of one contract that have one of the `topics` at each place; as an endpoint tells them, not checked."""
        wanted = [["0x" + one.hex() for one in alternatives] for alternatives in topics]
        while first <= last:
            begin = max(last - self._log_range.now + 1, first)
            criteria = {"fromBlock": hex(begin), "toBlock": hex(last), "address": address, "topics": wanted}
            try:
                answer = await self._rpc.request(
                    "eth_getLogs", criteria, has_block=last, check=_check_is_list
                )
            except EndpointError as error:
                if begin == last:
                    raise LedgerUnavailable(f"no logs of block {last}: {error}") from error
                self._log_range.halve(last - begin + 1)
                continue
            for log in sorted(
                map(RawLog.read, answer), key=lambda log: (log.block.number, log.index), reverse=True
            ):
                yield log
            last = begin - 1
            self._log_range.grow()

    def _may_lack(self, header: Header, block: Sequence[RawLog]) -> bool:
        """Whether a block whose bloom filter also holds others' logs may hold more of ours than were told."""
        return bool(block) or (
            any(is_in_bloom(header.bloom, address) for address in self._addresses)
            and any(is_in_bloom(header.bloom, topic) for topic in self._topics)
        )

    async def _all_of(self, header: Header) -> list[RawLog]:
        """All logs of one block, whosever they are, once an endpoint tells just what the header says."""

        def check(answer: Any) -> None:
            _check_is_list(answer)
            block = in_order(header, [RawLog.read(log) for log in answer])
            if block is None or not is_all(header, block):
                raise EndpointFault(
                    f"{len(answer)} logs were told of block {header.mark.number}, not all it has"
                )

        criteria = {"blockHash": "0x" + header.mark.hash.hex()}
        number = header.mark.number
        try:
            answer = await self._rpc.request("eth_getLogs", criteria, has_block=number, check=check)
        except EndpointError as error:
            raise LedgerUnavailable(f"no logs of block {number}: {error}") from error
        return in_order(header, [RawLog.read(log) for log in answer]) or []

    def _is_wanted(self, log: RawLog) -> bool:
        return log.address in self._addresses and bool(log.topics) and log.topics[0] in self._topics


def in_order(header: Header, logs: Iterable[RawLog]) -> list[RawLog] | None:
    """The block's logs by index, each once; None when one is another block's, or two of one index differ."""
    by_index: dict[int, RawLog] = {}
    for log in logs:
        if log.block != header.mark or by_index.setdefault(log.index, log) != log:
            return None
    return [by_index[index] for index in sorted(by_index)]


def is_all(header: Header, block: Sequence[RawLog]) -> bool:
    """Whether logs by index are all that the block has: none is left out, and together they make its bloom filter."""
    if [log.index for log in block] != list(range(len(block))):
        return False
    bloom = 0
    for log in block:
        for item in (log.address, *log.topics):
            bloom |= bloom_bits(item)
    return bloom == header.bloom


def is_in_bloom(bloom: int, item: bytes) -> bool:
    """Whether a bloom filter may hold an address or topic; when False it does not."""
    bits = bloom_bits(item)
    return bloom & bits == bits


@lru_cache(maxsize=1 << 14)
def bloom_bits(item: bytes) -> int:
    """An address or topic in a header's bloom filter: three of 2048 bits."""
    digest = keccak(item)
    bits = 0
    for place in (0, 2, 4):
        bits |= 1 << (int.from_bytes(digest[place : place + 2], "big") & 2047)
    return bits


def _check_is_list(answer: Any) -> None:
    if not isinstance(answer, list):
        raise EndpointFault("logs were told that are no list")
