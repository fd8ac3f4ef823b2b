"""Answers on chain in a node's place, with what real nodes show over HTTP."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any, cast

import pytest

from committee.ledger.proofs import Held, MemberProof
from committee.opening import NOTHING_OPENED, Opening
from storage.client.errors import NodeRefused
from storage.client.failures import Reason
from storage.client.node_client import NodeClient
from storage.client.proof_answers import (
    CannotAnswer,
    commitment_of,
    demanded_opening,
    drawn_openings,
)
from storage.node.proving import Proving
from storage.proofs import Inventory, position_at
from storage.proofs.draw import position_count
from storage.proofs.opening import require_attested_alone
from tests.memory_chain import WRITER
from tests.storage.node.handovers import BLOBS, CODE
from tests.storage.node.rounds.test_rounds import ALL, delete

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Sequence

    from tests.storage.node.rounds.conftest import Rounds

NODE = 1


async def nothing(*_: object) -> None:
    """Do nothing."""


def asked(rounds: Rounds, *more: str) -> Any:
    """What the functions are asked with, about the node."""
    current, round_ = rounds.chain.state.current, rounds.round
    assert current is not None
    client = rounds.network.client(NODE)
    client._transport._patience_s = 2.0
    return rounds.chain.ledger(WRITER), client, CODE, current.by_id[NODE], rounds.epoch, round_, *more


async def drawn(rounds: Rounds) -> None:
    """The draw is made, and the node shows it, but sends nothing."""
    await rounds.committed(*ALL)
    prover = rounds.network.running[NODE].rounds.prover
    prover._has_account = False
    draw = await rounds.drawn()
    await rounds.until(lambda: rounds.network.running[NODE].rounds.openings_size(draw, 15))


async def test_an_account_answers_for_a_node_that_does_not_reach_the_chain(rounds: Rounds) -> None:
    await rounds.committed(*ALL)
    with pytest.raises(CannotAnswer, match="not drawn yet"):
        await drawn_openings(*asked(rounds))
    await drawn(rounds)
    ledger = rounds.chain.ledger(WRITER)
    openings = await drawn_openings(*asked(rounds))
    assert set(openings) == set(range(16))
    await ledger.answer(NODE, {3: openings[3]})
    openings = await drawn_openings(*asked(rounds))
    assert set(openings) == set(range(16)) - {3}
    await ledger.answer(NODE, openings)
    assert rounds.proof(NODE).is_proven
    with pytest.raises(CannotAnswer, match="proven already"):
        await drawn_openings(*asked(rounds))


async def test_nothing_is_answered_too_late_or_without_a_commitment(rounds: Rounds) -> None:
    await drawn(rounds)
    asked_for = asked(rounds)
    with pytest.raises(CannotAnswer, match="committed to nothing"):
        ledger = rounds.chain.ledger(WRITER)

        async def uncommitted(epoch: int, node_id: int) -> object:
            return replace(await type(ledger).member_proof(ledger, epoch, node_id), commitment=bytes(24))

        ledger.member_proof = uncommitted  # type: ignore[assignment, method-assign]
        await drawn_openings(ledger, *asked_for[1:])
    assert rounds.round is not None
    rounds.tick(rounds.round.answer_by_s + 1 - rounds.chain.time_s)
    with pytest.raises(CannotAnswer, match="too late"):
        await drawn_openings(*asked_for)


async def test_what_is_not_shown_or_wrong_is_not_paid_for(
    rounds: Rounds, monkeypatch: pytest.MonkeyPatch
) -> None:
    await drawn(rounds)
    real = NodeClient.openings

    async def changed(self: NodeClient, *asked: Any) -> list[Opening]:
        openings = await real(self, *asked)
        openings[2] = replace(openings[2], symbol=bytes(len(openings[2].symbol)))
        return openings

    with monkeypatch.context() as patch:
        patch.setattr(NodeClient, "openings", changed)
        with pytest.raises(CannotAnswer, match="place 2 is wrong, so nothing was sent: NotOfTheBlob"):
            await drawn_openings(*asked(rounds))
    rounds.network.running[NODE].rounds._pages.size_bytes = lambda *_: 0  # type: ignore[method-assign]
    with pytest.raises(CannotAnswer, match="does not show what was drawn"):
        await drawn_openings(*asked(rounds))


async def test_an_account_shows_that_a_member_has_nothing_to_prove_yet(rounds: Rounds) -> None:
    await rounds.committed(*ALL)
    await rounds.drawn()
    ledger, client, code, member, epoch, round_ = asked(rounds)

    class Gained:
        """The chain, had the member all its shards to gain still, and committed to none."""

        def __getattr__(self, name: str) -> Any:
            return getattr(ledger, name)

        async def member_proof(self, epoch: int, node_id: int) -> MemberProof:
            return MemberProof(bytes(24), frozenset({3}), False, False, False)

        async def held_since(self, shards: Sequence[int]) -> dict[int, Held]:
            return dict.fromkeys(shards, Held(0, None))

    shown = await drawn_openings(cast(Any, Gained()), client, code, member, epoch, round_)
    assert shown == dict.fromkeys({*range(16)} - {3}, NOTHING_OPENED)


async def silenced(rounds: Rounds, monkeypatch: pytest.MonkeyPatch) -> None:
    """All have committed, and the node answers no demand."""
    await rounds.committed(*ALL)
    demands = rounds.network.running[NODE].rounds.demands
    monkeypatch.setattr(demands, "_answer", nothing)


async def test_an_account_answers_a_demand_for_a_node(
    rounds: Rounds, monkeypatch: pytest.MonkeyPatch
) -> None:
    await silenced(rounds, monkeypatch)
    ledger = rounds.chain.ledger(WRITER)
    with pytest.raises(CannotAnswer, match="no open demand"):
        await demanded_opening(*asked(rounds, WRITER))
    await ledger.demand(NODE, 12_345)
    demand, opening = await demanded_opening(*asked(rounds, WRITER))
    assert demand.position == 12_345
    assert opening.commitment_path == ()
    await ledger.answer_demand(NODE, WRITER, opening)
    assert not rounds.chain.contracts.demands


async def test_a_demand_is_not_answered_wrongly_or_too_late(
    rounds: Rounds, monkeypatch: pytest.MonkeyPatch
) -> None:
    await silenced(rounds, monkeypatch)
    await rounds.chain.ledger(WRITER).demand(NODE, 7)
    real = Proving.demanded

    def changed(self: Proving, *asked: Any) -> Opening:
        opening = real(self, *asked)
        return replace(opening, offset=opening.offset + 1)

    with monkeypatch.context() as patch:
        patch.setattr(Proving, "demanded", changed)
        with pytest.raises(CannotAnswer, match="position 7 is wrong, so nothing was sent: NotInInventory"):
            await demanded_opening(*asked(rounds, WRITER))
    delete(rounds.network.running[NODE], 1)
    with pytest.raises(CannotAnswer, match=r"does not show position 7.*is not here whole"):
        await demanded_opening(*asked(rounds, WRITER))
    rounds.tick(5000)
    with pytest.raises(CannotAnswer, match="too late"):
        await demanded_opening(*asked(rounds, WRITER))


async def test_what_is_shown_leads_to_the_root_of_its_shard(rounds: Rounds) -> None:
    await rounds.committed(*ALL)
    ledger, client, code, member, epoch, round_ = asked(rounds)
    _, commitment = await commitment_of(ledger, member, epoch, round_)
    inventory = Inventory(round_.inventory_root, round_.count, round_.weight)
    line = position_count(code, len(member.shards), inventory.weight)
    assert commitment.attested, "the last shard was gained"
    for place in (0, line - 1):
        opening = await client.opening_at(place)
        require_attested_alone(
            code, inventory, commitment, opening, position_at(code, inventory.weight, place)
        )


async def test_a_position_that_there_is_not_or_of_a_blocked_blob_is_refused(rounds: Rounds) -> None:
    await rounds.committed(*ALL)
    _, client, code, member, _, round_ = asked(rounds)
    node = rounds.network.running[NODE]

    async def reason(asking: Callable[[], Awaitable[object]]) -> str | None:
        with pytest.raises(NodeRefused) as caught:
            await asking()
        return caught.value.reason

    line = position_count(code, len(member.shards), round_.weight)
    assert await reason(lambda: client.opening_at(line)) == Reason.INDEX_OUT_OF_RANGE
    node.block_list._blob_ids = frozenset(bytes(blob.blob_id) for blob in BLOBS)
    assert await reason(lambda: client.opening_at(0)) == Reason.FORBIDDEN_BLOB
