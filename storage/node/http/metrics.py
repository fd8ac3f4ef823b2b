"""What a node tells Prometheus: requests by route and status, and what is stored."""

from __future__ import annotations

import functools
from collections.abc import Awaitable, Callable

import prometheus_client
from aiohttp import web

from storage.node.face import NodeFace

UPKEEP = {
    "scrubbed_slivers": "Slivers read again and checked since the start.",
    "scrubbed_bytes": "Bytes of them.",
    "scrub_passes": "Times the scrubber came to the end of the store since the start.",
    "damage_found": "Slivers and metadata found damaged since the start, by whoever read them.",
    "repaired_slivers": "Slivers rebuilt outside the handover since the start.",
    "blobs_to_heal": "Blobs that wait for repair or are under it.",
    "dropped_blobs": "Blobs dropped since the start because nobody needed them any more.",
}
"""What `NodeFace.upkeep` tells."""


class Metrics:
    """A registry of its own, so that several nodes fit into one process."""

    def __init__(self, node: NodeFace) -> None:
        self._node = node
        self._registry = prometheus_client.CollectorRegistry()
        self._requests = prometheus_client.Counter(
            "haulout_requests", "Requests answered.", ("method", "route", "status"), registry=self._registry
        )
        for name, text in UPKEEP.items():
            gauge = prometheus_client.Gauge(f"haulout_{name}", text, registry=self._registry)
            gauge.set_function(functools.partial(self._upkeep, name))
        for name, text, value in (
            ("haulout_epoch", "The epoch this node is in.", lambda: node.view.state.epoch),
            (
                "haulout_chain_block",
                "The block this node has followed the chain to.",
                lambda: node.view.block.number,
            ),
            ("haulout_slivers", "Slivers stored.", node.store.sliver_count),
            ("haulout_sliver_bytes", "Bytes of the slivers stored.", node.store.stored_bytes),
        ):
            prometheus_client.Gauge(name, text, registry=self._registry).set_function(value)

    def _upkeep(self, name: str) -> int:
        return self._node.upkeep()[name]

    async def show(self, request: web.Request) -> web.Response:
        """`/metrics`."""
        text = prometheus_client.generate_latest(self._registry)
        return web.Response(body=text, headers={"Content-Type": prometheus_client.CONTENT_TYPE_LATEST})

    @web.middleware
    async def count(
        self, request: web.Request, handler: Callable[[web.Request], Awaitable[web.StreamResponse]]
    ) -> web.StreamResponse:
        """Count an answer."""
        response = await handler(request)
        resource = request.match_info.route.resource
        route = resource.canonical if resource is not None else "unknown"
        self._requests.labels(request.method, route, str(response.status)).inc()
        return response
