"""Who stores what in which epoch, and how they prove it.

Pure rules (`shards`, `membership`, `messages`, `bls`, `certificate`, `transition`) apart from `ledger`,
the chain as the rest of the house sees it.
"""
