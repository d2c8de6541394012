"""Write docs/leaderboard.md from docs/leaderboard.csv and the committed results: `python docs/leaderboard.py`."""

from collections.abc import Iterator
from pathlib import Path

import pandas as pd

DOCS = Path(__file__).resolve().parent
TABLE, PAGE = DOCS / "leaderboard.csv", DOCS / "leaderboard.md"
COLUMNS = (
    *("source", "year", "model", "unit", "views", "split", "n", "auc", "auc_low", "auc_high", "leak_free"),
    *("known_by", "link"),
)
LEAK_FREE = ("yes", "partly", "no", "not known")
HERE = "this project"
KNOWN_BY = (
    "split by patient, asserted wherever it is read; validation rows alone choose; openings of the test set are "
    "counted (metrics/test_ledger.csv)"
)
# Rows of the committed results: one frozen network, the stacked ensemble of one view and of two; and the radiologist.
OURS = {
    ("cbis-ddsm-mass", "lesion"): ("frozen_features", "ensemble_stacked", "two_views_ensemble_stacked"),
    ("cbis-ddsm-mass-image", "image"): ("frozen_features", "ensemble_stacked", "two_views_ensemble_stacked"),
}
READER = "baseline_birads"
GROUPS = {
    ("lesion", 1): "A marked lesion on one film",
    ("lesion", 2): "A marked lesion, its two films averaged",
    ("image", 1): "A whole film",
    ("image", 2): "A breast, its two films",
}
INTRODUCTION = """# What others reach on CBIS-DDSM, and where this project stands

Written by `python docs/leaderboard.py` from [leaderboard.csv](leaderboard.csv) and the committed results.

Published figures on this data set are rarely about the same thing. A lesion that somebody has marked is easier than a
whole film; two films are easier than one; folds of one's own are not the official test set; and some patients of the
official test set are also in the training set. So rows are listed by unit, and each says by which split, on how many
samples, whether it is free of leaks, and how one knows. Within a unit the official split stands first.

- **No row here has a control.** On the training rows, out of fold, a film without its lesion still gives an AUC of
  0.688 of 0.715 ([shortcuts](shortcuts.md)). A figure on whole films says little until it is shown to fall without the
  lesion. Our own test rows were measured before this control existed; the next run has it.
- **An interval matters more than a place.** With 378 samples it is about 0.1 wide. Rows within it are not ordered.
- **"Not known" is no accusation.** It says that the source does not tell, or that only its abstract was read.
"""
SENDING = """## How to send a row

Add a line to [leaderboard.csv](leaderboard.csv), run `python docs/leaderboard.py`, and open a pull request. A row needs

1. a link by which anybody can find the number;
2. unit (`lesion` or `image`), films per prediction (`views`), split (`official`, or what else), and n;
3. `leak_free`: `yes` only where the source shows that no patient is in training and test, and that test chose nothing;
   `partly` where one of the two is shown; `no`; or `not known`. `known_by` says how one knows;
4. the interval, where there is one. Corrections of a row are as welcome as rows.
"""


def read_rows() -> pd.DataFrame:
    """Return the published rows and ours, the official split first, then by AUC.

    Raise ValueError for a row that cannot be read.
    """
    published = pd.read_csv(TABLE, dtype={"n": str, "year": str, "link": str}, keep_default_na=False, na_values=[""])
    if list(published.columns) != list(COLUMNS):
        raise ValueError(f"{TABLE}: the columns are {', '.join(published.columns)}; needed: {', '.join(COLUMNS)}")
    for place, row in published.iterrows():
        if (row["unit"], row["views"]) not in GROUPS or row["leak_free"] not in LEAK_FREE:
            raise ValueError(f"{TABLE}, row {place}: unit, views or leak_free is none of {list(GROUPS)}, {LEAK_FREE}")
    rows = pd.concat([published, pd.DataFrame(_read_ours())], ignore_index=True)
    rows = rows.assign(own_split=rows["split"] != "official")
    order = rows.sort_values(["own_split", "auc"], ascending=[True, False], kind="stable", ignore_index=True)
    return order.drop(columns="own_split")


def _read_ours() -> Iterator[dict[str, object]]:
    """Yield the rows of the committed results."""
    for (name, unit), models in OURS.items():
        results = pd.read_csv(DOCS / f"results/{name}.csv").set_index("model")
        for model in (model for model in (*models, READER) if model in results.index):
            row = results.loc[model]
            yield {
                "source": f"[{HERE}](results/{name}.md)",
                "model": "the radiologist's BI-RADS" if model == READER else f"`{model}`",
                "unit": unit,
                "views": 2 if model.startswith("two_views") else 1,
                "split": "official",
                "n": f"{row['n']:.0f} rows of {row['n_patients']:.0f} patients",
                "leak_free": "yes",
                "known_by": KNOWN_BY,
                **{column: row[column] for column in ("auc", "auc_low", "auc_high")},
            }


def render() -> str:
    """Return the page."""
    rows = read_rows()
    tables = [
        f"## {title}\n\n{_table(rows[(rows['unit'] == unit) & (rows['views'] == views)])}"
        for (unit, views), title in GROUPS.items()
    ]
    return "\n".join([INTRODUCTION, *tables, SENDING])


def _table(rows: pd.DataFrame) -> str:
    lines = ["| source | model | AUC | split, n | leak-free? | how one knows |", "|---|---|---|---|---|---|"]
    lines += [f"| {' | '.join(_cells(row))} |" for _, row in rows.iterrows()]
    return "\n".join(lines) + "\n"


def _cells(row: pd.Series) -> list[str]:
    year = f" {row['year']}" if pd.notna(row["year"]) else ""
    source = f"[{row['source']}{year}]({row['link']})" if pd.notna(row["link"]) else f"{row['source']}{year}"
    limits = f" ({row['auc_low']:.3f} to {row['auc_high']:.3f})" if pd.notna(row["auc_low"]) else ""
    return [
        source,
        row["model"],
        f"{row['auc']:.3f}{limits}",
        f"{row['split']}, {row['n']}",
        row["leak_free"],
        row["known_by"],
    ]


if __name__ == "__main__":
    PAGE.write_text(render(), encoding="utf-8")
