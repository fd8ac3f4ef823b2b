"""A deployment on a chain of the Sui double, and endpoints that serve it over gRPC."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from committee.ledger.sui.deployment import SuiDeployment
from committee.ledger.sui.grpc import SuiRpc
from committee.ledger.sui.package import Package
from localnet.sui_double.rpc.server import SuiDouble
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
