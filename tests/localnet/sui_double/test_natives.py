"""Natives of Sui's packages, called through the packages' own bytecode, against other libraries and known values."""

from __future__ import annotations

import random

import pytest
from eth_utils.crypto import keccak
from py_ecc.bls.g2_primitives import G1_to_pubkey
from py_ecc.optimized_bls12_381.optimized_curve import G1, add, curve_order, multiply
from pysui_fastcrypto import bls_g1_compress

from committee.bls import SecretKey
from localnet.sui_double.move.errors import MoveAbort
from localnet.sui_double.move.natives.groups import GROUP_ORDER, SUM_TERMS_LIMIT
from localnet.sui_double.move.natives.objects import derive_field_id, is_one_time_witness
from localnet.sui_double.move.natives.registry import STANDARD, SUI
from localnet.sui_double.move.types import Datatype, ModuleId, Scalar, Type
from localnet.sui_double.move.values import Ref, Value
from tests.localnet.sui_double.packages import needs_framework
from tests.localnet.sui_double.sandbox import function, machine

pytestmark = needs_framework

G1_IDENTITY = bytes([0xC0]) + bytes(47)


def call(module: str, name: str, *arguments: Value, types: tuple[Type, ...] = ()) -> Value:
    """Return the only result of a function of Sui's framework; `bytes` arguments are passed by reference."""
    passed = [
        Ref([bytearray(argument)], 0) if type(argument) is bytes else argument for argument in arguments
    ]
    (result,) = machine().call(function(SUI, module, name), types, passed)
    return result


def by_reference(value: Value) -> Ref:
    return Ref([value], 0)


def point(multiple: int) -> bytes:
    """Return a multiple of G1's generator, compressed, made by py_ecc."""
    return bytes(G1_to_pubkey(multiply(G1, multiple)))


def test_hashes_of_known_values() -> None:
    assert call("hash", "blake2b256", b"abc").hex().startswith("bddd813c634239723171ef3fee98579b")
    assert call("hash", "keccak256", b"").hex().startswith("c5d2460186f7233c927e7db2dcc703c0")
    assert call("hash", "keccak256", b"abc") == keccak(b"abc")
    message = b"Sample message for keylen<blocklen"
    assert (
        call("hmac", "hmac_sha3_256", bytes(range(32)), message).hex().startswith("4fe8e202c4f058e8dddc23d8")
    )


def verifies(signature: bytes, public_key: bytes, message: bytes) -> bool:
    verified: bool = call("bls12381", "bls12381_min_pk_verify", signature, public_key, message)
    return verified


def test_bls_signature_of_another_library_is_verified_and_no_other() -> None:
    key, other = SecretKey(5), SecretKey(6)
    signature = key.sign(b"message")
    assert verifies(signature, key.public_key, b"message")
    assert not verifies(signature, key.public_key, b"massage")
    assert not verifies(signature, other.public_key, b"message")
    assert not verifies(other.sign(b"message"), key.public_key, b"message")
    assert not verifies(signature[:-1], key.public_key, b"message")
    assert not verifies(bytes(96), key.public_key, b"message")
    assert not verifies(signature, G1_IDENTITY, b"message")
    assert not verifies(bytes([0xC0]) + bytes(95), G1_IDENTITY, b"message")
    assert not verifies(bytes([0xC0]) + bytes(95), key.public_key, b"message")


def test_min_sig_signature_is_verified_and_no_other() -> None:
    secret = (11).to_bytes(32, "big")
    hashed = call("bls12381", "hash_to_g1", b"message")
    signature = call("bls12381", "g1_mul", by_reference([bytearray(secret)]), by_reference(hashed))
    generator = call("bls12381", "g2_generator")
    key = call("bls12381", "g2_mul", by_reference([bytearray(secret)]), by_reference(generator))
    verify = ("bls12381", "bls12381_min_sig_verify", bytes(signature[0]), bytes(key[0]))
    assert call(*verify, b"message")
    assert not call(*verify, b"massage")


def uncompressed(multiple: int) -> Value:
    element = call("bls12381", "g1_from_bytes", point(multiple))
    return call("bls12381", "g1_to_uncompressed_g1", by_reference(element))


def test_sum_of_uncompressed_points_is_the_sum_of_the_points() -> None:
    draw = random.Random(3)
    multiples = [draw.randrange(1, curve_order) for _ in range(5)]
    elements = [uncompressed(multiple) for multiple in multiples]
    for element, multiple in zip(elements, multiples, strict=True):
        assert bytes(bls_g1_compress(bytes(element[0]))) == point(multiple)
    total = call("bls12381", "uncompressed_g1_sum", by_reference(elements))
    expected = multiply(G1, multiples[0])
    for multiple in multiples[1:]:
        expected = add(expected, multiply(G1, multiple))
    assert call("bls12381", "uncompressed_g1_to_g1", by_reference(total))[0] == bytes(G1_to_pubkey(expected))


def test_identity_is_uncompressed_with_its_flag() -> None:
    nothing = call("bls12381", "uncompressed_g1_sum", by_reference([]))
    assert nothing[0] == bytes([0x40]) + bytes(95)
    assert call("bls12381", "uncompressed_g1_to_g1", by_reference(nothing))[0] == G1_IDENTITY
    identity = call("bls12381", "g1_identity")
    assert call("bls12381", "g1_to_uncompressed_g1", by_reference(identity)) == nothing
    assert call("bls12381", "uncompressed_g1_sum", by_reference([uncompressed(7), nothing])) == uncompressed(
        7
    )


def test_points_are_added_subtracted_multiplied_and_divided() -> None:
    def element(multiple: int) -> Ref:
        return by_reference(call("bls12381", "g1_from_bytes", point(multiple)))

    def scalar(number: int) -> Ref:
        return by_reference(call("bls12381", "scalar_from_bytes", number.to_bytes(32, "big")))

    assert call("bls12381", "g1_add", element(5), element(8))[0] == point(13)
    assert call("bls12381", "g1_sub", element(8), element(5))[0] == point(3)
    assert call("bls12381", "g1_sub", element(8), element(8))[0] == G1_IDENTITY
    assert call("bls12381", "g1_mul", scalar(6), element(7))[0] == point(42)
    assert call("bls12381", "g1_div", scalar(6), element(42))[0] == point(7)
    terms = (
        by_reference([scalar(2).get(), scalar(3).get()]),
        by_reference([element(10).get(), element(5).get()]),
    )
    assert call("bls12381", "g1_multi_scalar_multiplication", *terms)[0] == point(35)
    assert int.from_bytes(call("bls12381", "scalar_sub", scalar(2), scalar(3))[0], "big") == GROUP_ORDER - 1
    assert int.from_bytes(call("bls12381", "scalar_mul", scalar(2), scalar(3))[0], "big") == 6


@pytest.mark.parametrize(
    "encoded",
    [
        pytest.param(bytes(48), id="no point"),
        pytest.param(point(3)[:-1], id="too short"),
        pytest.param(bytes([point(3)[0] & 0x7F]) + point(3)[1:], id="not compressed"),
        # On the curve, outside of the subgroup: x = 4 is a coordinate of such a point.
        pytest.param(bytes([0x80]) + bytes(46) + b"\x04", id="outside of the subgroup"),
    ],
)
def test_bytes_that_are_no_point_abort(encoded: bytes) -> None:
    with pytest.raises(MoveAbort, match="abort 1 in 0x2::group_ops::from_bytes"):
        call("bls12381", "g1_from_bytes", encoded)


def test_scalar_beyond_the_groups_order_aborts() -> None:
    call("bls12381", "scalar_from_bytes", (GROUP_ORDER - 1).to_bytes(32, "big"))
    with pytest.raises(MoveAbort, match="abort 1"):
        call("bls12381", "scalar_from_bytes", GROUP_ORDER.to_bytes(32, "big"))


def test_sum_of_too_many_points_aborts() -> None:
    nothing = [bytearray(bytes([0x40]) + bytes(95))]
    assert call("bls12381", "uncompressed_g1_sum", by_reference([nothing] * SUM_TERMS_LIMIT)) == nothing
    with pytest.raises(MoveAbort, match="abort 2 in 0x2::group_ops::internal_sum"):
        call("bls12381", "uncompressed_g1_sum", by_reference([nothing] * (SUM_TERMS_LIMIT + 1)))


def test_address_is_a_number_with_its_highest_byte_first() -> None:
    one = bytes(31) + b"\x01"
    assert call("address", "from_u256", 1) == one
    assert machine().call(function(SUI, "address", "to_u256"), (), [one]) == [1]
    assert call("address", "from_bytes", bytearray(one)) == one
    with pytest.raises(MoveAbort, match="abort 0 in 0x2::address::from_bytes"):
        call("address", "from_bytes", bytearray(one[1:]))


def test_field_of_suis_system_object_has_the_id_that_it_has_on_every_network() -> None:
    """The inner state of `0x5`, a dynamic field by its version, is shown by every explorer."""
    id_ = derive_field_id((5).to_bytes(32, "big"), Scalar.U64, (2).to_bytes(8, "little"))
    assert id_.hex() == "5b890eaf2abcfa2ab90b77b8e6f3d5d8609586c3e583baf3dccd5af17edf48d1"


@pytest.mark.parametrize(
    ("type_", "is_witness"),
    [
        (Datatype(ModuleId(SUI, "sui"), "SUI"), True),
        (Datatype(ModuleId(SUI, "object"), "ID"), False),
        (Datatype(ModuleId(STANDARD, "option"), "Option", (Scalar.U8,)), False),
        (Scalar.U8, False),
    ],
)
def test_witness_is_the_type_named_as_its_module(type_: Type, is_witness: bool) -> None:
    assert is_one_time_witness(machine(), type_) == is_witness
