"""The answer to `/metrics`: a node's requests by route and status, what it stores and its upkeep, for Prometheus."""

from __future__ import annotations

from collections import Counter
from collections.abc import Awaitable, Callable, Iterator

from aiohttp import hdrs, web
from prometheus_client import CONTENT_TYPE_LATEST, CollectorRegistry, Metric, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily
from prometheus_client.registry import Collector

from committee.ledger import StepKind
from storage.node.face import NodeFace

UPKEEP = {
    "scrubbed_slivers": "Slivers read again and checked since the start.",
    "scrubbed_bytes": "Bytes of slivers read again and checked since the start.",
    "scrub_passes": "Times the scrubber came to the end of the store since the start.",
    "damage_found": "Slivers and metadata found damaged since the start, by any reading.",
    "repaired_slivers": "Slivers rebuilt outside the handover since the start.",
    "blobs_to_heal": "Blobs that wait for repair or are under it, and one more while the search for others goes on.",
    "dropped_blobs": "Blobs dropped since the start because they were not needed any more.",
    "steps_done": "Steps of the epochs that this node has done since its start.",
}
"""Key of `NodeFace.upkeep` → the help text of its metric."""
OBJECT_STORE = {
    "segments": ("segments", "Segments of slivers in the object store."),
    "waitingBytes": ("waiting_bytes", "Bytes of segments on the disk, which wait to be full or to be sent."),
    "failingSeconds": (
        "failing_seconds",
        "For how long requests to the object store have failed; 0 if they do not.",
    ),
}
"""Key of `Moving.status` → the name of its metric and its help text; there are none without an object store."""


class Metrics(Collector):
    """Counts one node's requests, and collects its metrics when Prometheus asks.

    Several nodes may run in one process, so each has a registry of its own. Requests are not counted by
    prometheus_client's own counters: where PROMETHEUS_MULTIPROC_DIR is set, these are files in a folder that other
    programs write to.
    """

    def __init__(self, node: NodeFace) -> None:
        self._node = node
        self._requests: Counter[tuple[str, str, str]] = Counter()
        """Method, route and status → requests answered."""
        self._registry = CollectorRegistry()
        self._registry.register(self)

    def collect(self) -> Iterator[Metric]:
        """Yield the metrics, as prometheus_client asks for them."""
        requests = CounterMetricFamily(
            "haulout_requests", "Requests answered.", labels=("method", "route", "status")
        )
        for labels, count in sorted(self._requests.items()):
            requests.add_metric(labels, count)
        yield requests
        node, upkeep = self._node, self._node.upkeep()
        for name, text in UPKEEP.items():
            yield GaugeMetricFamily(f"haulout_{name}", text, upkeep[name])
        for name, text, value in (
            ("epoch", "The epoch this node is in.", node.view.state.epoch),
            ("period", "The period this node is in.", node.view.state.period),
            ("chain_block", "The block this node has followed the chain to.", node.view.block.number),
            (
                "clock_ahead_seconds",
                "By how much this machine's clock is ahead of most members'; negative if it is behind.",
                node.clock_ahead_s(),
            ),
            ("slivers", "Slivers stored.", node.store.sliver_count()),
            ("sliver_bytes", "Bytes of the slivers stored.", node.store.stored_bytes()),
        ):
            yield GaugeMetricFamily(f"haulout_{name}", text, value)
        for name, value in (node.store.moving.status() or {}).items():
            suffix, text = OBJECT_STORE[name]
            yield GaugeMetricFamily(f"haulout_object_store_{suffix}", text, value)
        yield from self._proofs()
        yield from self._steps()

    def _proofs(self) -> Iterator[Metric]:
        told = self._node.rounds.health()
        for name, text, value in (
            (
                "lacking_shards",
                "This node's shards that lack slivers to commit to.",
                len(told["lackingShards"] or ()),
            ),
            ("committed", "1 if this node has committed to what it stores in this epoch.", told["committed"]),
            ("proven", "1 if it has proven in this epoch that it stores it.", told["proven"]),
            ("missed", "1 if it has missed this epoch's proof.", told["missed"]),
            ("warnings", "How many things may have this node miss it.", len(told["warnings"])),
        ):
            yield GaugeMetricFamily(f"haulout_proof_{name}", text, int(value))

    def _steps(self) -> Iterator[Metric]:
        due = {one.step.kind: one for one in self._node.due()}
        waited = GaugeMetricFamily(
            "haulout_step_due_seconds",
            "For how long a step has been due that moves the epochs on; 0 if it is not.",
            labels=("step",),
        )
        turn = GaugeMetricFamily(
            "haulout_step_turn",
            "Id of the node whose turn it is to do a step that is due; 0 if it is not.",
            labels=("step",),
        )
        for kind in StepKind:
            waited.add_metric((kind,), due[kind].waited_s if kind in due else 0)
            turn.add_metric((kind,), due[kind].turn.node_id if kind in due else 0)
        yield waited
        yield turn

    async def show(self, request: web.Request) -> web.Response:
        """`/metrics`."""
        text = generate_latest(self._registry)
        return web.Response(body=text, headers={"Content-Type": CONTENT_TYPE_LATEST})

    @web.middleware
    async def count(
        self, request: web.Request, handler: Callable[[web.Request], Awaitable[web.StreamResponse]]
    ) -> web.StreamResponse:
        """Count an answer."""
        response = await handler(request)
        resource = request.match_info.route.resource
        route = resource.canonical if resource is not None else "unknown"
        method = request.method if request.method in hdrs.METH_ALL else "other"
        self._requests[method, route, str(response.status)] += 1
        return response
