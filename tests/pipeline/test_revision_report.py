"""`mammo report --against REV`: paired differences on the same samples, and none of a closed test set."""

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import yaml
from dvc_project import commit, git
from sklearn.metrics import roc_auc_score
from tiny_results import write_workspace

from mammo.cli import main
from mammo.core.errors import InputError
from mammo.pipeline import dvc
from mammo.pipeline.revision_report import compare_with

BASELINE = "baseline_birads"


@pytest.fixture
def workspace(dvc_project: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A commit of results, and the same results in the workspace."""
    write_workspace()
    write_comparison()
    commit()
    monkeypatch.setattr(dvc, "stale_stages", lambda *stages: [])
    return dvc_project


def write_comparison() -> None:
    rows = pd.read_csv("rows.csv")
    Path("metrics").mkdir(exist_ok=True)
    pd.concat([rows, rows.iloc[:1].assign(model=BASELINE)]).to_csv("metrics/comparison.csv", index=False)


def change_parameter(section: str, key: str, value: object) -> None:
    content = yaml.safe_load(Path("params.yaml").read_text())
    content[section][key] = value
    Path("params.yaml").write_text(yaml.safe_dump(content))


def test_rows_of_the_test_set(workspace):
    before = pd.read_csv("data/predictions/continue_training.csv").query("split == 'test'")
    write_workspace(test_separation=2.0)
    write_comparison()
    now = pd.read_csv("data/predictions/continue_training.csv").query("split == 'test'")
    change_parameter("evaluate", "resamples", 300)
    comparison = compare_with("HEAD")
    (row,) = comparison.changed
    aucs = [roc_auc_score(table["label"], table["prob"]) for table in (before, now)]
    assert row.row == "continue_training"
    assert row.auc.difference == pytest.approx(aucs[1] - aucs[0])
    assert row.auc.low < row.auc.difference < row.auc.high
    assert row.p_holm == row.auc.p_value < 0.05
    assert row.auc.n == 40
    assert comparison.unchanged == ["light_cnn"]
    assert comparison.skipped == {BASELINE: "no file holds its scores"}
    assert comparison.parameters == {"evaluate.resamples": (2000, 300)}


def test_the_difference_of_a_rate_is_that_of_the_decisions(workspace):
    path = Path("data/predictions/light_cnn.csv")
    table = pd.read_csv(path)
    malignant = table[(table["split"] == "test") & (table["label"] == 1)].index
    called = table.loc[table["split"] == "val", "prob"].max()
    table.loc[malignant, "prob"] = called  # all are called now
    before = pd.read_csv(path)
    table.to_csv(path, index=False)
    (row,) = compare_with("HEAD").changed
    value, low, high = row.rates["sensitivity"]
    threshold = np.sort(before.query("split == 'val' and label == 1")["prob"])[2]  # 18 of 20: .9
    assert value == pytest.approx((before.loc[malignant, "prob"] < threshold).mean())
    assert low < value < high
    assert row.rates["specificity"][0] == 0


def test_nothing_of_a_closed_test_set_is_compared(workspace):
    change_parameter("evaluate", "test", "closed")
    commit()
    write_workspace(test_separation=4.0)
    change_parameter("evaluate", "test", "closed")
    comparison = compare_with("HEAD")
    assert comparison.changed == []
    assert comparison.unchanged == ["light_cnn", "continue_training"]
    path = Path("data/predictions/light_cnn.csv")
    table = pd.read_csv(path)
    table.loc[table["split"] == "val", "prob"] = 0.5
    table.to_csv(path, index=False)
    (row,) = compare_with("HEAD").changed
    assert (row.row, row.auc.n) == ("light_cnn", 40)
    assert row.auc.difference < 0


def test_an_open_test_set_is_not_compared_with_held_out_rows(workspace):
    change_parameter("evaluate", "test", "closed")
    with pytest.raises(InputError, match=r"evaluate.test is open in HEAD and closed here"):
        compare_with("HEAD")


def test_other_samples_and_rows_of_one_side_are_named(workspace):
    path = Path("data/predictions/light_cnn.csv")
    pd.read_csv(path).drop(index=79).to_csv(path, index=False)
    rows = pd.read_csv("metrics/comparison.csv")
    rows.assign(model=["light_cnn", "another", BASELINE]).to_csv("metrics/comparison.csv", index=False)
    skipped = compare_with("HEAD").skipped
    assert skipped["light_cnn"] == "other samples, labels or folds: 40 then, 39 now, 39 the same"
    assert skipped["another"] == "new: HEAD has no such row"
    assert skipped["continue_training"] == "is a row no more"


def test_the_markdown_of_a_pull_request(workspace, capsys, monkeypatch):
    write_workspace(test_separation=2.0)
    write_comparison()
    git("tag", "v1")
    monkeypatch.setattr(dvc, "stale_stages", lambda *stages: ["report"])
    main.main(["report", "--against", "v1"])
    printed = capsys.readouterr()
    assert printed.out.startswith("## Results against `v1` (")
    assert "Official test: 40 samples of 40 patients, the same in both." in printed.out
    (line,) = (line for line in printed.out.splitlines() if line.startswith("| continue_training"))
    assert line.count("|") == 8
    assert "0.500 → 0.700" in line
    assert "The same predictions: light_cnn." in printed.out
    assert f"Not compared: {BASELINE} (no file holds its scores)." in printed.out
    assert "report would run again" in printed.err
    main.main(["report", "--against", "v1", "--json"])
    assert json.loads(capsys.readouterr().out)["unchanged"] == ["light_cnn"]


def test_a_commit_without_results_or_of_another_version_is_refused(workspace):
    change_parameter("evaluate", "unheard_of", 1)
    commit()
    git("rm", "--quiet", "metrics/comparison.csv")
    git("checkout", "--quiet", "HEAD~1", "params.yaml")
    commit()
    write_comparison()
    with pytest.raises(InputError, match=r"HEAD has no metrics/comparison.csv"):
        compare_with("HEAD")
    with pytest.raises(InputError, match=r"params.yaml of HEAD~1: unknown key 'evaluate.unheard_of'"):
        compare_with("HEAD~1")
