"""Where samples come from: files matched, planned, read."""
