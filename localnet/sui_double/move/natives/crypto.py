"""Natives of hashes and BLS signatures. The signatures are checked by Sui's own library, fastcrypto."""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Sequence
from typing import TYPE_CHECKING

import pysui_fastcrypto
from eth_utils.crypto import keccak
from py_arkworks_bls12381 import GT, G1Point, G2Point

from localnet.sui_double.move.natives.objects import blake2b
from localnet.sui_double.move.natives.registry import SUI, Natives
from localnet.sui_double.move.types import Type
from localnet.sui_double.move.values import Value

if TYPE_CHECKING:
    from localnet.sui_double.move.machine import Machine

MIN_SIG_DOMAIN = b"BLS_SIG_BLS12381G1_XMD:SHA-256_SSWU_RO_NUL_"

_hash = Natives(SUI, "hash")
_hmac = Natives(SUI, "hmac")
_bls = Natives(SUI, "bls12381")
NATIVES = (_hash, _hmac, _bls)


@_hash("blake2b256")
def _blake2b256(_: Machine, _types: tuple[Type, ...], arguments: list[Value]) -> Sequence[Value]:
    return (bytearray(blake2b(arguments[0].get())),)


@_hash("keccak256")
def _keccak256(_: Machine, _types: tuple[Type, ...], arguments: list[Value]) -> Sequence[Value]:
    return (bytearray(keccak(bytes(arguments[0].get()))),)


@_hmac("hmac_sha3_256")
def _hmac_sha3_256(_: Machine, _types: tuple[Type, ...], arguments: list[Value]) -> Sequence[Value]:
    key, message = arguments[0].get(), arguments[1].get()
    return (bytearray(hmac.new(key, message, hashlib.sha3_256).digest()),)


@_bls("bls12381_min_pk_verify")
def _min_pk_verify(_: Machine, _types: tuple[Type, ...], arguments: list[Value]) -> Sequence[Value]:
    signature, public_key, message = (bytes(argument.get()) for argument in arguments)
    try:
        return (bool(pysui_fastcrypto.bls_verify(public_key, signature, message)),)
    except ValueError:  # one of them is no point that may be used
        return (False,)


@_bls("bls12381_min_sig_verify")
def _min_sig_verify(_: Machine, _types: tuple[Type, ...], arguments: list[Value]) -> Sequence[Value]:
    signature, public_key, message = (bytes(argument.get()) for argument in arguments)
    try:
        point, key = G1Point.from_compressed_bytes(signature), G2Point.from_compressed_bytes(public_key)
    except ValueError:
        return (False,)
    if key == G2Point.identity():
        return (False,)
    hashed = G1Point.hash_to_curve(message, MIN_SIG_DOMAIN)
    return (GT.pairing_check([hashed, -point], [key, G2Point()]),)
