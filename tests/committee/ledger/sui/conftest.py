"""A deployment on a chain of the Sui double, and endpoints that serve it over gRPC."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest

from committee.ledger.sui.deployment import SuiDeployment
from committee.ledger.sui.grpc import SuiRpc
from committee.ledger.sui.package import Package
from committee.ledger.sui.sending import SuiSender
from localnet.sui_double.rpc.server import SuiDouble
from tests.committee.ledger.sui.accounts import Account, Submitted
from tests.committee.ledger.sui.registered import deployed
from tests.contracts.sui.network import Network


@pytest.fixture(scope="module")
def network() -> Network:
    return Network()


@pytest.fixture(scope="module")
def deployment(network: Network) -> SuiDeployment:
    return deployed(network)


@pytest.fixture(scope="module")
def package(deployment: SuiDeployment) -> Package:
    return Package(deployment.package)


@pytest.fixture
async def double(network: Network) -> AsyncIterator[SuiDouble]:
    async with SuiDouble(network.chain) as double:
        yield double


@pytest.fixture
async def rpc(double: SuiDouble, deployment: SuiDeployment) -> AsyncIterator[SuiRpc]:
    rpc = SuiRpc(double.url, deployment.chain)
    yield rpc
    await rpc.close()


@pytest.fixture
def short_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("committee.ledger.health.FIRST_REST_S", 0.001)
    monkeypatch.setattr("committee.ledger.health.LONGEST_REST_S", 0.01)
    monkeypatch.setattr("committee.ledger.sui.sending.FIRST_POLL_S", 0.001)
    monkeypatch.setattr("committee.ledger.sui.sending.LONGEST_POLL_S", 0.02)


@pytest.fixture
def submitted(network: Network, monkeypatch: pytest.MonkeyPatch) -> Submitted:
    return Submitted(network.chain, monkeypatch)


@pytest.fixture
def account(network: Network, rpc: SuiRpc, package: Package, tmp_path: Path) -> Account:
    return Account(network, rpc, package, tmp_path / "signed")


@pytest.fixture
def sender(account: Account) -> Iterator[SuiSender]:
    sender = account.sender()
    yield sender
    sender.close()
