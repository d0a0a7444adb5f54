"""Rules on rows: what they keep, what they are called, what limits make sense."""
