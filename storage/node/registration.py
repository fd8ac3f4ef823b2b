"""How a node comes by its id: its registration on the chain, which it makes at its first start."""

from __future__ import annotations

import asyncio

from committee.bls import SecretKey, proof_of_possession
from committee.errors import CommitteeError, LedgerError, LedgerRefused, LedgerUnavailable
from committee.ledger import NodeLedger, RegisteredNode
from committee.logs import Log
from storage.node.chain import once_settled
from storage.node.chain.store import ChainStore
from storage.node.config import ConfigError, NodeConfig
from storage.node.store import StoreError

log = Log()

PAUSE_S = 1.0
"""Pause before the chain is asked again."""
IS_REGISTERED = "AccountHasNode"
"""The contract's error for an account that operates a node already."""
TRIES = 30
"""Looks for a registration that was just mined, PAUSE_S apart."""


class Registration:
    """The registration of the node that a ledger's account operates; the node's id is kept in a chain store."""

    def __init__(
        self, config: NodeConfig, secret: SecretKey, ledger: NodeLedger, chain_store: ChainStore
    ) -> None:
        self._config = config
        self._secret = secret
        self._ledger = ledger
        self._chain_store = chain_store

    async def identify(self) -> tuple[int, bool]:
        """Return the node's id, and whether the chain told it; else an earlier run has saved it.

        Registers a node that the chain does not know. An endpoint that has not come to the block of the contracts is
        waited for where no id is saved. Raises `ConfigError` when the registration is another node's, and `LedgerError`
        when the chain does not answer and no id is saved.
        """
        saved = await self._chain_store.in_thread(
            self._chain_store.node_id, self._ledger.domain, self._secret.public_key
        )
        try:
            joined = await (once_settled(self._join) if saved is None else self._join())
            return joined.node_id, True
        except LedgerError as error:
            if saved is None:
                raise
            log.warning(
                "the registration cannot be looked at; serving as the node it was",
                node_id=saved,
                error=str(error),
            )
            return saved, False

    async def join_later(self) -> None:
        """Look at the registration once the chain answers, as every start does."""
        while True:
            try:
                await self._join()
                return
            except (LedgerRefused, ConfigError) as error:
                log.error("the registration is not this node's as it should be", error=str(error))
                return
            except CommitteeError:
                await asyncio.sleep(PAUSE_S)

    async def keep_id(self, node_id: int) -> None:
        """Save the id for a start while the chain is silent; a disk that does not take it stops no start."""
        try:
            await self._chain_store.in_thread(
                self._chain_store.save_node_id, node_id, self._secret.public_key
            )
        except StoreError as error:
            log.warning("the node's id cannot be kept; serving on", node_id=node_id, error=str(error))

    async def _join(self) -> RegisteredNode:
        """Return the node's registration, after registering it and staking what is lacking."""
        account = self._ledger.account
        if account is None:
            raise ConfigError("the node has no account to register from")
        registered = await self._ledger.node_of(account) or await self._register(account)
        self._require_own(account, registered)
        self._warn_of_changes(registered)
        if registered.stake < self._config.stake:
            # An earlier process may have sent the stake, which is not mined yet.
            await self._ledger.drain()
            registered = await self._shown(account)
        if registered.stake < self._config.stake:
            await self._ledger.stake(registered.node_id, self._config.stake - registered.stake)
        return registered

    async def _register(self, account: str) -> RegisteredNode:
        """Register the node and return its registration."""
        parameters = await self._ledger.parameters()
        name, address = self._config.name, self._config.address
        proof = proof_of_possession(self._secret, account, parameters.domain)
        try:
            node_id, _ = await self._ledger.register_node(name, address, self._secret.public_key, proof)
            log.info("registered", name=name, node_id=node_id, address=address)
        except LedgerRefused as error:
            if error.reason != IS_REGISTERED:
                raise  # else the endpoint that was asked did not show it yet
        return await self._shown(account)

    async def _shown(self, account: str) -> RegisteredNode:
        """Return the node that the account operates, once the endpoint shows it. Raises `LedgerUnavailable`."""
        for _ in range(TRIES):
            registered = await self._ledger.node_of(account)
            if registered is not None:
                return registered
            await asyncio.sleep(PAUSE_S)  # an endpoint may be a few blocks behind another
        raise LedgerUnavailable(
            f"the chain does not show the registration of {account}; start the node again"
        )

    def _require_own(self, account: str, registered: RegisteredNode) -> None:
        """Raises `ConfigError` unless the registration has this node's BLS key."""
        if registered.public_key != self._secret.public_key:
            raise ConfigError(
                f"account {account} is registered as node {registered.node_id}, of owner {registered.owner}, with "
                "another BLS key than this folder's: run the folder with that key; if that owner named the account "
                "unasked, `haulout node register` takes it back for a node of your own"
            )

    def _warn_of_changes(self, registered: RegisteredNode) -> None:
        """Log a name or an address in the settings that is not the registered one."""
        if registered.name != self._config.name:
            log.warning(
                "the name is not the registered one, which others see; it cannot be changed",
                name=self._config.name,
                registered=registered.name,
            )
        if registered.address != self._config.address:
            log.warning(
                "the address is not the registered one, at which others look for this node; change one of them",
                address=self._config.address,
                registered=registered.address,
            )
