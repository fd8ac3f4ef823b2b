"""Bytes to names: results, logs and errors, also such as no contract of ours would send."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest
from eth_abi.abi import encode
from eth_utils.abi import collapse_if_tuple
from hypothesis import given
from hypothesis import strategies as st

from committee.errors import LedgerError
from committee.ledger.evm import decode
from committee.ledger.evm.abi import ContractAbi, ErrorDecoder, Log, load_contract
from committee.ledger.evm.deploy import CONTRACTS
from committee.ledger.records import BlockMark

ABI = ContractAbi(
    "Sample",
    [
        {
            "type": "function",
            "name": "shelf",
            "inputs": [],
            "outputs": [
                {
                    "name": "books",
                    "type": "tuple[]",
                    "components": [
                        {"name": "owner", "type": "address"},
                        {"name": "readers", "type": "address[]"},
                        {"name": "pages", "type": "uint16[]"},
                        {"name": "cover", "type": "tuple", "components": [{"name": "hue", "type": "uint8"}]},
                    ],
                },
                {"name": "next", "type": "uint256"},
            ],
        },
        {
            "type": "event",
            "name": "Read",
            "inputs": [
                {"name": "reader", "type": "address", "indexed": True},
                {"name": "page", "type": "uint16", "indexed": False},
            ],
        },
        {
            "type": "error",
            "name": "Torn",
            "inputs": [{"name": "page", "type": "uint16"}, {"name": "mark", "type": "bytes4"}],
        },
    ],
)
REGISTRY = Path(__file__).parents[3] / "contracts/evm/artifacts/Registry.json"
ABI_OF_REGISTRY = json.loads(REGISTRY.read_text())["abi"]
COMMITTEE = ContractAbi(
    "Sample",
    [
        {
            "type": "function",
            "name": "committeeOf",
            "inputs": [],
            "outputs": [
                {
                    "name": "",
                    "type": "tuple",
                    "components": [
                        {"name": "epoch", "type": "uint32"},
                        {
                            "name": "members",
                            "type": "tuple[]",
                            "components": [
                                {"name": "nodeId", "type": "uint32"},
                                {"name": "name", "type": "string"},
                                {"name": "networkAddress", "type": "string"},
                                {"name": "publicKey", "type": "bytes"},
                                {"name": "shards", "type": "uint16[]"},
                            ],
                        },
                    ],
                }
            ],
        }
    ],
)
ADDRESS = "0x00000000000000000000000000000000000000AA"
BLOCK = BlockMark(1, bytes(32))


def test_structs_are_decoded_by_field_name() -> None:
    book = (ADDRESS, [ADDRESS], [3, 1], (9,))
    data = encode(["(address,address[],uint16[],(uint8))[]", "uint256"], [[book], 5])
    named = {"owner": ADDRESS, "readers": [ADDRESS], "pages": (3, 1), "cover": {"hue": 9}}
    assert ABI.decode_result("shelf", data) == ([named], 5)


@pytest.mark.parametrize("data", [b"", b"\x01", bytes(32), b"\xff" * 64])
def test_result_that_is_none_is_refused(data: bytes) -> None:
    with pytest.raises(LedgerError, match=r"Sample\.shelf"):
        ABI.decode_result("shelf", data)


def word(number: int) -> bytes:
    return number.to_bytes(32, "big")


def one_member_many_times(members: int, shards: int, text_bytes: int) -> bytes:
    """A committee all of whose members are the same bytes, and in these the name and the address."""
    text = word(text_bytes) + bytes(text_bytes)
    key = word(48) + bytes(64)
    places = (word(7), word(160), word(160), word(160 + len(text)), word(160 + len(text) + len(key)))
    member = b"".join((*places, text, key, word(shards), word(1) * shards))
    return word(32) + word(3) + word(64) + word(members) + word(32 * members) * members + member


@pytest.mark.parametrize(
    ("members", "shards", "text_bytes"), [(2000, 2000, 32), (400, 1, 2**20), (60_000, 0, 2**20), (20, 20, 32)]
)
def test_pointers_that_lead_to_the_same_bytes_are_not_followed_again_and_again(
    members: int, shards: int, text_bytes: int
) -> None:
    """The first took 50 s, the second 2.5 GiB, the third would take all memory there is."""
    with pytest.raises(LedgerError, match=r"Sample\.committeeOf .* same values again and again"):
        COMMITTEE.decode_result("committeeOf", one_member_many_times(members, shards, text_bytes))


@pytest.mark.parametrize("count", [0, 1, 3, 1000])
def test_whatever_a_contract_returns_is_decoded(count: int) -> None:
    """Once each value; strings and lists of `count` elements, lists within others of none."""

    def value(kind: str, parts: Sequence[Mapping[str, Any]], count: int) -> Any:
        if kind.endswith("]"):
            size = kind[kind.rindex("[") + 1 : -1]
            inner = [value(kind[: kind.rindex("[")], parts, count % 10)]
            return inner * (int(size) if size else count)
        if kind == "tuple":
            return tuple(value(one["type"], one.get("components", ()), count) for one in parts)
        texts = {"bool": True, "address": ADDRESS, "string": "é" * count, "bytes": bytes(count)}
        return texts.get(kind, bytes(32)[: int(kind[5:] or 0)] if kind.startswith("bytes") else 1)

    for abi in map(load_contract, CONTRACTS):
        for name, entry in abi._functions.items():
            values = [value(one["type"], one.get("components", ()), count) for one in entry["outputs"]]
            if values:
                data = encode([collapse_if_tuple(dict(one)) for one in entry["outputs"]], values)
                assert abi.decode_result(name, data) is not None


def test_log_is_decoded_from_topics_and_data() -> None:
    (topic,) = ABI.events
    log = ABI.decode_log([topic, encode(["address"], [ADDRESS])], encode(["uint16"], [7]))
    assert log == Log("Read", {"reader": ADDRESS, "page": 7})


def test_log_of_another_contract_is_none() -> None:
    assert ABI.decode_log([bytes(32)], b"") is None
    assert ABI.decode_log([], b"") is None


def test_log_without_its_topic_is_refused() -> None:
    (topic,) = ABI.events
    with pytest.raises(LedgerError, match="a log of 65568 bytes"):
        ABI.decode_log([topic], encode(["uint16"], [7]) * 2049)
    with pytest.raises(LedgerError, match="Read"):
        ABI.decode_log([topic], encode(["uint16"], [7]))
    with pytest.raises(LedgerError, match="Read"):
        ABI.decode_log([topic, encode(["address"], [ADDRESS])], b"")


def test_error_is_decoded_by_name_and_arguments() -> None:
    (selector,) = ABI.errors
    data = selector + encode(["uint16", "bytes4"], [7, b"\x01\x02\x03\x04"])
    assert ErrorDecoder([ABI]).decode(data) == ("Torn", {"page": 7, "mark": "0x01020304"})


def test_errors_of_the_language_are_decoded() -> None:
    decoder = ErrorDecoder([])
    message = bytes.fromhex("08c379a0") + encode(["string"], ["too late"])
    assert decoder.decode(message) == ("Error", {"message": "too late"})
    panic = bytes.fromhex("4e487b71") + encode(["uint256"], [0x11])
    assert decoder.decode(panic) == ("Panic", {"code": 0x11})
    assert decoder.decode(b"") == ("Reverted", {})
    assert decoder.decode(b"\x01\x02\x03\x04\x05") == ("UnknownError", {"data": "0x0102030405"})


@given(st.sampled_from([*ABI.errors, bytes.fromhex("08c379a0"), b""]), st.binary(max_size=200))
def test_no_revert_bytes_break_the_decoder(selector: bytes, rest: bytes) -> None:
    reason, _ = ErrorDecoder([ABI]).decode(selector + rest)
    assert reason


@given(st.binary(max_size=300), st.binary(max_size=64))
def test_no_bytes_in_a_string_hide_what_is_beside_them(address: bytes, name: bytes) -> None:
    """Strings are encoded as bytes: the two types differ by name only."""
    members = [(7, name, address, bytes(48), [0, 2]), (9, b"fine", b"http://fine:1", bytes(48), [1])]
    data = encode(["(uint32,(uint32,bytes,bytes,bytes,uint16[])[])"], [(3, members)])
    views = COMMITTEE.decode_result("committeeOf", data)
    committee = decode.committee(views, 3)
    assert committee is not None
    bad, fine = committee.members
    assert (bad.node_id, bad.shards, fine.name, fine.address) == (7, (0, 2), "fine", "http://fine:1")
    assert bad.name.isprintable()
    bad.address.encode()
    assert bad.address == address.decode(errors="replace")


def _value(of: Mapping[str, Any], strings: Mapping[str, bytes]) -> Any:
    """A value of an ABI type: nothing, but for strings, which are given by name."""
    match of["type"]:
        case "tuple":
            return tuple(_value(one, strings) for one in of["components"])
        case "address":
            return "0x" + "00" * 20
        case "string":
            return strings[of["name"]]
        case "bytes32":
            return bytes(32)
        case "bytes":
            return b""
        case "bool":
            return False
    return 0


@given(st.binary(max_size=300), st.binary(max_size=64))
def test_no_bytes_in_a_registered_node_hide_the_node_behind_it(address: bytes, name: bytes) -> None:
    """Strings are encoded as bytes, as above."""
    (function,) = (one for one in ABI_OF_REGISTRY if one.get("name") == "nodes")
    types = [collapse_if_tuple(one).replace("string", "bytes") for one in function["outputs"]]
    element = {**function["outputs"][0], "type": "tuple"}
    bad = _value(element, {"name": name, "networkAddress": address})
    fine = _value(element, {"name": b"fine", "networkAddress": b"http://fine:1"})
    views, _ = load_contract("Registry").decode_result("nodes", encode(types, [[bad, fine], 0]))
    first, second = map(decode.registered_node, views)
    assert (second.name, second.address) == ("fine", "http://fine:1")
    assert first.name.isprintable()
    assert first.address == address.decode(errors="replace")


def test_a_revert_with_bytes_that_are_no_text_is_read() -> None:
    data = bytes.fromhex("08c379a0") + encode(["bytes"], [b"too late\xff\x1b"])
    assert ErrorDecoder([]).decode(data) == ("Error", {"message": "too late\ufffd\x1b"})


def test_every_event_of_the_ledger_is_one_of_the_contracts() -> None:
    declared = {entry["name"] for name in CONTRACTS for entry in load_contract(name).events.values()}
    assert set(decode.EVENTS) <= declared


def test_event_that_the_ledger_does_not_know_is_refused() -> None:
    with pytest.raises(ValueError, match="Withdrawn"):
        decode.event(Log("Withdrawn", {}), BLOCK)


def test_blob_id_is_little_endian() -> None:
    assert decode.blob_id(1) == b"\x01" + bytes(31)
    assert decode.blob_id(1 << 255) == bytes(31) + b"\x80"


def test_missing_artifact_says_what_to_do() -> None:
    with pytest.raises(LedgerError, match=r"no artifact .*: run node build\.mjs"):
        load_contract("Nothing")
