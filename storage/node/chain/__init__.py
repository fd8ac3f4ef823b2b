"""What a node knows of the chain, followed block by block and kept across restarts."""

from storage.node.chain.blob_view import BLOBS_IN_A_PAGE, Page, pages
from storage.node.chain.summaries import Registered, Summary
from storage.node.chain.view import ChainView
from storage.node.chain.waiting import once_settled

__all__ = ["BLOBS_IN_A_PAGE", "ChainView", "Page", "Registered", "Summary", "once_settled", "pages"]
