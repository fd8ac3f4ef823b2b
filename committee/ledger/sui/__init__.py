"""What a ledger on Sui is made of: endpoints over gRPC, in the messages of Sui's interface (sui.rpc.v2).

Nothing is imported here, for the modules that talk to the chain need the extra `haulout[sui]` (`wire` says so).
"""
