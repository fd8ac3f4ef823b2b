"""The interface of the double: what it tells, what it refuses, and the faults that a test gives it."""

from __future__ import annotations

import asyncio
import base64
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pysui.sui.sui_grpc.suimsgs.google.protobuf as protobuf
import pysui.sui.sui_grpc.suimsgs.sui.rpc.v2 as v2
import pytest
from grpclib.const import Status
from grpclib.exceptions import GRPCError

from localnet.sui_double.chain import CLOCK_ID, GAS_PRICE, Chain
from localnet.sui_double.errors import InvalidTransaction
from localnet.sui_double.rpc.masks import masked
from localnet.sui_double.rpc.server import SuiDouble
from localnet.sui_double.rpc.texts import address_text, digest_text, read_address, read_type, type_text
from localnet.sui_double.stored import GAS_COIN
from tests.localnet.sui_double.clients import connected
from tests.localnet.sui_double.packages import needs_framework
from tests.localnet.sui_double.wallet import Wallet
from tests.localnet.sui_double.world import World

pytestmark = needs_framework

ALL = protobuf.FieldMask(paths=["*"])


class Connection:
    """The double behind pysui's channel, and a chain with the shelf on it."""

    def __init__(self, double: SuiDouble, world: World, client: Any, address: str) -> None:
        self.double = double
        self.world = world
        self.client = client
        self.address = address
        self.ledger = v2.LedgerServiceStub(client._channel)
        self.state = v2.StateServiceStub(client._channel)
        self.execution = v2.TransactionExecutionServiceStub(client._channel)
        self.subscription = v2.SubscriptionServiceStub(client._channel)

    async def request(self, function: str = "count_up") -> v2.ExecuteTransactionRequest:
        """Return a signed transaction that calls a function of the shelf, as pysui makes it."""
        transaction = await self.client.transaction(initial_sender=self.address)
        package, shelf = address_text(self.world.package), address_text(self.world.shelf)
        await transaction.move_call(target=f"{package}::shelf::{function}", arguments=[shelf])
        built = await transaction.build_and_sign()
        return v2.ExecuteTransactionRequest(
            transaction=v2.Transaction(bcs=v2.Bcs(value=base64.b64decode(built["tx_bytestr"]))),
            signatures=[
                v2.UserSignature(bcs=v2.Bcs(value=base64.b64decode(signature)))
                for signature in built["sig_array"]
            ],
            read_mask=ALL,
        )

    async def execute(self) -> v2.ExecutedTransaction:
        answer = await self.execution.execute_transaction(await self.request())
        assert answer.transaction is not None
        return answer.transaction

    def follow(self, count: int) -> asyncio.Task[list[int]]:
        """Begin to read the numbers of the next checkpoints of a subscription."""

        async def read() -> list[int]:
            seen: list[int] = []
            async for answer in self.subscription.subscribe_checkpoints(v2.SubscribeCheckpointsRequest()):
                assert answer.cursor is not None
                seen.append(answer.cursor)
                if len(seen) == count:
                    break
            return seen

        return asyncio.create_task(read())


@asynccontextmanager
async def serving(folder: Path) -> AsyncIterator[Connection]:
    world = World()
    async with SuiDouble(world.chain) as double, connected(double, folder) as (client, address):
        yield Connection(double, world, client, address)


async def test_node_tells_its_chain_and_its_height(tmp_path: Path) -> None:
    async with serving(tmp_path) as connection:
        info = await connection.ledger.get_service_info(v2.GetServiceInfoRequest())
        assert info.chain_id == digest_text(connection.world.chain.id)
        assert (info.checkpoint_height, info.epoch, info.server) == (1, 0, "haulout Sui double")
        connection.world.chain.advance_epoch()
        epoch = (await connection.ledger.get_epoch(v2.GetEpochRequest(read_mask=ALL))).epoch
        assert epoch is not None
        assert (epoch.epoch, epoch.reference_gas_price) == (1, GAS_PRICE)
        with pytest.raises(GRPCError) as refused:
            await connection.ledger.get_epoch(v2.GetEpochRequest(epoch=0))
        assert refused.value.status is Status.NOT_FOUND


async def test_object_is_told_in_every_version(tmp_path: Path) -> None:
    async with serving(tmp_path) as connection:
        shelf = address_text(connection.world.shelf)
        first = connection.world.get(connection.world.shelf)
        executed = await connection.execute()
        for version, count in ((None, 1), (first.version, 0)):
            request = v2.GetObjectRequest(object_id=shelf, version=version, read_mask=ALL)
            found = (await connection.ledger.get_object(request)).object
            assert found is not None
            assert found.contents is not None
            assert found.contents.value == connection.world.shelf + count.to_bytes(8, "little")
            assert found.owner == v2.Owner(kind=v2.OwnerOwnerKind.SHARED, version=first.owner.since)
        assert executed.effects is not None
        assert first.version < (executed.effects.lamport_version or 0)
        package = v2.GetObjectRequest(object_id=address_text(connection.world.package), read_mask=ALL)
        found = (await connection.ledger.get_object(package)).object
        assert found is not None
        assert found.package is not None
        assert [module.name for module in found.package.modules] == ["shelf"]
        requests = [v2.GetObjectRequest(object_id=id_) for id_ in (shelf, "0x99", shelf)]
        batch = await connection.ledger.batch_get_objects(v2.BatchGetObjectsRequest(requests=requests))
        assert [result.object is not None for result in batch.objects] == [True, False, True]
        error = batch.objects[1].error
        assert error is not None
        assert (error.code, error.message) == (Status.NOT_FOUND.value, "there is no object 0x99")
        for id_ in ("0x99", "shelf", "0x" + "1" * 65):
            with pytest.raises(GRPCError):
                await connection.ledger.get_object(v2.GetObjectRequest(object_id=id_))


async def test_client_gets_the_fields_that_it_named(tmp_path: Path) -> None:
    async with serving(tmp_path) as connection:
        clock = v2.GetObjectRequest(object_id=address_text(CLOCK_ID))
        found = (await connection.ledger.get_object(clock)).object
        assert found is not None
        assert found.version is not None
        assert (found.owner, found.contents) == (None, None)
        clock.read_mask = protobuf.FieldMask(paths=["owner.kind"])
        found = (await connection.ledger.get_object(clock)).object
        assert found == v2.Object(owner=v2.Owner(kind=v2.OwnerOwnerKind.SHARED))
        clock.read_mask = protobuf.FieldMask(paths=["colour"])
        with pytest.raises(GRPCError, match="Object has no field 'colour'") as refused:
            await connection.ledger.get_object(clock)
        assert refused.value.status is Status.INVALID_ARGUMENT


def test_mask_goes_through_lists() -> None:
    message = v2.Checkpoint(
        sequence_number=3,
        transactions=[v2.ExecutedTransaction(digest="a", checkpoint=3), v2.ExecutedTransaction(digest="b")],
    )
    assert masked(message, ["transactions.digest"]) == v2.Checkpoint(
        transactions=[v2.ExecutedTransaction(digest="a"), v2.ExecutedTransaction(digest="b")]
    )
    assert masked(message, ["sequence_number", "*"]) is message
    with pytest.raises(InvalidTransaction, match="ExecutedTransaction has no field 'digests'"):
        masked(message, ["transactions.digests"])


async def test_owned_objects_come_by_type_and_by_pages(tmp_path: Path) -> None:
    async with serving(tmp_path) as connection:
        owner = address_text(connection.world.wallet.address)
        for _ in range(3):
            connection.world.note()

        async def owned(**fields: Any) -> list[str]:
            """Return the names of the types of all pages of two."""
            found: list[str] = []
            request = v2.ListOwnedObjectsRequest(owner=owner, page_size=2, **fields)
            while True:
                answer = await connection.state.list_owned_objects(request)
                found += [
                    (stored.object_type or "").split("::")[2].split("<")[0] for stored in answer.objects
                ]
                if not answer.next_page_token:
                    return sorted(found)
                request.page_token = answer.next_page_token

        assert await owned() == ["Coin", "Librarian", "Note", "Note", "Note", "UpgradeCap"]
        assert await owned(object_type="0x2::coin::Coin") == ["Coin"]
        assert await owned(object_type="0x2::coin::Coin<0x2::sui::SUI>") == ["Coin"]
        assert await owned(object_type="0x2::coin::Coin<u8>") == []
        with pytest.raises(GRPCError, match="is no type"):
            await owned(object_type="Coin<")


async def test_transaction_that_is_not_valid_is_refused(tmp_path: Path) -> None:
    async with serving(tmp_path) as connection:
        request = await connection.request()
        unsigned = v2.ExecuteTransactionRequest(transaction=request.transaction)
        empty = v2.ExecuteTransactionRequest(signatures=request.signatures)
        for invalid, refusal in ((unsigned, "exactly one of each"), (empty, "no transaction in BCS")):
            with pytest.raises(GRPCError, match=refusal) as refused:
                await connection.execution.execute_transaction(invalid)
            assert refused.value.status is Status.INVALID_ARGUMENT
        later = await connection.request("only_a_transaction")
        await connection.execution.execute_transaction(request)
        with pytest.raises(GRPCError, match="the transaction names version") as refused:
            await connection.execution.execute_transaction(later)
        assert refused.value.status is Status.FAILED_PRECONDITION
        assert connection.world.count() == 1


async def test_lost_answer_is_found_by_the_digest(tmp_path: Path) -> None:
    """What an adapter must do after a time-out: look the transaction up, and send the same one again."""
    async with serving(tmp_path) as connection:
        request = await connection.request()
        connection.double.faults.lost_answers = 1
        with pytest.raises(GRPCError) as lost:
            await connection.execution.execute_transaction(request)
        assert lost.value.status is Status.UNAVAILABLE
        again = (await connection.execution.execute_transaction(request)).transaction
        assert again is not None
        found = await connection.ledger.get_transaction(
            v2.GetTransactionRequest(digest=again.digest, read_mask=ALL)
        )
        assert found.transaction == again
        assert connection.world.count() == 1
        with pytest.raises(GRPCError) as missing:
            await connection.ledger.get_transaction(v2.GetTransactionRequest(digest=digest_text(bytes(32))))
        assert missing.value.status is Status.NOT_FOUND


async def test_checkpoints_are_read_by_number_and_by_digest(tmp_path: Path) -> None:
    async with serving(tmp_path) as connection:
        executed = await connection.execute()
        newest = (await connection.ledger.get_checkpoint(v2.GetCheckpointRequest(read_mask=ALL))).checkpoint
        assert newest is not None
        assert newest.sequence_number == executed.checkpoint == 2
        assert [told.digest for told in newest.transactions] == [executed.digest]
        assert newest.summary is not None
        request = v2.GetCheckpointRequest(digest=newest.summary.previous_digest)
        before = (await connection.ledger.get_checkpoint(request)).checkpoint
        assert before == v2.Checkpoint(sequence_number=1, digest=newest.summary.previous_digest)
        with pytest.raises(GRPCError) as missing:
            await connection.ledger.get_checkpoint(v2.GetCheckpointRequest(sequence_number=3))
        assert missing.value.status is Status.NOT_FOUND


async def test_lagging_node_shows_transactions_without_their_checkpoint(tmp_path: Path) -> None:
    async with serving(tmp_path) as connection:
        connection.double.faults.checkpoint_lag = 1
        following = connection.follow(1)
        await connection.double.wait_for_streams(1)
        executed = await connection.execute()
        assert executed.checkpoint is None
        height = (await connection.ledger.get_service_info(v2.GetServiceInfoRequest())).checkpoint_height
        assert height == 1
        with pytest.raises(GRPCError):
            await connection.ledger.get_checkpoint(v2.GetCheckpointRequest(sequence_number=2))
        connection.double.faults.checkpoint_lag = 0
        await connection.double.notify()
        assert await following == [1]
        request = v2.GetTransactionRequest(digest=executed.digest, read_mask=ALL)
        found = (await connection.ledger.get_transaction(request)).transaction
        assert found is not None
        assert found.checkpoint == 2


async def test_stream_leaves_out_checkpoints_and_ends(tmp_path: Path) -> None:
    async with serving(tmp_path) as connection:
        connection.double.faults.missing_checkpoints = {3}
        connection.double.faults.stream_length = 2
        following = connection.follow(3)
        await connection.double.wait_for_streams(1)
        wallet = Wallet(connection.world.chain, "busy")
        for _ in range(3):
            wallet.succeed(wallet.draft())
            await connection.double.notify()
        with pytest.raises(GRPCError) as ended:
            await following
        assert ended.value.status is Status.UNAVAILABLE
        await connection.double.wait_for_streams(0)
        request = v2.GetCheckpointRequest(sequence_number=3)
        assert (await connection.ledger.get_checkpoint(request)).checkpoint is not None
        connection.double.faults.stream_length = None
        following = connection.follow(1)
        await connection.double.wait_for_streams(1)
        wallet.succeed(wallet.draft())
        await connection.double.notify()
        assert await following == [5]


async def test_node_that_is_down_answers_nothing(tmp_path: Path) -> None:
    async with serving(tmp_path) as connection:
        following = connection.follow(1)
        await connection.double.wait_for_streams(1)
        connection.double.faults.is_down = True
        await connection.double.notify()
        for awaitable in (following, connection.ledger.get_service_info(v2.GetServiceInfoRequest())):
            with pytest.raises(GRPCError) as down:
                await awaitable
            assert down.value.status is Status.UNAVAILABLE
        connection.double.faults.is_down = False
        await connection.ledger.get_service_info(v2.GetServiceInfoRequest())


async def test_pruned_history_is_not_found(tmp_path: Path) -> None:
    async with serving(tmp_path) as connection:
        publication = connection.world.publication.transaction.digest
        await connection.execute()
        connection.double.faults.first_checkpoint = 2
        info = await connection.ledger.get_service_info(v2.GetServiceInfoRequest())
        assert info.lowest_available_checkpoint == 2
        await connection.ledger.get_checkpoint(v2.GetCheckpointRequest(sequence_number=2))
        for awaitable in (
            connection.ledger.get_checkpoint(v2.GetCheckpointRequest(sequence_number=1)),
            connection.ledger.get_transaction(v2.GetTransactionRequest(digest=digest_text(publication))),
        ):
            with pytest.raises(GRPCError) as missing:
                await awaitable
            assert missing.value.status is Status.NOT_FOUND


async def test_method_that_the_double_does_not_have_is_unimplemented(tmp_path: Path) -> None:
    async with serving(tmp_path) as connection:
        with pytest.raises(GRPCError) as refused:
            await connection.state.get_balance(v2.GetBalanceRequest(owner="0x1"))
        assert refused.value.status is Status.UNIMPLEMENTED


async def test_port_in_use_is_refused() -> None:
    async with SuiDouble(Chain()) as double:
        with pytest.raises(OSError, match="Address already in use"):
            await SuiDouble(double.chain, double.port).start()


def test_types_are_read_as_they_are_written() -> None:
    written = type_text(GAS_COIN)
    assert written == f"0x{'0' * 63}2::coin::Coin<0x{'0' * 63}2::sui::SUI>"
    assert read_type(written) == read_type("0x2::coin::Coin< 0x2::sui::SUI >") == GAS_COIN
    assert type_text(read_type("vector<0x7::m::T<u8, vector<bool>>>")) == (
        f"vector<0x{'0' * 63}7::m::T<u8,vector<bool>>>"
    )


@pytest.mark.parametrize(
    "text",
    [
        "",
        "coin",
        "0x2::coin",
        "0x2::coin::Coin<",
        "0x2::coin::Coin<>",
        "vector",
        "vector<u8",
        "u8>",
        "u8,u8",
        "vector<u8,u8>",
        "0x2:coin:Coin",
        "0x2::coin::Coin<u8>x",
        "vector<" * 20 + "u8" + ">" * 20,
    ],
)
def test_text_that_is_no_type_is_refused(text: str) -> None:
    with pytest.raises(InvalidTransaction, match="is no type"):
        read_type(text)


@pytest.mark.parametrize("text", [None, "", "0x", "0xg", "0x" + "0" * 65])
def test_text_that_is_no_address_is_refused(text: str | None) -> None:
    with pytest.raises(InvalidTransaction, match="is no address"):
        read_address(text)
