"""Arguments of the commands."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace

import pytest
import typer

from committee.console import (
    network_address,
    node_name,
    percent,
    require_new_file,
    require_reachable,
    token_amount,
)
from committee.errors import LedgerError


@pytest.mark.parametrize("text", ["", "node.example:9000", "http://node.example/path", "http://\x1b[2J:1"])
def test_an_address_that_is_none_is_told(text: str) -> None:
    with pytest.raises(typer.BadParameter, match="is no address of a node, such as") as error:
        network_address(text)
    assert str(error.value).isprintable()


@pytest.mark.parametrize("text", ["", "\x1b[2J", "B\xe4r", "x" * 65])
def test_a_name_that_is_none_is_told(text: str) -> None:
    with pytest.raises(typer.BadParameter, match="is no name of a node: 1 to 64 printable ASCII") as error:
        node_name(text)
    assert str(error.value).isprintable()


@pytest.mark.parametrize("is_development_chain", [False, True])
@pytest.mark.parametrize("allow_private", [None, False, True])
@pytest.mark.parametrize("address", ["http://127.0.0.1:1", "http://localhost:1", "http://node.example:1"])
def test_what_others_cannot_reach_is_registered_only_where_it_is_allowed(
    address: str, allow_private: bool | None, is_development_chain: bool
) -> None:
    ledger = SimpleNamespace(is_development_chain=is_development_chain)
    if "example" in address or allow_private or (allow_private is None and is_development_chain):
        require_reachable(ledger, address, allow_private)
    else:
        with pytest.raises(LedgerError, match=f"other nodes cannot reach {address}: .*--allow-private"):
            require_reachable(ledger, address, allow_private)


def test_a_name_that_no_file_can_have_is_told_before_the_work(tmp_path: Path) -> None:
    """And not when a blob has been read and cannot be written."""
    require_new_file(tmp_path / ("x" * 255))
    with pytest.raises(LedgerError, match="cannot be written: File name too long"):
        require_new_file(tmp_path / ("x" * 256))


@pytest.mark.parametrize(
    ("text", "amount"),
    [
        ("12.5", 125 * 10**17),
        ("1e-18", 1),
        ("1e20", 10**38),
        ("12345678901.123456789012345678", 12345678901123456789012345678),
        ("340282366920938463463.374607431768211455", 2**128 - 1),
    ],
)
def test_an_amount_is_taken_to_its_last_digit(text: str, amount: int) -> None:
    assert token_amount(text) == amount


@pytest.mark.parametrize(
    "text",
    [
        *("", "all", "0", "-1", "nan", "inf", "1e-19", "0.1234567890123456789", "340282366920938463464"),
        *("1e999999999", "1e-999999999", "1e9999999999999999999999", "1" * 5000),
    ],
)
def test_what_is_no_amount_is_told(text: str) -> None:
    for read in (token_amount, percent):
        if read is token_amount or text != "0":
            with pytest.raises(typer.BadParameter):
                read(text)
