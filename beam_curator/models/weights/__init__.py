"""Files of weights: found, fetched, verified."""
