"""A model card says what the records and tables say, in every section, and nothing can break its Markdown."""

import numpy as np
import pandas as pd
import pytest
from reporting import test_evaluation_report as run

from mammo.reporting import model_card

SECTIONS = [
    "Metrics",
    "Model details",
    "Intended use",
    "Out-of-scope use",
    "Data",
    "Training",
    "Calibration",
    "Ethical considerations",
    "Limits",
    "Versions and hashes",
]


def card(name: str = "light_cnn", **changes: object) -> str:
    return model_card.render(name, run.content(**changes))


def rows(text: str) -> dict[str, list[str]]:
    """Table rows by their first cell."""
    cells = [line.strip("|").split(" | ") for line in text.splitlines() if line.startswith("| ")]
    return {row[0].strip(): [cell.strip() for cell in row[1:]] for row in cells}


def test_models_and_ensembles_get_a_card_baselines_and_cross_validations_none():
    assert model_card.names(run.content()) == ["light_cnn", "ensemble_mean"]
    with pytest.raises(model_card.UnknownModelError, match="'baseline_birads'; there are light_cnn, ensemble_mean"):
        card("baseline_birads")


@pytest.mark.parametrize("name", ["light_cnn", "ensemble_mean"])
def test_every_section_is_there(name: str):
    headings = [line.removeprefix("## ") for line in card(name).splitlines() if line.startswith("## ")]
    assert headings == SECTIONS
    assert card(name).startswith(f"# Model card: {name}\n\n> **For research and teaching only. Not a medical device")


def test_the_same_inputs_give_the_same_bytes(tmp_path):
    model_card.write(tmp_path / "cards" / "light_cnn.md", "light_cnn", run.content())
    assert (tmp_path / "cards" / "light_cnn.md").read_text(encoding="utf-8") == card()


def test_a_card_leads_with_picture_and_metrics_and_folds_parameters(tmp_path):
    content = run.content()
    model_card.write(tmp_path / "light_cnn.md", "light_cnn", content)
    assert (tmp_path / "light_cnn.png").read_bytes() == content.roc_curves["light_cnn"]
    text = card()
    assert text.index("](light_cnn.png)") < text.index("| AUC |") < text.index("## Model details")
    folded = "".join(part.split("</details>")[0] for part in text.split("<details>")[1:])
    for parameter in ("learning_rate", "data/models/light_cnn.keras", "numpy"):
        assert text.count(f"| {parameter} |") == folded.count(f"| {parameter} |") == 1
    model_card.write(tmp_path / "bare" / "light_cnn.md", "light_cnn", run.content(roc_curves={}))
    assert [path.name for path in (tmp_path / "bare").iterdir()] == ["light_cnn.md"]
    assert "](light_cnn.png)" not in card(roc_curves={})


def test_numbers_are_those_of_the_tables():
    row = run.comparison().iloc[0]
    shown = rows(card())
    for name, metric in (("AUC", "auc"), ("sensitivity", "sensitivity"), ("PPV at 40.9 %", "ppv"), ("brier", "brier")):
        limits = f"({row[f'{metric}_low']:.3f}-{row[f'{metric}_high']:.3f})"
        assert shown[name] == [f"{row[metric]:.3f} {limits}"]
    assert "40 samples of 20 patients" in card()
    assert shown["val"] == ["2", "2", "1 (50.0 %)"]


def test_training_comes_from_the_record():
    shown = rows(card())
    assert shown["learning_rate"] == ["0.003"]
    assert shown["epochs run"] == ["3"]
    assert shown["val auc"] == ["0.610"]
    assert shown["parameters"] == ["1234"]
    assert "From the record `ensemble`" in card("ensemble_mean")
    assert "No training record was found" in card(records=[])


def test_hashes_and_versions_are_those_of_the_records():
    shown = rows(card())
    trained = model_card.training_record("light_cnn", run.content())
    assert trained is not None and shown["train@light_cnn"] == [trained.content()]
    assert shown["data/models/light_cnn.keras"] == ["a" * 64]
    assert shown["numpy"] == ["2.0"]
    assert "f" * 64 in card()


def test_subgroups_warn_and_say_what_is_not_estimable():
    text = card()
    assert "- **Warning:** significantly worse where view is MLO" in text
    assert "| not estimable (no malignant row) |" in text
    calm = run.evaluation_tables() | {"subgroups": run.subgroups().assign(worse=0.0)}
    assert "No subgroup is significantly worse" in card(tables=calm)


def test_a_missing_class_and_empty_tables_say_so():
    missing = run.comparison()
    missing.loc[0, ["ppv", "auc"]] = np.nan
    empty = {name: table.iloc[:0] for name, table in run.evaluation_tables().items()}
    text = card(comparison=missing, tables=empty)
    assert rows(text)["PPV at 40.9 %"] == ["not estimable (nothing was called malignant)"]
    assert text.count("Not estimable (no ") == 4
    assert "| nan" not in text and "(nan" not in text


def test_a_calibration_that_could_not_be_fitted_says_so():
    table = run.calibration().assign(slope=np.nan, ece=np.nan)
    shown = rows(card(tables=run.evaluation_tables() | {"calibration": table}))
    assert shown["raw"][0] == "not estimable" and shown["raw"][2] == "not estimable"


def test_limits_follow_the_data():
    assert "Synthetic cohort" in card() and "started from random numbers" in card()
    ingest = run.DEFAULT.ingest.model_copy(update={"source": "folder", "unit": "image"})
    params = run.DEFAULT.model_copy(update={"ingest": ingest})
    text = card(params=params, comparison=run.comparison().assign(weights="imagenet"))
    assert "Synthetic cohort" not in text
    assert "started from random numbers" not in text
    assert "Finding lesions" not in text


def test_text_of_the_data_breaks_neither_table_nor_page():
    hostile = run.subgroups().assign(value=f"{run.HOSTILE}\n# heading")
    text = card(tables=run.evaluation_tables() | {"subgroups": hostile}, versions={run.HOSTILE: "1"})
    assert "<script" not in text and "\n# heading" not in text
    row = next(line for line in text.splitlines() if line.startswith("| abnormality type | "))
    assert row.replace("\\|", "").count("|") == 7


def test_rows_of_a_table_have_as_many_cells_as_its_head():
    lines = card().splitlines()
    for rule in [number for number, line in enumerate(lines) if line.startswith("|---")]:
        width = lines[rule].count("|")
        end = next(number for number in range(rule, len(lines) + 1) if number == len(lines) or lines[number][:1] != "|")
        assert end > rule + 1
        assert {line.count("|") for line in lines[rule - 1 : end]} == {width}


def test_the_data_table_counts_an_empty_split():
    splits = run.cases()[["sample_id", "patient_id"]].assign(split="train")
    assert rows(card(splits=splits))["test"] == ["0", "0", "0"]


def test_a_run_without_dropped_rows_says_none():
    assert "0 rows." in card(excluded=pd.DataFrame({"official_split": [], "reason": []}))
