"""The source of randomness: its bytes are others for each transaction that takes it, and none can undo what it drew."""

from __future__ import annotations

from typing import Any

import pytest

from localnet.sui_double.chain import Chain
from localnet.sui_double.errors import InvalidTransaction
from localnet.sui_double.host import TransactionContext, TransactionHost
from localnet.sui_double.move.machine import Machine
from localnet.sui_double.move.natives.registry import SUI
from localnet.sui_double.move.types import ModuleId
from localnet.sui_double.move.values import Ref
from localnet.sui_double.randomness import RANDOM, RANDOM_ID
from tests.localnet.sui_double.packages import needs_framework
from tests.localnet.sui_double.wallet import Draft, Wallet

pytestmark = needs_framework

CONTEXT = [bytes(32), bytearray(32), 0, 0, 0]


def drawn(chain: Chain) -> Any:
    """Return what Sui's own code draws from the source as it is now."""
    host = TransactionHost(chain.objects, chain.codec, TransactionContext(bytes(32), bytes(32)))
    machine = Machine(chain.modules, chain.codec, host)
    stored = chain.objects.get(RANDOM_ID)
    assert stored is not None
    source = chain.codec.decode(RANDOM, stored.contents)

    def call(name: str, *arguments: Any) -> Any:
        (result,) = machine.call(chain.modules.function(ModuleId(SUI, "random"), name), (), list(arguments))
        return result

    generator = call("new_generator", Ref([source], 0), Ref([CONTEXT], 0))
    return call("generate_u256", Ref([generator], 0))


def draw(wallet: Wallet) -> Draft:
    draft = wallet.draft()
    draft.call(SUI, "random::new_generator", draft.object(RANDOM_ID, is_mutable=False))
    return draft


def test_each_transaction_that_takes_the_source_finds_other_bytes() -> None:
    entropy = iter(bytes([number]) * 32 for number in range(9))
    chain = Chain(entropy=lambda: next(entropy))
    wallet = Wallet(chain)
    numbers = [drawn(chain)]
    for _ in range(2):
        wallet.succeed(draw(wallet))
        numbers.append(drawn(chain))
        wallet.succeed(wallet.draft())
        assert drawn(chain) == numbers[-1], "one that does not take it changes nothing"
    assert len(set(numbers)) == 3
    assert next(entropy) == bytes([3]) * 32


def test_chains_draw_by_chance() -> None:
    assert drawn(Chain()) != drawn(Chain())


def test_nothing_but_transfers_follows_a_draw() -> None:
    wallet = Wallet(Chain())
    draft = draw(wallet)
    coin = draft.object(wallet.chain.fund(wallet.address).id)
    draft.transfer(wallet.address, coin)
    wallet.succeed(draft)
    draft = draw(wallet)
    draft.split(draft.object(wallet.chain.fund(wallet.address).id), 1)
    with pytest.raises(InvalidTransaction, match="may only transfer objects and merge coins"):
        wallet.execute(draft)


def test_no_transaction_changes_the_source() -> None:
    wallet = Wallet(Chain())
    draft = wallet.draft()
    draft.object(RANDOM_ID)
    with pytest.raises(InvalidTransaction, match="the source of randomness"):
        wallet.execute(draft)
