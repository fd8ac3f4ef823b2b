"""Reads the contracts: calls at one block, pages, events."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, Final, Literal, TypeVar

from committee.errors import (
    FinalityUnknown,
    LedgerError,
    LedgerNotSettled,
    LedgerRefused,
    LedgerReorganised,
    LedgerStateGone,
    LedgerUnavailable,
)
from committee.ledger.events import BlobRegistered, Event, Stretch
from committee.ledger.evm import answers, decode
from committee.ledger.evm.abi import ContractAbi, ErrorDecoder, Log, load_contract
from committee.ledger.evm.answers import Block, RawLog
from committee.ledger.evm.deployment import Deployment
from committee.ledger.evm.history import History
from committee.ledger.evm.refusals import Behind, EndpointError, Lacking, NoBlock
from committee.ledger.evm.rpc import Rpc
from committee.ledger.evm.witnesses import Witnesses
from committee.ledger.records import BlobRecord, BlockMark

Item = TypeVar("Item")
Tag = Literal["latest", "safe", "finalized"]

INVALID_PARAMETERS = -32602
"""JSON-RPC's code for parameters that a method does not take."""
WORD_BYTES = 32
"""The contracts' answers are encoded in words of this size."""
PAGE_ITEMS = 200
"""Number of items asked for in one call; at most some 100 KiB of answer."""
MOST_ITEMS = 1 << 26
"""No view has more; an endpoint that makes items up would go on for ever."""
BEHIND_PAUSES_S = (0.2, 0.4, 0.8, 1.6, 3.2)
"""Pauses between tries while endpoints lack the account's newest transaction."""
MARKS_TOLD = 128
"""The most blocks of a stretch whose marks are returned, the newest ones, so that a follower knows them again."""


Call = tuple[str, tuple[Any, ...]]
"""A view's name and its arguments."""


class NoContract(LedgerError):
    """There is no code at a contract's address."""


class StateGone(Behind, LedgerStateGone):
    """The endpoints have no state of a block: it was reorganised, or they keep that of the newest blocks only."""


@dataclass(frozen=True, slots=True)
class Contract:
    """A deployed contract."""

    abi: ContractAbi
    address: str


class Reader:
    """One deployment's contracts, seen through `Rpc`."""

    def __init__(self, rpc: Rpc, deployment: Deployment) -> None:
        self.chain_id: Final = deployment.chain_id
        self.first_block: Final = deployment.block
        self.token: Final = Contract(load_contract("HauloutToken"), deployment.token)
        self.staking: Final = Contract(load_contract("Staking"), deployment.staking)
        self.registry: Final = Contract(load_contract("Registry"), deployment.registry)
        self.committee: Final = Contract(load_contract("Committee"), deployment.committee)
        self.blobs: Final = Contract(load_contract("Blobs"), deployment.blobs)
        self.ballot: Final = Contract(load_contract("Ballot"), deployment.ballot)
        self.proofs: Final = Contract(load_contract("Proofs"), deployment.proofs)
        # (Of errors with the same name and types the last contract's argument names are told.)
        everything = (
            *(self.proofs, self.token, self.staking, self.registry),
            *(self.committee, self.blobs, self.ballot),
        )
        self.errors: Final = ErrorDecoder(contract.abi for contract in everything)
        self._rpc = rpc
        self._first_block = deployment.block
        self._sources = {bytes.fromhex(contract.address[2:]): contract.abi for contract in everything}
        self._last_object: tuple[BlockMark | None, int | None] = None, None
        """Where the last stretch ended, and the newest blob object known there."""
        self._history = History(
            rpc, self._sources, self._topics(decode.EVENTS), self._topics(decode.PLENTIFUL_EVENTS)
        )
        self.witnesses: Final = Witnesses(rpc, self._history.rare_criteria)

    def _topics(self, names: Sequence[str]) -> list[bytes]:
        declared = (entry for abi in self._sources.values() for entry in abi.events.items())
        return [topic for topic, declaration in declared if declaration["name"] in names]

    async def call(
        self,
        contract: Contract,
        function: str,
        *arguments: Any,
        at: BlockMark | None = None,
        read: Callable[[Any], Any] = answers.anything,
        is_confirmed: bool = False,
        is_compared: bool = False,
    ) -> Any:
        """Return what `read` makes of a view's answer at the block `at`, which the chain must have, or the newest.

        With `is_compared` the answer, at a block, is compared with those of other endpoints that can tell; with
        `is_confirmed` it is unconfirmed where none can (`Witnesses`). Raises `ProvidersDisagree` then; `LedgerRefused`
        when the view reverts, `LedgerNotSettled` when the endpoint has not come to the block of the contracts,
        `LedgerError` when there is no such contract.
        """
        action = f"{contract.abi.name}.{function}"
        request = {
            "to": contract.address,
            "data": "0x" + contract.abi.encode_call(function, *arguments).hex(),
        }
        # By hash and not by number: after a reorganisation there is an error and not another block's state.
        block: Any = {"blockHash": "0x" + at.hash.hex(), "requireCanonical": True} if at else "latest"

        def read_data(result: Any) -> tuple[bytes, Any]:
            data = answers.data(result)
            if not data:
                self._rpc.doubt()
                raise Lacking(NoContract(f"{action}: no such contract at {contract.address} on {self._rpc}"))
            if len(data) % WORD_BYTES:
                raise answers.Unreadable(f"{len(data)} bytes, which are no whole words")
            return data, read(contract.abi.decode_result(function, data))

        try:
            data, made = await self._rpc.request("eth_call", request, block, read=read_data)
        except NoContract:
            await self._require_deployed(at)
            raise
        except EndpointError as error:
            if error.data is not None:
                raise LedgerRefused(action, *self.errors.decode(error.data)) from None
            if at is not None and error.code == INVALID_PARAMETERS:
                raise LedgerUnavailable(
                    f"{action}: the chain's endpoint knows no block by its hash (EIP-1898), and state is read in no "
                    f"other way: use another endpoint ({error})"
                ) from None
            if at is not None:
                await self._require_deployed(at)
                raise StateGone(
                    f"{action} at block {at.number}, which was reorganised or whose state is pruned: {error}"
                ) from None
            raise
        if at is not None and (is_confirmed or is_compared):
            compare = self.witnesses.confirm_state if is_confirmed else self.witnesses.has_same_state
            await compare(f"{action} at block {at.number}", "eth_call", (request, block), answers.data, data)
        return made

    async def calls(
        self,
        contract: Contract,
        calls: Sequence[Call],
        *,
        at: BlockMark | None = None,
        read: Callable[[Any], Any] = answers.anything,
    ) -> Any:
        """Return what `read` makes of the list of what several views answer, all asked in one call of the contract.

        The contract must be a `Multicall`. Raises as `call` does, and `LedgerRefused` when any of the views reverts.
        """
        if len(calls) == 1:
            view, arguments = calls[0]
            return await self.call(contract, view, *arguments, at=at, read=lambda told: read([told]))

        def read_all(told: Sequence[bytes]) -> Any:
            if len(told) != len(calls):
                raise answers.Unreadable(f"{len(told)} answers to {len(calls)} calls")
            results = zip(calls, told, strict=True)
            return read([contract.abi.decode_result(view, data) for (view, _), data in results])

        encoded = [contract.abi.encode_call(view, *arguments) for view, arguments in calls]
        return await self.call(contract, "multicall", encoded, at=at, read=read_all)

    async def _require_deployed(self, at: BlockMark | None) -> None:
        """Raise `LedgerNotSettled` if the block, or the endpoint's newest one, is before that of the contracts."""
        number = (at or (await self.block("latest")).mark).number
        if number < self._first_block:
            raise LedgerNotSettled(
                f"the contracts were deployed in block {self._first_block}, and the chain's endpoint {self._rpc} is at "
                f"block {number}: wait until it is synchronised, or use another endpoint; if its chain was begun anew, "
                "deploy there"
            )

    async def pages(
        self,
        contract: Contract,
        function: str,
        at: BlockMark,
        read: Callable[[dict[str, Any]], Item],
    ) -> list[Item]:
        """Return what `read` makes of all items of a view, which are numbered from 1, at one block.

        The view is one of (first number, count) → (page, next number; 0 at the end). Raises `LedgerUnavailable` when
        there is no end in sight.
        """

        def read_page(answer: tuple[list[dict[str, Any]], int]) -> tuple[list[Item], int]:
            page, following = answer
            is_last = following == 0 and len(page) <= PAGE_ITEMS
            leads_on = following == max(cursor, 1) + PAGE_ITEMS and len(page) == PAGE_ITEMS
            if not is_last and not leads_on:
                raise answers.Unreadable(f"a page that does not lead on from item {cursor}")
            return [read(one) for one in page], following

        items: list[Item] = []
        cursor = 0
        while len(items) < MOST_ITEMS:
            page, following = await self.call(contract, function, cursor, PAGE_ITEMS, at=at, read=read_page)
            items.extend(page)
            if following == 0:
                return items
            cursor = following
        raise LedgerUnavailable(
            f"{self._rpc} tells of more than {MOST_ITEMS} {function}, which cannot be right"
        )

    async def live_page(
        self, cursor: int, at: BlockMark, *, is_confirmed: bool = False
    ) -> tuple[list[BlobRecord], int]:
        """Return a page of the live objects at a block, in the contract's order, and the next page's cursor.

        The cursor is 0 for the first page and behind the last one.
        """

        def read(answer: tuple[list[dict[str, Any]], int]) -> tuple[list[BlobRecord], int]:
            page, following = answer
            if len(page) > PAGE_ITEMS or (following and not (following > cursor and len(page) == PAGE_ITEMS)):
                raise answers.Unreadable(f"a page that does not lead on from {cursor}")
            return [decode.blob_record(one) for one in page], following

        told: tuple[list[BlobRecord], int] = await self.call(
            self.blobs, "liveBlobs", cursor, PAGE_ITEMS, at=at, read=read, is_confirmed=is_confirmed
        )
        return told

    async def newest(self, has_block: int) -> BlockMark:
        """Return the newest block, `has_block` or later, which endpoints may lack for a while."""
        return await self.once_there(lambda: self.newest_once(has_block))

    async def once_there(self, ask: Callable[[], Awaitable[Item]]) -> Item:
        """Return what `ask` returns; call it again after each of BEHIND_PAUSES_S while it raises `Behind`."""
        for pause_s in BEHIND_PAUSES_S:
            with suppress(Behind):
                return await ask()
            await asyncio.sleep(pause_s)
        return await ask()

    async def newest_once(self, has_block: int) -> BlockMark:
        """Return the newest block. Raises `Behind` when it is before `has_block`."""

        def read(result: Any) -> BlockMark:
            mark = answers.block(result).mark
            if mark.number < has_block:
                raise Lacking(
                    Behind(f"the chain's endpoint is at block {mark.number}, behind block {has_block}")
                )
            return mark

        return await self._rpc.request("eth_getBlockByNumber", "latest", False, read=read)

    async def block(self, which: int | Tag) -> Block:
        """Return a block by tag, or by number of one that is there; of a number that no block has, the one before.

        Raises `LedgerUnavailable` when it stays unknown, `FinalityUnknown` for a tag.
        """
        if which not in ("safe", "finalized"):  # unknown for a while to some of the machines behind a URL
            return await self.once_there(lambda: self._block(which))
        try:
            return await self._block(which)
        except (Behind, EndpointError) as error:
            raise FinalityUnknown(
                f"the chain's endpoint tells no {which} block: {error}. If it never does, the chain has none: nodes "
                'then want `confirmations` in node.toml, and the deployment manifest "finality": "latest"'
            ) from None

    async def _block(self, which: int | Tag) -> Block:
        asked = hex(which) if isinstance(which, int) else which
        with suppress(NoBlock):
            return await self._rpc.request("eth_getBlockByNumber", asked, False, read=_block_of(which))
        return await self._block(which - 1 if isinstance(which, int) else which)

    async def second_opinion(self, number: int) -> tuple[str, BlockMark] | None:
        """Return (name of an endpoint other than the one that answered last, its block of this number), if any."""
        told = await self._second(number)
        return None if told is None else (told[0], told[1].mark)

    async def second_block(self, which: int | Tag) -> Block | None:
        """Return a block by number or tag of an endpoint other than the one that answered last, if any."""
        told = await self._second(which)
        return None if told is None else told[1]

    async def _second(self, which: int | Tag) -> tuple[str, Block] | None:
        asked = hex(which) if isinstance(which, int) else which
        return await self._rpc.second_opinion("eth_getBlockByNumber", asked, False, read=_block_of(which))

    async def events(self, first_block: int, last_block: int) -> list[Event]:
        """Return the events of the blocks first..last in chain order.

        None lacks but changes of addresses, of a block with more logs than can be told. Raises `LedgerUnavailable`
        when that is not certain, or the provider refuses even a single block.
        """
        return await self._rpc.agreeing(lambda: self._events(first_block, last_block))

    async def _events(self, first_block: int, last_block: int) -> list[Event]:
        headers = await self._history.headers(first_block, last_block)
        logs, _ = await self._history.logs(headers)
        if headers:
            await self.witnesses.confirm_logs(first_block, last_block, self._history.rare(logs))
        return [self._event(log) for log in logs]

    async def stretch(self, after: BlockMark, until: BlockMark) -> Stretch:
        """Return the blocks behind `after` with their events, up to `until` or some way towards it.

        Raises `LedgerReorganised` and `LedgerUnavailable` as `Ledger.stretch` does.
        """
        return await self._rpc.agreeing(lambda: self._stretch(after, until))

    async def _stretch(self, after: BlockMark, until: BlockMark) -> Stretch:
        headers = await self._history.headers_after(after, until)
        logs, lacks_plentiful = await self._history.logs(headers)
        events = [self._event(log) for log in logs]
        marks = tuple(header.mark for header in headers[-MARKS_TOLD:])
        self._check_sequence(after, marks[-1], events)
        await self.witnesses.confirm_logs(after.number + 1, marks[-1].number, self._history.rare(logs))
        return Stretch(marks, events, lacks_address_changes=lacks_plentiful)

    async def agreeing(self, work: Callable[[], Awaitable[Item]]) -> Item:
        """Do `work`, which reads state, once more if the endpoints disagree (`Rpc.agreeing`)."""
        return await self._rpc.agreeing(work)

    async def newest_first(
        self, contract: Contract, names: Sequence[str], keys: Sequence[Sequence[int]], first: int, last: int
    ) -> AsyncIterator[tuple[Log, BlockMark]]:
        """Yield the events of these names, and their blocks, whose first indexed values are each among those in `keys`.

        As an endpoint tells them, not checked against headers: for what is rare and may be far back. Raises
        `Unreadable` for what is no event of the contract.
        """
        wanted = (
            [topic for topic, declared in contract.abi.events.items() if declared["name"] in names],
            *([key.to_bytes(32, "big") for key in alternatives] for alternatives in keys),
        )
        async for raw in self._history.newest_first(contract.address, wanted, first, last):
            log = self._decoded(contract.abi, raw)
            if log is not None:
                yield log, raw.block

    def _check_sequence(self, after: BlockMark, until: BlockMark, events: list[Event]) -> None:
        """Check that no blob object is left out, also between stretches: the contract numbers them one by one.

        Raises `Unreadable`; `LedgerReorganised` when the stretch before may have lacked one, as nothing else helps then
        but to read the state anew.
        """
        at, last = self._last_object
        if at != after:
            last = None
        is_of_before = last is not None
        for event in events:
            if isinstance(event, BlobRegistered):
                if last is not None and event.object_id != last + 1:
                    message = (
                        f"blob object {event.object_id} was told behind object {last}: events are lacking"
                    )
                    raise LedgerReorganised(message) if is_of_before else answers.Unreadable(message)
                last, is_of_before = event.object_id, False
        self._last_object = until, last

    def _decoded(self, abi: ContractAbi, raw: RawLog) -> Log | None:
        try:
            return abi.decode_log(raw.topics, raw.data)
        except LedgerError as error:
            raise answers.Unreadable(str(error)) from None

    def _event(self, raw: RawLog) -> Event:
        """Raises `Unreadable`."""
        log = self._decoded(self._sources[raw.address], raw)
        if log is None:
            raise answers.Unreadable("a log that was not asked for")
        return decode.event(log, raw.block)


def _block_of(which: int | Tag) -> Callable[[Any], Block]:
    def read(result: Any) -> Block:
        block = answers.block(result)
        if isinstance(which, int) and block.mark.number != which:
            raise answers.Unreadable(f"block {block.mark.number} instead of {which}")
        return block

    return read
