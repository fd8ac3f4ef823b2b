"""pysui publishes, calls, reads and follows checkpoints on the double, over real gRPC."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

from pysui import ExecuteTransaction, GetObject
from pysui.sui.sui_bcs import bcs
from pysui.sui.sui_grpc import pgrpc_requests as requests

from localnet.sui_double.chain import Chain
from localnet.sui_double.rpc.server import SuiDouble
from tests.localnet.sui_double.clients import connected
from tests.localnet.sui_double.packages import needs_framework, shelf_modules
from tests.localnet.sui_double.wallet import text, u64

pytestmark = needs_framework


async def execute(client: Any, transaction: Any) -> Any:
    """Sign and execute a transaction as a program would; return what the node answered."""
    result = await client.execute(command=ExecuteTransaction(**(await transaction.build_and_sign())))
    assert result.is_ok(), result.result_string
    return result.result_data


async def publish(client: Any, address: str) -> Any:
    transaction = await client.transaction(initial_sender=address)
    modules = [list(module) for module in shelf_modules()]
    cap = transaction.builder.publish(modules, [bcs.Address.from_str("0x1"), bcs.Address.from_str("0x2")])
    await transaction.transfer_objects(transfers=[cap], recipient=address)
    return await execute(client, transaction)


async def follow(client: Any, count: int) -> list[Any]:
    """Return the next checkpoints of a subscription."""
    stream = (
        await client.execute_grpc_request(request=requests.SubscribeCheckpoints(field_mask=["*"]))
    ).result_data
    seen: list[Any] = []
    async for answer in stream:
        seen.append(answer.checkpoint)
        if len(seen) == count:
            break
    await stream.aclose()
    return seen


def changed(executed: Any, name: str) -> Any:
    """Return the only object of this type that a transaction wrote."""
    (found,) = (
        change for change in executed.effects.changed_objects if change.object_type.split("::")[-1] == name
    )
    return found


async def test_pysui_publishes_calls_reads_and_follows(tmp_path: Path) -> None:
    async with SuiDouble(Chain()) as double, connected(double, tmp_path) as (client, address):
        following = asyncio.create_task(follow(client, 2))
        await double.wait_for_streams(1)
        published = await publish(client, address)
        assert published.effects.status.success
        package = changed(published, "package").object_id
        shelf = changed(published, "Shelf").object_id
        transaction = await client.transaction(initial_sender=address)
        note = await transaction.move_call(target=f"{package}::shelf::write", arguments=[list(b"from pysui")])
        await transaction.move_call(target=f"{package}::shelf::put", arguments=[shelf, 7, note])
        await transaction.move_call(target=f"{package}::shelf::count_up", arguments=[shelf])
        executed = await execute(client, transaction)
        assert executed.effects.status.success
        (event,) = executed.events.events
        assert event.event_type == f"{package}::shelf::Counted"
        assert event.contents.value == bytes.fromhex(shelf[2:]) + u64(1)
        read = (await client.execute(command=GetObject(object_id=shelf))).result_data
        assert read.contents.value == bytes.fromhex(shelf[2:]) + u64(1)
        assert read.version == executed.effects.lamport_version
        fields = await client.execute_grpc_request(request=requests.GetDynamicFields(object_id=shelf))
        (field,) = fields.result_data.dynamic_fields
        assert field.name.value == u64(7)
        assert field.value.value.endswith(text(b"from pysui"))
        seen = [[each.digest for each in checkpoint.transactions] for checkpoint in await following]
        assert seen == [[published.digest], [executed.digest]]
        await double.wait_for_streams(0)


async def test_pysui_is_told_of_an_abort(tmp_path: Path) -> None:
    async with SuiDouble(Chain()) as double, connected(double, tmp_path) as (client, address):
        published = await publish(client, address)
        shelf = changed(published, "Shelf").object_id
        package = changed(published, "package").object_id
        transaction = await client.transaction(initial_sender=address)
        await transaction.move_call(target=f"{package}::shelf::count_down", arguments=[shelf])
        executed = await execute(client, transaction)
        status = executed.effects.status
        assert not status.success
        assert (status.error.abort.abort_code, status.error.command) == (3, 0)
        location = status.error.abort.location
        assert (location.package, location.module, location.function_name) == (package, "shelf", "count_down")
