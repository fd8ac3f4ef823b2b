"""Moto's S3 server, in a process of its own and with packages of its own: boto's are older than the node's."""

from __future__ import annotations

import contextlib
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from storage.node.store.objects import Connection, connect

HERE = Path(__file__).parent
PROGRAM = HERE / ".venv" / "bin" / "python"
BUCKET = "haulout"
SECRETS = {"access_key_id": "key-id-of-nobody", "secret_access_key": "a-secret-that-nobody-may-see"}
SERVE = """
from moto.moto_server.werkzeug_app import DomainDispatcherApplication, create_backend_app
from moto.s3.models import s3_backends
from werkzeug.serving import make_server

s3_backends["123456789012"]["aws"].create_bucket("haulout", "us-east-1")
server = make_server("127.0.0.1", 0, DomainDispatcherApplication(create_backend_app), threaded=True)
print(server.port, flush=True)
server.serve_forever()
"""


class Server(NamedTuple):
    """A server that runs."""

    url: str
    process: subprocess.Popen[str]


@contextlib.contextmanager
def s3() -> Iterator[Server]:
    """Run a server with one empty bucket."""
    assert PROGRAM.exists(), "moto is not set up: run `make test`, which does it"
    with subprocess.Popen(
        [PROGRAM, "-c", SERVE], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
    ) as server:
        assert server.stdout is not None
        try:
            yield Server(f"http://127.0.0.1:{int(server.stdout.readline())}", server)
        finally:
            server.kill()


def connection(endpoint: str, prefix: str = "a/prefix", bucket: str = BUCKET) -> Connection:
    """Return how objects in a bucket of the server are reached."""
    options = {"endpoint": endpoint, "region": "us-east-1", "allow_http": "true"}
    return connect(f"s3://{bucket}/{prefix}", options, SECRETS)
