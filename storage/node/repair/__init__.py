"""Rebuilds slivers from single symbols of helpers, and takes note of helpers that lie or keep it waiting."""

from storage.node.repair.helpers import RepairError
from storage.node.repair.rebuild import InconsistentBlob, Repair
from storage.node.repair.waste import Waste

__all__ = ["InconsistentBlob", "Repair", "RepairError", "Waste"]
