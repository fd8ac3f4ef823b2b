"""Certificates: one aggregate signature by enough of a committee (PROTOCOL section 2).

A certificate is (message, signers bitmap, aggregate signature). Bit `i % 8` (least significant first) of byte
`i // 8` of the bitmap stands for the member at place `i` of the committee. The bitmap has at most
`ceil(members / 8)` bytes, missing ones count as zero, and its unused bits are zero.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Literal

from committee import bls, messages
from committee.errors import InvalidCertificate, InvalidMessage, InvalidSignature, NotEnoughWeight
from committee.membership import Committee, Member
from committee.messages import Intent

Need = Literal["quorum", "one_correct"]
"""The weight needed: a quorum, `3w >= 2n + 1`, or one that includes a correct node, `3w >= n + 1`."""


@dataclass(frozen=True, slots=True)
class MemberSignature:
    """One member's signature over a message."""

    node_id: int
    signature: bytes


@dataclass(frozen=True, slots=True)
class Certificate:
    """A certificate as it is posted to the chain; made by `build`. The contract checks it by the rules of `verify`."""

    epoch: int
    """The epoch of the committee that signed."""
    message: bytes
    bitmap: bytes
    signature: bytes
    """Compressed, 96 bytes."""
    refused: tuple[int, ...] = field(default=(), compare=False)
    """Node ids whose signatures were bad and are left out; for the builder, no part of the proof."""


def signers(bitmap: bytes, committee: Committee) -> tuple[Member, ...]:
    """Return the members whose bits are set. Raises `InvalidCertificate` for a bitmap not of the one valid form."""
    n_members = len(committee.members)
    n_bytes = (n_members + 7) // 8
    if len(bitmap) > n_bytes:
        raise InvalidCertificate(
            f"signers bitmap of {len(bitmap)} bytes: {n_members} members take at most {n_bytes}"
        )
    bits = int.from_bytes(bitmap, "little")
    if bits >> n_members:
        raise InvalidCertificate(f"signers bitmap {bitmap.hex()} has bits set beyond the {n_members} members")
    return tuple(member for place, member in enumerate(committee.members) if bits >> place & 1)


def bitmap_of(node_ids: frozenset[int], committee: Committee) -> bytes:
    """Return the bitmap of these members; a node that is no member has no bit."""
    bits = sum(1 << place for place, member in enumerate(committee.members) if member.node_id in node_ids)
    return bits.to_bytes((len(committee.members) + 7) // 8, "little")


def votes_needed(committee: Committee, need: Need) -> int:
    """Return the fewest shards whose members' votes make a certificate."""
    return committee.quorum if need == "quorum" else committee.one_correct


def build(
    committee: Committee, message: bytes, signatures: Sequence[MemberSignature], need: Need = "quorum"
) -> Certificate:
    """Aggregate the members' signatures over `message`, leaving out the bad ones (named in `refused`).

    The aggregate is verified once; only when it fails are the bad signers sought, by halves, so that honest
    members cost one pairing check in all.

    Raises `NotEnoughWeight` when the good signatures weigh too little (it names the bad ones and the members
    that are missing), `InvalidCertificate` for a message of another epoch, a signature by no member or a second
    one by the same.
    """
    decoded = _decode(message)
    if decoded.epoch != committee.epoch:
        raise InvalidCertificate(
            f"message of epoch {decoded.epoch}: the committee of epoch {committee.epoch} cannot certify it"
        )
    _require_distinct_members(committee, signatures)
    good = _good_among(committee, message, signatures)
    chosen = frozenset(one.node_id for one in good)
    refused = tuple(one.node_id for one in signatures if one.node_id not in chosen)
    _require_weight(committee, chosen, need, refused)
    signature = bls.aggregate([one.signature for one in good])
    return Certificate(committee.epoch, message, bitmap_of(chosen, committee), signature, refused)


def build_many(
    committee: Committee, confirmed: Sequence[tuple[bytes, Sequence[MemberSignature]]]
) -> list[Certificate]:
    """A certificate for each message, of signatures that were verified and weigh a quorum each.

    All by the same signers if those that confirmed all the messages weigh a quorum: the chain then takes them together.
    Raises as `build` does.
    """
    common = frozenset(committee.by_id)
    for _, signatures in confirmed:
        common &= {one.node_id for one in signatures}
    are_enough = committee.is_quorum(committee.weight_of(common))
    certificates = []
    for message, signatures in confirmed:
        if _decode(message).epoch != committee.epoch:
            raise InvalidCertificate(f"message of another epoch than the committee's, {committee.epoch}")
        _require_distinct_members(committee, signatures)
        chosen = [one for one in signatures if one.node_id in common] if are_enough else signatures
        voters = frozenset(one.node_id for one in chosen)
        _require_weight(committee, voters, "quorum")
        signature = bls.aggregate([one.signature for one in chosen])
        certificates.append(Certificate(committee.epoch, message, bitmap_of(voters, committee), signature))
    return certificates


def verify(
    certificate: Certificate,
    committee: Committee,
    domain: bytes | None,
    need: Need = "quorum",
    intent: Intent = Intent.BLOB,
) -> int:
    """Check a certificate against the committee of its epoch; returns its weight in shards.

    Raises `InvalidCertificate` for another epoch, domain or intent, a bitmap not of its form, or a signature
    that does not hold; `NotEnoughWeight` for too few votes.
    """
    message = _decode(certificate.message)
    if not certificate.epoch == message.epoch == committee.epoch:
        raise InvalidCertificate(
            f"certificate of epoch {certificate.epoch} over a message of epoch {message.epoch}, "
            f"checked against the committee of epoch {committee.epoch}"
        )
    if message.domain != domain:
        raise InvalidCertificate("certificate for another chain or deployment: its domain is not ours")
    if message.intent is not intent:
        raise InvalidCertificate(f"certificate with intent {message.intent.name}, not {intent.name}")
    voters = signers(certificate.bitmap, committee)
    weight = _require_weight(committee, frozenset(member.node_id for member in voters), need)
    public_keys = [member.public_key for member in voters]
    if not bls.verify_aggregate(public_keys, certificate.message, certificate.signature):
        names = ", ".join(member.name for member in voters)
        raise InvalidCertificate(f"aggregate signature does not hold for its signers {names}")
    return weight


def _decode(message: bytes) -> messages.Message:
    try:
        return messages.decode(message)
    except InvalidMessage as error:
        raise InvalidCertificate(f"certificate over a message that cannot be read: {error}") from error


def _require_distinct_members(committee: Committee, signatures: Sequence[MemberSignature]) -> None:
    seen: set[int] = set()
    for one in signatures:
        node_id = one.node_id
        if node_id not in committee.by_id:
            raise InvalidCertificate(
                f"node {node_id} is no member of the committee of epoch {committee.epoch}"
            )
        if node_id in seen:
            raise InvalidCertificate(
                f"two signatures by {committee.by_id[node_id].name}; give one for each member"
            )
        seen.add(node_id)


def _good_among(
    committee: Committee, message: bytes, signatures: Sequence[MemberSignature]
) -> list[MemberSignature]:
    """Return the signatures left when the bad ones are taken out; their aggregate holds."""
    if not signatures or _holds(committee, message, signatures):
        return list(signatures)
    if len(signatures) == 1:
        return []
    half = len(signatures) // 2
    return _good_among(committee, message, signatures[:half]) + _good_among(
        committee, message, signatures[half:]
    )


def _holds(committee: Committee, message: bytes, signatures: Sequence[MemberSignature]) -> bool:
    public_keys = [committee.by_id[one.node_id].public_key for one in signatures]
    try:
        signature = bls.aggregate([one.signature for one in signatures])
    except InvalidSignature:
        return False
    return bls.verify_aggregate(public_keys, message, signature)


def _require_weight(
    committee: Committee, voters: frozenset[int], need: Need, refused: tuple[int, ...] = ()
) -> int:
    weight = committee.weight_of(voters)
    needed = votes_needed(committee, need)
    if weight < needed:
        bad = [committee.by_id[node_id].name for node_id in refused]
        silent = [m.name for m in committee.members if m.node_id not in voters and m.node_id not in refused]
        raise NotEnoughWeight(
            f"votes of {weight} shards, needed {needed} of {committee.n_shards}"
            + (f"; bad signatures by {', '.join(bad)}" if bad else "")
            + (f"; none by {', '.join(silent)}" if silent else ""),
            weight,
            needed,
            refused,
        )
    return weight
