"""What a node checks before it stores or confirms a blob: the same rules for single requests and for batches.

Each method raises a `Refusal` with the protocol's reason. `metadata`, `encoded_sliver`, `require_slivers` and what
`confirmation` returns take milliseconds and are for threads; the rest is for the event loop.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

from committee import messages
from storage.client.batch_wire import Confirmable, PairSliver
from storage.client.bodies import Bytes
from storage.client.failures import Reason
from storage.node.face import NodeFace, Refusal
from storage.node.http.admission import Admission
from storage.node.rules import require_durable
from storage.redstuff import Axis, BlobMetadata, InvalidEncoding, RedStuffError, SliverData


class UploadChecks:
    """The checks for one node."""

    def __init__(self, node: NodeFace, admission: Admission) -> None:
        self._admission = admission
        self._view = node.view
        self._store = node.store
        self._code = node.code
        self._secret = node.secret

    def metadata(self, blob_id: bytes, body: bytes) -> BlobMetadata:
        """Return metadata that are the blob's, for this network's shards."""
        try:
            metadata = BlobMetadata.from_bcs(body)
        except RedStuffError as error:
            raise Refusal(400, Reason.INVALID_CONTENT_TYPE, f"not BCS of metadata: {error}") from error
        try:
            if metadata.blob_id != blob_id:
                raise InvalidEncoding("metadata of another blob: its id is not the one that is named")
            if metadata.n_shards != self._code.n_shards:
                raise InvalidEncoding(
                    f"metadata of {metadata.n_shards} pairs, for {self._code.n_shards} shards"
                )
            self._code.symbol_size(metadata.length)
        except RedStuffError as error:
            raise Refusal(400, Reason.INVALID_METADATA, str(error)) from error
        return metadata

    def require_pair(self, pair: int) -> None:
        """Refuse an index that no pair of this network's has."""
        if pair >= self._code.n_shards:
            raise Refusal(*(400, Reason.INDEX_OUT_OF_RANGE), f"pair: {pair}, not below {self._code.n_shards}")

    def shard_to_store(self, blob_id: bytes, pair: int) -> int:
        """Return the shard of a pair, which this node has to store."""
        shard = self._code.shard_of_pair(blob_id, pair)
        if shard not in self._view.my_shards():
            raise Refusal(
                400, Reason.SHARD_NOT_ASSIGNED, f"pair {pair} belongs to shard {shard}, which is not here"
            )
        return shard

    def encoded_sliver(
        self, metadata: BlobMetadata, pair: int, axis: Axis, body: Bytes
    ) -> bytes | memoryview:
        """Return the symbols of a sliver in BCS that is the pair's."""
        try:
            sliver = SliverData.from_bcs(body)
        except RedStuffError as error:
            raise Refusal(400, Reason.INVALID_CONTENT_TYPE, f"not BCS of a sliver: {error}") from error
        with _refusing_slivers():
            self._require_form(metadata, PairSliver(pair, axis, sliver))
            self._code.verify_sliver(metadata, axis, sliver.index, sliver.symbols)
        return sliver.symbols

    def require_slivers(self, metadata: BlobMetadata, sent: Sequence[PairSliver]) -> None:
        """Refuse a blob's slivers of which one is not its pair's: it does not hash to the root."""
        with _refusing_slivers():
            for one in sent:
                self._require_form(metadata, one)
            for axis in Axis:
                some = [(metadata, one.sliver.index, one.sliver.symbols) for one in sent if one.axis is axis]
                for wrong in filter(None, self._code.verify_slivers(axis, some)):
                    raise wrong

    def _require_form(self, metadata: BlobMetadata, sent: PairSliver) -> None:
        index = self._code.sliver_of_pair(sent.pair, sent.axis)
        if sent.sliver.index != index:
            raise InvalidEncoding(
                f"sliver {sent.sliver.index} sent for pair {sent.pair}, whose {sent.axis.label} sliver is {index}"
            )
        if sent.sliver.symbol_size != self._code.symbol_size(metadata.length):
            raise InvalidEncoding(f"symbols of {sent.sliver.symbol_size} bytes are not this blob's")

    def confirmation(self, asked: Confirmable) -> Callable[[], tuple[bytes, bytes]]:
        """Return what makes (message, signature), or raises `Refusal` unless all is here that the node is to store.

        The epoch is that of this call.
        """
        state, shards = self._admission.member_state()
        is_invalid = self._view.is_invalid(asked.blob_id)

        def confirm() -> tuple[bytes, bytes]:
            has_metadata = not is_invalid and self._store.metadata(asked.blob_id) is not None
            stored = {axis: self._store.shards_with(asked.blob_id, axis) for axis in Axis}
            require_durable(shards, stored, has_metadata=has_metadata)
            body = messages.blob_body(asked.blob_id, asked.object_id)
            message = messages.encode(messages.Intent.BLOB, state.epoch, body, self._view.parameters.domain)
            return message, self._secret.sign(message)

        return confirm


@contextmanager
def _refusing_slivers() -> Iterator[None]:
    try:
        yield
    except RedStuffError as error:
        raise Refusal(400, Reason.INVALID_SLIVER, str(error)) from error
