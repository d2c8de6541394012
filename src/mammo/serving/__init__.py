"""The HTTP service: answers in batches, limits, keys, metrics, audit log."""
