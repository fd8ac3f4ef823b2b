"""Walrus' official client, `@mysten/walrus`, over four nodes of ours: what it sends is taken, what it gets it takes.

Refusals are asked of its client for one node. (Of the client for a network they make other errors from run to run: it
counts further slivers of a node that has refused one as failures of another kind.)

The package's own code encodes, uploads, gathers confirmations and reads; the chain is ours, so registering and
certifying is done here. `client.mjs` says what stands in for Sui.
"""

from __future__ import annotations

import asyncio
import base64
import json
import random
import shutil
import sys
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio

from committee import messages
from committee.certificate import Certificate, MemberSignature, build
from committee.ledger.evm import DeploymentParameters
from committee.membership import Committee, Member
from localnet.network import LocalNetwork
from storage.node.config import bls_key
from storage.redstuff import Axis, EncodedBlob, RedStuff, SliverData, blob_id_text, parse_blob_id

HERE = Path(__file__).parent
N_SHARDS = 10
CODE = RedStuff(N_SHARDS)
NAMES = ("alfa", "bravo", "charlie", "delta")
ANSWER_LIMIT_S = 30.0
LINE_BYTES = 2**22

pytestmark = pytest.mark.asyncio(loop_scope="module")


def octets(content: bytes) -> dict[str, str]:
    """Bytes as they travel to and from `client.mjs`."""
    return {"bytes": base64.b64encode(content).decode()}


def content(told: Any) -> bytes:
    """The way back."""
    return base64.b64decode(told["bytes"])


def hexadecimal(object_id: int) -> str:
    """An object's id as Walrus' client writes it."""
    return f"0x{object_id:064x}"


@dataclass
class OfficialClient:
    """A process of `client.mjs`, for the committee of an epoch."""

    process: asyncio.subprocess.Process

    async def ask(self, **request: Any) -> dict[str, Any]:
        """Return its answer: `result`, or `error`."""
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        self.process.stdin.write(json.dumps(request).encode() + b"\n")
        async with asyncio.timeout(ANSWER_LIMIT_S):
            answer = json.loads(await self.process.stdout.readline())
        assert isinstance(answer, dict)
        return answer

    async def upload(self, data: bytes, object_id: int | None = None) -> dict[str, Any]:
        """Encode a blob, give it to all nodes and ask for their confirmations."""
        kind = (
            {"deletable": False}
            if object_id is None
            else {"deletable": True, "objectId": hexadecimal(object_id)}
        )
        answer = await self.ask(upload=octets(data), **kind)
        result: dict[str, Any] = answer["result"]
        return result

    async def result(self, call: str, member: Member | None = None, **arguments: Any) -> Any:
        """What a method returns, which must not fail."""
        node = {} if member is None else {"node": member.address}
        answer = await self.ask(call=call, arguments=arguments, **node)
        assert "error" not in answer, answer
        return answer["result"]

    async def error(self, call: str, member: Member | None = None, **arguments: Any) -> tuple[str, int, str]:
        """(class, status, reason) of the error that a method throws, which must fail."""
        node = {} if member is None else {"node": member.address}
        answer = await self.ask(call=call, arguments=arguments, **node)
        assert "result" not in answer, answer
        error = answer["error"]
        return error["class"], error.get("status"), error.get("reason")


class World:
    """The network in epoch 1, its committee, and the client."""

    def __init__(
        self, network: LocalNetwork, committee: Committee, client: OfficialClient, block_list: Path
    ) -> None:
        self.network = network
        self.committee = committee
        self.client = client
        self.block_list = block_list
        """Of all nodes."""
        self._written = 0

    def new_blob(self) -> tuple[bytes, EncodedBlob]:
        """Data that no test had yet, and their blob."""
        self._written += 1
        data = random.Random(self._written).randbytes(3_000)
        return data, CODE.encode(data)

    async def register(self, blob: EncodedBlob, *, deletable: bool = False) -> int:
        """Register a blob, wait until all nodes know it, and return its object's id."""
        object_id, _ = await self.network.operator.register_blob(
            blob.metadata.root, blob.length, periods=5, deletable=deletable
        )
        await self.known(blob, "deletable" if deletable else "permanent")
        return object_id

    async def known(self, blob: EncodedBlob, status: str) -> None:
        """Wait until these words are in the blob's status at all nodes."""

        async def count() -> int:
            clients = [self.network.node_client(name) for name in NAMES]
            return sum([status in json.dumps(await one.blob_status(blob.blob_id)) for one in clients])

        await self.network.until(f"{status} at all nodes", count, len(NAMES))

    async def certify(self, object_id: int, told: list[Any]) -> None:
        """Certify an object by what the client has gathered."""
        message = base64.b64decode(told[0]["serializedMessage"])
        signatures = [base64.b64decode(one["signature"]) for one in told]
        await self.network.operator.certify_blob(object_id, self.certificate(message, signatures))

    async def invalidate(self, blob: EncodedBlob) -> None:
        """Have the chain mark a blob invalid, and wait until all nodes know."""
        domain = (await self.network.operator.parameters()).domain
        body = messages.invalid_blob_body(blob.blob_id)
        message = messages.encode(messages.Intent.INVALID_BLOB, self.committee.epoch, body, domain)
        keys = [bls_key(self.network.nodes[member.name].folder) for member in self.committee.members]
        certificate = self.certificate(message, [key.sign(message) for key in keys])
        await self.network.operator.invalidate_blob(blob.blob_id, certificate)
        await self.known(blob, "invalid")

    def certificate(self, message: bytes, signatures: list[bytes]) -> Certificate:
        """A certificate of all members, whose signatures are right."""
        pairs = zip(self.committee.members, signatures, strict=True)
        confirmations = [MemberSignature(member.node_id, signature) for member, signature in pairs]
        certificate = build(self.committee, message, confirmations)
        assert not certificate.refused
        return certificate

    def pair_of(self, member: Member, blob: EncodedBlob) -> int:
        """The pair of a member's first shard."""
        return CODE.pair_of_shard(blob.blob_id, member.shards[0])

    def sliver(self, blob: EncodedBlob, pair: int, axis: Axis) -> bytes:
        """A sliver's SliverData."""
        index = CODE.sliver_of_pair(pair, axis)
        return SliverData(blob.sliver(axis, index), CODE.symbol_size(blob.length), index).to_bcs()


@pytest.fixture(scope="module")
def settings() -> Iterator[pytest.MonkeyPatch]:
    """The environment of the nodes."""
    with pytest.MonkeyPatch.context() as patch:
        yield patch


@pytest_asyncio.fixture(loop_scope="module", scope="module")
async def world(
    tmp_path_factory: pytest.TempPathFactory, settings: pytest.MonkeyPatch
) -> AsyncIterator[World]:
    node = shutil.which("node") or shutil.which("node", path=str(Path(sys.executable).parent))
    assert node, "no node to run the client with; `make setup` installs one"
    assert (HERE / "node_modules").is_dir(), (
        f"the client is not installed: `npm ci` in {HERE}, or `make test`"
    )
    folder = tmp_path_factory.mktemp("walrus")
    block_list = folder / "blocked"
    block_list.touch()
    settings.setenv("HAULOUT_NODE_BLOCK_LIST", str(block_list))
    async with LocalNetwork(
        folder, DeploymentParameters(n_shards=N_SHARDS, price_per_mib_period=1, write_price_per_mib=1)
    ) as network:
        for name in NAMES:
            await network.add_node(name, stake_tokens=100)
        await network.serving()
        await network.next_epoch()
        state = await network.operator.epoch_state()
        assert state.current is not None
        nodes = [
            {"url": one.address, "shards": one.shards, "publicKey": one.public_key.hex()}
            for one in state.current.members
        ]
        setting = json.dumps({"shards": N_SHARDS, "epoch": state.epoch, "nodes": nodes})
        process = await asyncio.create_subprocess_exec(
            *(node, str(HERE / "client.mjs"), setting),
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            limit=LINE_BYTES,
        )
        try:
            yield World(network, state.current, OfficialClient(process), block_list)
        finally:
            process.kill()
            await process.wait()


async def test_it_stores_a_permanent_blob_that_both_clients_read(world: World) -> None:
    data, blob = world.new_blob()
    object_id = await world.register(blob)
    stored = await world.client.upload(data)
    assert parse_blob_id(stored["blobId"]) == blob.blob_id
    await world.certify(object_id, stored["confirmations"])
    assert content(await world.client.result("readBlob", blobId=stored["blobId"])) == data
    assert await world.network.client.read(blob.blob_id) == data


async def test_it_stores_a_deletable_blob(world: World) -> None:
    data, blob = world.new_blob()
    object_id = await world.register(blob, deletable=True)
    stored = await world.client.upload(data, object_id)
    await world.certify(object_id, stored["confirmations"])
    assert content(await world.client.result("readBlob", blobId=stored["blobId"])) == data


async def test_it_reads_each_file_of_a_quilt_from_the_slivers_that_hold_it(world: World) -> None:
    files = [
        ("readme", b"read me", {"kind": "text"}),
        ("empty", b"", {}),
        ("long", bytes(range(256)) * 20, {}),
    ]
    quilt = await world.client.result(
        "encodeQuilt",
        blobs=[{"identifier": name, "contents": octets(data), "tags": tags} for name, data, tags in files],
    )
    data = content(quilt["quilt"])
    object_id = await world.register(CODE.encode(data))
    stored = await world.client.upload(data)
    await world.certify(object_id, stored["confirmations"])
    read = (await world.client.ask(files=stored["blobId"]))["result"]
    told = {one["identifier"]: (content(one["content"]), one["tags"]) for one in read}
    assert told == {name: (data, tags) for name, data, tags in files}


async def test_it_reads_what_our_client_stored(world: World) -> None:
    data, blob = world.new_blob()
    await world.network.client.store(data, periods=5)
    text = blob_id_text(blob.blob_id)
    assert content(await world.client.result("readBlob", blobId=text)) == data
    await world.known(blob, '"isCertified": true')
    status = await world.client.result("getVerifiedBlobStatus", blobId=text)
    assert (status["type"], status["isCertified"]) == ("permanent", True)
    assert (await world.client.ask(digest=status["statusEvent"]["txDigest"]))["result"] is True


NOT_REGISTERED = ("BlobNotRegisteredError", 400, "NOT_REGISTERED")


def bad(reason: str) -> tuple[str, int, str]:
    """The client's error for a request that the node does not grant as things stand, or ever."""
    return "BadRequestError", 400, reason


def missing(reason: str) -> tuple[str, int, str]:
    """The client's error for what is not at the node."""
    return "NotFoundError", 404, reason


async def test_it_is_told_what_must_come_first(world: World) -> None:
    _, blob = world.new_blob()
    member = world.committee.members[0]
    text, metadata = blob_id_text(blob.blob_id), octets(blob.metadata.to_bcs())
    pair = world.pair_of(member, blob)
    place = {"blobId": text, "sliverPairIndex": pair, "sliverType": "secondary"}
    sliver = octets(world.sliver(blob, pair, Axis.SECONDARY))
    ask, error = world.client.result, world.client.error
    assert await error("storeBlobMetadata", member, blobId=text, metadata=metadata) == NOT_REGISTERED
    assert await error("storeSliver", member, **place, sliver=sliver) == NOT_REGISTERED
    assert await error("getPermanentBlobConfirmation", member, blobId=text) == NOT_REGISTERED
    assert await ask("getBlobStatus", member, blobId=text) == {"type": "nonexistent"}
    await world.register(blob)
    assert await error("storeSliver", member, **place, sliver=sliver) == bad("METADATA_NOT_FOUND")
    assert await error("getPermanentBlobConfirmation", member, blobId=text) == bad("MISSING_SLIVERS")
    assert await ask("getMetadataStatus", member, blobId=text) == "nonexistent"
    assert await error("getBlobMetadata", member, blobId=text) == missing("METADATA_NOT_FOUND")
    assert (await ask("storeBlobMetadata", member, blobId=text, metadata=metadata))["success"]["code"] == 201
    assert await ask("getMetadataStatus", member, blobId=text) == "stored"
    assert await error("getPermanentBlobConfirmation", member, blobId=text) == bad("MISSING_SLIVERS")
    assert await ask("getSliverStatus", member, **place) == "nonexistent"
    assert await error("getSliver", member, **place) == missing("SLIVER_NOT_FOUND")
    assert (await ask("storeSliver", member, **place, sliver=sliver))["success"]["code"] == 201
    assert await ask("getSliverStatus", member, **place) == "stored"
    assert await ask("getSliver", member, **place) == sliver


async def test_it_is_told_what_is_wrong_with_what_it_sends(world: World) -> None:
    _, blob = world.new_blob()
    _, other = world.new_blob()
    await world.register(blob)
    member = world.committee.members[1]
    text, metadata = blob_id_text(blob.blob_id), blob.metadata.to_bcs()
    pair = world.pair_of(member, blob)
    place = {"blobId": text, "sliverPairIndex": pair, "sliverType": "primary"}
    error = world.client.error
    for wrong, reason in (
        (other.metadata.to_bcs(), "INVALID_METADATA"),
        (metadata[:-1], "INVALID_CONTENT_TYPE"),
    ):
        assert await error("storeBlobMetadata", member, blobId=text, metadata=octets(wrong)) == bad(reason)
    await world.client.result("storeBlobMetadata", member, blobId=text, metadata=octets(metadata))
    right = world.sliver(blob, pair, Axis.PRIMARY)
    for wrong, reason in (
        (world.sliver(other, pair, Axis.PRIMARY), "INVALID_SLIVER"),
        (world.sliver(blob, (pair + 1) % N_SHARDS, Axis.PRIMARY), "INVALID_SLIVER"),
        (right[:-1], "INVALID_CONTENT_TYPE"),
    ):
        assert await error("storeSliver", member, **place, sliver=octets(wrong)) == bad(reason)


async def test_it_is_told_who_is_not_to_be_asked(world: World) -> None:
    data, blob = world.new_blob()
    await world.network.client.store(data, periods=5)
    asked, owner = world.committee.members[2:4]
    place = {"blobId": blob_id_text(blob.blob_id), "sliverType": "primary"}
    for call in ("getSliver", "getSliverStatus"):
        pair = world.pair_of(owner, blob)
        refused = await world.client.error(call, asked, **place, sliverPairIndex=pair)
        assert refused == bad("SHARD_NOT_ASSIGNED")
        refused = await world.client.error(call, asked, **place, sliverPairIndex=N_SHARDS)
        assert refused == bad("INDEX_OUT_OF_RANGE")


async def test_an_object_is_confirmed_by_its_own_kind_alone(world: World) -> None:
    data, blob = world.new_blob()
    object_id = await world.register(blob, deletable=True)
    await world.client.upload(data, object_id)
    member, text = world.committee.members[0], blob_id_text(blob.blob_id)
    confirm = "getDeletableBlobConfirmation"
    signed = await world.client.result(confirm, member, blobId=text, objectId=hexadecimal(object_id))
    assert signed == await world.client.result(confirm, member, blobId=text, objectId=str(object_id))
    assert await world.client.error(confirm, member, blobId=text, objectId=hexadecimal(999)) == NOT_REGISTERED
    # Walrus' nodes give this one; why ours do not, PROTOCOL section 6 says.
    assert await world.client.error("getPermanentBlobConfirmation", member, blobId=text) == NOT_REGISTERED


async def test_an_invalid_blob_is_as_good_as_gone(world: World) -> None:
    data, blob = world.new_blob()
    await world.network.client.store(data, periods=5)
    await world.invalidate(blob)
    member, text = world.committee.members[3], blob_id_text(blob.blob_id)
    pair = world.pair_of(member, blob)
    place = {"blobId": text, "sliverPairIndex": pair, "sliverType": "primary"}
    error = world.client.error
    assert await error("getBlobMetadata", member, blobId=text) == missing("METADATA_NOT_FOUND")
    assert await error("getSliver", member, **place) == missing("SLIVER_NOT_FOUND")
    metadata, sliver = octets(blob.metadata.to_bcs()), octets(world.sliver(blob, pair, Axis.PRIMARY))
    assert await error("storeBlobMetadata", member, blobId=text, metadata=metadata) == bad("INVALID_BLOB")
    assert await error("storeSliver", member, **place, sliver=sliver) == bad("INVALID_BLOB")
    assert await error("getPermanentBlobConfirmation", member, blobId=text) == NOT_REGISTERED
    status = await world.client.result("getVerifiedBlobStatus", blobId=text)
    assert status["type"] == "invalid"
    assert (await world.client.ask(digest=status["event"]["txDigest"]))["result"] is True


async def test_a_blob_on_the_operators_block_lists_is_blocked(world: World) -> None:
    data, blob = world.new_blob()
    await world.network.client.store(data, periods=5)
    member, text = world.committee.members[0], blob_id_text(blob.blob_id)
    pair = world.pair_of(member, blob)
    place = {"blobId": text, "sliverPairIndex": pair, "sliverType": "primary"}
    assert content(await world.client.result("readBlob", blobId=text)) == data
    world.block_list.write_text(f"{text}  # by order of a test\n")

    async def blocking() -> int:
        clients = [world.network.node_client(name) for name in NAMES]
        return sum([(await one.health())["blockList"]["blobs"] for one in clients])

    await world.network.until("the block lists", blocking, len(NAMES))
    for call, arguments in (("getBlobMetadata", {"blobId": text}), ("getSliver", place)):
        refused = await world.client.error(call, member, **arguments)
        assert refused == ("LegallyUnavailableError", 451, "FORBIDDEN_BLOB")
