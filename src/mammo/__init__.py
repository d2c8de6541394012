"""Reproducible deep learning on mammograms: the library behind the stages of dvc.yaml."""
