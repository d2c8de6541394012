"""The HTTP service and the worker beside an archive: answers in batches, limits, keys, metrics, audit log, drift."""
