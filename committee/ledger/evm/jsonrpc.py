"""JSON-RPC's messages: the bodies of requests, and what their answers hold.

An answer holds a result, an error, or something that is no answer to the request.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable, Sequence
from typing import Any, TypeVar

from committee.ledger.evm import answers
from committee.ledger.evm.endpoints import Endpoint
from committee.ledger.evm.refusals import Behind, EndpointError, Lacking, NoBlock
from committee.ledger.health import EndpointFault

Result = TypeVar("Result")
ReadAnswer = Callable[[Endpoint, Any], Result]
"""Reads an endpoint's answer. Raises as `_result_of` does, and what the reader of the result raises."""
ITEMS_READ_AT_ONCE = 500
"""More logs than these are read in a thread; reading this many holds the event loop for 25 ms."""
CHARACTERS_READ_AT_ONCE = 2**16
"""A longer text, such as what a call returned, is read in a thread too."""


def single(
    method: str, parameters: Sequence[Any], read: Callable[[Any], Result]
) -> tuple[bytes, ReadAnswer[Result]]:
    """Return the body of a request, and a function that takes its answer and returns `read(result)`."""

    def read_answer(endpoint: Endpoint, answer: Any) -> Result:
        return read(_result_of(endpoint, method, answer, 1))

    return json.dumps(_request(1, method, parameters)).encode(), read_answer


def batch(
    method: str, parameters: Sequence[Sequence[Any]], read: Callable[[list[Any]], Result]
) -> tuple[bytes, ReadAnswer[Result]]:
    """Return the body of a batch of calls of one method, and a function that makes `read(results)` of its answer.

    The results are in the order of `parameters`; None in the place of a block that the endpoint does not have.
    """

    def read_answer(endpoint: Endpoint, answer: Any) -> Result:
        if not isinstance(answer, list):
            _result_of(endpoint, method, answer, 0)
            raise EndpointFault(f"{endpoint} answered several {method} with one result", may_be_size=True)
        by_id = {_id_of(one): one for one in answer if _id_of(one) is not None}
        if len(by_id) < len(parameters):
            message = f"{endpoint} answered {len(by_id)} of {len(parameters)} {method}"
            raise EndpointFault(message, may_be_size=True)
        return read([result_or_none(endpoint, by_id.get(place), place) for place in range(len(parameters))])

    def result_or_none(endpoint: Endpoint, answer: Any, place: int) -> Any:
        try:
            return _result_of(endpoint, method, answer, place)
        except Lacking:
            return None

    requests = [_request(place, method, one) for place, one in enumerate(parameters)]
    return json.dumps(requests).encode(), read_answer


async def read_aside(read: ReadAnswer[Result], endpoint: Endpoint, answer: Any) -> Result:
    """Return what `read` makes of an answer; of a large one in a thread, so that something else runs meanwhile."""
    result = answer.get("result") if isinstance(answer, dict) else None
    limit = ITEMS_READ_AT_ONCE if isinstance(result, list) else CHARACTERS_READ_AT_ONCE
    if isinstance(result, list | str) and len(result) > limit:
        return await asyncio.to_thread(read, endpoint, answer)
    return read(endpoint, answer)


def _request(request_id: int, method: str, parameters: Sequence[Any]) -> dict[str, Any]:
    return {"jsonrpc": "2.0", "id": request_id, "method": method, "params": parameters}


def _result_of(endpoint: Endpoint, method: str, answer: Any, request_id: int) -> Any:
    """Return the result in an answer.

    Raises `EndpointError` for an error object, `Lacking` for a block that the endpoint does not have, `EndpointFault`
    for anything else.
    """
    if isinstance(answer, dict) and isinstance(answer.get("error"), dict):
        error = EndpointError(endpoint, method, answer["error"])
        if method == "eth_getBlockByNumber" and error.is_of_no_block:
            raise Lacking(NoBlock(f"{endpoint} knows no block of that number: {error.reason}"))
        raise error
    if isinstance(answer, dict) and answer.get("error") is not None:
        words = endpoint.quote(answer["error"])
        raise EndpointFault(f"{endpoint} answered {method} with an error: {words}", may_be_size=True)
    if not isinstance(answer, dict) or "result" not in answer:
        message = f"{endpoint} answered {method} with neither a result nor an error"
        raise EndpointFault(message, may_be_size=True)
    if _id_of(answer) != request_id:
        message = f"{endpoint} answered {method} with the answer to another request"
        raise EndpointFault(message, may_be_size=True)
    result = answer["result"]
    if method == "eth_getBlockByNumber":
        if result is None:
            raise Lacking(Behind(f"{endpoint} does not know the block asked for"))
        _note_height(endpoint, result, "number")
    if method == "eth_getTransactionReceipt" and result is not None:
        _note_height(endpoint, result, "blockNumber", is_optional=True)
    return result


def _id_of(answer: Any) -> int | None:
    """Return the number of the request that an answer is to; None for no number.

    Some gateways tell it as text, or as a number with a point or an exponent.
    """
    told = answer.get("id") if isinstance(answer, dict) else None
    if isinstance(told, str) and told.isascii() and told.isdecimal() and len(told) < 10:
        told = int(told)
    if isinstance(told, float) and told.is_integer():
        told = int(told)
    return told if type(told) is int else None


def _note_height(endpoint: Endpoint, result: Any, name: str, *, is_optional: bool = False) -> None:
    if not isinstance(result, dict):
        raise answers.Unreadable("neither a block nor a receipt")
    if is_optional and result.get(name) is None:
        return  # of a transaction that waits
    endpoint.height = max(endpoint.height, answers.quantity(result.get(name)))
