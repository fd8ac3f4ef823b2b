"""Space and blob objects in the Move package: what becomes of them in random histories is what does in memory."""

from __future__ import annotations

import random
from collections import Counter

from tests.contracts.sui.deployments import OWNER, STRANGER
from tests.contracts.sui.market import Market
from tests.localnet.sui_double.packages import needs_framework

pytestmark = needs_framework

ROOTS = [bytes([place]) * 32 for place in range(3)]
LENGTHS = (0, 77, 300_000, 1_500_000)
"""Of blobs that take 1, 1, 2 and 6 mebibytes with 10 shards."""
ACTIONS = (
    *("reserve", "reserve", "reserve", "register", "register", "register", "certify", "certify", "certify"),
    *("extend", "extend", "with", "with", "transfer", "delete", "time"),
)


def test_space_and_blobs_are_those_of_the_chain_in_memory() -> None:
    outcomes: Counter[tuple[str, str]] = Counter()
    for seed in range(3):
        draw, market = random.Random(seed), Market()
        for _ in range(120):
            outcomes[step(draw, market)] += 1
            market.check()
    assert {action for action, refusal in outcomes if not refusal} >= {*ACTIONS, "invalidate"}
    assert {refusal for _, refusal in outcomes} >= {
        *(
            "AlreadyCertified",
            "CertificateTooOld",
            "EndMoved",
            "Expired",
            "InvalidBlob",
            "InvalidPeriod",
            "InvalidSize",
        ),
        *(
            "NotAdjoining",
            "NotBegun",
            "NotCertified",
            "NotDeletable",
            "NotEnoughWeight",
            "RegisteredMeanwhile",
        ),
        "ReservationTooSmall",
    }


def step(draw: random.Random, market: Market) -> tuple[str, str]:
    """Do something at random; return what, and the name of the error, if any."""
    now = market.contracts
    keys = [one for one, kept in now.reservations.items() if kept.end_period > now.state.period]
    numbers = [number for number, record in now.records.items() if not record.deleted]
    live = [number for number in numbers if now.records[number].is_registered(now.state.period)]
    account = draw.choice((OWNER, STRANGER))
    action = draw.choice(ACTIONS)
    if action == "reserve" or not keys:
        periods = draw.choice((1, 2, 4, 53, draw.choice((0, 54))))
        return "reserve", market.reserve(account, draw.choice((0, 1, 1, 1, 2, 6)), periods)
    if action == "register":
        known = draw.choice((None, max(now.records, default=0), max(now.records, default=0), 0))
        root, length = draw.choice(ROOTS), draw.choice(LENGTHS)
        return action, market.register(draw.choice(keys), root, length, draw.random() < 0.5, known)
    if action == "time" or not numbers:
        market.next_period()
        return "time", ""
    number = draw.choice(live if live and draw.random() < 0.9 else numbers)
    if action == "certify":
        epoch = now.state.epoch - draw.choice((0, 0, 0, 1))
        return action, market.certify(number, epoch, draw.choice(({0, 1}, {0, 1}, {0, 1, 2, 3}, {0, 2})))
    if action == "extend":
        end = now.records[number].end_period
        return action, market.extend(number, draw.choice((0, 1, 3, 54)), end + draw.choice((0, 0, 0, 1)))
    if action == "with":
        sizes = {key: now.reservations[key].size_bytes for key in keys}
        fitting = [key for key, size_bytes in sizes.items() if size_bytes == now.sizes[number]]
        return action, market.extend_with(number, draw.choice(fitting or keys))
    if action == "transfer":
        return action, market.transfer(number, account)
    if draw.random() < 0.1:
        return "invalidate", market.invalidate(now.records[number].blob_id)
    return action, market.delete(number)
