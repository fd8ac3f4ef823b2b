"""Changes of an honest opening, each with the rule that it breaks."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from committee.opening import Opening
from storage.proofs import opening as rules
from storage.proofs.opening import blob_id_of


def flipped(node: bytes) -> bytes:
    """Another node."""
    return bytes((node[0] ^ 1,)) + node[1:]


def with_one_flipped(path: tuple[bytes, ...]) -> tuple[bytes, ...]:
    """Another path of the same length."""
    return (*path[:-1], flipped(path[-1]))


def with_first_flipped(path: tuple[bytes, ...]) -> tuple[bytes, ...]:
    """Another path of the same length, from its lowest node on."""
    return (flipped(path[0]), *path[1:])


MUTATIONS: dict[str, tuple[Callable[[Opening], Opening], type[rules.WrongOpening]]] = {
    "another index": (lambda one: replace(one, index=one.index - 1), rules.NotInInventory),
    "an index beyond the inventory": (lambda one: replace(one, index=5), rules.WrongPath),
    "a negative index": (lambda one: replace(one, index=-1), rules.WrongPath),
    "another offset": (lambda one: replace(one, offset=one.offset + 2), rules.NotInInventory),
    "another blob's root": (lambda one: replace(one, blob_root=flipped(one.blob_root)), rules.NotInInventory),
    "another length": (lambda one: replace(one, blob_length=one.blob_length + 1), rules.NotInInventory),
    "a length that no blob has": (
        lambda one: replace(one, blob_length=2**64 - 1),
        rules.NotInInventory,
    ),
    "another inventory path": (
        lambda one: replace(one, inventory_path=with_one_flipped(one.inventory_path)),
        rules.NotInInventory,
    ),
    "another first node of the inventory path": (
        lambda one: replace(one, inventory_path=with_first_flipped(one.inventory_path)),
        rules.NotInInventory,
    ),
    "no inventory path": (lambda one: replace(one, inventory_path=()), rules.WrongPath),
    "an inventory path too short": (
        lambda one: replace(one, inventory_path=one.inventory_path[:-1]),
        rules.WrongPath,
    ),
    "an inventory path too long": (
        lambda one: replace(one, inventory_path=(*one.inventory_path, bytes(32))),
        rules.WrongPath,
    ),
    "another symbol": (lambda one: replace(one, symbol=flipped(one.symbol)), rules.NotOfTheBlob),
    "a symbol too short": (lambda one: replace(one, symbol=one.symbol[:-2]), rules.WrongSymbolSize),
    "a symbol too long": (lambda one: replace(one, symbol=one.symbol + bytes(2)), rules.WrongSymbolSize),
    "no symbol": (lambda one: replace(one, symbol=b"", blob_root=blob_id_of(one)), rules.WrongSymbolSize),
    "no symbol, and a root for an id": (lambda one: replace(one, symbol=b""), rules.NotInInventory),
    "another sliver path": (
        lambda one: replace(one, sliver_path=with_one_flipped(one.sliver_path)),
        rules.NotOfTheBlob,
    ),
    "another first node of the sliver path": (
        lambda one: replace(one, sliver_path=with_first_flipped(one.sliver_path)),
        rules.NotOfTheBlob,
    ),
    "a sliver path too long": (
        lambda one: replace(one, sliver_path=(*one.sliver_path, bytes(32))),
        rules.WrongPath,
    ),
    "no sliver path": (lambda one: replace(one, sliver_path=()), rules.WrongPath),
    "another other root": (lambda one: replace(one, other_root=flipped(one.other_root)), rules.NotOfTheBlob),
    "another blob path": (
        lambda one: replace(one, blob_path=with_one_flipped(one.blob_path)),
        rules.NotOfTheBlob,
    ),
    "another first node of the blob path": (
        lambda one: replace(one, blob_path=with_first_flipped(one.blob_path)),
        rules.NotOfTheBlob,
    ),
    "a blob path too short": (lambda one: replace(one, blob_path=one.blob_path[:-1]), rules.WrongPath),
    "a blob path too long": (
        lambda one: replace(one, blob_path=(*one.blob_path, bytes(32))),
        rules.WrongPath,
    ),
    "another commitment path": (
        lambda one: replace(one, commitment_path=with_one_flipped(one.commitment_path)),
        rules.NotCommitted,
    ),
    "another path within the pair": (
        lambda one: replace(one, commitment_path=with_first_flipped(one.commitment_path)),
        rules.NotAttested,
    ),
    "no commitment path": (lambda one: replace(one, commitment_path=()), rules.WrongPath),
    "a commitment path too short": (
        lambda one: replace(one, commitment_path=one.commitment_path[:-1]),
        rules.WrongPath,
    ),
    "a commitment path too long": (
        lambda one: replace(one, commitment_path=(*one.commitment_path, bytes(32))),
        rules.WrongPath,
    ),
}
"""What is changed in an opening of a small blob that is not the first of five, and the rule that it breaks."""
