"""The main network, 1000 shards over 100 members, goes through its epochs on the chain of the double.

The chain refuses what exceeds the limits of Sui: 250 KiB an object, 1000 dynamic fields touched, 16 KiB an argument.
What Sui charges for an instruction is not known here, so instructions are limited.
"""

from __future__ import annotations

from tests.contracts.sui.epoch_network import NOTICE_S, PERIOD_S, STAKE, EpochNetwork
from tests.localnet.sui_double.packages import needs_framework

pytestmark = needs_framework

N_SHARDS, N_MEMBERS = 1000, 100


def test_epochs_of_the_main_network_stay_within_the_limits() -> None:
    network = EpochNetwork(N_SHARDS, N_MEMBERS)
    first = network.select()
    assert {len(shards) for shards in first.values()} == {N_SHARDS // N_MEMBERS}
    assert network.start() == ["EpochStarted", "HandoverDone"]
    for half in (range(1, 51), range(51, 101)):
        network.vote(half)
    ejected = network.eject(100, 1, range(67))
    assert ejected == ["MemberEjected", "CandidateBarred", "CandidateLeft"]
    second = network.replace()
    assert second.keys() == first.keys() - {100}
    network.now_s += NOTICE_S
    assert network.start() == ["EpochStarted", "HandoverDone"]
    network.stake({1: N_MEMBERS * STAKE})
    network.now_s += PERIOD_S
    third = network.select()
    network.now_s += NOTICE_S
    assert network.start() == ["EpochStarted"], "too few shards are kept"
    gained = [shard for shard in third[1] if shard not in second[1]]
    assert network.attest(1, 3, gained[:200]) == ["ShardsAttested", "HandoverDone"]
    assert network.attest(1, 3, gained[200:]) == ["ShardsAttested"]
    assert len(gained) > 400
    assert network.decide() == ["Decided", "TermsChanged"]
