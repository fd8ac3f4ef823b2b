"""The HTTP interface of a node: what is granted, and what answers."""
