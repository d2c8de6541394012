"""Other labels in the place of the test labels of a workspace, wherever one stands in its tables."""

from pathlib import Path

import pandas as pd

from mammo.core.paths import SPLITS


def turn_test_labels(root: Path) -> None:
    """Turn the label of every test sample in each table below data/ of the workspace `root`."""
    splits = pd.read_csv(root / SPLITS, dtype=str)
    test = set(splits.loc[splits["split"] == "test", "sample_id"])
    for path in (root / "data").rglob("*.csv"):
        table = pd.read_csv(path, dtype=str, keep_default_na=False)
        if {"sample_id", "label"} <= set(table.columns):
            tested = table["sample_id"].isin(test)
            table.loc[tested, "label"] = table.loc[tested, "label"].map({"0": "1", "1": "0"})
            table.to_csv(path, index=False)
