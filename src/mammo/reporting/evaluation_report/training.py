"""The section on training: loss and validation metrics over the epochs."""

from mammo.reporting.evaluation_report.content import Content
from mammo.reporting.figures.png import page_width
from mammo.reporting.page import Block, Fold, Note, Picture, Pictures, Section


def build_training(content: Content) -> Section:
    """Build the section of training curves."""
    guide = (
        "Training and validation loss that part while the validation loss rises mean that the model learns its "
        "training images by heart; the dotted line is the epoch whose weights are used, a dashed one a restart."
    )
    pictures = [
        Picture(f"Loss and validation metrics of {name} over the epochs", name, image, width_px=page_width(image))
        for name, image in content.training_curves.items()
    ]
    blocks: list[Block] = [Note("Training curves: none were given.")]
    if pictures:
        blocks = [Fold(f"Training curves of {len(pictures)} models", [Pictures(pictures)])]
    return Section("training", "Training", guide, blocks)
