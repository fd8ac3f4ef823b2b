"""How the commands print: a result for people, or with `--json` as one JSON object.

A result is a dict of plain values; amounts are integers in the token's smallest unit, commissions in hundredths of a
percent, bytes are hex. JSON has them so. For people the fields that `UNITS` names are in tokens, ether and percent; a
list of records is a table whose cells are never folded, so that an address can be copied from it.
"""

from __future__ import annotations

import dataclasses
import json
import sys
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from committee.ledger import Transaction

if TYPE_CHECKING:
    from committee.ledger.evm import DryRun

Result = Mapping[str, Any]

TOKEN_DECIMALS = 18
SHOWN_DATA_CHARACTERS = 26
"""Of call data, for people: the function's selector and where its arguments begin."""


def sent(transaction: Transaction, **more: Any) -> Result:
    """A transaction that came through, and what else there is to say."""
    return {
        **more,
        "transaction": "0x" + transaction.hash.hex(),
        "block": transaction.block.number,
        "gas_used": transaction.gas_used,
    }


def planned(stopped: DryRun) -> Result:
    """What a dry run would have sent, and at most cost; `not_estimated` names what that leaves out."""
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
    """A value as JSON has it: dataclasses as dicts, bytes as hex."""
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {field.name: plain(getattr(value, field.name)) for field in dataclasses.fields(value)}
    if isinstance(value, bytes):
        return "0x" + value.hex()
    if isinstance(value, Mapping):
        return {str(key): plain(one) for key, one in value.items()}
    if isinstance(value, Sequence) and not isinstance(value, str):
        return [plain(one) for one in value]
    return value


def show(result: Result, as_json: bool) -> None:
    """Print a result: one JSON object, or a line for each value and a table for each list of records.

    Nothing for an empty one: the command itself has written to standard output.
    """
    if not result:
        return
    result = plain(result)
    sys.stdout.write(json.dumps(result) + "\n" if as_json else for_people(result))


def for_people(result: Result) -> str:
    """The lines and tables of a plain result."""
    lines, tables = [], []
    for name, value in result.items():
        if isinstance(value, list) and value and isinstance(value[0], dict):
            tables.append(f"\n{_title(name)}\n{_table(value)}")
        elif name not in HIDDEN:
            lines.append((_title(name), _cell(name, value)))
    width = max((len(title) for title, _ in lines), default=0)
    return "".join([*(f"{title:<{width}}  {text}\n" for title, text in lines), *tables])


def _table(rows: Sequence[Mapping[str, Any]]) -> str:
    """A line for the names and one for each record; numbers to the right."""
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
    return name.removesuffix("_wei").replace("_", " ")


def _cell(name: str, value: Any) -> str:
    """One value in the unit that people use."""
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
    return value if isinstance(value, str) else json.dumps(value)


def _decimal(value: int, decimals: int, unit: str) -> str:
    whole, part = divmod(value, 10**decimals)
    return f"{whole}" + (f".{part:0{decimals}d}".rstrip("0") if part else "") + f" {unit}"


def tokens(amount: int) -> str:
    """An amount as the commands take it: "12.5 tokens"."""
    return _decimal(amount, TOKEN_DECIMALS, "tokens")


def size_text(size_bytes: int) -> str:
    """A size as people read it, "1.5 MiB"."""
    size, unit = float(size_bytes), "B"
    for larger in ("KiB", "MiB", "GiB", "TiB"):
        if size < 1024:
            break
        size, unit = size / 1024, larger
    return f"{size_bytes} B" if unit == "B" else f"{size:,.1f} {unit}"


def _ether(amount_wei: int) -> str:
    return _decimal(amount_wei, TOKEN_DECIMALS, "ether")


def _percent(hundredths: int) -> str:
    return _decimal(hundredths, 2, "%")


def _data(text: str) -> str:
    is_long = len(text) > SHOWN_DATA_CHARACTERS
    return f"{text[:SHOWN_DATA_CHARACTERS]}… {len(text) // 2 - 1} bytes" if is_long else text


UNITS: Mapping[str, Callable[[Any], str]] = {
    **dict.fromkeys(("amount", "balance", "cost", "earnings", "stake"), tokens),
    **dict.fromkeys(("commission", "pending_commission"), _percent),
    **dict.fromkeys(("amount_wei", "most_fee_wei"), _ether),
    "data": _data,
}
"""How a field's value is written for people; any other is as JSON has it, with words for true, false and null."""
HIDDEN = frozenset({"shares"})
"""Of a pool: in no unit that people use; the amount beside them says what they are worth."""
