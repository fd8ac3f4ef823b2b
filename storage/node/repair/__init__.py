"""Slivers rebuilt from single symbols of helpers, and whoever of these lies or keeps one waiting."""

from storage.node.repair.helpers import RepairError
from storage.node.repair.rebuild import InconsistentBlob, Rebuilt, Repair

__all__ = ["InconsistentBlob", "Rebuilt", "Repair", "RepairError"]
