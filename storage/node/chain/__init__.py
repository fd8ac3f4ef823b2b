"""What a node knows of the chain, followed block by block and kept across restarts."""

from storage.node.chain.view import ChainView
from storage.node.chain.waiting import once_settled

__all__ = ["ChainView", "once_settled"]
