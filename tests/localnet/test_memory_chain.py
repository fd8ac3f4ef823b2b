"""The same stories told to the contracts and to the chain in memory; `Twins` compares after every step."""

from __future__ import annotations

import random
from dataclasses import replace
from typing import Any

from committee.bls import SecretKey, proof_of_possession
from tests.committee.ledger.conftest import DEADLINE_S, EPOCH_S, Launch
from tests.localnet.twins import Telling, Twins

ROOTS = [bytes([number]) * 32 for number in range(1, 9)]


async def replace_members(twins: Twins) -> None:
    """The next epoch, in which most shards have other owners: nodes 1 and 2 are gone, 5 and 6 are new."""
    for node in twins.network.nodes[:2]:
        assert await twins.tell(node.ledger, lambda told: told.leave()) is None
    for stake in (4, 3):
        await twins.join(stake)
    await twins.next_epoch()
    assert not twins.state.handover_done


# epochs


async def test_an_epoch_is_selected_and_started_in_its_time(launch: Launch) -> None:
    twins = await Twins.deployed(await launch())
    assert await twins.anyone(lambda told: told.select()) == "NoStake"
    node = await twins.join(0)
    assert await twins.anyone(lambda told: told.select()) == "NoStake"
    await twins.stake(node, 3)
    await twins.join(2)
    assert await twins.anyone(lambda told: told.start()) == "NotSelected"
    assert await twins.anyone(lambda told: told.select()) is None
    assert await twins.anyone(lambda told: told.select()) == "AlreadySelected"
    assert await twins.anyone(lambda told: told.start()) is None
    assert twins.state.handover_done, "nothing is to be handed over in the first epoch"
    assert await twins.anyone(lambda told: told.select()) == "TooEarly"
    await twins.network.chain.increase_time(EPOCH_S // 2)
    assert await twins.anyone(lambda told: told.select()) is None
    assert await twins.anyone(lambda told: told.start()) == "TooEarly"
    await twins.join(5)
    await twins.network.chain.increase_time(EPOCH_S // 2)
    assert await twins.anyone(lambda told: told.start()) is None
    assert twins.state.current is not None
    assert len(twins.state.current.members) == 2, "who joins after the selection is no member yet"


async def test_gained_shards_are_attested_once_by_their_owners(twins: Twins) -> None:
    stranger, newcomer = twins.network.nodes[0], twins.network.nodes[3]
    assert await twins.attest(newcomer, 0, epoch=0) == "WrongEpoch"
    await twins.next_epoch()
    assert await twins.attest(newcomer, 9) == "ShardIsKept"
    await replace_members(twins)
    one, other = twins.network.nodes[4:6]
    own = twins.owed(one)
    assert await twins.attest(stranger, own[0]) == "NotAMember"
    assert await twins.tell(twins.network.operator, lambda told: told.attest(2, [])) == "NotAMember"
    assert await twins.attest(one, own[0], epoch=1) == "WrongEpoch"
    assert await twins.attest(one, own[0], epoch=3) == "WrongEpoch"
    assert await twins.attest(one, twins.owed(other)[0]) == "NotYourShard"
    assert await twins.attest(one, 99) == "NotYourShard"
    assert await twins.attest(one, own[0], own[1], own[0]) == "AlreadyAttested"
    assert await twins.attest(one) is None
    assert await twins.attest(one, own[1], own[0]) is None
    assert await twins.attest(one, own[2], own[0]) == "AlreadyAttested"
    assert await twins.anyone(lambda told: told.select()) == "HandoverNotDone"
    await twins.hand_over()
    assert twins.state.handover_done
    assert not twins.chain.missing


async def test_a_handover_is_done_at_the_quorum_and_attested_on(twins: Twins) -> None:
    await twins.next_epoch()
    await replace_members(twins)
    gained = [(node, shard) for node in twins.network.nodes for shard in twins.owed(node)]
    while not twins.state.handover_done:
        assert len(twins.chain.contracts.held) < 7
        assert await twins.attest(gained[0][0], gained.pop(0)[1]) is None
    assert len(twins.chain.contracts.held) == 7
    assert len(gained) == 3
    assert await twins.anyone(lambda told: told.close_handover()) == "HandoverIsDone"
    for node, shard in gained[1:]:
        assert await twins.attest(node, shard) is None
    await twins.next_epoch()
    (node, shard), *_ = gained
    assert set(twins.state.unattested) == {shard}
    assert twins.chain.missing == {shard}, "who did not attest it has it to attest still"
    assert await twins.attest(node, shard) is None


async def test_a_handover_closed_at_its_deadline_bars_nobody(twins: Twins) -> None:
    assert await twins.anyone(lambda told: told.close_handover()) == "HandoverIsDone"
    await twins.next_epoch()
    await replace_members(twins)
    prompt = twins.network.nodes[5]
    assert await twins.attest(prompt, *twins.owed(prompt)) is None
    late = [node for node in twins.network.nodes if twins.owed(node)]
    assert await twins.anyone(lambda told: told.close_handover()) == "TooEarly"
    await twins.network.chain.increase_time(DEADLINE_S)
    assert await twins.anyone(lambda told: told.close_handover()) is None
    for node in late:
        assert await twins.tell(node.ledger, lambda told: told.become_candidate()) == "AlreadyCandidate"
    await twins.next_epoch()
    assert twins.state.unattested
    await twins.hand_over()
    await twins.next_epoch()
    assert not twins.state.unattested


async def test_too_little_stake_elects_nobody_until_time_has_passed(twins: Twins) -> None:
    await twins.next_epoch()
    for node in twins.network.nodes[:2]:  # with 7 of the stake of 10
        assert await twins.tell(node.ledger, lambda told: told.leave()) is None
    await twins.network.chain.increase_time(EPOCH_S // 2)
    assert await twins.anyone(lambda told: told.select()) == "NotEnoughStake"
    newcomer = await twins.join(3)
    assert await twins.anyone(lambda told: told.select()) == "NotEnoughStake"
    await twins.network.chain.increase_time(twins.chain.parameters.shrink_s // 10)
    assert await twins.anyone(lambda told: told.select()) is None, "60 % of two thirds"
    assert twins.state.next is not None
    assert newcomer.node_id in twins.state.next.by_id


async def test_certificates_of_the_last_epoch_count_for_a_grace_time(twins: Twins) -> None:
    writer = await twins.writer()
    await twins.next_epoch()
    for root in ROOTS[:2]:
        assert await twins.register(writer, root) is None
    on_their_way = [twins.certificate(object_id) for object_id in (1, 2)]
    await twins.next_epoch()
    assert twins.state.handover_done
    assert await twins.certify(1, on_their_way[0]) is None
    await twins.network.chain.increase_time(twins.chain.parameters.certificate_grace_s)
    assert await twins.certify(2, on_their_way[1]) == "WrongEpoch"


async def test_who_attested_a_shard_last_is_known_as_long_as_nobody_has_since(twins: Twins) -> None:
    """Also where it has moved to."""
    await twins.next_epoch()
    held = twins.state.current
    assert held is not None
    await replace_members(twins)
    for epochs_since in (1, 2, 3):
        await twins.network.chain.increase_time(DEADLINE_S)
        assert await twins.anyone(lambda told: told.close_handover()) is None
        await twins.join(5)
        await twins.next_epoch()
        last = twins.state.unattested
        assert last, f"after {epochs_since} epochs"
        assert all(held.owner_of[shard].node_id == one.node_id for shard, one in last.items())
    gone = next(one for one in twins.network.nodes if one.node_id == next(iter(last.values())).node_id)
    assert (
        await twins.tell(gone.ledger, lambda told: told.update_address(gone.node_id, "http://moved")) is None
    )
    assert any(one.address == "http://moved" for one in twins.state.unattested.values())


async def test_nodes_leave_and_return_and_move(twins: Twins) -> None:
    one, other = twins.network.nodes[:2]
    assert await twins.tell(one.ledger, lambda told: told.become_candidate()) == "AlreadyCandidate"
    assert await twins.tell(one.ledger, lambda told: told.leave(other.node_id)) == "NotAnOperator"
    assert await twins.tell(one.ledger, lambda told: told.leave(99)) == "UnknownNode"
    await twins.next_epoch()
    assert await twins.tell(one.ledger, lambda told: told.leave()) is None
    assert await twins.tell(one.ledger, lambda told: told.leave()) == "NotCandidate"
    await twins.stake(other, 1)  # two thirds of what was elected must stand
    await twins.network.chain.increase_time(EPOCH_S)
    assert await twins.anyone(lambda told: told.select()) is None
    assert await twins.tell(one.ledger, lambda told: told.become_candidate()) is None
    elsewhere = "http://elsewhere:1"
    assert await twins.tell(one.ledger, lambda told: told.update_address(1, elsewhere)) is None
    assert await twins.tell(other.ledger, lambda told: told.update_address(2, elsewhere)) is None
    assert await twins.tell(one.ledger, lambda told: told.update_address(2, elsewhere)) == "NotAnOperator"
    await twins.network.chain.increase_time(twins.chain.parameters.notice_s)
    assert await twins.anyone(lambda told: told.start()) is None
    proof = one.secret.sign(b"another message")
    sent = "again", elsewhere, one.secret.public_key, proof
    assert await twins.tell(one.ledger, lambda told: told.register_node(*sent)) == "AccountHasNode"
    assert await twins.anyone(lambda told: told.register_node(*sent)) == "KeyInUse"
    unproven = *sent[:2], SecretKey.generate().public_key, proof
    assert await twins.anyone(lambda told: told.register_node(*unproven)) == "InvalidProofOfPossession"


async def test_a_node_goes_over_to_the_account_that_accepts_it(twins: Twins) -> None:
    one, other = (node.ledger for node in twins.network.nodes[:2])
    assert await twins.tell(other, lambda told: told.offer_node(1, other.account)) == "NotNodeOwner"
    assert await twins.tell(other, lambda told: told.accept_node(1)) == "NotOffered"
    assert await twins.tell(one, lambda told: told.offer_node(1, other.account)) is None
    assert await twins.tell(one, lambda told: told.offer_node(1, None)) is None
    assert await twins.tell(other, lambda told: told.accept_node(1)) == "NotOffered"
    assert await twins.tell(one, lambda told: told.offer_node(1, other.account)) is None
    assert await twins.tell(other, lambda told: told.accept_node(1)) is None
    assert await twins.tell(one, lambda told: told.offer_node(1, None)) == "NotNodeOwner"
    assert await twins.tell(one, lambda told: told.accept_node(99)) == "UnknownNode"
    assert one.account is not None
    secret = SecretKey.generate()
    proof = proof_of_possession(secret, one.account, twins.chain.parameters.domain)
    own = registering("own", "http://own:1", secret.public_key, proof)
    assert await twins.tell(one, own) is None, "the account is taken back from the other owner's node"
    assert twins.chain.contracts.node_of(one.account) == len(twins.chain.nodes)


def registering(*sent: Any) -> Telling:
    return lambda told: told.register_node(*sent)


def moving(node_id: int, address: str) -> Telling:
    return lambda told: told.update_address(node_id, address)


async def test_names_and_addresses_are_printable_and_nothing_else(twins: Twins) -> None:
    (one, *_), secret = twins.network.nodes, SecretKey.generate()
    key, proof = secret.public_key, secret.sign(b"another message")
    for name in ("", " a", "a ", "x" * 65, "Bär", "a\x1b[2J", "a\n", "\x7f"):
        sent = name, "http://node:1", key, proof
        assert await twins.anyone(registering(*sent)) == "InvalidName", name
    sent = "good", "http://nöde:1", key, proof
    assert await twins.anyone(registering(*sent)) == "InvalidNetworkAddress"
    chance = random.Random(11)
    for good in ("http://node.example:9000", "https://[2001:db8::1]:1", "http://127.1"):
        for _ in range(8):
            place = chance.randrange(len(good) + 1)
            address = good[:place] + chance.choice("/?#@:[].0 \x00é%") + good[place + chance.randrange(2) :]
            outcome = await twins.tell(one.ledger, moving(1, address))
            assert outcome in (None, "InvalidNetworkAddress"), address


async def test_an_ejection_takes_a_quorum_of_this_epoch_and_drops_the_selection(twins: Twins) -> None:
    await twins.next_epoch()
    first = twins.state
    assert await twins.eject(99) == "NotAMember"
    assert await twins.eject(4, [1, 4]) == "NotEnoughWeight"
    assert await twins.eject(4) is None
    assert await twins.eject(4) == "AlreadyEjected"
    await twins.network.chain.increase_time(EPOCH_S)
    assert await twins.anyone(lambda told: told.select()) is None
    assert await twins.eject(3) is None
    assert twins.state.next is None
    back = twins.network.nodes[3]
    assert await twins.tell(back.ledger, lambda told: told.become_candidate()) == "Barred"
    await twins.join(5)
    assert await twins.anyone(lambda told: told.select()) is None
    assert await twins.eject(3) == "AlreadyEjected"
    assert await twins.eject(5) is None, "also one that is selected and no member yet"
    assert await twins.anyone(lambda told: told.select()) is None
    assert await twins.anyone(lambda told: told.start()) == "TooEarly", (
        "new owners have the notice to prefetch"
    )
    await twins.network.chain.increase_time(twins.chain.parameters.notice_s)
    assert await twins.anyone(lambda told: told.start()) is None
    assert await twins.eject(1, [1, 2], first) == "BadSignature"
    await twins.hand_over()
    assert await twins.tell(back.ledger, lambda told: told.become_candidate()) is None
    assert await twins.eject(1, lasts_s=-1) == "EjectionTooLate"
    assert await twins.eject(2) is None, "once in every epoch"


# blobs


def _registering(*blob: Any, known_up_to: int) -> Telling:
    return lambda told: told.register_blob(*blob, known_up_to=known_up_to)


async def test_blobs_are_registered_together_or_none_of_them(twins: Twins) -> None:
    writer = await twins.writer()
    some = [(root, 1000 + place) for place, root in enumerate(ROOTS[:2])]
    for root, length in some:
        twins.knows(root, length)

    def together(known_up_to: int, periods: int = 5) -> Telling:
        return lambda told: told.register_blobs(some, periods, deletable=True, known_up_to=known_up_to)

    assert await twins.tell(writer, together(0)) == "NoEpochYet"
    await twins.next_epoch()
    assert await twins.tell(writer, together(0, 54)) == "InvalidPeriod"
    assert await twins.register(writer, ROOTS[1], length=1001, deletable=True) is None
    assert await twins.tell(writer, together(0)) == "RegisteredMeanwhile"
    assert await twins.tell(writer, together(1)) is None
    assert await twins.tell(writer, together(1)) == "RegisteredMeanwhile"


async def test_a_blob_is_registered_certified_extended_and_deleted(twins: Twins) -> None:
    writer, other = await twins.writer(), await twins.writer()
    assert await twins.register(writer, ROOTS[0]) == "NoEpochYet"
    assert await twins.register(writer, ROOTS[0], length=10**12) == "BlobTooLong"
    await twins.next_epoch()
    assert await twins.register(writer, ROOTS[0], 0) == "InvalidPeriod"
    assert await twins.register(writer, ROOTS[0], 54) == "InvalidPeriod"
    assert await twins.register(writer, ROOTS[0], 53) is None
    for deletable in (True, True, False):
        assert await twins.register(writer, ROOTS[1], deletable=deletable) is None
    for known_up_to, deletable in ((0, True), (2, True), (0, False)):
        again = ROOTS[1], 1000, 5, deletable
        refusal = await twins.tell(writer, _registering(*again, known_up_to=known_up_to))
        assert refusal == "RegisteredMeanwhile", "its newest object of the kind is named"
    assert await twins.tell(writer, lambda told: told.extend_blob(2, 1)) == "NotCertified"
    assert await twins.tell(writer, lambda told: told.extend_blob(9, 1)) == "UnknownObject"
    many = {object_id: twins.certificate(object_id) for object_id in (1, 2)}
    assert await twins.anyone(lambda told: told.certify_blobs(many)) is None
    assert await twins.certify(3) is None
    assert await twins.certify(3) == "AlreadyCertified"
    assert await twins.tell(other, lambda told: told.extend_blob(2, 1)) is None, "anyone may"
    assert await twins.tell(writer, lambda told: told.extend_blob(2, 1, known_end=6)) == "EndMoved"
    assert await twins.tell(writer, lambda told: told.extend_blob(2, 0)) == "InvalidPeriod"
    assert await twins.tell(writer, lambda told: told.extend_blob(2, 48)) == "InvalidPeriod"
    assert await twins.tell(writer, lambda told: told.extend_blob(2, 47)) is None
    assert await twins.tell(writer, lambda told: told.delete_blob(1)) == "NotDeletable"
    assert await twins.tell(other, lambda told: told.delete_blob(2)) == "NotOwner"
    assert await twins.tell(writer, lambda told: told.delete_blob(2)) is None
    assert await twins.tell(writer, lambda told: told.delete_blob(2)) == "UnknownObject"
    assert await twins.anyone(lambda told: told.certify_blob(2, many[2])) == "UnknownObject"
    assert await twins.anyone(lambda told: told.blob_object(9)) == "UnknownObject"
    assert await twins.register(other, ROOTS[1]) is None, "deleted ids are not given again"
    newer = await twins.tell(writer, _registering(ROOTS[1], 1000, 5, True, known_up_to=3))
    assert newer is None, "the newer one is another's, and permanent"


async def test_a_certificate_must_hold(twins: Twins) -> None:
    writer = await twins.writer()
    await twins.next_epoch()
    for deletable in (False, True):
        assert await twins.register(writer, ROOTS[0], deletable=deletable) is None
    good = twins.certificate(1)
    assert await twins.certify(1, twins.certificate(1, [1, 3])) == "NotEnoughWeight"
    assert await twins.certify(1, twins.certificate(2)) == "BadSignature"
    assert await twins.certify(2, good) == "BadSignature"
    assert await twins.certify(1, replace(good, bitmap=b"\x07")) == "BadSignature"
    assert await twins.certify(1, replace(good, bitmap=b"")) == "NotEnoughWeight"
    assert await twins.certify(1, replace(good, bitmap=b"\x1f")) == "BadBitmap"
    assert await twins.certify(1, replace(good, bitmap=b"\x0f\x00")) == "BadBitmap"
    assert await twins.certify(1, replace(good, epoch=2)) == "WrongEpoch"
    assert await twins.certify(1, replace(good, epoch=0)) == "CertificateTooOld"
    assert await twins.certify(9, good) == "UnknownObject"
    assert await twins.certify(1, replace(good, message=b"")) is None, "the contract makes its own message"


async def test_the_previous_committees_certificate_is_good_until_the_handover_is_done(twins: Twins) -> None:
    writer = await twins.writer()
    await twins.next_epoch()
    for root in ROOTS[:3]:
        assert await twins.register(writer, root) is None
    first = twins.state
    await replace_members(twins)
    assert await twins.register(writer, ROOTS[3]) is None
    assert await twins.certify(1, twins.certificate(1, state=first)) is None
    assert twins.chain.records[1].certified_epoch == 1
    assert await twins.certify(2) is None
    assert twins.chain.records[2].certified_epoch == 2
    assert await twins.certify(4, twins.certificate(4, state=first)) == "CertificateTooOld"
    await twins.hand_over()
    await twins.network.chain.increase_time(twins.chain.parameters.certificate_grace_s)
    assert await twins.certify(3, twins.certificate(3, state=first)) == "WrongEpoch"
    assert await twins.tell(writer, lambda told: told.extend_blob(1, 1)) is None
    assert twins.chain.records[1].certified_epoch == 1


async def test_an_inconsistent_blob_is_invalid_for_good(twins: Twins) -> None:
    writer = await twins.writer()
    await twins.next_epoch()
    for deletable in (False, True, False):
        assert await twins.register(writer, ROOTS[0], deletable=deletable) is None
    assert await twins.certify(1) is None
    assert await twins.tell(writer, lambda told: told.delete_blob(2)) is None
    assert await twins.invalidate(ROOTS[0], [2]) == "NotEnoughWeight"
    assert await twins.invalidate(ROOTS[0], [1]) is None, "four shards of ten, one more than can lie"
    assert await twins.invalidate(ROOTS[0], [1]) == "InvalidBlob"
    assert await twins.register(writer, ROOTS[0]) == "InvalidBlob"
    assert await twins.certify(3) == "InvalidBlob"
    assert await twins.tell(writer, lambda told: told.extend_blob(1, 1)) == "InvalidBlob"
    assert await twins.invalidate(ROOTS[7], [1]) is None, "also one that nobody has registered yet"
    assert await twins.register(writer, ROOTS[7]) == "InvalidBlob"


async def test_an_expired_blob_takes_nothing_more(twins: Twins) -> None:
    writer = await twins.writer()
    await twins.next_epoch()
    for deletable in (False, True):
        assert await twins.register(writer, ROOTS[0], 1, deletable=deletable) is None
    assert await twins.certify(2) is None
    await twins.next_epoch()
    assert await twins.certify(1) == "Expired"
    assert await twins.tell(writer, lambda told: told.extend_blob(2, 1)) == "Expired"
    assert await twins.tell(writer, lambda told: told.delete_blob(2)) == "Expired"
