"""How figures look: a model's colour, line and marker, and figures as PNG.

A model keeps its style in every figure, so that none rests on colour alone; the colours can be told apart by
colour-blind readers (Okabe & Ito 2008). Nothing touches pyplot's state.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from mammo.core.row_names import is_baseline

MODEL_COLOURS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9", "#332288", "#882255")
OTHERS_COLOUR = "#cccccc"  # the rows that stand behind those that a figure is about
TITLE_SIZE, TEXT_SIZE = 10, 9  # points: 13 and 12 px on a page
BASELINE_COLOUR = "#777777"
LINES: tuple["Line", ...] = ("-", "--", "-.", (0, (6, 1.5, 1, 1.5, 1, 1.5)))
BASELINE_LINES: tuple["Line", ...] = (":", (0, (1, 3)), (0, (3, 2, 1, 2)))
MARKERS = "os^DvPX*"
GUIDE_COLOUR = "#bbbbbb"
WARNING_COLOUR = "#d55e00"

Line = str | tuple[int, tuple[float, ...]]


@dataclass(frozen=True)
class Style:
    """The look of one model in every figure."""

    colour: str
    line: Line
    marker: str


def style_models(models: Sequence[str]) -> dict[str, Style]:
    """Return one style per model, by its place among the models; baselines are grey."""
    chosen: dict[str, Style] = {}
    others = [name for name in models if not is_baseline(name)]
    for number, name in enumerate(others):
        turn = number // len(MODEL_COLOURS)
        line = LINES[(number + turn) % len(LINES)]
        colour = MODEL_COLOURS[number % len(MODEL_COLOURS)]
        chosen[name] = Style(colour, line, MARKERS[(number + turn) % len(MARKERS)])
    for number, name in enumerate(name for name in models if is_baseline(name)):
        line = BASELINE_LINES[number % len(BASELINE_LINES)]
        chosen[name] = Style(BASELINE_COLOUR, line, MARKERS[number % len(MARKERS)])
    return chosen


def new_axes(size: tuple[float, float], title: str, x: str, y: str) -> tuple[Figure, Axes]:
    """Return a figure of a size in inches with one pair of labelled axes."""
    figure = Figure(figsize=size)
    axes = figure.subplots()
    axes.set(xlabel=x, ylabel=y)
    set_text_sizes(axes, title)
    set_margins(figure, 0.62, 0.48, 0.15, 0.32)
    return figure, axes


def set_margins(figure: Figure, left: float, bottom: float, right: float, top: float) -> None:
    """Set the inches around the axes of a figure; labels and legends must find room there."""
    width, height = figure.get_size_inches()
    figure.subplots_adjust(left / width, bottom / height, 1 - right / width, 1 - top / height)


def set_text_sizes(axes: Axes, title: str) -> None:
    """Set a title, and all text of the axes to sizes that can be read on a page."""
    axes.set_title(title, fontsize=TITLE_SIZE)
    axes.tick_params(labelsize=TEXT_SIZE)
    for label in (axes.xaxis.label, axes.yaxis.label):
        label.set_fontsize(TEXT_SIZE)
    axes.spines[["top", "right"]].set_visible(False)


def draw_unit_square(axes: Axes) -> None:
    """Draw the diagonal of chance in axes from 0 to 1."""
    axes.plot([0, 1], [0, 1], color=GUIDE_COLOUR, linewidth=1)
    axes.set(aspect="equal", xlim=(-0.02, 1.02), ylim=(-0.02, 1.02))
    axes.set(xticks=[0, 0.5, 1], yticks=[0, 0.5, 1], xticklabels=["0", "0.5", "1"], yticklabels=["0", "0.5", "1"])


def add_legend_beside(axes: Axes, title: str | None = None) -> None:
    """Add a legend to the right of the axes, where anything is labelled."""
    if axes.get_legend_handles_labels()[0]:
        axes.legend(
            loc="upper left",
            bbox_to_anchor=(1.02, 1),
            fontsize=TEXT_SIZE,
            title_fontsize=TEXT_SIZE,
            frameon=False,
            title=title,
            handlelength=3,
        )
