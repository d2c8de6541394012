"""Patients and splits: file manifest, leak audit, splits, integrity of a copy, summary."""
