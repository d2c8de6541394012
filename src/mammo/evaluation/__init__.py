"""Prediction tables to clinical metrics: operating point, aggregation, subgroups, ensembling, external data."""
