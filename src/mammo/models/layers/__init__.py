"""Layers that architectures share: inputs, pretrained bases, classifier."""
