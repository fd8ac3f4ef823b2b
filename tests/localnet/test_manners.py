"""What a program may expect of a library: its errors and codes pickle, and it prints nothing unasked."""

from __future__ import annotations

import importlib
import inspect
import multiprocessing
import pickle
import pkgutil
from collections.abc import Iterator
from types import ModuleType
from typing import Any

import pytest

import committee
import localnet
import storage
from committee.errors import LedgerRefused
from committee.ledger.evm.endpoints import Endpoint
from storage.client.errors import NodeRefused, NotCertified
from storage.client.failures import Reason
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
    "Iterable": (1, 2),
    "Sequence": (),
    "tuple": (),
    "Reason": Reason.UNAVAILABLE,
    "object": "value",
    "Endpoint": Endpoint("http://chain.example:8545"),
    "BlobMetadata": RedStuff(10).encode(b"").metadata,
    "InconsistencyProof": InconsistencyProof(Axis.PRIMARY, 0, ()),
    "Any": "value",
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
