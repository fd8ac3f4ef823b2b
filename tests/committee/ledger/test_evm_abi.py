"""Bytes to names: results, logs and errors, also such as no contract of ours would send."""

from __future__ import annotations

import pytest
from eth_abi.abi import encode
from hypothesis import given
from hypothesis import strategies as st

from committee.errors import LedgerError
from committee.ledger.evm import decode
from committee.ledger.evm.abi import ContractAbi, ErrorDecoder, Log, load_contract
from committee.ledger.evm.deploy import CONTRACTS
from committee.ledger.records import (
    BlockMark,
)

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
COMMITTEE = ContractAbi(
    "Sample",
    [
        {
            "type": "function",
            "name": "committee",
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


def test_log_is_decoded_from_topics_and_data() -> None:
    (topic,) = ABI.events
    log = ABI.decode_log([topic, encode(["address"], [ADDRESS])], encode(["uint16"], [7]))
    assert log == Log("Read", {"reader": ADDRESS, "page": 7})


def test_log_of_another_contract_is_none() -> None:
    assert ABI.decode_log([bytes(32)], b"") is None
    assert ABI.decode_log([], b"") is None


def test_log_without_its_topic_is_refused() -> None:
    (topic,) = ABI.events
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
    views = COMMITTEE.decode_result("committee", data)
    committee = decode.committee(views, 3)
    assert committee is not None
    bad, fine = committee.members
    assert (bad.node_id, bad.shards, fine.name, fine.address) == (7, (0, 2), "fine", "http://fine:1")
    assert bad.name.isprintable()
    bad.address.encode()
    assert bad.address == address.decode(errors="replace")


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
