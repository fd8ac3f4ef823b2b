"""A double of a Sui node for tests and local networks; docs/sui-double.md says what it is and what it is not."""
