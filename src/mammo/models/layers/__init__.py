"""What architectures share: inputs, pretrained bases, classifier."""
