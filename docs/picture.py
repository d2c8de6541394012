"""Draw docs/images/pipeline.png from a finished run: `python docs/picture.py` (in its folder), on synthetic films only.

A film, the crop around its lesion that the model gets, where the model looks, and the ROC curves of metrics/roc.csv.
The film is that of `mammo.inference.example`: the malignant test lesion of median probability, not the best one.
"""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "src"))

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle

from mammo.core.config import load_config
from mammo.core.paths import COMPARISON, ROC
from mammo.core.row_names import READER
from mammo.data.images import io, transforms
from mammo.explain.saliency import Explainer
from mammo.inference import predictor
from mammo.inference.example import Example, find_example
from mammo.reporting.figures import png, style
from mammo.reporting.figures.contact_sheets import LESION_COLOUR

PICTURE = Path(__file__).resolve().parent / "images/pipeline.png"
METHOD = "layercam"
GREYED = "#bbbbbb"
CHOSEN = "#d55e00"


def main() -> None:
    """Write the picture; refuse films that are not synthetic."""
    config = load_config()
    example = find_example()
    if config.ingest.source != "demo" or example is None or example.box is None:
        sys.exit("needs a finished run of lesions on the synthetic cohort (`ingest.source: demo`)")
    figure = Figure(figsize=(12, 3.5), layout="constrained")
    film, crop, heat, roc = figure.subplots(1, 4, width_ratios=[0.8, 1, 1, 1.1])
    _draw_film(film, example, config.preprocess.context)
    _draw_model_input(crop, heat, example)
    _draw_roc(roc, example.model)
    png.save_figure(figure, PICTURE, png.PHOTO_COLOURS)


def _draw_film(axes: Axes, example: Example, context: float) -> None:
    """Draw the film with the lesion's box and the crop around it."""
    x0, y0, x1, y1 = example.box or (0, 0, 0, 0)
    axes.imshow(io.read_film(example.film), cmap="gray")
    top, left, bottom, right = transforms.square_around((y0, x0, y1, x1), context)
    axes.add_patch(Rectangle((left, top), right - left, bottom - top, fill=False, color=LESION_COLOUR, linewidth=1.5))
    axes.set_title("1  film (synthetic), crop marked", fontsize=10)
    axes.set_axis_off()


def _draw_model_input(crop: Axes, heat: Axes, example: Example) -> None:
    """Draw the model's input, and the heat map over it; its opacity follows the map."""
    model = predictor.load(example.model)
    assert not isinstance(model.model, predictor.Ensemble)
    image = model.prepare(example.film, example.box).image
    heat_map = Explainer(model.model).maps(image[np.newaxis, ..., np.newaxis].astype(np.float32), METHOD)[0]
    for axes in (crop, heat):
        axes.imshow(image, cmap="gray", vmin=0, vmax=255, interpolation="bicubic")
        axes.set_axis_off()
    spread = (heat_map - heat_map.min()) / max(float(np.ptp(heat_map)), 1e-6)
    drawn = heat.imshow(heat_map, cmap="inferno", alpha=0.7 * spread, vmin=0, vmax=1, interpolation="bicubic")
    drawn.set_extent((-0.5, image.shape[1] - 0.5, image.shape[0] - 0.5, -0.5))
    crop.set_title(f"2  what the model gets, {image.shape[0]} px", fontsize=10)
    heat.set_title(f"3  where {example.model} looks (Layer-CAM)", fontsize=10)


def _draw_roc(axes: Axes, model: str) -> None:
    """Draw the ROC curves of all rows: the model's and the reader's in colour, the others in grey."""
    curves = pd.read_csv(ROC)
    aucs = pd.read_csv(COMPARISON).set_index("model")["auc"]
    style.draw_unit_square(axes)
    looks = {READER: ("black", f"radiologist (drawn), AUC {aucs[READER]:.2f}")}
    looks[model] = (CHOSEN, f"{model}, AUC {aucs[model]:.2f}")
    for name in sorted(dict.fromkeys(curves["model"]), key=lambda name: name in looks):
        rows = curves[curves["model"] == name]
        colour, label = looks.get(name, (GREYED, None))
        axes.plot(
            rows["false_positive_rate"], rows["sensitivity"], color=colour, label=label, linewidth=2 if label else 0.8
        )
    axes.set(xlabel="1 - specificity", ylabel="sensitivity")
    axes.set_title("4  ROC on test patients; grey: the other rows", fontsize=10)
    axes.legend(loc="lower right", fontsize=8, frameon=False)


if __name__ == "__main__":
    main()
