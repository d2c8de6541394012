"""Fitting a model: trainer, optimizer, health checks, checkpoints, augmentation, losses, feature cache."""
