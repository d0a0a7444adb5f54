"""What stands in an output directory, and how it is written. No pipelines."""
