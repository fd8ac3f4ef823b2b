"""The error line of the `haulout` command."""

from __future__ import annotations

import json
import sys

import pytest

from committee.errors import LedgerError, LedgerRefused
from localnet import cli

HOSTILE = "\x1b[2J\x1b]0;owned\x07\r\n\u202egnp\x9b31m\ud800"


@pytest.mark.parametrize("as_json", [False, True])
@pytest.mark.parametrize(
    "error",
    [
        LedgerError(HOSTILE),
        LedgerError(HOSTILE * 10**6),
        LedgerRefused("Staking.stake", "Error", {"message": HOSTILE}),
    ],
    ids=["a provider's words", "too many of them", "a contract's"],
)
def test_what_strangers_say_cannot_write_to_the_terminal(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], error: LedgerError, as_json: bool
) -> None:
    def fail(**_: object) -> None:
        raise error

    monkeypatch.setattr(cli, "app", fail)
    monkeypatch.setattr(sys, "argv", ["haulout", *(["--json"] if as_json else [])])
    with pytest.raises(SystemExit, match="1"):
        cli.main()
    line = capsys.readouterr().err.removesuffix("\n")
    assert line.isprintable()
    assert line.startswith('{"error": ' if as_json else "haulout: ")
    assert len(line) < 50_000
    if as_json:
        assert json.loads(line)["error"].isprintable()
