"""Drawn example shards, so that the job can be tried without a data set."""
