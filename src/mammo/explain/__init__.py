"""Saliency maps, and the checks of them."""
