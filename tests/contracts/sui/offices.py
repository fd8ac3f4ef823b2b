"""A deployment whose epochs and periods are set by hand, in the place of elections."""

from __future__ import annotations

from committee.membership import Committee
from localnet.sui_double.move.natives.registry import SUI
from localnet.sui_double.move.types import Datatype, ModuleId, Scalar, Type
from localnet.sui_double.move.values import Value
from tests.contracts.sui.committees import in_move
from tests.contracts.sui.deployments import Deployment
from tests.contracts.sui.double import PACKAGE
from tests.contracts.sui.fields import Fields


class Office(Deployment):
    """A deployment with a committee in office."""

    def start(self, committee: Committee, period: int) -> None:
        """Start the epoch of a committee; its handover is under way."""
        state = self.state_of(self.system)
        timeline = Fields("timeline", "Timeline", Fields("system", "State", state)["timeline"])
        if period != timeline["period"]:
            timeline.set(period=period, period_started_at_s=self.time_s)
            start = Datatype(ModuleId(PACKAGE, "system"), "Start")
            self._enter("starts", period, [committee.epoch, self.time_s], start)
        timeline.set(epoch=committee.epoch, started_at_s=self.time_s, handover_done=False)
        kept = in_move(self.transaction, committee)
        self._enter(
            "committees", committee.epoch, kept, Datatype(ModuleId(PACKAGE, "committee"), "Committee")
        )

    def finish(self) -> None:
        """End the handover."""
        state = Fields("system", "State", self.state_of(self.system))
        self.call("timeline", "finish", state["timeline"], self.time_s)

    @property
    def period(self) -> int:
        return int(self.call("system", "period", self.system))

    def _enter(self, name: str, key: int, value: Value, type_: Type) -> None:
        """Add an entry to a table of the system's state."""
        table = Fields("system", "State", self.state_of(self.system))[name]
        self.transaction.call("table", "add", table, key, value, package=SUI, types=(Scalar.U32, type_))
