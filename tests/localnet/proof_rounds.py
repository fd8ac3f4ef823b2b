"""Rounds of storage proofs in networks of real processes: periods that pass, and what a member should commit to."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Mapping
from types import MappingProxyType

from committee.ledger.evm import DeploymentParameters
from committee.ledger.evm.abi import load_contract
from committee.membership import Committee, Member
from localnet.network import LocalNetwork
from localnet.rounds import ProofRound
from storage.node.config import account_key
from storage.proofs import salt_of
from storage.redstuff import Axis, RedStuff
from storage.redstuff.merkle import root_of_hashes

PERIOD_S = 3600
BLOB_PERIODS = 20
NO_FAIL_POINTS: Mapping[str, str] = MappingProxyType({})


class ProvingNetwork:
    """A network whose nodes move the epochs on, with blobs, while blocks are mined."""

    def __init__(self, network: LocalNetwork, n_shards: int) -> None:
        self.network = network
        self.code = RedStuff(n_shards)
        self.blobs: dict[bytes, bytes] = {}
        """blob id → content."""

    @staticmethod
    def parameters(n_shards: int) -> DeploymentParameters:
        return DeploymentParameters(
            n_shards=n_shards,
            period_duration_s=PERIOD_S,
            handover_deadline_s=600,
            patience_s=PERIOD_S,
            certificate_grace_s=5,
            notice_s=5,
            band_millis=500,
            price_per_mib_period=1,
            write_price_per_mib=1,
        )

    async def begin(
        self, stakes: Mapping[str, int], *sizes: int, fail_points: Mapping[str, str] = NO_FAIL_POINTS
    ) -> None:
        """Have these nodes serve in epoch 1, store blobs, and make their trees of an epoch without any."""
        network = self.network
        for name, stake in stakes.items():
            await network.add_node(name, stake, fail_point=fail_points.get(name, ""))
        await network.serving()
        await network.next_epoch()
        for size in sizes:
            data = random.Random(size).randbytes(size)
            self.blobs[(await network.client.store(data, BLOB_PERIODS)).blob_id] = data

        async def count() -> int:
            healths = await network.healths(list(network.nodes))
            return sum(one["proofs"]["lackingShards"] == [] for one in healths.values())

        await network.until("nodes have looked at epoch 1", count, len(network.nodes))

    async def committee(self) -> Committee:
        current = (await self.network.operator.epoch_state()).current
        assert current is not None
        return current

    async def epoch(self) -> int:
        return (await self.network.operator.epoch_state()).epoch

    async def round(self) -> ProofRound:
        """The round of the current epoch."""
        return ProofRound(self.network, await self.committee())

    async def period_passes(self) -> None:
        """Have the next period's committee selected and started by members."""
        ledger, chain = self.network.operator, self.network.chain
        epoch = (await ledger.epoch_state()).epoch

        async def selected() -> int:
            state = await ledger.epoch_state()
            return int(state.next is not None or state.epoch > epoch)

        async def started() -> int:
            return int((await ledger.epoch_state()).epoch > epoch)

        async with self.network.mining():  # a turn that is nearly over has to pass
            await chain.increase_time(PERIOD_S // 2)
            await self.network.until("a member has the next committee elected", selected, 1)
            await chain.increase_time(PERIOD_S // 2)
            await self.network.until("a member starts the epoch", started, 1)

    async def replaced(self, epoch: int) -> Committee:
        """Wait for the epoch that replaces members ejected in `epoch`, with its shards attested; its committee."""

        async def started() -> int:
            return int((await self.network.operator.epoch_state()).epoch > epoch)

        async def selected() -> int:
            state = await self.network.operator.epoch_state()
            return int(state.next is not None or state.epoch > epoch)

        await self.network.until("a member has the ejected replaced", selected, 1)
        await self.network.until("a member starts the epoch", started, 1)
        await self.network.handed_over()
        return await self.committee()

    async def commitment(self, member: Member, epoch: int, salt_seed: bytes) -> bytes:
        """What a member with all its slivers commits to, by the rules and by the slivers that it serves."""
        salt = salt_of(epoch, member.node_id, member.public_key, salt_seed)
        client, shards = self.network.node_client(member.name), []
        for shard in member.shards:
            pairs = []
            for blob_id in sorted(self.blobs):
                number = self.code.pair_of_shard(blob_id, shard)
                slivers = [await client.sliver(blob_id, number, axis) for axis in Axis]
                size = self.code.symbol_size(len(self.blobs[blob_id]))
                pairs += self.code.salted_roots(salt, [(slivers[0], slivers[1])], size)
            shards.append(root_of_hashes(pairs))
        return root_of_hashes(shards)

    async def sent(self, epoch_block: int) -> Counter[tuple[str, str]]:
        """Transactions to the contract of proofs that succeeded since a block, by (node, function)."""
        chain, proofs = self.network.chain, self.network.deployment.proofs.lower()
        functions = {
            "0x" + selector.hex(): name for name, selector in load_contract("Proofs").selectors.items()
        }
        names = {account_key(node.folder).address.lower(): name for name, node in self.network.nodes.items()}
        found: Counter[tuple[str, str]] = Counter()
        for number in range(epoch_block, (await self.network.operator.newest()).number + 1):
            block = await chain.request("eth_getBlockByNumber", hex(number), True)
            for one in block["transactions"]:
                if (one["to"] or "").lower() == proofs and one["from"] in names:
                    receipt = await chain.request("eth_getTransactionReceipt", one["hash"])
                    if receipt["status"] == "0x1":
                        found[names[one["from"]], functions[one["input"][:10]]] += 1
        return found

    async def check_readable(self) -> None:
        for blob_id, data in self.blobs.items():
            assert await self.network.client.read(blob_id) == data
