"""A hospital's own cases: every one is counted, the metrics are those of the frozen model, which stays as it is."""

import json
from pathlib import Path

import finished
import numpy as np
import pandas as pd
import pytest

from mammo.cli import main
from mammo.core.errors import InputError
from mammo.evaluation import local_cases
from mammo.evaluation.local_cases import ShippedPoint
from mammo.inference import labelled_cases, predictor
from mammo.inference.predictor import Predictor
from mammo.metrics.resampling import Resampling

FEW = Resampling(200, seed=1)
POINT = ShippedPoint("target_sensitivity", 0.9, 0.5)


def drawn_rows(n: int, shift: float = 0.0) -> pd.DataFrame:
    """Cases whose scores are calibrated but for a shift of the log-odds."""
    rng = np.random.default_rng(0)
    logit = rng.normal(0, 1.5, n)
    label = (rng.random(n) < 1 / (1 + np.exp(-logit))).astype(int)
    prob = 1 / (1 + np.exp(-(logit + shift)))
    return pd.DataFrame(
        {"patient_id": [f"P{i // 2}" for i in range(n)], "label": label, "prob": prob, "calibrated": prob}
    )


def test_metrics_stand_at_the_frozen_threshold() -> None:
    rows = pd.DataFrame(
        {"patient_id": list("abcdef"), "label": [0, 0, 0, 1, 1, 1], "prob": [0.1, 0.6, 0.5, 0.4, 0.7, 0.9]}
    )
    metrics = local_cases.tabulate_metrics(rows, POINT, FEW).set_index("metric")["value"]
    assert metrics["sensitivity"] == pytest.approx(2 / 3)
    assert metrics["specificity"] == pytest.approx(1 / 3)
    assert metrics["auc"] == pytest.approx(7 / 9)


def test_a_shifted_hospital_shows_as_drift_and_own_cases_mend_it() -> None:
    rows = drawn_rows(600, shift=-2.0)
    metrics = local_cases.tabulate_metrics(rows, POINT, FEW)
    drift = local_cases.tabulate_drift(rows, metrics, POINT).set_index("quantity")
    assert drift.loc["sensitivity", "high"] < drift.loc["sensitivity", "promised"]
    assert drift.loc["calibration intercept", "here"] == pytest.approx(2, abs=0.4)
    refits = local_cases.simulate_refits(rows, POINT, seed=1).set_index("k")
    assert refits.index.to_list() == [20, 50, 100, 200]
    assert refits.loc[200, "sensitivity"] == pytest.approx(0.9, abs=0.03)
    assert refits.loc[200, "brier_refitted"] < refits.loc[200, "brier_shipped"]
    width = refits["sensitivity_high"] - refits["sensitivity_low"]
    assert width.is_monotonic_decreasing
    pd.testing.assert_frame_equal(refits, local_cases.simulate_refits(rows, POINT, seed=1).set_index("k"))


@pytest.fixture
def lesions(finished_lesions: Path, monkeypatch: pytest.MonkeyPatch) -> Predictor:
    monkeypatch.chdir(finished_lesions)
    return predictor.load(finished.NAME)


@pytest.fixture
def table(finished_lesions: Path, tmp_path: Path) -> Path:
    """The labels of the run's films, and a file that is missing."""
    rows = finished.films(finished_lesions)
    corners = pd.DataFrame(rows["box"].to_list(), columns=labelled_cases.CORNERS)
    label = rows["label"].map({0: "benign", 1: "Malignant "})
    labels = pd.concat(
        [pd.DataFrame({"file": rows["path"], "label": label, "patient_id": rows["patient_id"]}), corners], axis=1
    )
    missing = pd.DataFrame(
        [{"file": "missing.png", "label": "1", "patient_id": "x", **dict.fromkeys(labelled_cases.CORNERS, 1)}]
    )
    pd.concat([labels, missing.assign(x1=9, y1=9)]).to_csv(tmp_path / "labels.csv", index=False)
    return tmp_path / "labels.csv"


def test_every_case_is_counted_and_answered_as_predict_does(
    lesions: Predictor, table: Path, finished_lesions: Path
) -> None:
    evaluated = labelled_cases.evaluate(lesions, table.parent, table, FEW)
    rows = finished.films(finished_lesions)
    assert len(evaluated.answers) == len(rows) + 1
    assert evaluated.failed == 1
    assert "missing.png does not exist" in evaluated.answers["error"].iloc[-1]
    np.testing.assert_allclose(evaluated.answers["prob"].iloc[:-1].to_numpy(float), rows["prob"], atol=1e-6)
    called = rows["prob"] >= lesions.about.operating_point.threshold
    sensitivity = evaluated.metrics.set_index("metric").loc["sensitivity", "value"]
    assert sensitivity == pytest.approx(called[rows["label"] == 1].mean())
    assert predictor.load(finished.NAME).about == lesions.about


def test_the_command_writes_what_was_measured(
    lesions: Predictor, table: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["evaluate", str(table.parent), "--labels", str(table), "--model", finished.NAME, "--resamples", "200"]
    with pytest.raises(SystemExit, match=r"1 of \d+ failed"):
        main.main([*words, "--json"])
    content = json.loads(capsys.readouterr().out)
    assert {row["metric"] for row in content["metrics"]} == set(local_cases.METRICS)
    assert content["failed"] == 1


@pytest.mark.parametrize(
    ("content", "why"),
    [
        ("file\na.png\n", "missing: label"),
        ("file,label\na.png,maybe\n", "unknown label 'maybe'"),
        ("file,label\na.png,1\na.png,0\n", "listed twice"),
        ("file,label,patient_id\na.png,1,\n", "no patient_id"),
        ("", "is not a CSV table"),
    ],
)
def test_a_table_that_is_none_is_refused(tmp_path: Path, content: str, why: str) -> None:
    (tmp_path / "labels.csv").write_text(content)
    with pytest.raises(InputError, match=why):
        labelled_cases.read_labels(tmp_path / "labels.csv", tmp_path)


def test_one_class_is_no_evaluation() -> None:
    with pytest.raises(InputError, match="need both benign and malignant"):
        local_cases.check_labels(drawn_rows(9).assign(label=1))
