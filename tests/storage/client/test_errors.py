"""Errors about several nodes say which of them failed, and why."""

from __future__ import annotations

import asyncio

from storage.client.errors import (
    BlobUnavailable,
    NodeFailure,
    NodeUnreachable,
    NotCertified,
    NotEnoughConfirmations,
    name_failures,
)


def test_who_did_not_answer_is_named_together() -> None:
    silent = NodeUnreachable("b", "http://b", "refused").why
    assert (
        name_failures(
            {
                1: NodeFailure("c", "sent a wrong sliver"),
                2: NodeFailure("b", silent),
                3: NodeFailure("a", silent),
            }
        )
        == "no answer from a, b; c: sent a wrong sliver"
    )
    assert name_failures({}) == "nobody was left to ask"


def test_nodes_that_share_a_name_are_told_with_their_ids() -> None:
    failures = {
        7: NodeFailure("a", "no answer (refused)"),
        9: NodeFailure("a", "lied"),
        8: NodeFailure("b", "lied"),
    }
    assert name_failures(failures) == "no answer from a (node 7); a (node 9), b: lied"


def test_too_few_shards_say_what_was_needed_and_who_failed() -> None:
    failures = {1: NodeFailure("a", "no answer (refused)")}
    assert str(BlobUnavailable("blob X", 34, 100, 31, failures)) == (
        "blob X: needed 34 of 100 shards, reachable 31: no answer from a"
    )
    assert "needed 67 of 100 shards, reachable 61: no answer from a" in str(
        NotEnoughConfirmations(67, 100, 61, failures)
    )


def test_a_cancelled_store_that_is_paid_for_says_so_in_words() -> None:
    error = NotCertified(bytes(32), 7, asyncio.CancelledError())
    assert "and not certified: it was cancelled; to go on" in str(error)
    assert "a reason of its own; to go on" in str(
        NotCertified(bytes(32), 7, ValueError("a reason of its own"))
    )
