"""Arguments of the commands."""

from __future__ import annotations

from types import SimpleNamespace
from typing import cast

import pytest
import typer

from committee.console import network_address, node_name, require_reachable
from committee.errors import LedgerError
from committee.ledger import Ledger


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
    ledger = cast(Ledger, SimpleNamespace(is_development_chain=is_development_chain))
    if "example" in address or allow_private or (allow_private is None and is_development_chain):
        require_reachable(ledger, address, allow_private)
    else:
        with pytest.raises(LedgerError, match=f"other nodes cannot reach {address}: .*--allow-private"):
            require_reachable(ledger, address, allow_private)
