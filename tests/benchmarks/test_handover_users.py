"""Only what was begun between the selection and the end of a handover counts as during it."""

from __future__ import annotations

from typing import cast

import pytest

from benchmarks.handover_users import LEAST_DURING, Kind, Operation, Times, Users, rows_of
from storage.client.client import Client

TIMES = Times(selected_s=10, started_s=20, ended_s=30)


@pytest.mark.parametrize(("fewer", "holds"), [(0, True), (1, False)])
def test_rows_count_what_was_begun_during_the_handover(fewer: int, holds: bool) -> None:
    users = Users(cast(Client, None), {}, 1)
    kinds: tuple[Kind, ...] = ("read", "write")
    for kind in kinds:
        began_s = [1, 2, 9.9, 20, 30, 31, *(10 + one for one in range(LEAST_DURING - 1 - fewer))]
        users.done += [Operation(kind, at_s, 4 if 10 <= at_s < 30 else 2) for at_s in began_s]
    rows = {one.figure: one for one in rows_of((10, 1, 1), users, TIMES)}
    assert rows["failed reads and writes during a handover"].holds
    for kind in kinds:
        what = f"{kind}s begun between the selection and the end of the handover"
        assert rows[what].value == LEAST_DURING - fewer
        assert rows[what].holds == holds
        assert rows[f"{what}, of these after the epoch's start"].value == 1
        assert rows[f"{what}: median latency ÷ without a handover"].value == 2
