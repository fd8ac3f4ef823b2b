"""The chain behind Sui's gRPC interface (`sui.rpc.v2`), with the message classes that pysui has for it."""
