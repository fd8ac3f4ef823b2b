"""How the commands print: a result for people, or with `--json` as one JSON object.

A result is a dict of plain values; amounts are integers in the token's smallest unit, commissions in hundredths of a
percent, bytes are hex. JSON has them so. For people the fields that `UNITS` names are in tokens, ether and percent; a
list of records is a table whose cells are never folded, so that an address can be copied from it.
"""

from __future__ import annotations

import contextlib
import dataclasses
import errno
import json
import os
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, TextIO

from committee.errors import CommitteeError
from committee.ledger import DryRun, SentTransaction, Transaction
from committee.untrusted import printable

Result = Mapping[str, Any]

FAILED = 1
"""Exit status of a command that failed and paid nothing."""
PAID = 3
"""Exit status of a command that sent or found what is paid for, and did not end well: standard error has the rest."""
INTERRUPTED = 130
"""Exit status after Ctrl-C or SIGTERM with nothing paid, as shells have it."""
UNPRINTED = "the result cannot be written to standard output"

TOKEN_DECIMALS = 18
SHOWN_TEXT_CHARACTERS = 1000
"""Length limit of a text printed for people. Names, addresses and URLs on chain are strangers' and are escaped."""
SHOWN_ERROR_CHARACTERS = 4000
SHOWN_DATA_CHARACTERS = 26
"""Length limit of call data printed for people: the function's selector and where its arguments begin."""


class CommandFailed(CommitteeError):
    """A command failed with an exit status of its own; `details` are told beside the message."""

    def __init__(self, message: str, status: int, details: Mapping[str, Any]) -> None:
        self.status = status
        self.details = dict(details)
        super().__init__(message)


def sent(transaction: Transaction, **more: Any) -> Result:
    """Return the result of a transaction that came through, with what else there is to say."""
    return {
        **more,
        "transaction": "0x" + transaction.hash.hex(),
        "block": transaction.block.number,
        "gas_used": transaction.gas_used,
    }


def planned(stopped: DryRun) -> Result:
    """Return what a dry run would have sent, and at most cost; `not_estimated` names what that leaves out."""
    unknown = [one.action for one in stopped.planned if one.fee_wei is None]
    fee_wei = sum(one.fee_wei for one in stopped.planned if one.fee_wei is not None)
    result: dict[str, Any] = {
        "dry_run": True,
        "transactions": [
            {
                "action": one.action,
                "from": one.sender,
                "to": one.to or "",
                "gas": one.gas,
                "most_fee_wei": one.fee_wei,
                "data": "0x" + one.data.hex(),
            }
            for one in stopped.planned
        ],
        "most_fee_wei": None if unknown else fee_wei,
    }
    if unknown:
        result["not_estimated"] = (
            f"{', '.join(unknown)}: what is sent after others cannot be estimated before these are sent"
        )
    return result


def plain(value: Any) -> Any:
    """Return a value as JSON has it: dataclasses as dicts, bytes as hex."""
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {field.name: plain(getattr(value, field.name)) for field in dataclasses.fields(value)}
    if isinstance(value, bytes):
        return "0x" + value.hex()
    if isinstance(value, Mapping):
        return {str(key): plain(one) for key, one in value.items()}
    if isinstance(value, Sequence) and not isinstance(value, str):
        return [plain(one) for one in value]
    return value


def show(result: Result, as_json: bool, *, is_paid: bool = False) -> None:
    """Print a result: one JSON object, or a line for each value and a table for each list of records.

    Nothing for an empty one: the command itself has written to standard output. Raises as `put`; `is_paid` says that
    transactions were sent for the result.
    """
    if not result:
        return
    result = plain(result)
    put(json.dumps(result) + "\n" if as_json else for_people(result), result, is_paid=is_paid)


def put(text: str, result: Result, *, is_paid: bool = False) -> None:
    """Write what tells a result to standard output.

    Raises `CommandFailed` with the result when that is impossible. A reader of standard output that is gone and takes
    what cost nothing is a `BrokenPipeError`.
    """
    try:
        write_out(text)
    except BrokenPipeError:
        if not is_paid:
            raise
        raise CommandFailed(f"{UNPRINTED} (nothing reads it)", PAID, {"result": result}) from None
    except OSError as error:
        status = PAID if is_paid else FAILED
        raise CommandFailed(f"{UNPRINTED} ({error.strerror})", status, {"result": result}) from None


def write_out(text: str) -> None:
    """Write text to standard output, all of it; what its encoding lacks comes as an escape. Raises `OSError`."""
    out = sys.stdout
    if out is None or out.closed:
        raise OSError(errno.EBADF, "it is closed")
    encoding = out.encoding or "utf-8"
    try:
        with _blocking(out):
            out.write(text.encode(encoding, "backslashreplace").decode(encoding))
            out.flush()
    except OSError:
        # What is left in its buffer must not fail again, at the end of the process.
        with contextlib.suppress(OSError, ValueError):
            nowhere = os.open(os.devnull, os.O_WRONLY)
            os.dup2(nowhere, out.fileno())
            os.close(nowhere)
        raise


@contextlib.contextmanager
def _blocking(stream: TextIO) -> Iterator[None]:
    """Have writes to a stream wait for its reader in the block; another program may have left it non-blocking."""
    try:
        descriptor = stream.fileno()
        is_blocking = os.get_blocking(descriptor)
    except OSError:  # no file, or no open one: writing says so
        is_blocking = True
    if is_blocking:
        yield
        return
    os.set_blocking(descriptor, True)
    try:
        yield
    finally:
        os.set_blocking(descriptor, False)


def sent_before(transactions: Sequence[SentTransaction]) -> list[dict[str, Any]]:
    """Return the transactions that a command sent before it failed, as errors tell them."""
    return [
        {"action": one.action, "transaction": "0x" + one.hash.hex(), "mined": one.is_mined}
        for one in transactions
    ]


def error_text(error: Exception, as_json: bool) -> str:
    """Return what a command that failed writes to standard error.

    With `as_json` it is one JSON object. Else it is a line "haulout: message", and below it the transactions that were
    sent and the result, if the error has them, since the user needs both later. The message may quote a contract, a
    provider or a node: it is cut to SHOWN_ERROR_CHARACTERS, and its control characters are escaped.
    """
    message, details = printable(str(error), SHOWN_ERROR_CHARACTERS), details_of(error)
    if as_json:
        return json.dumps({"error": message, **details}) + "\n"
    hint = details.get("hint")
    lines = f"haulout: {message}" + (f": {hint}" if hint else "") + "\n"
    if "transactions" in details:
        lines += for_people({"transactions_sent": details["transactions"]})
    if "result" in details:
        lines += for_people(details["result"])
    return lines


def details_of(error: BaseException | None) -> dict[str, Any]:
    """Return the `details` of an error and of those that caused it; the outer ones win."""
    details: dict[str, Any] = {}
    while error is not None:
        details = {**plain(getattr(error, "details", {})), **details}
        error = error.__cause__
    return details


def for_people(result: Result) -> str:
    """Return the lines and tables of a plain result."""
    lines, tables = [], []
    for name, value in result.items():
        if isinstance(value, list) and value and isinstance(value[0], dict):
            tables.append(f"\n{_title(name)}\n{_table(value)}")
        elif name not in HIDDEN:
            lines.append((_title(name), _cell(name, value)))
    width = max((len(title) for title, _ in lines), default=0)
    return "".join([*(f"{title:<{width}}  {text}\n" for title, text in lines), *tables])


def _table(rows: Sequence[Mapping[str, Any]]) -> str:
    """Return a line for the names and one for each record; numbers to the right."""
    names = [name for name in rows[0] if name not in HIDDEN]
    columns = [[_title(name), *(_cell(name, row[name]) for row in rows)] for name in names]
    widths = [max(map(len, column)) for column in columns]
    numbers = [all(isinstance(row[name], int | None) for row in rows) for name in names]
    return "".join(
        "  ".join(
            cell.rjust(width) if is_number else cell.ljust(width)
            for cell, width, is_number in zip(line, widths, numbers, strict=True)
        ).rstrip()
        + "\n"
        for line in zip(*columns, strict=True)
    )


def _title(name: str) -> str:
    unit = "_s" if name in TIMES else "_wei"
    return printable(name.removesuffix(unit).replace("_", " "))


def _cell(name: str, value: Any) -> str:
    """Return one value in the unit that people use."""
    if value is None:
        return "-"
    if name in UNITS:
        return UNITS[name](value)
    if isinstance(value, list):
        return ", ".join(_cell(name, one) for one in value) or "none"
    if isinstance(value, dict):
        return "; ".join(
            f"{_title(key)} {_cell(key, one)}" for key, one in value.items() if key not in HIDDEN
        )
    if isinstance(value, bool):
        return "yes" if value else "no"
    return printable(value, SHOWN_TEXT_CHARACTERS) if isinstance(value, str) else json.dumps(value)


def _decimal(value: int, decimals: int, unit: str) -> str:
    whole, part = divmod(value, 10**decimals)
    return f"{whole}" + (f".{part:0{decimals}d}".rstrip("0") if part else "") + f" {unit}"


def tokens(amount: int) -> str:
    """Return an amount as the commands take it: "12.5 tokens"."""
    return _decimal(amount, TOKEN_DECIMALS, "tokens")


def size_text(size_bytes: int) -> str:
    """Return a size as people read it, "1.5 MiB"."""
    size, unit = float(size_bytes), "B"
    for larger in ("KiB", "MiB", "GiB", "TiB"):
        if size < 1024:
            break
        size, unit = size / 1024, larger
    return f"{size_bytes} B" if unit == "B" else f"{size:,.1f} {unit}"


def _ether(amount_wei: int) -> str:
    return _decimal(amount_wei, TOKEN_DECIMALS, "ether")


def _utc(time_s: int) -> str:
    return time.strftime("%Y-%m-%d %H:%M:%S UTC", time.gmtime(time_s))


def _percent(hundredths: int) -> str:
    return _decimal(hundredths, 2, "%")


def _data(text: str) -> str:
    is_long = len(text) > SHOWN_DATA_CHARACTERS
    return f"{text[:SHOWN_DATA_CHARACTERS]}… {len(text) // 2 - 1} bytes" if is_long else text


TIMES = ("commit_by_s", "prove_by_s", "answer_by_s", "by_s")
"""Fields that are seconds since 1970; for people they are dates."""
UNITS: Mapping[str, Callable[[Any], str]] = {
    **dict.fromkeys(("amount", "balance", "bond", "cost", "earnings", "fined", "stake"), tokens),
    **dict.fromkeys(("commission", "pending_commission"), _percent),
    **dict.fromkeys(("amount_wei", "most_fee_wei"), _ether),
    **dict.fromkeys(TIMES, _utc),
    "data": _data,
}
"""Field → the function that writes its value for people; others are as in JSON, with words for true and null."""
HIDDEN = frozenset({"shares"})
"""Fields not printed for people: shares of a pool are in no unit; the amount beside them says their worth."""
