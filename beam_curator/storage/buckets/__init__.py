"""Objects in buckets: exact ranged reads, and writes that are published whole or not at all."""
