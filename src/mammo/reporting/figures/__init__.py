"""Figures of the evaluation and of the data."""
