"""The native functions of Sui's packages, in Python.

Those that no code for Haulout needs are missing, and calling one raises `UnsupportedNative`: zkLogin, Groth16, VRF,
VDF, Poseidon, Nitro, ECDSA and Ed25519 in Move, address balances, receiving objects, party objects, deny lists.
"""

from __future__ import annotations

from localnet.sui_double.move.modules import Native, NativeName
from localnet.sui_double.move.natives import crypto, groups, objects, standard


def all_natives() -> dict[NativeName, Native]:
    """Return every native function by module and name."""
    found: dict[NativeName, Native] = {}
    for module in (standard, objects, crypto, groups):
        for natives in module.NATIVES:
            found |= natives.functions
    return found
