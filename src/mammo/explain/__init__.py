"""Saliency maps, their scores against the lesions, and checks of them."""
