"""The change from one epoch's committee to the next: shards filled, attested, given up, and told of."""

from storage.node.handover.jobs import Handover

__all__ = ["Handover"]
