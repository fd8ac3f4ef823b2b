"""The methods of Sui's interface that are called: their paths and the messages that they take and give."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Generic, TypeVar

from committee.ledger.sui.wire import betterproto2, protobuf, v2

Request = TypeVar("Request", bound=betterproto2.Message)
Answer = TypeVar("Answer", bound=betterproto2.Message)


@dataclass(frozen=True, slots=True)
class Method(Generic[Request, Answer]):
    """One method: service and name, and its messages."""

    service: str
    name: str
    request: type[Request]
    answer: type[Answer]

    @property
    def path(self) -> str:
        """The method's path in HTTP/2."""
        return f"/sui.rpc.v2.{self.service}/{self.name}"


GET_SERVICE_INFO = Method(
    "LedgerService", "GetServiceInfo", v2.GetServiceInfoRequest, v2.GetServiceInfoResponse
)
GET_CHECKPOINT = Method("LedgerService", "GetCheckpoint", v2.GetCheckpointRequest, v2.GetCheckpointResponse)
GET_TRANSACTION = Method(
    "LedgerService", "GetTransaction", v2.GetTransactionRequest, v2.GetTransactionResponse
)
BATCH_GET_OBJECTS = Method(
    "LedgerService", "BatchGetObjects", v2.BatchGetObjectsRequest, v2.BatchGetObjectsResponse
)
LIST_OWNED_OBJECTS = Method(
    "StateService", "ListOwnedObjects", v2.ListOwnedObjectsRequest, v2.ListOwnedObjectsResponse
)
GET_EPOCH = Method("LedgerService", "GetEpoch", v2.GetEpochRequest, v2.GetEpochResponse)
SIMULATE_TRANSACTION = Method(
    "TransactionExecutionService",
    "SimulateTransaction",
    v2.SimulateTransactionRequest,
    v2.SimulateTransactionResponse,
)
EXECUTE_TRANSACTION = Method(
    "TransactionExecutionService",
    "ExecuteTransaction",
    v2.ExecuteTransactionRequest,
    v2.ExecuteTransactionResponse,
)
SUBSCRIBE_CHECKPOINTS = Method(
    "SubscriptionService",
    "SubscribeCheckpoints",
    v2.SubscribeCheckpointsRequest,
    v2.SubscribeCheckpointsResponse,
)


def mask(*paths: str) -> protobuf.FieldMask:
    """Return the read mask of these fields: an answer has them and no others."""
    return protobuf.FieldMask(paths=list(paths))
