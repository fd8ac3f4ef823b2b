"""`haulout account` and `haulout node`: what operators do on chain."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Annotated

import typer

from committee.bls import SecretKey, proof_of_possession
from committee.console import (
    AccountArgument,
    AllowPrivateOption,
    Amount,
    JsonOption,
    account_address,
    chain_command,
    hex_digest,
    network_address,
    node_name,
    percent,
    require_reachable,
    sending_account,
    token_amount,
)
from committee.errors import LedgerError, LedgerRefused
from committee.key_files import read_key, write_secret
from committee.ledger import Ledger, RegisteredNode
from committee.printing import Result, sent, show
from committee.terms import Terms

node_app = typer.Typer(no_args_is_help=True, help="Run a storage node, and what its operator does on chain.")
account_app = typer.Typer(no_args_is_help=True, help="Keys, and what accounts need on a network of your own.")

NodeArgument = Annotated[int, typer.Argument(metavar="NODE", help="The node's id.", min=1)]
BlsKeyOption = Annotated[Path, typer.Option("--bls-key", help="The node's BLS key file, 32 bytes in hex.")]
OperatorOption = typer.Option(
    parser=account_address, metavar="ACCOUNT", help="That the node's process sends from; the owner decides."
)
ReceiverOption = typer.Option(
    parser=account_address, metavar="ACCOUNT", help="That gets the commission; the owner decides."
)
TlsKeyOption = Annotated[
    bytes | None,
    typer.Option("--tls-key", parser=hex_digest, help="SHA-256 of the TLS key's SubjectPublicKeyInfo."),
]


# accounts


@account_app.command("new")
def new_account(
    key_file: Annotated[Path, typer.Argument(help="Where its key is written; nothing that exists.")],
    json_: JsonOption = False,
) -> None:
    """Make an account: write its key, 32 bytes in hex that only you can read, and print its address."""
    from committee.ledger.evm import AccountKey

    key = AccountKey.generate()
    write_secret(key_file, key.to_bytes())
    show({"account": key.address, "key_file": str(key_file)}, json_)


@chain_command(account_app, "fund")
async def fund(
    ledger: Ledger,
    account: AccountArgument,
    ether: Annotated[
        int, typer.Argument(parser=token_amount, metavar="ETHER", help="How much, such as 0.5.")
    ],
    up_to: Annotated[
        bool,
        typer.Option(
            "--up-to", help="Only what it lacks of that much, so that the command may be typed again."
        ),
    ] = False,
) -> Result:
    """Send an account ether, with which it pays for gas. Typed again after a lost answer it may pay again (--up-to)."""
    if up_to:
        await ledger.drain()
        ether -= await ledger.ether_wei(account)
        if ether <= 0:
            return {"account": account, "outcome": "has as much already; nothing was sent"}
    return sent(await ledger.fund(account, ether), account=account, amount_wei=ether)


@chain_command(account_app, "mint")
async def mint(ledger: Ledger, account: AccountArgument, amount: Amount) -> Result:
    """Make new tokens for an account; only the token's owner may: the timelock, or what `deploy --minter` named."""
    return sent(await ledger.mint(account, amount), account=account, amount=amount)


@chain_command(account_app, "cancel")
async def cancel(ledger: Ledger) -> Result:
    """Have the key's account do nothing in place of what it has sent and is not mined, as its fees are too low.

    Until then nothing that the account sends is mined. What was to be done is typed again afterwards.
    """
    cancelled = await ledger.cancel_waiting()
    return {"account": sending_account(ledger), "cancelled": [sent(one) for one in cancelled]}


# nodes


@chain_command(node_app, "register")
async def register(
    ledger: Ledger,
    name: Annotated[
        str, typer.Argument(parser=node_name, metavar="NAME", help="1 to 64 printable ASCII characters.")
    ],
    address: Annotated[
        str, typer.Argument(parser=network_address, metavar="URL", help="What the node is reached by.")
    ],
    bls_key: BlsKeyOption,
    commission: Annotated[
        int | None,
        typer.Option(parser=percent, metavar="PERCENT", help="Of the stakers' rewards; none by default."),
    ] = None,
    operator: Annotated[str | None, OperatorOption] = None,
    receiver: Annotated[str | None, ReceiverOption] = None,
    tls_key: TlsKeyOption = None,
    allow_private: AllowPrivateOption = None,
) -> Result:
    """Register a node of the sending account, which will own it, with a proof of possession of its BLS key."""
    require_reachable(ledger, address, allow_private)
    secret = read_key(bls_key, SecretKey.from_bytes)
    proof = proof_of_possession(secret, sending_account(ledger), (await ledger.parameters()).domain)
    node_id, transaction = await ledger.register_node(
        name,
        address,
        secret.public_key,
        proof,
        commission=commission or 0,
        operator=operator,
        receiver=receiver,
        tls_key=tls_key or bytes(32),
    )
    return sent(transaction, node_id=node_id)


@chain_command(node_app, "update")
async def update(
    ledger: Ledger,
    node: NodeArgument,
    address: Annotated[
        str | None,
        typer.Option(parser=network_address, metavar="URL", help="What the node is reached by, from now on."),
    ] = None,
    tls_key: TlsKeyOption = None,
    bls_key: Annotated[
        Path | None, typer.Option(help="Another BLS key's file; it counts from the next election on.")
    ] = None,
    commission: Annotated[
        int | None,
        typer.Option(parser=percent, metavar="PERCENT", help="It counts from the next election on."),
    ] = None,
    operator: Annotated[str | None, OperatorOption] = None,
    receiver: Annotated[str | None, ReceiverOption] = None,
    allow_private: AllowPrivateOption = None,
) -> Result:
    """Change one thing about a node. Its TLS key is changed with its address; without another one it stays."""
    changes = [address is not None, bls_key is not None, commission is not None, operator, receiver]
    if sum(map(bool, changes)) != 1:
        raise LedgerError("name one change: --address (and --tls-key), --bls-key, --commission, …")
    if address is not None:
        require_reachable(ledger, address, allow_private)
        key = (await registered_node(ledger, node)).tls_key if tls_key is None else tls_key
        return sent(await ledger.update_address(node, address, key), node_id=node)
    if bls_key is not None:
        secret = read_key(bls_key, SecretKey.from_bytes)
        domain = (await ledger.parameters()).domain
        proof = proof_of_possession(secret, (await registered_node(ledger, node)).owner, domain)
        return sent(await ledger.change_public_key(node, secret.public_key, proof), node_id=node)
    if commission is not None:
        return sent(await ledger.change_commission(node, commission), node_id=node)
    if operator is not None:
        return sent(await ledger.change_operator(node, operator), node_id=node)
    return sent(await ledger.change_receiver(node, str(receiver)), node_id=node)


@chain_command(node_app, "transfer")
async def transfer(
    ledger: Ledger,
    node: NodeArgument,
    account: Annotated[
        str | None,
        typer.Argument(
            parser=account_address, metavar="ACCOUNT", help="That is to own it, once it accepts (`accept`)."
        ),
    ] = None,
    cancel: Annotated[bool, typer.Option("--cancel", help="Withdraw the offer.")] = False,
) -> Result:
    """Offer a node to another account, which becomes its owner when it accepts; until then nothing changes."""
    if (account is None) is not cancel:
        raise LedgerError("name the account that the node is offered to, or withdraw the offer with --cancel")
    return sent(await ledger.offer_node(node, account), node_id=node, next_owner=account)


@chain_command(node_app, "accept")
async def accept(ledger: Ledger, node: NodeArgument) -> Result:
    """Become the owner of a node that is offered to the sending account.

    Its operator, its receiver, its key and its commission stay until you change them (`update`).
    """
    return sent(await ledger.accept_node(node), node_id=node, owner=sending_account(ledger))


@chain_command(node_app, "resign")
async def resign(ledger: Ledger) -> Result:
    """Operate no node any more, such as one for which another account has named yours without asking.

    The node attests and votes no more until its owner names an operator, such as itself (`update --operator`). Until
    then its owner alone may change its address, have it leave, and have it return.
    """
    node_id, transaction = await ledger.resign()
    return sent(transaction, node_id=node_id)


@chain_command(node_app, "vote")
async def vote(
    ledger: Ledger,
    price: Annotated[
        int, typer.Option(help="For a MiB and a period, in smallest units: what the node asks.", min=1)
    ],
    write_price: Annotated[
        int, typer.Option(help="For registering a MiB, in smallest units: what the node asks.", min=0)
    ],
    capacity: Annotated[
        int, typer.Option(help="Encoded bytes that the network is to offer in a period.", min=0)
    ],
) -> Result:
    """Vote on prices and capacity for the node that the account operates, from the next period on.

    Each period a price becomes the lowest that members with two thirds of the shards ask at most, the capacity the
    largest that such members offer at least; none more than doubles or halves in a period.
    """
    terms = Terms(price, write_price, capacity)
    return sent(await ledger.vote(terms), **dataclasses.asdict(terms))


@chain_command(node_app, "leave")
async def leave(ledger: Ledger, node: NodeArgument) -> Result:
    """Stand for no further selection; in committees already selected the node stays."""
    return sent(await ledger.leave(node), node_id=node)


@chain_command(node_app, "return")
async def become_candidate(ledger: Ledger, node: NodeArgument) -> Result:
    """Stand for election again, after leaving or an ejection."""
    return sent(await ledger.become_candidate(node), node_id=node)


@chain_command(node_app, "status", sends=False)
async def node_status(
    ledger: Ledger,
    node: Annotated[int | None, typer.Argument(metavar="NODE", help="All nodes when none is named.")] = None,
) -> Result:
    """One node with everything that is pending, or all of them in a table."""
    if node is not None:
        state = await ledger.epoch_state(await ledger.newest())
        shards = {
            str(committee.epoch): list(committee.shards_of(node))
            for committee in (state.previous, state.current, state.next)
            if committee is not None
        }
        return {**dataclasses.asdict(await registered_node(ledger, node)), "shards_by_epoch": shards}
    return {
        "nodes": [
            {
                "node_id": one.node_id,
                "name": one.name,
                "address": one.address,
                "stake": one.stake,
                "commission": one.commission,
                "candidate": one.is_candidate,
            }
            for one in await ledger.nodes()
        ]
    }


async def registered_node(ledger: Ledger, node_id: int) -> RegisteredNode:
    """Return a node. Raises `LedgerError` for an id that no node has."""
    try:
        return await ledger.node(node_id)
    except LedgerRefused as error:
        if error.reason != "UnknownNode":
            raise
        raise LedgerError(f"no node has the id {node_id}: see haulout node status") from None
