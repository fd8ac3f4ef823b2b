"""What a node knows of the chain, followed block by block and kept across restarts."""

from storage.node.chain.view import ChainView

__all__ = ["ChainView"]
