"""Jobs that run from a checkout; the wheel has them as `beam-curator COMMAND`."""
