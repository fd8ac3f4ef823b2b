"""What an account has signed is kept, and no version of an object is signed for twice."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing
from pathlib import Path

import pytest

from committee.errors import LedgerError
from committee.ledger.sui.signed import End, Signed, SignedTransactions, VersionUsed
from committee.ledger.sui.transactions import Version, transaction_digest

CHAIN, ACCOUNT = bytes([1]) * 32, bytes([2]) * 32
COIN, CAP, OTHER = (Version(bytes([number]) * 32, 5, bytes(32)) for number in (3, 4, 5))


Open = Callable[..., SignedTransactions]


@pytest.fixture
def kept(tmp_path: Path) -> Iterator[Open]:
    """Open the account's file, once more each time; all are closed in the end."""
    with ExitStack() as opened:

        def open_(chain: bytes = CHAIN, account: bytes = ACCOUNT) -> SignedTransactions:
            return opened.enter_context(closing(SignedTransactions(tmp_path, chain, account)))

        yield open_


def add(signed: SignedTransactions, data: bytes, *uses: Version) -> Signed:
    return signed.add("action", data, uses, 7, lambda content: b"signature of " + content)


def test_transaction_is_kept_before_it_is_sent(kept: Open) -> None:
    added = add(kept(), b"first", COIN, CAP)
    assert added == Signed(transaction_digest(b"first"), "action", b"first", b"signature of first", 7)
    again = kept()
    assert again.open() == [added]
    assert again.uses_of(added.digest) == [(COIN.id, 5), (CAP.id, 5)]


@pytest.mark.parametrize("end", [End.OPEN, End.EXECUTED, End.OVERTAKEN])
def test_version_is_signed_for_once(kept: Open, end: End) -> None:
    signed = kept()
    first = add(signed, b"first", COIN)
    signed.note(first.digest, end)

    def sign(_: bytes) -> bytes:
        raise AssertionError("it was signed")

    with pytest.raises(VersionUsed) as used:
        kept().add("another", b"second", [OTHER, COIN], 8, sign)
    assert (used.value.version, used.value.digest, used.value.end) == (COIN, first.digest, end)
    assert signed.uses_of(transaction_digest(b"second")) == [], (
        "of a transaction that is refused nothing is left"
    )
    add(signed, b"third", OTHER, COIN._replace(version=6))


def test_version_of_an_expired_transaction_is_free(kept: Open) -> None:
    signed = kept()
    first = add(signed, b"first", COIN)
    signed.note(first.digest, End.EXPIRED)
    second = add(signed, b"second", COIN)
    assert signed.uses_of(second.digest) == [(COIN.id, 5)]
    assert signed.uses_of(first.digest) == []


def test_transaction_that_was_signed_is_not_signed_again(kept: Open) -> None:
    signed = kept()
    add(signed, b"first", COIN)
    with pytest.raises(VersionUsed):
        add(signed, b"first", COIN)


def test_failure_to_sign_leaves_nothing(kept: Open) -> None:
    signed = kept()

    def fail(_: bytes) -> bytes:
        raise RuntimeError("no signature")

    with pytest.raises(RuntimeError):
        signed.add("action", b"first", [COIN], 7, fail)
    assert kept().open() == []
    add(signed, b"second", COIN)


def test_old_transactions_are_forgotten_but_no_open_one(kept: Open, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("committee.ledger.sui.signed.KEPT", 3)
    signed = kept()
    digests = []
    for number in range(8):
        digests.append(add(signed, b"%d" % number, COIN._replace(version=number)).digest)
        if number != 1:
            signed.note(digests[-1], End.EXECUTED)
    assert [one.data for one in signed.open()] == [b"1"]
    left = [bool(signed.uses_of(digest)) for digest in digests]
    assert left == [False, True, False, False, False, True, True, True]


def test_accounts_and_chains_have_files_of_their_own(kept: Open) -> None:
    add(kept(), b"first", COIN)
    assert kept(chain=bytes(32)).open() == []
    assert kept(account=bytes(32)).open() == []


def test_damaged_file_is_named(kept: Open) -> None:
    path = kept().path
    path.write_bytes(b"nothing that SQLite wrote, and long enough to be read as a header" * 20)
    with pytest.raises(LedgerError, match=rf"{path}, cannot be read or written, and without them nothing"):
        kept()


def test_folder_that_is_none_is_refused(tmp_path: Path) -> None:
    (tmp_path / "folder").write_text("a file")
    with pytest.raises(LedgerError, match="cannot be read or written"):
        SignedTransactions(tmp_path / "folder", CHAIN, ACCOUNT)
