"""The main network, 1000 shards over 100 members, stays within Sui's limits.

What Sui charges for an instruction is not known here, so instructions are counted.
"""

from __future__ import annotations

import pytest

from committee import messages, shards
from committee.messages import Intent
from localnet.sui_double.host import OBJECT_BYTES_LIMIT
from localnet.sui_double.move.types import Datatype, ModuleId
from tests.contracts.sui import cases
from tests.contracts.sui.committees import EPOCH, committee_of, in_move, signed_by
from tests.contracts.sui.double import PACKAGE, Transaction
from tests.localnet.sui_double.packages import needs_framework

pytestmark = needs_framework

N_SHARDS, N_MEMBERS = 1000, 100
MOST_STEPS_OF_AN_ELECTION = 600_000
MOST_STEPS_OF_A_CERTIFICATE = 10_000


def test_certificate_with_a_third_missing_takes_few_instructions() -> None:
    domain, body = bytes(32), messages.blob_body(bytes(32))
    committee = committee_of((N_SHARDS // N_MEMBERS,) * N_MEMBERS)
    given = signed_by(committee, set(range(33, N_MEMBERS)), messages.encode(Intent.BLOB, EPOCH, body, domain))
    transaction = Transaction()
    held = in_move(transaction, committee)
    kept = transaction.codec.encode(Datatype(ModuleId(PACKAGE, "committee"), "Committee"), held)
    assert len(kept) < OBJECT_BYTES_LIMIT // 10
    before = transaction.machine.steps
    arguments = (Intent.BLOB, domain, body, given.bitmap, given.signature)
    assert transaction.call("committee", "verify", held, *arguments) == 670
    assert transaction.machine.steps - before < MOST_STEPS_OF_A_CERTIFICATE


@pytest.mark.parametrize(("first", "second"), list(cases.stakes_with_most_steps(N_MEMBERS)))
def test_election_takes_a_bounded_number_of_instructions(
    first: shards.Candidates, second: shards.Candidates
) -> None:
    roster: object = [[], []]
    held: dict[int, tuple[int, ...]] = {}
    for candidates in (first, second):
        transaction = Transaction()
        node_ids, stakes = (list(one) for one in zip(*candidates, strict=True))
        roster, _ = transaction.call("assignment", "elect", roster, node_ids, stakes, N_SHARDS, 1000)
        assert transaction.machine.steps < MOST_STEPS_OF_AN_ELECTION
        held = shards.assign(held or None, candidates, N_SHARDS, 1000)
        assert roster == [list(held), [list(of_node) for of_node in held.values()]]
