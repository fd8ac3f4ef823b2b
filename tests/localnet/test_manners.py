"""What a program may expect of a library: its errors and codes pickle, and it prints nothing unasked."""

from __future__ import annotations

import copy
import importlib
import inspect
import multiprocessing
import pickle
import pkgutil
import subprocess
import sys
from collections.abc import Iterator
from types import ModuleType
from typing import Any

import pytest

import committee
import localnet
import storage
from committee.errors import LedgerRefused
from committee.ledger.evm.endpoints import Endpoint
from committee.ledger.sui.signed import End
from committee.ledger.sui.transactions import Version
from committee.ledger.sui.wire import Status
from storage.client.errors import NodeFailure, NodeRefused, NotCertified
from storage.client.failures import Reason
from storage.node.store.files import SegmentName
from storage.redstuff import Axis, InconsistencyProof, RedStuff

SAMPLES: dict[str, Any] = {
    "str": "text",
    "int": 7,
    "float": 1.5,
    "bool": True,
    "bytes": bytes(32),
    "BaseException": OSError(28, "No space left on device"),
    "LedgerError": LedgerRefused("select", "TooEarly", {"availableAt": 5}),
    "dict": {"key": "value"},
    "Mapping": {"node": "no answer"},
    "Failures": {7: NodeFailure("node", "no answer")},
    "Iterable": (1, 2),
    "Sequence": (),
    "tuple": (),
    "Reason": Reason.UNAVAILABLE,
    "object": "value",
    "Endpoint": Endpoint("http://chain.example:8545"),
    "BlobMetadata": RedStuff(10).encode(b"").metadata,
    "InconsistencyProof": InconsistencyProof(Axis.PRIMARY, 0, ()),
    "SegmentName": SegmentName(7, 0),
    "Any": "value",
    "Status": Status.NOT_FOUND,
    "Version": Version(bytes(32), 1, bytes(32)),
    "End": End.OPEN,
}
"""A value for each kind of parameter that an error's constructor has, by the first word of its annotation."""


def modules(package: ModuleType) -> Iterator[ModuleType]:
    for found in pkgutil.walk_packages(package.__path__, package.__name__ + "."):
        if not found.name.endswith("__main__"):
            yield importlib.import_module(found.name)


ERRORS = sorted(
    {
        value
        for package in (committee, storage, localnet)
        for module in modules(package)
        for value in vars(module).values()
        if inspect.isclass(value) and issubclass(value, BaseException) and value.__module__ == module.__name__
    },
    key=lambda kind: (kind.__module__, kind.__name__),
)


def made(kind: type[BaseException]) -> BaseException:
    """An error of this kind with a value for every parameter."""
    if kind.__init__ in (Exception.__init__, ValueError.__init__, OSError.__init__):
        return kind("what failed")
    positional, named = [], {}
    for name, parameter in list(inspect.signature(kind.__init__).parameters.items())[1:]:
        annotation = str(parameter.annotation).partition("|")[0].partition("[")[0].strip()
        if parameter.kind is parameter.VAR_POSITIONAL:
            positional.append("what failed")
        elif parameter.kind is parameter.VAR_KEYWORD:
            named["field"] = "value"
        elif parameter.kind is parameter.KEYWORD_ONLY:
            named[name] = SAMPLES[annotation]
        else:
            positional.append(SAMPLES[annotation])
    return kind(*positional, **named)


@pytest.mark.parametrize("kind", ERRORS, ids=lambda kind: f"{kind.__module__}.{kind.__name__}")
def test_every_error_pickles_with_its_fields(kind: type[BaseException]) -> None:
    error = made(kind)
    again = pickle.loads(pickle.dumps(error))
    assert type(again) is kind
    assert (str(again), again.args) == (str(error), error.args)
    assert {name: str(value) for name, value in again.__dict__.items()} == {
        name: str(value) for name, value in error.__dict__.items()
    }


def refuse(blob_id: bytes) -> None:
    raise NotCertified(blob_id, 7, NodeRefused("a", "http://a", 503, Reason.UNAVAILABLE, "busy"))


@pytest.mark.parametrize("kind", ERRORS, ids=lambda kind: f"{kind.__module__}.{kind.__name__}")
def test_every_error_can_be_copied(kind: type[BaseException]) -> None:
    error = made(kind)
    for again in (copy.copy(error), copy.deepcopy(error)):
        assert type(again) is kind
        assert (str(again), again.__dict__.keys()) == (str(error), error.__dict__.keys())


def test_errors_get_through_a_pool_of_processes() -> None:
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        with pytest.raises(NotCertified, match="object 7") as failed:
            pool.apply_async(refuse, (bytes(32),)).get(60)
        assert (failed.value.object_id, failed.value.blob_id) == (7, bytes(32))
        assert isinstance(failed.value.cause, NodeRefused) and failed.value.cause.status == 503


def test_what_does_not_pickle_in_an_error_is_told_in_words() -> None:
    error = LedgerRefused("select", "TooEarly", {"what": lambda: None})
    assert "lambda" in str(pickle.loads(pickle.dumps(error)).arguments)


def test_a_code_pickles_after_use() -> None:
    code = RedStuff(10)
    blob = code.encode(b"pickled")
    again = pickle.loads(pickle.dumps(code))
    assert again == code
    assert again.encode(b"pickled").blob_id == blob.blob_id
    assert pickle.loads(pickle.dumps(blob)).metadata == blob.metadata


# silence

QUIET = """
import asyncio, logging, sys
import aiohttp
from committee.logs import Log
from storage.client import retrying
from storage.client.errors import NodeUnreachable
from storage.client.node_client import NodeClient
from storage.node import node

async def main():
    async with aiohttp.ClientSession() as session:
        try:
            await NodeClient(session, "nowhere", "http://127.0.0.1:1").health()
        except NodeUnreachable:
            Log().warning("unreachable", node="nowhere")
    try:
        raise ValueError("wrong")
    except ValueError:
        Log().exception("failed")

retrying.SHORTEST_PAUSE_S = 0.001
if sys.argv[1:]:
    logging.basicConfig(format="%(name)s %(levelname)s %(message)s")
asyncio.run(main())
"""


def run(program: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    """A program of its own, in which every warning is an error."""
    command = [sys.executable, "-W", "error", "-c", program, *arguments]
    return subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)


def test_a_program_that_asks_for_no_log_gets_none() -> None:
    ended = run(QUIET)
    assert (ended.returncode, ended.stdout, ended.stderr) == (0, "", "")


def test_a_program_that_asks_for_a_log_gets_it_under_one_name() -> None:
    ended = run(QUIET, "log")
    assert (ended.returncode, ended.stdout) == (0, "")
    lines = ended.stderr.splitlines()
    assert lines[0] == "haulout WARNING unreachable node='nowhere'"
    assert lines[1] == "haulout ERROR failed"
    assert lines[-1] == "ValueError: wrong"


LOG_OF_ITS_OWN = """
import structlog
structlog.configure(
    processors=[structlog.stdlib.add_logger_name, structlog.processors.JSONRenderer()],
    wrapper_class=structlog.BoundLogger,
)
from committee.logs import Log
Log().warning("unreachable", node="nowhere")
"""


def test_a_program_that_has_structlog_for_itself_gets_nothing_into_it() -> None:
    ended = run(LOG_OF_ITS_OWN)
    assert (ended.returncode, ended.stdout, ended.stderr) == (0, "", "")


# threads, forks, a loop that runs

EVERYWHERE = """
import asyncio, os, sys, warnings
from concurrent.futures import ThreadPoolExecutor
from storage.redstuff import Axis, RedStuff

code, data = RedStuff(100), bytes(range(256)) * 2000
blob_id = code.encode(data).blob_id

def same(_=None):
    blob = code.encode(data)
    assert blob.blob_id == blob_id
    slivers = {index: bytes(blob.sliver(Axis.PRIMARY, index)) for index in range(50, 50 + code.p)}
    assert code.decode(blob.metadata, Axis.PRIMARY, slivers) == data

async def notebook():  # cells run within a loop
    same()
    await asyncio.to_thread(same)

with ThreadPoolExecutor(4) as pool:
    list(pool.map(same, range(8)))
asyncio.run(notebook())
with warnings.catch_warnings():
    warnings.simplefilter("ignore")  # Python's own, of forking beside threads
    child = os.fork()
if child == 0:
    same()
    asyncio.run(notebook())
    os._exit(7)
assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 7
"""


def test_a_code_works_in_threads_in_a_running_loop_and_after_a_fork() -> None:
    ended = run(EVERYWHERE)
    assert (ended.returncode, ended.stdout, ended.stderr) == (0, "", "")
