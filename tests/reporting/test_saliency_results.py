"""The page of what maps found: every number of the tables, marks that follow the intervals, nothing without maps."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from mammo.reporting import saliency_results
from mammo.reporting.saliency_results import BETTER, METRICS, WORSE

RULE = {"must": "below", "limit": 0.5}
GROUPS = [("all", "all"), ("call", "correct"), ("call", "wrong"), ("size", "small")]


def summary(above: dict[str, float]) -> pd.DataFrame:
    """summary.csv of two methods whose metrics lie by `above` over the centre's, give or take 0.1."""
    rows = [
        {"method": method, "variable": variable, "value": value, "metric": metric, "mean": 0.4 + at / 1000, "n": 30}
        | {"low": 0.3, "high": 0.5, "centre": 0.35, "random": 0.05, "n_patients": 20, "n_undefined": 0}
        | {"above_centre": above[method], "above_low": above[method] - 0.1, "above_high": above[method] + 0.1}
        for at, method in enumerate(above)
        for variable, value in GROUPS
        for metric in METRICS
    ]
    return pd.DataFrame(rows)


@pytest.fixture
def page(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    monkeypatch.chdir(tmp_path)
    folder = saliency_results.GRADCAM / "light_cnn"
    folder.mkdir(parents=True)
    summary({"gradcam": 0.2, "occlusion": -0.2, "layercam": 0.05}).to_csv(folder / "summary.csv", index=False)
    sanity = pd.DataFrame({"method": ["gradcam", "occlusion"], "check": "cascade", "value": [0.7, 0.1], "n": 8})
    sanity = sanity.assign(low=[0.6, np.nan], high=[0.8, np.nan], verdict=["failed", "passed"], **RULE)
    sanity.to_csv(folder / "sanity.csv", index=False)
    retrained = saliency_results.RETRAINED_MAPS / "light_cnn"
    retrained.mkdir(parents=True)
    of_labels = {"method": "gradcam", "check": "labels", "value": 0.5, "low": 0.4, "high": 0.6, "n": 30} | RULE
    pd.DataFrame([of_labels | {"verdict": "undecided"}]).to_csv(retrained / "sanity.csv", index=False)
    regions = [("outside", 0.6, 0.1), ("marks", np.nan, np.nan), ("sides", 0.2, -0.1)]
    shortcuts = pd.DataFrame(regions, columns=["region", "mean", "above_low"])
    shortcuts.assign(method="gradcam", low=0.15, high=0.65, even=0.5, n=30).to_csv(
        folder / "shortcuts.csv", index=False
    )
    written = saliency_results.write_saliency_page("mine", ["light_cnn", "ensemble_mean"], Path("docs"))
    assert written == [Path("docs/mine-saliency.csv"), Path("docs/mine-saliency.md")]
    return written[1].read_text(encoding="utf-8")


def cells(page: str, start: str) -> list[str]:
    """Of the first row that starts so."""
    (row, *_) = [line for line in page.splitlines() if line.startswith(start)]
    return [cell.strip() for cell in row.strip("|").split("|")]


def test_marks_follow_the_interval_of_the_difference_and_less_distance_is_better(page: str) -> None:
    value = "0.400 (0.300 to 0.500)"
    found = cells(page, "| light_cnn | gradcam | 30 (20)")
    assert found[2:] == ["30 (20)", *[f"{value} {BETTER}"] * 4, f"{value} {WORSE}"]
    assert [cell[-1] for cell in cells(page, "| light_cnn | occlusion | 30 (20)")[3:]] == [*WORSE * 4, BETTER]
    assert not set("".join(cells(page, "| light_cnn | layercam | 30 (20)"))) & {BETTER, WORSE}
    assert "Of 3 pairs of a model and a method, 1 point at lesions better than the image's centre does, 1 worse" in page


def test_baselines_verdicts_regions_and_groups_are_shown(page: str) -> None:
    assert cells(page, "| *the image's centre*")[3:] == ["*0.350*"] * 5
    failed, undecided = cells(page, "| light_cnn | gradcam | **failed**")[2:]
    assert (failed, undecided) == ("**failed**: 0.700 (0.600 to 0.800), n 8", "undecided: 0.500 (0.400 to 0.600), n 30")
    assert cells(page, "| light_cnn | occlusion | passed")[2:] == ["passed: 0.100, n 8", ""]
    for check in ("cascade", "labels"):
        assert any(line.startswith(f"- {check}: ") and line.endswith(", below 0.5") for line in page.splitlines())
    outside, marks, sides = cells(page, "| light_cnn | gradcam | 0.600")[2:]
    assert outside == f"0.600 (0.150 to 0.650), *0.500* {BETTER}, n 30"
    assert (marks, sides) == ("-", "0.200 (0.150 to 0.650), *0.500*, n 30")
    assert cells(page, "| light_cnn | gradcam | 0.400")[-2:] == ["-", "-"]  # no lesion of medium and large size


def test_a_method_that_misses_every_lesion_is_marked_though_its_patients_leave_no_interval() -> None:
    overall = summary({"gradcam": -0.35}).assign(model="one", mean=0.0, low=np.nan, high=np.nan)
    overall = overall.assign(above_low=np.nan, above_high=np.nan).query("variable == 'all'")
    assert cells(saliency_results.tabulate_scores(overall), "| one | gradcam")[3] == f"0.000 {WORSE}"
    of_one_patient = saliency_results.tabulate_scores(overall.assign(n_patients=1))
    assert cells(of_one_patient, "| one | gradcam")[3] == "0.000"


def test_baselines_stand_once_or_by_the_models_whose_crops_they_hold_for() -> None:
    of_models = {name: summary({"gradcam": 0.2}).assign(model=name) for name in ("one", "two", "three")}
    of_models["three"]["centre"] = 0.9
    of_models["one"] = pd.concat([of_models["one"].assign(method="empty at times", n=20, centre=0.7), of_models["one"]])
    overall = pd.concat(of_models.values()).query("variable == 'all'")
    table = saliency_results.tabulate_scores(overall)
    assert table.count("*the image's centre*") == 2
    assert cells(table, "| *the image's centre* | *three*")[3:] == ["*0.900*"] * 5
    assert cells(table, "| *the image's centre* | *one, two*")[3:] == ["*0.350*"] * 5
    alike = saliency_results.tabulate_scores(overall[overall["model"] != "three"])
    assert cells(alike, "| *an even map*")[1:] == ["", "", *["*0.050*"] * 5]


def test_the_table_has_every_group(page: str) -> None:
    table = pd.read_csv("docs/mine-saliency.csv")
    assert len(table) == 3 * len(GROUPS) * len(METRICS)
    assert set(table["model"]) == {"light_cnn"}


def test_without_maps_nothing_is_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert saliency_results.write_saliency_page("mine", ["light_cnn"], Path("docs")) == []
    assert not Path("docs").exists()
