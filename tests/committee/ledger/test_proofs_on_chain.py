"""The contract judges openings of real blobs as `storage.proofs` does, and refuses by the same names."""

from __future__ import annotations

import random
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest

from committee import messages
from committee.errors import LedgerRefused
from committee.messages import Intent
from committee.opening import PLACES_ON_CHAIN, Opening
from storage.proofs.draw import PLACES_FOR_FELLOWS, Position, drawn_position, position_count
from storage.proofs.inventory import Inventory
from storage.proofs.opening import Commitment, WrongOpening, judge
from tests.committee.ledger.proving import Round, begin
from tests.storage.proofs.members import HonestMember

if TYPE_CHECKING:
    from tests.committee.ledger.conftest import Launch


@pytest.fixture(params=[1, 300], ids=["at once", "300 blocks behind"])
async def begun(launch: Launch, request: pytest.FixtureRequest) -> Round:
    """A round that has begun, of a node with about half of ten shards.

    `blockhash` reaches 256 blocks back, and EIP-2935 further; no block tells its own hash.
    """
    return await begin(await launch([5, 3, 2]), request.param)


async def view(begun: Round, name: str, *arguments: int) -> Any:
    """What a view of the contract answers."""
    reader = begun.network.operator._reader
    return await reader.call(reader.proofs, name, *arguments)


async def test_positions_are_those_that_python_draws(begun: Round) -> None:
    draw = await begun.draw()
    code, weight = begun.honest.code, begun.honest.inventory.weight
    length = position_count(code, len(begun.honest.shards), weight)
    for place in (*range(PLACES_ON_CHAIN), PLACES_FOR_FELLOWS - 1):
        expected = drawn_position(draw, begun.node.node_id, place, length)
        assert await view(begun, "positionOf", begun.node.node_id, place) == expected


async def test_openings_of_real_slivers_prove_a_member(begun: Round) -> None:
    draw = await begun.draw()
    openings = {place: begun.honest.opening(begun.position(draw, place)) for place in range(PLACES_ON_CHAIN)}
    ledger, node_id = begun.node.ledger, begun.node.node_id
    assert await view(begun, "saltOf", node_id) == begun.honest.salt
    first = {place: openings.pop(place) for place in (3, 0)}
    await ledger.answer(node_id, first)
    proof = await ledger.member_proof(begun.state.epoch, node_id)
    assert (set(proof.answered), proof.is_proven) == ({0, 3}, False)
    await ledger.answer(node_id, openings)
    proof = await ledger.member_proof(begun.state.epoch, node_id)
    assert (set(proof.answered), proof.is_proven) == (set(range(PLACES_ON_CHAIN)), True)


async def test_the_ledger_tells_since_when_shards_are_held(begun: Round) -> None:
    ledger, shards = begun.node.ledger, begun.honest.shards
    assert len(shards) > 1
    before = await ledger.held_since(shards)
    assert all(one.attested is None for one in before.values())
    assert {one.since_s for one in before.values()} <= {0, begun.state.started_at_s}
    assert before == {shard: (await ledger.held_since([shard]))[shard] for shard in shards}


async def test_answers_take_no_more_ether_than_is_told_before(begun: Round) -> None:
    draw = await begun.draw()
    openings = {place: begun.honest.opening(begun.position(draw, place)) for place in range(PLACES_ON_CHAIN)}
    ledger = begun.node.ledger
    means = await ledger.means_to_answer(openings)
    assert means.has_wei == await ledger.ether_wei(str(ledger.account))
    await ledger.answer(begun.node.node_id, openings)
    spent_wei = means.has_wei - await ledger.ether_wei(str(ledger.account))
    assert 0 < spent_wei < means.needed_wei < 10 * spent_wei


async def test_fellows_prove_a_member(begun: Round) -> None:
    draw = await begun.draw()
    node_id = begun.node.node_id
    fellows = [one.node_id for one in begun.network.nodes]
    certificate = begun.network.sign(begun.state, Intent.PROOF, messages.proof_body(node_id, draw), fellows)
    await begun.network.operator.prove(node_id, certificate)
    assert (await begun.node.ledger.member_proof(begun.state.epoch, node_id)).is_proven


async def test_a_member_that_does_not_prove_in_time_misses_the_round(begun: Round) -> None:
    await begun.draw()
    ledger, node_id = begun.network.operator, begun.node.node_id
    drawn = await ledger.proof_round(begun.state.epoch)
    assert drawn is not None
    with pytest.raises(LedgerRefused, match="TooEarly"):
        await ledger.judge(node_id)
    await begun.network.chain.increase_time(drawn.answer_by_s + 1 - await ledger.chain_time_s())
    await ledger.judge(node_id)
    proof = await ledger.member_proof(begun.state.epoch, node_id)
    assert (proof.is_missed, proof.is_proven, proof.is_punished) == (True, False, False)


def changed_paths(path: tuple[bytes, ...], choose: random.Random) -> list[tuple[bytes, ...]]:
    """A path with a node more, a node less, and another node."""
    place = choose.randrange(len(path))
    before, behind = path[:place], path[place + 1 :]
    return [(*path, bytes(32)), (*before, *behind), (*before, choose.randbytes(32), *behind)]


def changed(opening: Opening, choose: random.Random) -> list[Opening]:
    """Openings with one change each."""
    flipped = bytes([opening.symbol[0] ^ 1]) + opening.symbol[1:]
    return [
        *(replace(opening, index=opening.index ^ bits) for bits in (1, 2, 3)),
        *(replace(opening, offset=opening.offset + more) for more in (2, 1 << 40)),
        replace(opening, blob_root=choose.randbytes(32)),
        replace(opening, blob_length=opening.blob_length + 1),
        replace(opening, symbol=flipped),
        replace(opening, symbol=opening.symbol + bytes(2)),
        replace(opening, other_root=choose.randbytes(32)),
        *(replace(opening, inventory_path=path) for path in changed_paths(opening.inventory_path, choose)),
        *(replace(opening, sliver_path=path) for path in changed_paths(opening.sliver_path, choose)),
        *(replace(opening, blob_path=path) for path in changed_paths(opening.blob_path, choose)),
        *(replace(opening, commitment_path=path) for path in changed_paths(opening.commitment_path, choose)),
    ]


def verdict(
    honest: HonestMember, commitment: Commitment, inventory: Inventory, opening: Opening, position: Position
) -> str:
    """The name of the rule that an opening breaks; empty if it holds."""
    try:
        judge(honest.code, inventory, commitment, opening, position)
    except WrongOpening as error:
        return type(error).__name__
    return ""


async def test_changed_openings_have_the_same_verdict_on_chain_as_in_python(begun: Round) -> None:
    draw = await begun.draw()
    honest, ledger, node_id = begun.honest, begun.node.ledger, begun.node.node_id
    choose, told = random.Random(1), set()
    commitment = replace(honest.commitment, attested={})  # nobody attests in the first epoch
    openings = [honest.opening(begun.position(draw, place)) for place in range(PLACES_ON_CHAIN)]
    for place, opening in enumerate(openings):
        others = changed(opening, choose)
        for shown in (choose.choice(openings), *(others if place == 0 else choose.sample(others, 2))):
            expected = verdict(honest, commitment, honest.inventory, shown, begun.position(draw, place))
            if expected:
                with pytest.raises(LedgerRefused) as refused:
                    await ledger.answer(node_id, {place: shown})
                assert refused.value.reason == expected, shown
                told.add(expected)
    assert told >= {"WrongPath", "NotInInventory", "WrongSymbolSize", "NotOfTheBlob", "NotCommitted"}
    await ledger.answer(node_id, dict(enumerate(openings)))
    assert (await ledger.member_proof(begun.state.epoch, node_id)).is_proven
