"""The section on training: loss and validation metrics over the epochs."""

from mammo.reporting.evaluation_report.content import Content
from mammo.reporting.page import Block, Note, Picture, Pictures, Section


def build_training(content: Content) -> Section:
    """Build the section of training curves."""
    guide = (
        "Training and validation loss that part while the validation loss rises mean that the model learns its "
        "training images by heart; the dotted line is the epoch whose weights are used, a dashed one a restart."
    )
    pictures = [
        Picture(f"Loss and validation metrics of {name} over the epochs", name, image)
        for name, image in content.training_curves.items()
    ]
    blocks: list[Block] = [Pictures(pictures, size="half")] if pictures else [Note("Training curves: none were given.")]
    return Section("training", "Training", guide, blocks)
