"""What all commands that talk to the chain have in common: connection, key, dry run, arguments.

`chain_command` makes a command out of an async function `(ledger, …) -> result`: it adds the options below, connects,
and prints the result (`committee.printing`). The adapter is imported when a command runs: it takes most of a second,
which `--help` need not wait for.
"""

from __future__ import annotations

import inspect
import os
from collections.abc import Awaitable, Callable, Sequence
from decimal import Context, Decimal, Inexact, InvalidOperation, Overflow
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, get_type_hints

import typer

from committee.addresses import MAX_NAME_BYTES, NetworkAddress, can_be_reached, is_name
from committee.errors import InvalidAddress, InvalidKey, LedgerError
from committee.files import expanded
from committee.key_files import KEY_VARIABLE, key_from_environment, parse_secret, read_key
from committee.ledger import DryRun, Ledger, SentTransaction
from committee.printing import (
    INTERRUPTED,
    PAID,
    TOKEN_DECIMALS,
    CommandFailed,
    Result,
    details_of,
    planned,
    sent_before,
    show,
)
from committee.running import Interrupted, run
from committee.untrusted import printable

if TYPE_CHECKING:
    from committee.ledger.evm import AccountKey

Work = Callable[..., Awaitable[Result]]
"""`(ledger, …) -> result`, asynchronous; its parameters are the command's."""


def _expanded(path: Path | None) -> Path | None:
    """Return the path of an option, which may come from the environment, where no shell has seen it."""
    return path and expanded(path)


RpcOption = Annotated[
    str, typer.Option("--rpc", envvar="HAULOUT_RPC", help="JSON-RPC endpoint of the chain.")
]
RpcHeadersOption = Annotated[
    Path | None,
    typer.Option(
        "--rpc-headers",
        envvar="HAULOUT_RPC_HEADERS",
        callback=_expanded,
        help="A file with headers for endpoints, such as a provider's key; for its owner alone.",
    ),
]
ManifestOption = Annotated[
    Path,
    typer.Option(
        "--deployment", envvar="HAULOUT_DEPLOYMENT", callback=_expanded, help="The deployment manifest."
    ),
]
KeyOption = Annotated[
    Path | None,
    typer.Option(
        "--key-file",
        envvar="HAULOUT_KEY_FILE",
        callback=_expanded,
        help=f"The sending account's key, 32 bytes in hex; or the key itself in ${KEY_VARIABLE}.",
    ),
]
DryRunOption = Annotated[
    bool, typer.Option("--dry-run", help="Print what would be sent and its cost, and send nothing.")
]
AllowPrivateOption = Annotated[
    bool | None,
    typer.Option(
        "--allow-private/--public-only",
        envvar="HAULOUT_ALLOW_PRIVATE",
        help="Whether nodes may be at private IP addresses; by default on a development chain only.",
    ),
]
JsonOption = Annotated[bool, typer.Option("--json", help="Print one JSON object.")]


def load_key(path: Path | None) -> AccountKey | None:
    """Return the account's key from a file, else from the environment, else none. Raises `InvalidKey`."""
    from committee.ledger.evm import AccountKey

    if path is not None:
        return read_key(path, AccountKey)
    text = key_from_environment()
    return AccountKey(parse_secret(text, f"${KEY_VARIABLE}")) if text else None


def require_key(path: Path | None) -> AccountKey:
    """Return what `load_key` returns; raise where there is no key."""
    key = load_key(path)
    if key is None:
        raise InvalidKey(f"no account key: give --key-file FILE, or set ${KEY_VARIABLE}")
    return key


def chain_command(app: typer.Typer, name: str, *, sends: bool = True) -> Callable[[Work], Work]:
    """Register an async function as the command `name`; one that `sends` takes a key and a dry run."""

    def register(work: Work) -> Work:
        def command(
            *,
            rpc: str,
            rpc_headers: Path | None = None,
            deployment: Path,
            key_file: Path | None = None,
            dry_run: bool = False,
            json_: bool,
            **arguments: Any,
        ) -> None:
            from committee.ledger.evm import Deployment, EvmLedger, with_headers

            manifest = Deployment.load(deployment)
            providers = with_headers(rpc, rpc_headers)
            key = require_key(key_file) if sends else load_key(key_file)
            transactions: Sequence[SentTransaction] = ()

            async def connected() -> Result:
                nonlocal transactions
                async with await EvmLedger.connect(providers, manifest, key, dry_run=dry_run) as ledger:
                    try:
                        return await work(ledger, **arguments)
                    finally:
                        transactions = ledger.sent

            try:
                result = run(connected())
            except DryRun as stopped:
                result = planned(stopped)
            except Exception as error:
                failed = as_failure(error, transactions)
                if failed is None:
                    raise
                raise failed from error
            show(result, json_, is_paid=bool(transactions))

        command.__doc__ = work.__doc__
        command.__signature__ = _signature(work, sends)  # type: ignore[attr-defined]
        app.command(name)(command)
        return work

    return register


def as_failure(error: Exception, transactions: Sequence[SentTransaction]) -> CommandFailed | None:
    """Return the error to end the command with, which names the transactions sent before; None when it may stay."""
    details = {"transactions": sent_before(transactions)} if transactions else {}
    if isinstance(error, Interrupted):
        return CommandFailed(str(error), PAID if transactions or error.notes else INTERRUPTED, details)
    if transactions or "object_id" in details_of(error):
        return CommandFailed(str(error), PAID, details)
    return None


def _signature(work: Work, sends: bool) -> inspect.Signature:
    """Return the work's parameters but its ledger, then the common options."""
    hints = get_type_hints(work, include_extras=True)
    own = list(inspect.signature(work).parameters.values())[1:]
    options: dict[str, tuple[Any, Any]] = {
        "rpc": (RpcOption, inspect.Parameter.empty),
        "rpc_headers": (RpcHeadersOption, None),
        "deployment": (ManifestOption, inspect.Parameter.empty),
        "key_file": (KeyOption, None),
        "dry_run": (DryRunOption, False),
        "json_": (JsonOption, False),
    }
    if not sends:
        del options["dry_run"]
    keyword = inspect.Parameter.KEYWORD_ONLY
    return inspect.Signature(
        [
            *(one.replace(annotation=hints[one.name], kind=keyword) for one in own),
            *(
                inspect.Parameter(name, keyword, annotation=annotation, default=default)
                for name, (annotation, default) in options.items()
            ),
        ]
    )


# arguments

EXACT = Context(prec=80, traps=[InvalidOperation, Overflow, Inexact])
"""Arithmetic of amounts, which is exact or fails. (The default one rounds to 28 digits.)"""


def token_amount(text: str) -> int:
    """Return tokens as people write them, "12.5", in the smallest unit. Raises `typer.BadParameter`."""
    try:
        amount = EXACT.scaleb(EXACT.create_decimal(text), TOKEN_DECIMALS)
    except ArithmeticError:
        raise typer.BadParameter(f"{text!r} is no amount of tokens, such as 12.5") from None
    if not amount.is_finite() or amount <= 0 or amount != amount.to_integral_value() or amount >= 2**128:
        raise typer.BadParameter(f"{text} tokens: give more than 0, with at most {TOKEN_DECIMALS} decimals")
    return int(amount)


Amount = Annotated[
    int, typer.Argument(parser=token_amount, metavar="TOKENS", help="How many tokens, such as 12.5.")
]


def account_address(text: str) -> str:
    """Return an account, with its checksum. Raises `typer.BadParameter`."""
    from eth_utils.address import is_address, to_checksum_address

    if not is_address(text):
        raise typer.BadParameter(
            f"{text!r} is no account: 0x and 40 hexadecimal digits, mixed case a checksum"
        )
    return to_checksum_address(text)


AccountArgument = Annotated[
    str, typer.Argument(parser=account_address, metavar="ACCOUNT", help="0x and 40 hexadecimal digits.")
]


def percent(text: str) -> int:
    """Return a commission of "2.5", percent as people write it, in hundredths of them. Raises `typer.BadParameter`."""
    try:
        value = EXACT.scaleb(EXACT.create_decimal(text.removesuffix("%")), 2)
    except ArithmeticError:
        value = Decimal(-1)
    if not value.is_finite() or not 0 <= value <= 10_000 or value != value.to_integral_value():
        raise typer.BadParameter(f"{text!r} is no commission in percent, such as 2.5")
    return int(value)


def network_address(text: str) -> str:
    """Return what a node is reached by, `http://host:port`. Raises `typer.BadParameter`."""
    try:
        NetworkAddress.parse(text)
    except InvalidAddress as error:
        raise typer.BadParameter(str(error)) from None
    return text


def require_reachable(ledger: Ledger, address: str, allow_private: bool | None) -> None:
    """Refuse to register an address that other machines cannot reach, unless private ones are allowed.

    Raises `LedgerError`.
    """
    allowed = ledger.is_development_chain if allow_private is None else allow_private
    if not can_be_reached(address, allowed):
        raise LedgerError(
            f"other nodes cannot reach {address}: name one that they can, such as http://node.example:9000, or allow "
            "private addresses with --allow-private"
        )


def node_name(text: str) -> str:
    """Return a node's name as the contracts take it. Raises `typer.BadParameter`."""
    if not is_name(text):
        raise typer.BadParameter(
            f"{printable(text, MAX_NAME_BYTES)!r} is no name of a node: 1 to {MAX_NAME_BYTES} printable ASCII "
            "characters, no space first or last"
        )
    return text


def hex_digest(text: str) -> bytes:
    """Return 32 bytes in hex. Raises `typer.BadParameter`."""
    try:
        return parse_secret(text, "it")
    except InvalidKey:
        raise typer.BadParameter(f"{text!r} is not 32 bytes in hex") from None


def require_new_file(path: Path) -> None:
    """Refuse a file that exists or cannot be made, before the work whose result it takes. Raises `LedgerError`."""
    try:
        path.lstat()
    except (FileNotFoundError, NotADirectoryError):
        pass
    except OSError as error:  # its name is too long, for one
        raise LedgerError(f"{path} cannot be written: {error.strerror}") from None
    else:
        raise LedgerError(f"{path} exists and would be lost; name another file")
    folder = path.parent
    if not folder.is_dir():
        raise LedgerError(f"{path} cannot be written: there is no folder {folder}")
    if not os.access(folder, os.W_OK | os.X_OK):
        raise LedgerError(f"{path} cannot be written: the folder {folder} is not yours to write in")


def sending_account(ledger: Ledger) -> str:
    """Return the account that a command is about when it names none. Raises `LedgerError`."""
    if ledger.account is None:
        raise LedgerError(f"no account: name one, or give its key (--key-file FILE or ${KEY_VARIABLE})")
    return ledger.account
