"""Replacements told to the contracts and to the chain in memory; `Twins` compares after every step."""

from __future__ import annotations

import pytest

from committee.ledger import NodeLedger, Transaction
from tests.committee.ledger.conftest import DEADLINE_S, EPOCH_S
from tests.localnet.twins import Twins

ROOT = bytes([7]) * 32


async def replacing(told: NodeLedger) -> Transaction:
    return await told.replace()


async def wait(twins: Twins, seconds: int) -> None:
    await twins.network.chain.increase_time(seconds)


async def replace(twins: Twins, node_id: int) -> None:
    """Have a member ejected and replaced, and all attested."""
    assert await twins.eject(node_id) is None
    assert await twins.anyone(replacing) is None
    await wait(twins, max(twins.chain.parameters.notice_s, twins.chain.parameters.certificate_grace_s))
    assert await twins.anyone(lambda told: told.start()) is None
    await twins.hand_over()


async def test_an_ejected_member_is_replaced_within_the_period(twins: Twins) -> None:
    """What is paid for the period alone lives on, and is served with the certificates of each epoch."""
    await twins.next_epoch()
    writer = await twins.writer()
    assert await twins.register(writer, ROOT, 1) is None
    assert await twins.anyone(replacing) == "NothingToReplace"
    before = twins.certificate(1)
    assert await twins.eject(4) is None
    assert await twins.anyone(replacing) is None
    assert twins.state.next_is_replacement
    assert await twins.anyone(replacing) == "AlreadySelected"
    assert await twins.anyone(lambda told: told.select()) == "AlreadySelected"
    await twins.join(50)
    assert await twins.anyone(lambda told: told.start()) == "TooEarly"
    await wait(twins, twins.chain.parameters.notice_s)
    await wait(twins, twins.chain.parameters.certificate_grace_s)
    assert await twins.anyone(lambda told: told.start()) is None
    assert (twins.state.epoch, twins.state.period) == (2, 1)
    assert twins.state.current is not None
    assert twins.state.current.by_id.keys() == {1, 2, 3}, "stake that came around it does not count"
    assert await twins.certify(1, before) is None
    await twins.hand_over()
    assert await twins.tell(writer, lambda told: told.extend_blob(1, 1)) is None
    back = twins.network.nodes[3]
    assert await twins.tell(back.ledger, lambda told: told.become_candidate()) == "Barred"
    await twins.next_epoch()
    assert (twins.state.epoch, twins.state.period) == (3, 2)
    assert await twins.tell(back.ledger, lambda told: told.become_candidate()) is None
    await twins.hand_over()
    await twins.next_epoch()
    assert await twins.tell(writer, lambda told: told.extend_blob(1, 1)) == "Expired"


async def test_no_replacement_comes_while_a_handover_is_open(twins: Twins) -> None:
    await twins.next_epoch()
    for node in twins.network.nodes[:2]:
        assert await twins.tell(node.ledger, lambda told: told.leave()) is None
    for stake in (4, 3):
        await twins.join(stake)
    await twins.next_epoch()
    assert not twins.state.handover_done
    assert await twins.eject(4) is None
    assert await twins.anyone(replacing) == "HandoverNotDone"
    await wait(twins, DEADLINE_S)
    assert await twins.anyone(lambda told: told.close_handover()) is None
    assert await twins.anyone(replacing) is None


async def test_two_thirds_of_the_periods_first_committee_are_left(twins: Twins) -> None:
    """Nodes 4 and 1 had five of ten shards: what the others have got since does not count."""
    await twins.next_epoch()
    await replace(twins, 4)
    assert await twins.eject(1) is None
    assert await twins.anyone(replacing) == "TooFewLeft"
    await wait(twins, 10 * EPOCH_S)
    assert await twins.anyone(replacing) == "TooFewLeft"


@pytest.mark.parametrize(
    ("after_due_s", "refusal"),
    [(-210, None), (-120, "TooEarly"), (0, "TooEarly"), (90, "TooEarly"), (160, None)],
)
async def test_the_next_period_comes_first_when_it_is_near(
    twins: Twins, after_due_s: int, refusal: str | None
) -> None:
    """Near is the notice of 150 s before it is due and the one after."""
    await twins.next_epoch()
    assert twins.chain.parameters.notice_s == 150
    assert await twins.eject(4) is None
    due_s = twins.state.regular_handover_done_s + EPOCH_S
    await wait(twins, due_s + after_due_s - await twins.network.operator.chain_time_s())
    assert await twins.anyone(replacing) == refusal
