"""Files, local and in buckets: opened, written whole or not at all, retried."""
