"""Data on disk to samples in splits."""
