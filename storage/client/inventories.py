"""Where a blob is in the inventory of an epoch: members tell it, and the certified root shows whether that is true."""

from __future__ import annotations

from collections.abc import Mapping

from committee.errors import HauloutError
from committee.membership import Committee
from storage.client.errors import NodeError, NodeFailure, NodeRefused, name_failures
from storage.client.failures import Reason
from storage.client.member_client import MemberClient
from storage.proofs import Entry, Inventory, WrongOpening, require_entry
from storage.redstuff import blob_id_text


class NotLocated(HauloutError):
    """It is not known where a blob is in the inventory, or it is not there; the message says what can be done."""


async def entry_of(
    clients: Mapping[int, MemberClient], committee: Committee, inventory: Inventory, blob_id: bytes
) -> Entry:
    """Return the blob's entry in the round's inventory, as the first member shows it of which that holds.

    Members are asked one after another, in the order of `clients` (node id -> client). Raises `NotLocated` when none
    shows it, or when members of whom one is correct say that the blob is not in the inventory.
    """
    named, failures = f"blob {blob_id_text(blob_id)}", dict[int, NodeFailure]()
    denying: set[int] = set()
    for node_id, client in clients.items():
        name = committee.by_id[node_id].name
        try:
            shown = await client.entry_of(blob_id)
            require_entry(inventory, shown)
        except NodeError as error:
            failures[node_id] = NodeFailure(name, error.why)
            if isinstance(error, NodeRefused) and error.reason == Reason.METADATA_NOT_FOUND:
                denying.add(node_id)
            if committee.weight_of(denying) >= committee.one_correct:
                raise NotLocated(
                    f"{named} is not in the inventory of epoch {committee.epoch}: members need not prove it"
                ) from None
        except WrongOpening as error:
            failures[node_id] = NodeFailure(name, f"lied: {error}")
        else:
            if shown.entry.blob_id == blob_id:
                return shown.entry
            failures[node_id] = NodeFailure(name, "told where another blob is")
    raise NotLocated(
        f"no member shows where {named} is in the inventory of epoch {committee.epoch}: {name_failures(failures)}; "
        "name the symbol by --position or --random"
    )
