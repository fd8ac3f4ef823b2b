"""A storage node: HTTP service, sliver store, chain reactions, handover, repair."""
