"""What whole transactions cost in gas on a real chain: `make bench-gas`.

For committees of 4, 10, 31 and 100 members: certificates with all signers and with as many missing as a quorum
allows, ten certificates at once, a blob reserved and registered, a round of storage proofs with symbols of 302 bytes,
an epoch selected and started. Every figure is a receipt's `gasUsed`: calldata and the transaction's own 21 000
included. Rows `{action, members, signers, gas}` go to benchmarks/results/gas.json. Gas does not depend on the
machine or its load.
"""

from __future__ import annotations

import asyncio
import hashlib
import json
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path

from rich.console import Console
from rich.table import Table

from benchmarks.gas_of_proofs import Round
from committee import bls, certificate, messages
from committee.bls import SecretKey, proof_of_possession
from committee.certificate import Certificate, MemberSignature
from committee.ledger import EpochState
from committee.ledger.evm import AccountKey, DeploymentParameters, EvmLedger, Roles, deploy
from committee.messages import Intent
from localnet.chain import LocalChain

RESULTS = Path(__file__).parent / "results" / "gas.json"
SHARDS = {4: 10, 10: 100, 31: 301, 100: 1000}
"""Members → shards of the committee."""
PERIOD_S = 600
LENGTH = 1 << 20
PERIODS = 5
BATCH = 10
STAKE = 10**18
PROTOTYPE_COMMITTEE_GAS = 3_100_000
"""The cheapest committee write of a prototype, the keys of 100 members alone."""
GOALS = {
    ("certify, all sign", 4): 235_000,
    ("certify, all sign", 10): 235_000,
    ("certify, all sign", 31): 235_000,
    ("certify, all sign", 100): 235_000,
    ("certify, a third missing", 100): 275_000,
    **{("certify, one of ten at once", members): 110_000 for members in SHARDS},
    **{("reserve and register, 5 periods", members): 300_000 for members in SHARDS},
    **{("reserve and register, the very first", members): 300_000 for members in SHARDS},
    **{("select", members): 16_000_000 for members in SHARDS},
    **{("commit to what is stored", members): 60_000 for members in SHARDS},
    **{("prove it, all sign", members): 240_000 for members in SHARDS},
    **{("answer one place", members): 90_000 for members in SHARDS},
    **{("answer one of fifteen places", members): 40_000 for members in SHARDS},
}
PROOFS = {
    "begin": "begin a round of proofs",
    "commit": "commit to what is stored",
    "draw": "draw",
    "prove": "prove it, all sign",
    "answer": "answer one place",
    "answer others": "answer one of fifteen places",
}
"""Transaction of a round → action."""


@dataclass(frozen=True)
class Row:
    """One transaction, or one part of one that does several things."""

    action: str
    members: int
    signers: int
    gas: int

    @property
    def goal(self) -> int | None:
        """The most that the action may cost, if there is such a limit."""
        return GOALS.get((self.action, self.members))


class Bench:
    """A deployment with one committee, and what its transactions cost."""

    def __init__(self, chain: LocalChain, members: int) -> None:
        self.rows: list[Row] = []
        self._chain = chain
        self._members = members
        self._secrets: dict[int, SecretKey] = {}
        self._operators: dict[int, AccountKey] = {}
        self._root = 0

    async def run(self) -> None:
        """Fill `rows`."""
        key = AccountKey.generate()
        await self._chain.fund(key.address)
        parameters = DeploymentParameters(
            SHARDS[self._members],
            *(PERIOD_S, PERIOD_S, 60),
            price_per_mib_period=5,
            write_price_per_mib=3,
            notice_s=0,
        )
        deployment = await deploy(self._chain.rpc_url, key, parameters, Roles(minter=key.address))
        async with await EvmLedger.connect(self._chain.rpc_url, deployment, key) as ledger:
            self._ledger = ledger
            self._domain = deployment.domain
            await ledger.mint(key.address, 10**27)
            for place in range(self._members):
                await self._join(STAKE * (100 + place))
            await self._epoch("first ")
            await self._blobs()
            proofs = Round(self._chain, ledger, deployment, key, self._secrets, self._operators)
            await proofs.run()
            for step, gas in proofs.gas.items():
                self._add(PROOFS[step], gas, self._members if step in ("begin", "prove") else 0)
            for place in range(max(1, self._members // 10)):  # a tenth leaves and as many come
                await ledger.leave(place + 1)
                await self._join(STAKE * (100 + place))
            await self._chain.increase_time(PERIOD_S)
            await self._epoch("")

    async def _join(self, stake: int) -> None:
        """A new node of an account of its own, owned by the bench."""
        secret, operator = SecretKey.generate(), AccountKey.generate()
        assert self._ledger.account is not None
        proof = proof_of_possession(secret, self._ledger.account, self._domain)
        node_id, registered = await self._ledger.register_node(
            f"node-{len(self._secrets)}",
            "http://node.example:9000",
            secret.public_key,
            proof,
            operator=operator.address,
        )
        staked = await self._ledger.stake(node_id, stake)
        self._secrets[node_id], self._operators[node_id] = secret, operator
        if node_id == self._members:
            self._add("register a node", registered.gas_used)
            self._add("stake", staked.gas_used)

    async def _epoch(self, which: str) -> None:
        selected = (await self._ledger.select()).gas_used
        started = (await self._ledger.start()).gas_used
        self._add(f"{which}select", selected)
        self._add(f"{which}start", started)
        self._add(f"{which}select and start", selected + started)

    async def _blobs(self) -> None:
        state = await self._ledger.epoch_state()
        _, gas = await self._register()  # the first one pays for the periods' and counters' slots
        self._add("reserve and register, the very first", gas)
        first, gas = await self._register()
        self._add("reserve and register, 5 periods", gas)
        sent = await self._ledger.certify_blob(first[0], self._certificate(state, first[1], 0))
        self._add("certify, all sign", sent.gas_used, self._members)
        missing = self._missing(state)
        second, _ = await self._register()
        sent = await self._ledger.certify_blob(second[0], self._certificate(state, second[1], missing))
        self._add("certify, a third missing", sent.gas_used, self._members - missing)
        batch = [(await self._register())[0] for _ in range(BATCH)]
        certificates = {object_id: self._certificate(state, root, 0) for object_id, root in batch}
        (sent,) = await self._ledger.certify_blobs(certificates)
        self._add("certify, one of ten at once", sent.gas_used // BATCH, self._members)
        self._add("extend by one period", (await self._ledger.extend_blob(first[0], 1)).gas_used)

    async def _register(self) -> tuple[tuple[int, bytes], int]:
        self._root += 1
        root = self._root.to_bytes(32, "big")
        object_id, sent = await self._ledger.register_blob(root, LENGTH, PERIODS)
        return (object_id, root), sent.gas_used

    def _missing(self, state: EpochState) -> int:
        """How many members, the first and lightest ones, are left out: a third, and the others a quorum."""
        assert state.current is not None
        members = state.current.members
        count = len(members) // 3
        while not state.current.is_quorum(sum(member.weight for member in members[count:])):
            count -= 1
        return count

    def _certificate(self, state: EpochState, root: bytes, missing: int) -> Certificate:
        """By all members but the first `missing`."""
        assert state.current is not None
        blob_id = hashlib.blake2b(b"\x01" + LENGTH.to_bytes(8, "little") + root, digest_size=32).digest()
        message = messages.encode(Intent.BLOB, state.epoch, messages.blob_body(blob_id), self._domain)
        signing = state.current.members[missing:]
        confirmations = [
            MemberSignature(one.node_id, self._secrets[one.node_id].sign(message)) for one in signing
        ]
        bitmap = certificate.bitmap_of(frozenset(one.node_id for one in signing), state.current)
        signature = bls.aggregate([one.signature for one in confirmations])
        return Certificate(state.epoch, message, bitmap, signature)

    def _add(self, action: str, gas: int, signers: int = 0) -> None:
        self.rows.append(Row(action, self._members, signers, gas))


async def run() -> list[Row]:
    """All rows, committee after committee, each on a chain of its own."""
    rows: list[Row] = []
    for members in SHARDS:
        sys.stderr.write(f"{members} members, {SHARDS[members]} shards\n")
        with tempfile.TemporaryDirectory() as folder:
            async with LocalChain(Path(folder)) as chain:
                bench = Bench(chain, members)
                await bench.run()
                rows.extend(bench.rows)
    return rows


def show(rows: list[Row]) -> int:
    """Print the table; how many rows miss their goal."""
    table = Table(title="Gas of whole transactions", title_justify="left")
    table.add_column("action")
    for members in SHARDS:
        table.add_column(f"{members} members", justify="right")
    table.add_column("at most", justify="right")
    for action in dict.fromkeys(row.action for row in rows):
        mine = {row.members: row for row in rows if row.action == action}
        goals = {row.goal for row in mine.values()} - {None}
        cells = [
            f"{mine[members].gas:,}" + ("*" if (mine[members].goal or 1 << 60) < mine[members].gas else "")
            for members in SHARDS
        ]
        table.add_row(action, *cells, *(f"{goal:,}" for goal in goals))
    Console(width=110).print(table)
    Console().print(
        f"(a prototype's cheapest committee write, keys of 100 members alone: {PROTOTYPE_COMMITTEE_GAS:,})"
    )
    return sum(row.goal is not None and row.gas > row.goal for row in rows)


def main() -> None:
    """Measure, print, and keep the rows. Exit status 1 when a row misses its goal."""
    rows = asyncio.run(run())
    RESULTS.write_text(
        json.dumps(
            [
                {"action": row.action, "members": row.members, "signers": row.signers, "gas": row.gas}
                for row in rows
            ],
            indent=1,
        )
        + "\n"
    )
    missed = show(rows)
    if missed:
        sys.exit(f"{missed} rows miss their goal (*)")


if __name__ == "__main__":
    main()
