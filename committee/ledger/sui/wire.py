"""What is used of pysui and of the gRPC client below it; no other module outside of this folder imports them.

pysui's own client opens its connections with TLS whatever the URL says, wants a folder with settings, and takes answers
of any size. So only its messages are used, and the connections are made in `connections`.
"""

from __future__ import annotations

from committee.errors import LedgerError

try:
    import base58
    import betterproto2
    import pysui.sui.sui_grpc.suimsgs.google.protobuf as protobuf
    import pysui.sui.sui_grpc.suimsgs.sui.rpc.v2 as v2
    import pysui_fastcrypto as fastcrypto
    from grpclib.client import Channel, Stream
    from grpclib.const import Cardinality, Status
    from grpclib.encoding.proto import ProtoCodec
    from grpclib.exceptions import GRPCError
except ImportError as error:
    raise LedgerError(
        f"a deployment on Sui needs the package {error.name}, which is not installed: pip install 'haulout[sui]'"
    ) from error

__all__ = [
    "Cardinality",
    "Channel",
    "GRPCError",
    "ProtoCodec",
    "Status",
    "Stream",
    "base58",
    "betterproto2",
    "fastcrypto",
    "protobuf",
    "v2",
]
