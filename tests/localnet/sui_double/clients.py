"""pysui's own client, connected to the double."""

from __future__ import annotations

import base64
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from grpclib.client import Channel
from pysui import GroupProtocol, NetworkType, PysuiConfiguration, client_factory

from localnet.sui_double.rpc.server import HOST, SuiDouble

SECRET = bytes(31) + b"\x05"


@asynccontextmanager
async def connected(double: SuiDouble, folder: Path) -> AsyncIterator[tuple[Any, str]]:
    """Yield a client with a key of its own, and its address, which has coins."""
    configuration = PysuiConfiguration.initialize_config(in_folder=folder, init_groups=[{"name": "none"}])
    (address, *_) = configuration.new_group(
        group_name="double",
        profile_block=[
            {
                "profile_name": "double",
                "url": double.url,
                "network_type": NetworkType.LOCAL,
                "faucet_url": None,
                "faucet_status_url": None,
                "make_active": True,
            }
        ],
        key_block=[{"key_string": base64.b64encode(b"\0" + SECRET).decode(), "alias": "key"}],
        active_address_index=0,
        group_protocol=GroupProtocol.GRPC,
        make_group_active=True,
        persist=False,
    )
    client = client_factory(configuration)
    client._channel = Channel(host=HOST, port=double.port)  # pysui itself would want TLS
    double.chain.fund(bytes.fromhex(address[2:]))
    async with client:
        yield client, address
