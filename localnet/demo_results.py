"""What the demo found: files, changes of epoch, rounds of storage proofs, and the checks that all of it must meet."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from committee.membership import Committee
from storage.client.purchase import StoredBlob
from storage.node.handover.report import Check, TransitionReport
from storage.redstuff import blob_id_text


@dataclass
class FileResult:
    """One file's way through the demo."""

    path: Path
    stored: StoredBlob
    read_ok: dict[int, bool] = field(default_factory=dict)
    """Epoch → whether it was read back in that epoch."""

    def to_json(self) -> dict[str, Any]:
        """Return what `haulout demo --json` prints of it."""
        return {
            "file": self.path.name,
            "blob_id": blob_id_text(self.stored.blob_id),
            "size_bytes": self.stored.size_bytes,
            "certified_epoch": self.stored.certified_epoch,
            "read_ok": self.read_ok,
        }


@dataclass
class Change:
    """A change of epoch, until every shard that was gained is attested."""

    period: int
    committee: Committee
    """The new epoch's."""
    report: TransitionReport
    seconds: float
    """From the start on."""

    def to_json(self) -> dict[str, Any]:
        """Return what `haulout demo --json` prints of it."""
        report = asdict(self.report)
        del report["checks"]
        return {"period": self.period, **report, "seconds": round(self.seconds, 3)}


@dataclass
class RoundResult:
    """A round of storage proofs in which one member cheated."""

    epoch: int
    cheat: str
    proven: list[str]
    """Members that proved what they store."""
    on_chain: list[str]
    """Those of them that had to show it to the chain, as no quorum of their fellows had signed in time."""
    missed: list[str]
    fined: dict[str, int]
    """Member → what was slashed of its stake, in the token's smallest unit."""

    @property
    def checks(self) -> list[Check]:
        """The check that the cheat, and no other member, missed the round or was fined."""
        told = f"missed: {', '.join(self.missed) or 'nobody'}; fined: {', '.join(self.fined) or 'nobody'}"
        what = f"in epoch {self.epoch} {self.cheat}, which cheats, fails its proof, and nobody else"
        return [Check(what, self.missed == [self.cheat] and set(self.fined) <= {self.cheat}, told)]


@dataclass
class DemoResult:
    """What the demo found; it succeeded when every check holds."""

    files: list[FileResult]
    first: Committee
    changes: list[Change]
    rounds: list[RoundResult]
    gas: dict[str, int]

    @property
    def checks(self) -> list[Check]:
        """The transition reports' checks and the demo's own."""
        checks = [self._reads_back(self.first.epoch)]
        for one in self.changes:
            checks += [*one.report.checks, self._reads_back(one.committee.epoch)]
        return checks + [check for one in self.rounds for check in one.checks]

    def _reads_back(self, epoch: int) -> Check:
        different = [one.path.name for one in self.files if not one.read_ok.get(epoch, False)]
        what = f"every file reads back in epoch {epoch}"
        return Check(what, not different, ", ".join(different) or "all equal")

    @property
    def ok(self) -> bool:
        """Whether every check holds."""
        return all(check.holds for check in self.checks)

    def to_json(self) -> dict[str, Any]:
        """Return what `haulout demo --json` prints of it."""
        return {
            "ok": self.ok,
            "blobs": [one.to_json() for one in self.files],
            "committees": [
                {
                    "epoch": committee.epoch,
                    "members": [{"name": m.name, "shards": list(m.shards)} for m in committee.members],
                }
                for committee in (self.first, *(one.committee for one in self.changes))
            ],
            "handovers": [one.to_json() for one in self.changes],
            "proofs": [asdict(one) for one in self.rounds],
            "gas": self.gas,
            "checks": [asdict(check) for check in self.checks],
        }
