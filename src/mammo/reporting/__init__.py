"""Figures, HTML pages, model cards, comparison tables."""
