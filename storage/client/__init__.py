"""Store and read a blob; one node's HTTP client."""
