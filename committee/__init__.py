"""Which member stores what in which epoch, and how members prove it.

Pure rules (`shards`, `membership`, `messages`, `bls`, `certificate`, `transition`) apart from `ledger`,
the chain as all other folders see it.
"""
