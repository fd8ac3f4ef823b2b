"""What a JSON-RPC answer holds: a result, an error, or something that is no answer to the request."""

from __future__ import annotations

from typing import Any

from committee.ledger.evm import answers
from committee.ledger.evm.endpoints import Endpoint, EndpointFault
from committee.ledger.evm.refusals import Behind, EndpointError, Lacking


def result_of(endpoint: Endpoint, method: str, answer: Any, request_id: int) -> Any:
    """The result in an answer.

    Raises `EndpointError` for an error object, `Lacking` for a block that the endpoint does not have, `EndpointFault`
    for anything else.
    """
    if isinstance(answer, dict) and isinstance(answer.get("error"), dict):
        raise EndpointError(endpoint, method, answer["error"])
    if isinstance(answer, dict) and answer.get("error") is not None:
        words = endpoint.quote(answer["error"])
        raise EndpointFault(f"{endpoint} answered {method} with an error: {words}", may_be_size=True)
    if not isinstance(answer, dict) or "result" not in answer:
        message = f"{endpoint} answered {method} with neither a result nor an error"
        raise EndpointFault(message, may_be_size=True)
    if type(answer.get("id")) is not int or answer["id"] != request_id:
        message = f"{endpoint} answered {method} with the answer to another request"
        raise EndpointFault(message, may_be_size=True)
    result = answer["result"]
    if method == "eth_getBlockByNumber":
        if result is None:
            raise Lacking(Behind(f"{endpoint} does not know the block asked for"))
        _note_height(endpoint, result, "number")
    if method == "eth_getTransactionReceipt" and result is not None:
        _note_height(endpoint, result, "blockNumber")
    return result


def _note_height(endpoint: Endpoint, result: Any, name: str) -> None:
    if not isinstance(result, dict):
        raise answers.Unreadable("neither a block nor a receipt")
    endpoint.height = max(endpoint.height, answers.quantity(result.get(name)))
