"""A chain of the double on which the package is published, and a deployment created."""

from __future__ import annotations

import base64

from eth_utils.crypto import keccak

from committee import bls
from committee.bls import SecretKey
from localnet.sui_double.chain import CLOCK_ID, Chain
from localnet.sui_double.effects import Effects
from localnet.sui_double.move.natives.registry import SUI
from localnet.sui_double.move.types import Datatype, ModuleId
from localnet.sui_double.stored import StoredObject
from localnet.sui_double.transactions import ResultOf
from tests.contracts.sui.double import artifact
from tests.localnet.sui_double.wallet import Draft, Wallet, text, u64

COMMISSION = (300).to_bytes(2, "little")


class Network:
    """A chain on which the package is published, and the registry created."""

    def __init__(self, n_shards: int = 10) -> None:
        self.n_shards = n_shards
        self.chain = Chain()
        self.deployer = Wallet(self.chain, "deployer")
        draft = self.deployer.draft()
        modules = tuple(base64.b64decode(module) for module in artifact()["modules"].values())
        draft.transfer(self.deployer.address, draft.publish(modules))
        self.publication = self.deployer.succeed(draft)
        (package,) = self.publication.published
        self.package = package.id
        self.founder = written(self.publication, "Founder")
        self.treasury = written(self.publication, "TreasuryCap")
        self.creation = self.deployer.succeed(self.create())
        self.system = written(self.creation, "System")
        self.registry = written(self.creation, "Registry")
        self.staking = written(self.creation, "Staking")
        self.domain = keccak(self.chain.id + self.package)

    def create(self) -> Draft:
        draft = self.deployer.draft()
        haul = Datatype(ModuleId(self.package, "haul"), "HAUL")
        minted = draft.call(SUI, "coin::mint", draft.object(self.treasury.id), u64(10**15), types=(haul,))
        draft.transfer(self.deployer.address, minted)
        times = map(u64, (1000, 100, 30, 20, 50, 4000))
        parameters = draft.call(self.package, "parameters::new", *times, (500).to_bytes(2, "little"))
        opening = draft.call(self.package, "parameters::new_opening", bytes(2), bytes(8), bytes(8))
        created = draft.call(
            self.package,
            "deployment::create",
            draft.object(self.founder.id),
            draft.object(self.treasury.id),
            text(self.chain.id),
            self.n_shards.to_bytes(2, "little"),
            parameters,
            opening,
            draft.call(self.package, "terms::new", *map(u64, (5, 2, 100 << 20))),
            draft.call(self.package, "proofs::new_windows", *map(u64, (60, 50, 50, 40))),
            u64(1000),
            u64(500),
            draft.object(CLOCK_ID, is_mutable=False),
        )
        draft.transfer(self.deployer.address, *(ResultOf(created.command, place) for place in range(2)))
        return draft

    def register(self, draft: Draft, owner: bytes, secret: SecretKey) -> tuple[ResultOf, ...]:
        """Add a registration to a draft; return the capabilities of owner and operator."""
        registered = draft.call(
            self.package,
            "registry::register",
            draft.object(self.registry.id),
            draft.object(self.system.id, is_mutable=False),
            text(b"baffin"),
            text(b"https://node.example"),
            text(bytes(32)),
            text(secret.public_key),
            text(bls.proof_of_possession(secret, f"0x{owner.hex()}", self.domain)),
            COMMISSION,
            owner,
            draft.object(CLOCK_ID, is_mutable=False),
        )
        return ResultOf(registered.command, 0), ResultOf(registered.command, 1)


def written(effects: Effects, name: str) -> StoredObject:
    (found,) = (one.after for one in effects.changes if one.after is not None and one.after.type.name == name)
    return found
