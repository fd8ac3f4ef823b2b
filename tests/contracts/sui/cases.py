"""Cases for the rules of the Move package, with what the rules in Python make of them.

Each is the body of a Move unit test.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from itertools import accumulate

from eth_utils.crypto import keccak

from committee import addresses, messages, shards
from committee.membership import Committee, Member
from committee.messages import Intent
from committee.terms import Terms, decided_terms
from storage.redstuff import BlobMetadata, Parameters

Holdings = Mapping[int, Sequence[int]]

LARGEST_STAKE = 2**57
"""A hundred of these are less than a coin's largest supply on Sui."""


def elections(draw: random.Random, n_shards: int, n_candidates: int, n_periods: int) -> str:
    """A network's first elections, and a replacement after each."""
    held: Holdings = {}
    body = "    let held = assignment::new_roster(vector[], vector[]);\n"
    for period in range(n_periods):
        candidates = _near(draw, held) if held and draw.random() < 0.7 else _candidates(draw, n_candidates)
        band = draw.choice((0, 500, 500, 1000, draw.randrange(1001)))
        held = shards.assign(held or None, candidates, n_shards, band)
        stake = sum(one for _, one in shards.worth_a_shard(candidates, n_shards))
        body += f"""    let (held, stake) = {_elect("held", candidates, n_shards, band)};
    assert!(held == {_roster(held)}, {period});
    assert!(stake == {stake}, {period});
"""
        body += _replacement(draw, held, n_shards)
    return body


def stakes_with_most_steps(n_candidates: int) -> Iterator[tuple[shards.Candidates, shards.Candidates]]:
    """Two elections after each other, in which stakes are dropped, or moves undone, as often as can be."""
    descending = range(n_candidates, 0, -1)
    halved = [(node_id, max(1, 2**56 >> place)) for place, node_id in enumerate(descending)]
    flat = [(node_id, 1000) for node_id in descending]
    tilted = [(node_id, 1000 + (-1) ** node_id * 40) for node_id in descending]
    yield from ((flat, halved), (flat, tilted), (tilted, flat))


def elections_with_most_steps(n_shards: int, n_candidates: int) -> Iterator[str]:
    """The second elections of `stakes_with_most_steps`, with the widest band."""
    for first, second in stakes_with_most_steps(n_candidates):
        elected = shards.assign(shards.assign(None, first, n_shards), second, n_shards, 1000)
        yield f"""    let nobody = assignment::new_roster(vector[], vector[]);
    let (held, _) = {_elect("nobody", first, n_shards, 0)};
    let (elected, _) = {_elect("held", second, n_shards, 1000)};
    assert!(elected == {_roster(elected)});
"""


def elections_at_the_edge() -> Iterator[str]:
    """Elections that seldom come about by chance: a member holds just its bound, or a newcomer would give up all."""
    at_the_bound: Holdings = {1: (0, 1, 2), 2: (3,)}
    halves: Holdings = {1: (0, 1), 2: (2, 3)}
    for held, candidates in ((at_the_bound, [(1, 3), (3, 3)]), (halves, [(4, 8), (2, 7), (1, 8)])):
        elected = shards.assign(held, candidates, 4, 1000)
        yield f"""    let held = {_roster(held)};
    let (elected, _) = {_elect("held", candidates, 4, 1000)};
    assert!(elected == {_roster(elected)});
"""


def texts(draw: random.Random, count: int) -> Iterator[str]:
    """Names and network addresses, good ones and ones that are hardly good or hardly bad."""
    for rule, is_good, good in (
        ("is_name", addresses.is_name, ("a", "Baffin Island, 7!", "x" * 64, "x" * 65, " a", "a ", "")),
        (
            "is_network_address",
            addresses.is_registrable,
            (
                *(
                    "http://node.example:9000",
                    "https://NODE_1.x-y",
                    "http://203.0.113.7:1",
                    "https://[2001:db8::1]",
                ),
                *(
                    "http://[::ffff:1.2.3.4]:65535",
                    "http://a:65536",
                    "http://a:0",
                    "http://a:01",
                    "http://a:",
                    "http://",
                ),
                *(
                    "https://",
                    "http://[]",
                    "http://[::1",
                    "http://[::1]x",
                    "http://a:123456",
                    "ftp://a",
                    "http:/a",
                ),
                *(
                    f"http://{'a' * 249}",
                    f"http://{'a' * 250}",
                    "http://a/",
                    "https://[::1]:9",
                    "http://[",
                    "https://[",
                ),
            ),
        ),
    ):
        verdicts = {
            text: is_good(text)
            for text in (*good, *(_altered(draw, draw.choice(good)) for _ in range(count)))
        }
        assert {True, False} == set(verdicts.values())
        yield f"""    let texts = {_list(f'x"{text.encode("latin-1").hex()}"' for text in verdicts)};
    let verdicts = {_list(str(verdict).lower() for verdict in verdicts.values())};
    let mut place = 0;
    while (place < texts.length()) {{
        assert!(contact::{rule}(&texts[place]) == verdicts[place], place);
        place = place + 1;
    }};
"""


def message_bodies(draw: random.Random) -> Iterator[str]:
    """Each kind of message, and the domain."""
    word, account, node_id = draw.randbytes(32), draw.randbytes(32), draw.randrange(2**32)
    key, chain, package = draw.randbytes(48), draw.randbytes(32), draw.randbytes(32)
    count, weight = draw.randrange(2**32), draw.randrange(2**64)
    on_chain = int.from_bytes(word, "little")
    domain = keccak(chain + package)
    yield f'    assert!(messages::domain(&x"{chain.hex()}", @0x{package.hex()}) == x"{domain.hex()}");\n'
    for intent, call, body in (
        (
            *(Intent.POSSESSION, f'possession(@0x{account.hex()}, x"{key.hex()}")'),
            messages.possession_body(f"0x{account.hex()}", key),
        ),
        (Intent.BLOB, f"permanent_blob({on_chain})", messages.blob_body(word)),
        (
            *(Intent.BLOB, f"deletable_blob({on_chain}, @0x{account.hex()})"),
            messages.blob_body(word, int.from_bytes(account, "big")),
        ),
        (Intent.INVALID_BLOB, f"invalid_blob({on_chain})", messages.invalid_blob_body(word)),
        (Intent.EJECT, f"ejection({node_id}, 1, {weight})", messages.eject_body(node_id, weight)),
        (
            *(Intent.INVENTORY, f"inventory(@0x{word.hex()}, {count}, {weight})"),
            messages.inventory_body(word, count, weight),
        ),
        (Intent.PROOF, f"proof({node_id}, @0x{word.hex()})", messages.proof_body(node_id, word)),
    ):
        epoch = draw.randrange(2**32)
        encoded = messages.encode(intent, epoch, body, domain)
        name = "eject" if intent is Intent.EJECT else intent.name.lower()
        yield f"""    let body = messages::{call};
    assert!(messages::encode(messages::{name}_intent(), {epoch}, x"{domain.hex()}", body) == x"{encoded.hex()}");
"""


def votes(sizes: Iterable[int]) -> str:
    """The weights that certificates need, in committees of one member."""
    body = ""
    for n_shards in sizes:
        committee = Committee(1, n_shards, (Member(1, "", "", b"", tuple(range(n_shards))),))
        body += f"    assert!(votes::quorum({n_shards}) == {committee.quorum}, {n_shards});\n"
        body += f"    assert!(votes::one_correct({n_shards}) == {committee.one_correct}, {n_shards});\n"
    return body


def encodings(draw: random.Random, count: int) -> str:
    """Sizes of blobs, among them the empty one, the longest, and those about a symbol that grows; and their ids."""
    body = ""
    for _ in range(count):
        grid = Parameters(draw.choice((4, 5, 6, 7, 10, 100, 301, 1000, draw.randint(4, 1000))))
        step = 2 * grid.p * grid.s
        around = draw.randrange(grid.max_blob_bytes // step) * step + draw.randint(0, 1)
        length = draw.choice((0, 1, around, grid.max_blob_bytes, draw.randrange(grid.max_blob_bytes)))
        n_shards, symbol = grid.n_shards, grid.symbol_size(length)
        encoded = n_shards * ((grid.p + grid.s) * symbol + 64 * n_shards + 32)
        root = draw.randbytes(32)
        on_chain, blob_id = (
            int.from_bytes(one, "little") for one in (root, BlobMetadata.id_of(length, root))
        )
        body += f"""    assert!(encoding::symbol_size({n_shards}, {length}) == {symbol});
    assert!(encoding::encoded_size({n_shards}, {length}) == {encoded});
    assert!(encoding::blob_id({length}, {on_chain}) == {blob_id});
"""
    return body


def decisions(draw: random.Random, count: int) -> str:
    """Votes of members with a quorum, and what they make of the terms."""
    body, decided = "", 0
    while decided < count:
        weights = {node_id: draw.randint(1, 9) for node_id in range(draw.randint(1, 7))}
        committee = Committee(1, sum(weights.values()), _members(weights))
        votes = {node_id: _terms(draw) for node_id in weights if draw.random() < 0.9}
        before = _terms(draw)
        after = decided_terms(before, votes, weights, committee.quorum)
        if after is None:
            continue
        decided += 1
        body += f"""    let votes = {_list(map(_terms_in_move, votes.values()))};
    let decided = {_terms_in_move(before)}.decided(
        &votes, &{_list(weights[node_id] for node_id in votes)}, {committee.quorum},
    );
    assert!(decided == {_terms_in_move(after)});
"""
    return body


def _members(weights: Mapping[int, int]) -> tuple[Member, ...]:
    ends = list(accumulate(weights.values(), initial=0))
    shards_of = zip(weights, ends, ends[1:], strict=False)
    return tuple(Member(node_id, "", "", b"", tuple(range(*part))) for node_id, *part in shards_of)


def _terms(draw: random.Random) -> Terms:
    """Terms near to each other, or anything; prices are below the largest on Sui, where they have 64 bits."""

    def one(least: int, most: int) -> int:
        return draw.choice((least, draw.randint(least, 8), draw.randint(90, 110), draw.randint(least, most)))

    return Terms(one(1, 2**62), one(0, 2**62), draw.choice((one(0, 2**64 - 1), 2**64 - 1)))


def _terms_in_move(terms: Terms) -> str:
    return f"terms::new({terms.price_per_mib_period}, {terms.write_price_per_mib}, {terms.capacity_bytes})"


def _candidates(draw: random.Random, count: int) -> list[tuple[int, int]]:
    """Candidates out of the order of their ids, with stakes of one kind, some of them above 0."""
    node_ids = draw.sample(range(1, count + count // 4 + 3), count)
    kinds: tuple[Callable[[], int], ...] = (
        lambda: draw.choice((0, 1, 5, draw.randrange(50), draw.randrange(2**50))),
        lambda: draw.randrange(1, 4),
        lambda: draw.randrange(LARGEST_STAKE),
        lambda: draw.randrange(90, 110),
        lambda: int(1000 * draw.paretovariate(1)),
    )
    stake = draw.choice(kinds)
    stakes = [stake() for _ in node_ids]
    stakes[draw.randrange(count)] += 1
    return list(zip(node_ids, stakes, strict=True))


def _near(draw: random.Random, held: Holdings) -> list[tuple[int, int]]:
    """The members again and a few new ones, with stakes near to what they hold, where the tolerance band matters."""
    unit = draw.choice((1, 2, 4, 20, 1000))
    stakes = {
        node_id: max(0, unit * len(of_node) + draw.randint(-unit, unit)) for node_id, of_node in held.items()
    }
    for newcomer in range(draw.randrange(4)):
        stakes[max(held) + 1 + newcomer] = draw.randint(1, unit)
    candidates = list(stakes.items())
    draw.shuffle(candidates)
    return candidates if any(stakes.values()) else _candidates(draw, len(candidates))


def _elect(previous: str, candidates: shards.Candidates, n_shards: int, band: int) -> str:
    node_ids, stakes = (_list(one) for one in zip(*candidates, strict=True))
    return f"assignment::elect(&{previous}, {node_ids}, {stakes}, {n_shards}, {band})"


def _replacement(draw: random.Random, held: Holdings, n_shards: int) -> str:
    """A replacement in the committee that the Move variable `held` has; nothing where no member could stay."""
    if len(held) < 2:
        return ""
    ejected = draw.sample(sorted(held), draw.randrange(1, len(held)))
    weights = {node_id: len(of_node) for node_id, of_node in held.items()}
    left = [node_id for node_id in held if node_id not in ejected]
    replaced = shards.replaced(held, ejected, weights)
    left_weights = _list(weights[node_id] for node_id in left)
    return f"""    let replaced = assignment::replace(&held, {_list(left)}, {left_weights}, {n_shards});
    assert!(replaced == {_roster(replaced)});
"""


def _altered(draw: random.Random, text: str) -> str:
    """Change, drop or double some characters; all are below 256, and most are ones that addresses have."""
    characters = list(text)
    for _ in range(draw.randrange(1, 3)):
        place = draw.randrange(len(characters) + 1)
        new = draw.choice((*":/[].-_ ~09afAFgzGZ@\x7f\x80\xff", chr(draw.randrange(256))))
        characters[place : place + draw.randrange(2)] = [new] * draw.randrange(3)
    return "".join(characters)


def _roster(held: Holdings) -> str:
    lists = ", ".join(_list(held[node_id]) for node_id in sorted(held))
    return f"assignment::new_roster({_list(sorted(held))}, vector[{lists}])"


def _list(elements: Iterable[object]) -> str:
    return f"vector[{', '.join(map(str, elements))}]"
