from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from unittest.mock import Mock

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from committee import bls, certificate, messages
from committee.bls import SecretKey
from committee.certificate import Certificate, MemberSignature
from committee.errors import InvalidCertificate, NotEnoughWeight
from committee.membership import Committee
from committee.messages import Intent

CommitteeBuilder = Callable[[Sequence[int]], Committee]
Confirm = Callable[[bytes, Sequence[int]], list[MemberSignature]]

EQUAL = [1] * 10
SIGNERS = (1, 2, 3, 4, 5, 8, 9)
"""Places 0, 1, 2, 3, 4, 7, 8, as in MystenLabs/walrus, contracts/walrus/tests/system/bls_tests.move."""


@pytest.fixture(scope="module")
def committee(signing_committee: CommitteeBuilder) -> Committee:
    return signing_committee(EQUAL)


@pytest.fixture(scope="module")
def good(committee: Committee, blob_message: bytes, confirm: Confirm) -> Certificate:
    return certificate.build(committee, blob_message, confirm(blob_message, SIGNERS))


@pytest.fixture(scope="module")
def verify(committee: Committee, domain: bytes) -> Callable[[Certificate], int]:
    return lambda one: certificate.verify(one, committee, domain)


def test_walrus_certificate(good: Certificate, verify: Callable[[Certificate], int]) -> None:
    # bls_tests.move, test_check_aggregate: ten members of weight 1, seven signers, bitmap 9f01.
    assert good.bitmap.hex() == "9f01"
    assert good.refused == ()
    assert verify(good) == 7


def test_walrus_certificate_without_enough_stake(
    signing_committee: CommitteeBuilder, blob_message: bytes, confirm: Confirm
) -> None:
    # bls_tests.move, test_incorrect_stake_error: the last member weighs 2, the same seven sign for 7 of 11.
    heavier = signing_committee([1, 1, 1, 1, 1, 1, 1, 1, 1, 2])
    with pytest.raises(NotEnoughWeight) as caught:
        certificate.build(heavier, blob_message, confirm(blob_message, SIGNERS))
    assert (caught.value.weight, caught.value.needed, caught.value.refused) == (7, 8, ())
    assert "none by node-6, node-7, node-10" in str(caught.value)


# bitmaps


def test_signers_are_in_member_order(committee: Committee) -> None:
    members = certificate.signers(bytes.fromhex("9f01"), committee)
    assert tuple(member.node_id for member in members) == SIGNERS


@given(node_ids=st.frozensets(st.integers(1, 10)))
def test_signers_inverts_bitmap_of(committee: Committee, node_ids: frozenset[int]) -> None:
    bitmap = certificate.bitmap_of(node_ids, committee)
    assert frozenset(member.node_id for member in certificate.signers(bitmap, committee)) == node_ids


@pytest.mark.parametrize("n_members", [1, 7, 8, 9])
def test_bitmap_has_as_many_bytes_as_the_members_need(
    signing_committee: CommitteeBuilder, n_members: int
) -> None:
    committee = signing_committee([1] * n_members)
    everyone = frozenset(range(1, n_members + 1))
    assert certificate.bitmap_of(everyone, committee) == ((1 << n_members) - 1).to_bytes(
        1 if n_members <= 8 else 2, "little"
    )


@pytest.mark.parametrize("bitmap", ["9f0100", "009f01", "9f0100000000000000"])
def test_verify_refuses_a_stretched_bitmap(
    good: Certificate, verify: Callable[[Certificate], int], bitmap: str
) -> None:
    with pytest.raises(InvalidCertificate, match="at most 2"):
        verify(replace(good, bitmap=bytes.fromhex(bitmap)))


@pytest.mark.parametrize("bitmap", ["9f", ""], ids=["one byte", "empty"])
def test_verify_refuses_a_bitmap_cut_by_a_signer(
    good: Certificate, verify: Callable[[Certificate], int], bitmap: str
) -> None:
    with pytest.raises(InvalidCertificate):
        verify(replace(good, bitmap=bytes.fromhex(bitmap)))


@pytest.mark.parametrize("place", range(10, 16))
def test_verify_refuses_an_unused_bit(
    good: Certificate, verify: Callable[[Certificate], int], place: int
) -> None:
    bits = int.from_bytes(good.bitmap, "little") | 1 << place
    with pytest.raises(InvalidCertificate, match="beyond the 10 members"):
        verify(replace(good, bitmap=bits.to_bytes(2, "little")))


def test_verify_refuses_a_signer_added(good: Certificate, verify: Callable[[Certificate], int]) -> None:
    with pytest.raises(InvalidCertificate, match="does not hold"):
        verify(replace(good, bitmap=bytes.fromhex("df01")))


def test_verify_refuses_a_signer_swapped(good: Certificate, verify: Callable[[Certificate], int]) -> None:
    with pytest.raises(InvalidCertificate, match="does not hold"):
        verify(replace(good, bitmap=bytes.fromhex("af01")))


def test_verify_refuses_the_bits_in_the_other_order(
    good: Certificate, verify: Callable[[Certificate], int]
) -> None:
    most_significant_first = bytes(int(f"{byte:08b}"[::-1], 2) for byte in good.bitmap)
    with pytest.raises(InvalidCertificate):
        verify(replace(good, bitmap=most_significant_first))


# weights


@pytest.mark.parametrize(
    ("weights", "signers", "enough"),
    [
        (EQUAL, 7, True),
        (EQUAL, 6, False),
        ([1, 1, 1, 1], 3, True),
        ([1, 1, 1, 1], 2, False),
        ([2, 2, 2], 3, True),
        ([2, 2, 2], 2, False),  # 4 of 6: 12 < 13
        ([5], 1, True),
        ([67, 33], 1, True),
        ([66, 34], 1, False),
    ],
)
def test_build_needs_a_quorum(
    signing_committee: CommitteeBuilder,
    blob_message: bytes,
    confirm: Confirm,
    domain: bytes,
    weights: list[int],
    signers: int,
    enough: bool,
) -> None:
    committee = signing_committee(weights)
    confirmations = confirm(blob_message, range(1, signers + 1))
    if enough:
        built = certificate.build(committee, blob_message, confirmations)
        assert certificate.verify(built, committee, domain) == sum(weights[:signers])
    else:
        with pytest.raises(NotEnoughWeight):
            certificate.build(committee, blob_message, confirmations)


@pytest.mark.parametrize(("weights", "enough"), [([4, 6], True), ([3, 7], False), ([34, 66], True)])
def test_build_with_one_correct_node(
    signing_committee: CommitteeBuilder, confirm: Confirm, domain: bytes, weights: list[int], enough: bool
) -> None:
    committee = signing_committee(weights)
    message = messages.encode(Intent.INVALID_BLOB, 5, messages.invalid_blob_body(bytes(32)), domain)
    confirmations = confirm(message, [1])
    if not enough:
        with pytest.raises(NotEnoughWeight, match="votes of 3 shards, needed 4 of 10"):
            certificate.build(committee, message, confirmations, "one_correct")
        return
    built = certificate.build(committee, message, confirmations, "one_correct")
    assert certificate.verify(built, committee, domain, "one_correct", Intent.INVALID_BLOB) == weights[0]
    with pytest.raises(NotEnoughWeight):
        certificate.verify(built, committee, domain, "quorum", Intent.INVALID_BLOB)


@given(weights=st.lists(st.integers(1, 40), min_size=1, max_size=10), data=st.data())
@settings(max_examples=200)
def test_needed_weight_is_the_least_that_is_enough(
    signing_committee: CommitteeBuilder, weights: list[int], data: st.DataObject
) -> None:
    committee = signing_committee(weights)
    need: certificate.Need = data.draw(st.sampled_from(["quorum", "one_correct"]))
    is_enough = committee.is_quorum if need == "quorum" else committee.has_one_correct
    message = messages.encode(Intent.BLOB, 5, messages.blob_body(bytes(32)), None)
    with pytest.raises(NotEnoughWeight) as caught:
        certificate.build(committee, message, [], need)
    assert is_enough(caught.value.needed)
    assert not is_enough(caught.value.needed - 1)


def test_verify_refuses_a_true_certificate_below_the_quorum(
    committee: Committee, domain: bytes, blob_message: bytes, confirm: Confirm
) -> None:
    six = SIGNERS[:6]
    signature = bls.aggregate([one.signature for one in confirm(blob_message, six)])
    bitmap = certificate.bitmap_of(frozenset(six), committee)
    with pytest.raises(NotEnoughWeight, match="votes of 6 shards, needed 7 of 10"):
        certificate.verify(Certificate(5, blob_message, bitmap, signature), committee, domain)


def test_verify_refuses_nobody(good: Certificate, verify: Callable[[Certificate], int]) -> None:
    with pytest.raises(NotEnoughWeight, match="votes of 0"):
        verify(replace(good, bitmap=bytes(2)))


# bad confirmations


def test_build_verifies_an_honest_committee_once(
    committee: Committee, blob_message: bytes, confirm: Confirm, monkeypatch: pytest.MonkeyPatch
) -> None:
    counted = Mock(side_effect=bls.verify_aggregate)
    monkeypatch.setattr(bls, "verify_aggregate", counted)
    certificate.build(committee, blob_message, confirm(blob_message, range(1, 11)))
    assert counted.call_count == 1


@given(bad=st.sets(st.integers(1, 10), min_size=1, max_size=10), data=st.data())
@settings(max_examples=25, deadline=None)
def test_build_leaves_out_and_names_the_bad_signers(
    committee: Committee,
    domain: bytes,
    blob_message: bytes,
    confirm: Confirm,
    bad: set[int],
    data: st.DataObject,
) -> None:
    wrong = {one.node_id: one.signature for one in confirm(b"something else", range(1, 11))}
    forgeries = st.sampled_from([b"", bytes(96), b"\xc0" + bytes(95)])
    confirmations = [
        replace(one, signature=data.draw(forgeries | st.just(wrong[one.node_id])))
        if one.node_id in bad
        else one
        for one in confirm(blob_message, range(1, 11))
    ]
    confirmations = data.draw(st.permutations(confirmations))
    if len(bad) <= 3:
        built = certificate.build(committee, blob_message, confirmations)
        assert set(built.refused) == bad
        assert certificate.verify(built, committee, domain) == 10 - len(bad)
    else:
        with pytest.raises(NotEnoughWeight, match="bad signatures by") as caught:
            certificate.build(committee, blob_message, confirmations)
        assert set(caught.value.refused) == bad
        assert caught.value.weight == 10 - len(bad)


def test_build_leaves_out_a_signature_by_another_member(
    committee: Committee, blob_message: bytes, confirm: Confirm
) -> None:
    confirmations = confirm(blob_message, range(1, 11))
    copied = [replace(confirmations[0], node_id=2) if one.node_id == 2 else one for one in confirmations]
    assert certificate.build(committee, blob_message, copied).refused == (2,)


def test_build_leaves_out_swapped_signatures_and_their_sum_holds_anyway(
    committee: Committee, domain: bytes, blob_message: bytes, confirm: Confirm
) -> None:
    # Two members that exchange their signatures spoil each alone but not the sum: that is a true certificate.
    first, second, *others = confirm(blob_message, range(1, 11))
    swapped = [replace(first, signature=second.signature), replace(second, signature=first.signature)]
    built = certificate.build(committee, blob_message, [*swapped, *others])
    assert built.refused == ()
    assert certificate.verify(built, committee, domain) == 10


def test_build_refuses_a_second_confirmation(
    committee: Committee, blob_message: bytes, confirm: Confirm
) -> None:
    confirmations = confirm(blob_message, SIGNERS)
    with pytest.raises(InvalidCertificate, match="two signatures by node-1"):
        certificate.build(committee, blob_message, [*confirmations, confirmations[0]])


def test_build_refuses_a_stranger(committee: Committee, blob_message: bytes, confirm: Confirm) -> None:
    stranger = MemberSignature(11, SecretKey(11).sign(blob_message))
    with pytest.raises(InvalidCertificate, match="node 11 is no member"):
        certificate.build(committee, blob_message, [*confirm(blob_message, SIGNERS), stranger])


def test_build_refuses_a_message_of_another_epoch(
    committee: Committee, domain: bytes, confirm: Confirm
) -> None:
    message = messages.encode(Intent.BLOB, 6, messages.blob_body(bytes(32)), domain)
    with pytest.raises(InvalidCertificate, match="message of epoch 6: the committee of epoch 5"):
        certificate.build(committee, message, confirm(message, SIGNERS))


def test_build_refuses_bytes_that_are_no_message(committee: Committee, confirm: Confirm) -> None:
    with pytest.raises(InvalidCertificate, match="cannot be read"):
        certificate.build(committee, b"no message", confirm(b"no message", SIGNERS))


# verifying


@given(bit=st.integers(0, 767))
@settings(max_examples=40, deadline=None)
def test_verify_refuses_a_flipped_signature_bit(
    good: Certificate, verify: Callable[[Certificate], int], bit: int
) -> None:
    flipped = (int.from_bytes(good.signature, "big") ^ 1 << bit).to_bytes(96, "big")
    with pytest.raises(InvalidCertificate, match="does not hold"):
        verify(replace(good, signature=flipped))


def test_verify_refuses_every_flipped_message_bit(
    good: Certificate, verify: Callable[[Certificate], int]
) -> None:
    for bit in range(8 * len(good.message)):
        flipped = bytearray(good.message)
        flipped[bit // 8] ^= 1 << bit % 8
        with pytest.raises(InvalidCertificate):
            verify(replace(good, message=bytes(flipped)))


@pytest.mark.parametrize(
    "signature", [b"", bytes(96), b"\xc0" + bytes(95)], ids=["empty", "zero", "identity"]
)
def test_verify_refuses_what_is_no_signature(
    good: Certificate, verify: Callable[[Certificate], int], signature: bytes
) -> None:
    with pytest.raises(InvalidCertificate, match="does not hold"):
        verify(replace(good, signature=signature))


def test_verify_refuses_the_signature_of_one_member_for_all(
    good: Certificate, verify: Callable[[Certificate], int], blob_message: bytes, confirm: Confirm
) -> None:
    alone = confirm(blob_message, [1])[0].signature
    with pytest.raises(InvalidCertificate, match="does not hold"):
        verify(replace(good, signature=alone))


def test_verify_refuses_another_committees_epoch(
    committee: Committee, domain: bytes, good: Certificate
) -> None:
    with pytest.raises(InvalidCertificate, match="committee of epoch 6"):
        certificate.verify(good, replace(committee, epoch=6), domain)


def test_verify_refuses_an_epoch_that_is_not_the_messages(
    good: Certificate, verify: Callable[[Certificate], int]
) -> None:
    with pytest.raises(InvalidCertificate, match="certificate of epoch 4 over a message of epoch 5"):
        verify(replace(good, epoch=4))


def test_verify_refuses_a_message_of_another_epoch_that_the_committee_did_sign(
    good: Certificate, verify: Callable[[Certificate], int], domain: bytes, confirm: Confirm
) -> None:
    message = messages.encode(Intent.BLOB, 6, messages.blob_body(bytes(32)), domain)
    signature = bls.aggregate([one.signature for one in confirm(message, SIGNERS)])
    with pytest.raises(InvalidCertificate, match="over a message of epoch 6"):
        verify(replace(good, message=message, signature=signature))


@pytest.mark.parametrize("other", [bytes(32), None], ids=["another", "none"])
def test_verify_refuses_another_domain(committee: Committee, good: Certificate, other: bytes | None) -> None:
    with pytest.raises(InvalidCertificate, match="domain"):
        certificate.verify(good, committee, other)


def test_verify_refuses_walrus_own_form_where_a_domain_is_asked(
    committee: Committee, domain: bytes, confirm: Confirm
) -> None:
    message = messages.encode(Intent.BLOB, 5, messages.blob_body(bytes(32)), None)
    built = certificate.build(committee, message, confirm(message, SIGNERS))
    assert certificate.verify(built, committee, None) == 7
    with pytest.raises(InvalidCertificate, match="domain"):
        certificate.verify(built, committee, domain)


def test_verify_refuses_another_intent(committee: Committee, domain: bytes, confirm: Confirm) -> None:
    message = messages.encode(Intent.EJECT, 5, messages.eject_body(6, 77), domain)
    built = certificate.build(committee, message, confirm(message, SIGNERS))
    assert certificate.verify(built, committee, domain, intent=Intent.EJECT) == 7
    with pytest.raises(InvalidCertificate, match="intent EJECT, not BLOB"):
        certificate.verify(built, committee, domain)


def test_verify_refuses_a_committee_with_another_key(
    committee: Committee, domain: bytes, good: Certificate
) -> None:
    first, *others = committee.members
    rekeyed = replace(committee, members=(replace(first, public_key=SecretKey(11).public_key), *others))
    with pytest.raises(InvalidCertificate, match="does not hold"):
        certificate.verify(good, rekeyed, domain)


# certificates over many messages


@pytest.fixture(scope="module")
def many(domain: bytes, blob_message: bytes) -> list[bytes]:
    epoch = messages.decode(blob_message).epoch
    bodies = [messages.blob_body(bytes([number]) * 32, None) for number in range(3)]
    return [messages.encode(Intent.BLOB, epoch, body, domain) for body in bodies]


def test_certificates_of_many_messages_have_the_signers_of_all(
    committee: Committee, many: list[bytes], confirm: Confirm, verify: Callable[[Certificate], int]
) -> None:
    signers = [SIGNERS, (*SIGNERS, 10), (6, *SIGNERS)]
    confirmed = [(message, confirm(message, who)) for message, who in zip(many, signers, strict=True)]
    built = certificate.build_many(committee, confirmed)
    assert [one.message for one in built] == many
    assert {one.bitmap.hex() for one in built} == {"9f01"}
    assert [verify(one) for one in built] == [7, 7, 7]


def test_certificates_of_messages_without_a_common_quorum_have_their_own_signers(
    committee: Committee, many: list[bytes], confirm: Confirm, verify: Callable[[Certificate], int]
) -> None:
    signers = [SIGNERS, (4, 5, 6, 7, 8, 9, 10), tuple(range(1, 11))]
    confirmed = [(message, confirm(message, who)) for message, who in zip(many, signers, strict=True)]
    assert [verify(one) for one in certificate.build_many(committee, confirmed)] == [7, 7, 10]


def test_certificates_of_many_messages_need_a_quorum_each_of_members_once_in_their_epoch(
    committee: Committee, many: list[bytes], confirm: Confirm, domain: bytes
) -> None:
    good = many[0], confirm(many[0], SIGNERS)
    with pytest.raises(NotEnoughWeight):
        certificate.build_many(committee, [good, (many[1], confirm(many[1], SIGNERS[:6]))])
    twice = confirm(many[1], (*SIGNERS[:6], SIGNERS[0]))
    with pytest.raises(InvalidCertificate, match="two signatures"):
        certificate.build_many(committee, [good, (many[1], twice)])
    other = messages.encode(
        Intent.BLOB, messages.decode(many[0]).epoch + 1, messages.blob_body(bytes(32), None), domain
    )
    with pytest.raises(InvalidCertificate, match="another epoch"):
        certificate.build_many(committee, [good, (other, confirm(other, SIGNERS))])
    assert certificate.build_many(committee, []) == []
