"""The narrow result tables: four columns, intervals that do not break, n and weights in the caption."""

import re

import numpy as np
import pandas as pd
import pytest

from mammo.core.errors import InputError
from mammo.reporting import result_tables

LIMITS = ("_low", "_high")


@pytest.fixture
def comparison() -> pd.DataFrame:
    rows = pd.DataFrame(
        {
            "model": ["light_cnn", "mobilenet_v2", "continue_training", "ensemble_mean", "cross_validate_light_cnn"],
            "weights": ["none", "mobilenet_v2_imagenet_notop.weights.h5", "light_cnn", "-", "none"],
            "samples": ["official test"] * 4 + ["train, out of fold"],
            "n": [378] * 4 + [1318],
            "n_patients": [201] * 4 + [691],
        }
    )
    for place, metric in enumerate(result_tables.METRICS):
        rows[metric] = 0.5 + place / 10
        rows[f"{metric}_low"], rows[f"{metric}_high"] = rows[metric] - 0.1, rows[metric] + 0.1
    rows.loc[3, ["auc_low", "auc_high", "specificity"]] = np.nan
    return rows


def test_each_kind_of_samples_is_a_table_of_four_columns(comparison: pd.DataFrame) -> None:
    lines = result_tables.render_tables(comparison).splitlines()
    assert lines.count("| model | AUC | sensitivity | specificity |") == 2
    rows = [line.split(" | ")[0].strip("| ") for line in lines if line.startswith("| ") and "AUC" not in line]
    assert rows == comparison["model"].to_list()


def test_the_caption_has_n_patients_and_weights(comparison: pd.DataFrame) -> None:
    first, second = (line for line in result_tables.render_tables(comparison).splitlines() if "samples of" in line)
    assert first.startswith("Official test: 378 samples of 201 patients, sorted by AUC")
    assert "random (`light_cnn`), ImageNet (`mobilenet_v2`), those of `light_cnn` (`continue_training`)" in first
    assert "ensemble_mean" not in first
    assert second.startswith("Train, out of fold: 1318 samples of 691 patients, sorted by AUC")


def test_an_interval_has_no_place_to_break(comparison: pd.DataFrame) -> None:
    text = result_tables.format_unbroken(comparison.iloc[0], "auc")
    assert re.sub("[\N{WORD JOINER}]", "", text) == "0.500\N{NO-BREAK SPACE}(0.400\N{EN DASH}0.600)"
    assert not set(text) & {" ", "-"}
    assert "\N{WORD JOINER}\N{EN DASH}\N{WORD JOINER}" in text, "browsers break after a dash"


def test_a_value_without_interval_stands_alone_and_a_missing_one_is_a_dash(comparison: pd.DataFrame) -> None:
    row = comparison.iloc[3]
    assert result_tables.format_unbroken(row, "auc") == "0.500"
    assert result_tables.format_unbroken(row, "specificity") == "-"


def test_the_best_auc_stands_first_whatever_order_rows_are_named_in(comparison: pd.DataFrame) -> None:
    comparison.loc[3, "auc"], comparison.loc[0, "auc"] = 0.9, np.nan
    text = result_tables.render_tables(comparison, ["light_cnn", "continue_training", "ensemble_mean"])
    places = [text.index(f"| {name} |") for name in ("ensemble_mean", "continue_training", "light_cnn")]
    assert places == sorted(places)
    assert "mobilenet_v2" not in text


def test_an_unknown_row_is_refused_with_the_others(comparison: pd.DataFrame) -> None:
    with pytest.raises(InputError, match=r"nope: no row of the table; there are light_cnn, mobilenet_v2"):
        result_tables.render_tables(comparison, ["nope"])


def test_controls_are_a_table_beside(comparison: pd.DataFrame) -> None:
    assert result_tables.render_controls(comparison) == ""
    repeated = comparison.assign(retrained=[3, *[np.nan] * 4], auc_retrained_mean=0.64, auc_retrained_sd=0.012)
    assert "| light_cnn | 0.640 ± 0.012 (3) |" in result_tables.render_controls(repeated)
    assert "| mobilenet_v2 | - |" in result_tables.render_controls(repeated)
