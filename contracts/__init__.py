"""The contracts as data: sources, committed artifacts, and what builds and tests them."""
