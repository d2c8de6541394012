"""Draw the AUCs of the committed results with what is left of them: `python docs/aucs.py`.

Each picture lies beside its table: docs/shortcuts/models.csv, docs/results/<name>.csv.
"""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "src"))

import pandas as pd

from mammo.reporting.figures import evaluation, png

DOCS = Path(__file__).resolve().parent
PICTURES = {
    "shortcuts/models": "Training rows, out of fold",
    "results/cbis-ddsm-mass": "Official test, one lesion crop",
    "results/cbis-ddsm-mass-image": "Official test, one whole film",
}  # by table, with the title; the pictures of results/ are those of `python -m mammo results`


def main() -> None:
    """Write the pictures."""
    for table, title in PICTURES.items():
        path = DOCS / f"{table}.csv"
        picture = path.with_name(f"{path.stem}{'-auc' if table.startswith('results') else ''}.png")
        png.save_figure(evaluation.draw_aucs(pd.read_csv(path), title), picture)


if __name__ == "__main__":
    main()
