"""Fitting a model: trainer, optimizer, health, checkpoints, augmentation, losses, feature cache, search."""
