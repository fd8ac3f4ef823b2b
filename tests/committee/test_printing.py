"""What the commands print: for people in their units and copyable, in JSON as the chain has it."""

from __future__ import annotations

import io
import json
import os
import sys
import threading

import pytest

from committee.errors import LedgerRefused
from committee.hints import HINTS
from committee.ledger import DryRun, PlannedTransaction
from committee.ledger.evm.abi import load_contract
from committee.ledger.evm.deploy import CONTRACTS
from committee.printing import (
    FAILED,
    PAID,
    CommandFailed,
    error_text,
    for_people,
    plain,
    planned,
    show,
    size_text,
    tokens,
)
from storage.client.errors import NotCertified

ADDRESS = "0x" + "aB" * 20
TOKEN = 10**18


@pytest.mark.parametrize(
    ("amount", "text"),
    [(0, "0"), (1, "0.000000000000000001"), (12 * TOKEN + TOKEN // 2, "12.5"), (2**128 + 1, None)],
)
def test_no_digit_of_an_amount_is_lost(amount: int, text: str | None) -> None:
    shown = tokens(amount).removesuffix(" tokens")
    assert text in (None, shown)
    whole, _, part = shown.partition(".")
    assert int(whole + part.ljust(18, "0")) == amount


def test_people_get_tokens_and_percent_and_json_the_raw_units(capsys: pytest.CaptureFixture[str]) -> None:
    result = {"stake": 5 * TOKEN // 2, "commission": 250, "most_fee_wei": TOKEN // 1000, "block": 7}
    show(result, as_json=False)
    told = capsys.readouterr().out
    for line in ("stake       2.5 tokens", "commission  2.5 %", "most fee    0.001 ether", "block       7"):
        assert line in told
    show(result, as_json=True)
    assert json.loads(capsys.readouterr().out) == result


def test_people_get_dates_for_times(capsys: pytest.CaptureFixture[str]) -> None:
    told = {"commit_by_s": 1_800_000_000, "answer_by_s": None, "due_in_s": 5}
    show(told, as_json=False)
    assert capsys.readouterr().out.splitlines() == [
        "commit by  2027-01-15 08:00:00 UTC",
        "answer by  -",
        "due in s   5",
    ]


def test_a_table_folds_no_address_and_cuts_call_data() -> None:
    rows = [
        {"from": ADDRESS, "to": ADDRESS, "blob_id": "x" * 43, "transaction": "0x" + "1" * 64, "data": data}
        for data in ("0x" + "ab" * 5000, "0xab")
    ]
    lines = for_people({"transactions": rows}).splitlines()
    assert len(lines) == 5  # a blank one, the title, the names, two records
    assert lines[3].count(ADDRESS) == 2
    assert "x" * 43 in lines[3]
    assert lines[3].endswith("… 5000 bytes")
    assert lines[4].endswith("0xab")


def test_what_is_unstaked_is_told_by_amount_and_not_by_shares() -> None:
    position = {
        "node_id": 1,
        "shares": 99,
        "amount": TOKEN,
        "unbonding": [{"unlock_period": 4, "shares": 98, "amount": TOKEN}],
    }
    told = for_people({"stakes": [position]})
    assert "unlock period 4; amount 1 tokens" in told
    assert "shares" not in told and "99" not in told and "98" not in told


def test_a_dry_run_says_what_it_cannot_estimate() -> None:
    first = PlannedTransaction("approve", ADDRESS, ADDRESS, b"", 50_000, 10)
    second = PlannedTransaction("stake", ADDRESS, ADDRESS, b"", None, None)
    assert (
        "stake: what is sent after others cannot be estimated"
        in planned(DryRun([first, second]))["not_estimated"]
    )
    whole = planned(DryRun([first, first]))
    assert (whole["most_fee_wei"], "not_estimated" in whole) == (20, False)


@pytest.mark.parametrize(
    ("size_bytes", "text"),
    [(0, "0 B"), (1023, "1023 B"), (1536, "1.5 KiB"), (2**20, "1.0 MiB"), (5 * 2**30, "5.0 GiB")],
)
def test_sizes_are_in_the_unit_that_fits(size_bytes: int, text: str) -> None:
    assert size_text(size_bytes) == text


def test_bytes_are_hex() -> None:
    assert plain({"a": [b"\x01"]}) == {"a": ["0x01"]}


def test_every_hint_is_for_an_error_that_some_contract_has() -> None:
    known = {entry["name"] for name in CONTRACTS for entry in load_contract(name).errors.values()}
    assert HINTS.keys() - known == {"InsufficientFunds", "OutOfGas"}, "the chain's own"


@pytest.mark.parametrize("rows", [1, 2])
def test_what_is_on_the_chain_cannot_write_to_the_terminal(rows: int) -> None:
    """A node's name that clears the screen, one that reads backwards, an address that begins a line of its own."""
    hostile = {"name": "\x1b[2J\x9b31m\u202eeman", "address": "http://node\r\nstake  0", "stake": 10**18}
    shown = for_people({"nodes": [hostile] * rows, **hostile, "owners": ["\x07"], "by_epoch": {"4": "\x00"}})
    assert all(line.isprintable() for line in shown.split("\n"))
    assert r"\x1b[2J\x9b31m\u202eeman" in shown
    assert len(for_people({"name": "x" * 10**7})) < 2000


# standard output that takes nothing


class Spoilt(io.StringIO):
    """A standard output whose writes fail."""

    def __init__(self, error: OSError) -> None:
        super().__init__()
        self._error = error

    def flush(self) -> None:
        raise self._error


@pytest.mark.parametrize("as_json", [True, False])
@pytest.mark.parametrize("is_paid", [True, False])
def test_a_result_that_cannot_be_written_is_in_the_error(
    monkeypatch: pytest.MonkeyPatch, as_json: bool, is_paid: bool
) -> None:
    for out in (Spoilt(OSError(28, "No space left on device")), None):
        with monkeypatch.context() as patch:
            patch.setattr(sys, "stdout", out)
            with pytest.raises(CommandFailed) as failed:
                show({"object_id": 7}, as_json, is_paid=is_paid)
        assert failed.value.status == (PAID if is_paid else FAILED)
        told = error_text(failed.value, as_json)
        if as_json:
            assert json.loads(told)["result"] == {"object_id": 7}
        else:
            assert told.splitlines()[1:] == ["object id  7"]


def test_a_reader_that_is_gone_misses_nothing_but_what_was_paid(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stdout", Spoilt(BrokenPipeError(32, "Broken pipe")))
    with pytest.raises(BrokenPipeError):
        show({"object_id": 7}, as_json=True)
    with pytest.raises(CommandFailed) as failed:
        show({"object_id": 7}, as_json=True, is_paid=True)
    assert (failed.value.status, failed.value.details) == (PAID, {"result": {"object_id": 7}})


def test_a_non_blocking_output_that_is_full_is_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    """Another program that shares the pipe may have made it so; what is told of a payment must not be lost."""
    source, target = os.pipe()
    os.set_blocking(target, False)
    amount = 3 * os.write(target, bytes(2**20))
    told = "x" * amount
    with os.fdopen(source, "rb") as reader, os.fdopen(target, "w", encoding="utf-8") as out:
        monkeypatch.setattr(sys, "stdout", out)
        reading = threading.Thread(target=lambda: read.append(reader.read(amount // 3 + amount + 12)))
        read: list[bytes] = []
        reading.start()
        show({"text": told}, as_json=True)
        reading.join(20)
        assert read and json.loads(read[0][amount // 3 :]) == {"text": told}
        assert not os.get_blocking(target)


@pytest.mark.parametrize("encoding", ["ascii", "latin-1"])
def test_what_an_encoding_lacks_is_escaped(monkeypatch: pytest.MonkeyPatch, encoding: str) -> None:
    written = io.BytesIO()
    monkeypatch.setattr(sys, "stdout", io.TextIOWrapper(written, encoding=encoding))
    show({"name": "б…é"}, as_json=False)
    assert written.getvalue().startswith(b"name  \\u0431\\u2026")


def test_an_error_tells_what_its_causes_know() -> None:
    refused = LedgerRefused("Blobs.certify", "Paused")
    unfinished = NotCertified(bytes(32), 7, refused)
    unfinished.__cause__ = refused
    failed = CommandFailed(str(unfinished), PAID, {"transactions": [{"action": "x"}]})
    failed.__cause__ = unfinished
    told = json.loads(error_text(failed, as_json=True))
    assert (told["object_id"], told["reason"], told["transactions"]) == (7, "Paused", [{"action": "x"}])
    assert told["hint"] == HINTS["Paused"]
    assert error_text(failed, as_json=False).splitlines()[0].endswith(HINTS["Paused"])
