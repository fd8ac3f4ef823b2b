"""What happened on the chain, block by block, without a gap: headers that link by hash, and all logs of each.

Endpoints forget logs, tell them twice or in disorder, or tell those of another fork. So nothing is taken from the
answer to `eth_getLogs` alone: a log must stand in a block of the chain of headers, and the logs of a block must be what
its header's bloom filter says (Ethereum yellow paper, section 4.4.3), with indices that leave none out.

Anyone can fill a block with logs, until its bloom filter holds everything and no endpoint gives all its logs at once.
Of such a block the wanted logs alone are asked for, and compared with a second endpoint's; and of these not the
plentiful ones, of which anyone can make any number.
"""

from __future__ import annotations

import asyncio
import math
from collections import defaultdict
from collections.abc import AsyncIterator, Iterable, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any

from eth_utils.crypto import keccak

from committee.backoff import next_pause_s
from committee.errors import LedgerReorganised, LedgerUnavailable
from committee.ledger.evm import answers
from committee.ledger.evm.answers import Block, RawLog
from committee.ledger.evm.headers import linked
from committee.ledger.evm.refusals import AskedTooMuch, Behind, EndpointError, Lacking
from committee.ledger.evm.rpc import Rpc
from committee.ledger.records import BlockMark

LONGEST_LOG_RANGE = 10_000
"""Blocks per request for logs; halved whenever the provider refuses, doubled when it serves."""
HEADERS_PER_REQUEST = 50
"""Headers per request; halved and doubled as the blocks per request for logs are."""
FIRST_REMEMBERED_S = 10.0
"""Seconds for which a refused amount is not asked for again; doubled each time that the refusal repeats."""
LONGEST_REMEMBERED_S = 1280.0
FULL_AFTER_S = 20.0
"""Endpoints must have refused the logs of whole blocks for this long before less is asked for: a failure passes."""
FULL_REMEMBERED_S = 600.0
"""After that they are not waited for again for this long: to fill every second block must not cost a wait each time."""
BEHIND_PAUSES_S = (0.1, 0.2, 0.4, 0.8, 1.6)
"""Pauses between requests for logs while the machines behind an endpoint's URL lack the last block."""
BLOCKS_IN_A_STRETCH = 1000
"""Blocks that are read before their events are saved."""
_NO_BLOOM = (
    "its chain has a logsBloom that is not made of its logs, and cannot be followed: use another endpoint"
)


@dataclass(slots=True)
class Portion:
    """The amount that is asked for at once: halved at a provider's limit, and grown again to just below it."""

    longest: int
    now: int = field(init=False)
    _least_refused: int | None = None
    _remembered_until_s: float = 0.0
    _remembered_s: float = 0.0

    def __post_init__(self) -> None:
        self.now = self.longest

    def refused(self, asked: int, now_s: float) -> None:
        """Take note that `asked` was too much, at the event loop's time `now_s`."""
        if self._least_refused is None:
            self._remembered_s = next_pause_s(self._remembered_s, FIRST_REMEMBERED_S, LONGEST_REMEMBERED_S)
        self.now = max(asked // 2, 1)
        self._least_refused, self._remembered_until_s = asked, now_s + self._remembered_s

    def served(self, now_s: float) -> None:
        """Take note that a portion of the present size was answered: the next one may be twice as large."""
        if self._least_refused is not None and now_s > self._remembered_until_s:
            self._least_refused = None
        most = self.longest if self._least_refused is None else max(self._least_refused - 1, 1)
        self.now = min(self.now * 2, most)


class History:
    """The headers and logs of the contracts at `addresses`, of whose events `topics` are wanted."""

    def __init__(
        self, rpc: Rpc, addresses: Iterable[bytes], topics: Iterable[bytes], plentiful: Iterable[bytes] = ()
    ) -> None:
        """`plentiful` are the topics of events that anyone can emit in any number, for gas alone."""
        self._rpc = rpc
        self._addresses = frozenset(addresses)
        self._topics = frozenset(topics)
        self._rare = self._topics - frozenset(plentiful)
        self._log_range = Portion(LONGEST_LOG_RANGE)
        self._header_range = Portion(HEADERS_PER_REQUEST)
        self._refused_since_s: float | None = None
        """When endpoints began to refuse the logs of whole blocks; None while they serve them."""
        self._not_waited_until_s = -math.inf
        """Until when a block whose logs are refused counts as full at once."""

    @property
    def _ours(self) -> dict[str, Any]:
        """The filter for all logs of the contracts."""
        return {"address": ["0x" + address.hex() for address in sorted(self._addresses)]}

    @property
    def rare_criteria(self) -> dict[str, Any]:
        """The filter for the events of the contracts that are wanted even from a block full of logs."""
        return {**self._ours, "topics": [["0x" + topic.hex() for topic in sorted(self._rare)]]}

    def rare(self, logs: Iterable[RawLog]) -> list[RawLog]:
        """Return the logs, of wanted ones, that `rare_criteria` picks."""
        return [log for log in logs if log.topics[0] in self._rare]

    async def headers(
        self, first: int, last: int, until: BlockMark | None = None, after: BlockMark | None = None
    ) -> list[Block]:
        """Return the headers of the blocks first..last, each the next one's parent; `until` is one if it is as near.

        Numbers that the chain leaves out are left out (`headers.linked`); before the first header only if it is known
        to be the child of the block `after`, and at the end only before `until`. Raises `LedgerUnavailable` also when
        the chain changed meanwhile.
        """
        headers: list[Block] = []
        while first <= last:
            end = min(first + self._header_range.now - 1, last)
            before = headers[-1].mark if headers else None

            def read(
                told: list[Any],
                numbers: range = range(first, end + 1),
                before: BlockMark | None = before,
            ) -> list[Block]:
                return linked(numbers, told, before, until, after)

            parameters = [(hex(number), False) for number in range(first, end + 1)]
            try:
                told = await self._rpc.batch("eth_getBlockByNumber", parameters, read)
            except AskedTooMuch:
                self._header_range.refused(len(parameters), _now_s())
                continue
            except Behind:
                if headers and until is not None and last < until.number:
                    return headers
                raise
            except EndpointError as error:
                raise LedgerUnavailable(f"no header of block {first}: {error}") from None
            headers += told
            first = told[-1].mark.number + 1
            self._header_range.served(_now_s())
        return headers

    async def headers_after(self, after: BlockMark, until: BlockMark) -> list[Block]:
        """Return the headers behind `after`, up to `until` or `BLOCKS_IN_A_STRETCH` of them.

        Raises `LedgerReorganised` when `after` is not on the chain, `LedgerUnavailable` when `until` is not (yet).
        """
        first, last = after.number + 1, min(until.number, after.number + BLOCKS_IN_A_STRETCH)
        headers = await self.headers(first, last, until, after)
        if headers[0].parent != after.hash:
            # An endpoint that went over to another chain would look the same.
            self._rpc.doubt()
            headers = await self.headers(first, last, until, after)
            if headers[0].parent != after.hash:
                raise LedgerReorganised(f"block {after.number} was replaced")
        return headers

    async def logs(self, headers: Sequence[Block]) -> tuple[list[RawLog], bool]:
        """Return the wanted logs of consecutive blocks, in chain order, and whether plentiful ones may be missing.

        Raises `LedgerUnavailable` when no endpoint tells the logs that the headers promise.
        """
        if not headers:
            return [], False
        told: dict[int, list[RawLog]] = defaultdict(list)
        first, last = headers[0].mark.number, headers[-1].mark.number
        for log in await self._told(first, last):
            told[log.block.number].append(log)
        logs: list[RawLog] = []
        lacks_plentiful = False
        for header in headers:
            block = in_order(header, told.get(header.mark.number, []))
            if block is None or (not is_all(header, block) and self._may_lack(header, block)):
                block = await self._all_of(header)
            if block is None:
                block, lacks_plentiful = await self._rare_of(header), True
            logs.extend(log for log in block if self._is_wanted(log))
        return logs, lacks_plentiful

    async def _told(self, first: int, last: int) -> list[RawLog]:
        """Return the contracts' logs in the blocks first..last as endpoints give them, asked for in portions.

        A block with more logs than an endpoint gives at once yields only the rare ones: anyone can emit the others.
        """
        logs: list[RawLog] = []
        while first <= last:
            end = min(first + self._log_range.now - 1, last)
            portion = await self._portion(first, end, end, self._ours, is_divisible=True)
            if portion is None and end == first:
                portion = await self._portion(first, end, end, self.rare_criteria, is_divisible=False)
            if portion is not None:
                logs.extend(portion)
                first = end + 1
        return logs

    async def newest_first(
        self, address: str, topics: Sequence[Sequence[bytes]], first: int, last: int
    ) -> AsyncIterator[RawLog]:
        """Yield the logs of one contract that have one of the `topics` at each place, as told and not checked."""
        wanted = [["0x" + one.hex() for one in alternatives] for alternatives in topics]
        while first <= last:
            begin = max(last - self._log_range.now + 1, first)
            criteria = {"address": address, "topics": wanted}
            portion = await self._portion(begin, last, last, criteria, is_divisible=last > begin)
            if portion is not None:
                for log in sorted(portion, key=lambda log: (log.block.number, log.index), reverse=True):
                    yield log
                last = begin - 1

    async def _portion(
        self, first: int, last: int, has_block: int, criteria: dict[str, Any], *, is_divisible: bool
    ) -> list[RawLog] | None:
        """Return the logs of the blocks first..last; None when that was too much, and less is to be asked for.

        A machine behind an endpoint's URL that lacks the last block yet is waited for: that is no limit of its.
        """
        criteria = {"fromBlock": hex(first), "toBlock": hex(last), **criteria}
        for pause_s in (*BEHIND_PAUSES_S, None):
            try:
                logs = await self._rpc.request(
                    "eth_getLogs", criteria, read=answers.logs, has_block=has_block, is_divisible=is_divisible
                )
            except AskedTooMuch:
                if last > first:
                    self._log_range.refused(last - first + 1, _now_s())
                return None
            except EndpointError as error:
                if pause_s is None or not error.is_behind:
                    raise LedgerUnavailable(f"no logs of block {last}: {error}") from None
                await asyncio.sleep(pause_s)
            else:
                self._log_range.served(_now_s())
                return logs
        return None

    def _may_lack(self, header: Block, block: Sequence[RawLog]) -> bool:
        """Return whether a block whose bloom filter also holds others' logs may hold more of ours than were told."""
        return bool(block) or (
            any(is_in_bloom(header.bloom, address) for address in self._addresses)
            and any(is_in_bloom(header.bloom, topic) for topic in self._topics)
        )

    async def _all_of(self, header: Block) -> list[RawLog] | None:
        """Return all logs of one block, of all contracts, from an endpoint whose logs agree with the header.

        Return None when the block has more logs than endpoints give at once, as they have said for `FULL_AFTER_S` now,
        or did in the last `FULL_REMEMBERED_S`.
        """

        def read(result: Any) -> list[RawLog]:
            block = in_order(header, answers.logs(result))
            known = [log for log in block or () if is_log_in_bloom(header.bloom, log)]
            if block is None or not is_all(header, block, known):
                message = (
                    f"not all the logs of block {header.mark.number}, or others, were told; or {_NO_BLOOM}"
                )
                raise Lacking(LedgerUnavailable(message))
            if any(
                log.address in self._addresses and not is_log_in_bloom(header.bloom, log) for log in block
            ):
                raise _not_of(header)
            return known

        criteria = {"blockHash": "0x" + header.mark.hash.hex()}
        number = header.mark.number
        try:
            block = await self._rpc.request(
                "eth_getLogs", criteria, read=read, has_block=number, is_divisible=True
            )
        except AskedTooMuch as refused:
            if not self._is_full(_now_s()):
                raise LedgerUnavailable(f"no logs of block {number}: {refused}") from None
            return None
        except EndpointError as error:
            raise LedgerUnavailable(f"no logs of block {number}: {error}") from None
        self._refused_since_s = None
        return block

    def _is_full(self, now_s: float) -> bool:
        """Return whether a block counts as full whose logs endpoints refuse at `now_s`."""
        if now_s < self._not_waited_until_s:
            return True
        if self._refused_since_s is None:
            self._refused_since_s = now_s
        if now_s - self._refused_since_s < FULL_AFTER_S:
            return False
        self._not_waited_until_s = now_s + FULL_REMEMBERED_S
        return True

    async def _rare_of(self, header: Block) -> list[RawLog]:
        """Return the rare logs of one block, which a second endpoint tells too if there is one that can."""

        def read(result: Any) -> list[RawLog]:
            block = in_order(header, answers.logs(result))
            if block is None or not all(
                self._is_wanted(log) and log.topics[0] in self._rare for log in block
            ):
                raise answers.Unreadable("logs that were not asked for")
            if not all(is_log_in_bloom(header.bloom, log) for log in block):
                raise _not_of(header)
            return block

        number = header.mark.number
        criteria = {"blockHash": "0x" + header.mark.hash.hex(), **self.rare_criteria}
        try:
            told = await self._rpc.request("eth_getLogs", criteria, read=read, has_block=number)
        except EndpointError as error:
            raise LedgerUnavailable(f"no logs of block {number}: {error}") from None
        second = await self._rpc.second_opinion("eth_getLogs", criteria, read=read)
        if second is not None and second[1] != told:
            raise LedgerUnavailable(f"the chain's endpoints disagree about the logs of block {number}")
        return told

    def _is_wanted(self, log: RawLog) -> bool:
        return log.address in self._addresses and bool(log.topics) and log.topics[0] in self._topics


def in_order(header: Block, logs: Iterable[RawLog]) -> list[RawLog] | None:
    """Return the block's logs by index, each once; None when one is another block's, or two of one index differ."""
    by_index: dict[int, RawLog] = {}
    for log in (one.placed(header.mark) for one in logs):
        if log.block != header.mark or by_index.setdefault(log.index, log) != log:
            return None
    return [by_index[index] for index in sorted(by_index)]


def is_all(header: Block, block: Sequence[RawLog], known: Sequence[RawLog] | None = None) -> bool:
    """Return whether logs are all of a block's: no index is left out, and together they make its bloom filter.

    `known` are those of them that its bloom filter may hold; all by default. Polygon's nodes tell other logs behind
    them, those of state syncs, which no transaction has made.
    """
    if [log.index for log in block] != list(range(len(block))):
        return False
    bloom = 0
    for log in block if known is None else known:
        bloom |= log_bits(log)
    return bloom == header.bloom


def _not_of(header: Block) -> answers.Unreadable:
    return answers.Unreadable(f"a log that block {header.mark.number} does not have; or {_NO_BLOOM}")


def is_log_in_bloom(bloom: int, log: RawLog) -> bool:
    """Return whether a bloom filter may hold a log; False is certain."""
    bits = log_bits(log)
    return bloom & bits == bits


def log_bits(log: RawLog) -> int:
    """Return the bits of a log's address and topics in a header's bloom filter."""
    bloom = 0
    for item in (log.address, *log.topics):
        bloom |= bloom_bits(item)
    return bloom


def is_in_bloom(bloom: int, item: bytes) -> bool:
    """Return whether a bloom filter may hold an address or topic; when False it does not."""
    bits = bloom_bits(item)
    return bloom & bits == bits


@lru_cache(maxsize=1 << 14)
def bloom_bits(item: bytes) -> int:
    """Return the bits of an address or topic in a header's bloom filter: three of 2048."""
    digest = keccak(item)
    bits = 0
    for place in (0, 2, 4):
        bits |= 1 << (int.from_bytes(digest[place : place + 2], "big") & 2047)
    return bits


def _now_s() -> float:
    return asyncio.get_running_loop().time()
