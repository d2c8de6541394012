"""Answers as DICOM objects of the film's own study: a structured report, a segmentation and a secondary capture."""
