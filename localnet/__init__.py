"""A whole network on one machine: chain, nodes, the demo, and the `haulout` command."""
