"""`mammo experiments`: changed parameters, and the metrics of the row that validation selects; on real experiments."""

import json
from pathlib import Path

import pandas as pd
import pytest
import yaml
from dvc.repo import Repo
from dvc_project import commit, git
from tiny_results import write_workspace

from mammo.cli import main
from mammo.core.errors import InputError
from mammo.pipeline import experiments
from mammo.pipeline.revisions import open_revision

EVALUATE = """stages:
  evaluate:
    cmd: mkdir -p metrics && cp rows.csv metrics/comparison.csv
    params: [evaluate.value, train.epochs]
    deps: [rows.csv]
    outs: [metrics/comparison.csv: {cache: false}]
"""


@pytest.fixture
def workspace(dvc_project: Path) -> Path:
    """A committed run of a pipeline of one stage."""
    Path("dvc.yaml").write_text(EVALUATE)
    Path("dvc.lock").unlink()
    write_workspace()
    with Repo() as repo:
        repo.reproduce()
    commit()
    return dvc_project


def test_an_experiment_shows_what_it_changes_and_the_row_that_validation_selects(workspace, capsys):
    with Repo() as repo:
        repo.experiments.run(name="wider", params=["evaluate.value=0.8"])
        repo.experiments.run(name="later", params=["train.epochs=3"], queue=True)
    git("checkout", "--quiet", ".")
    baseline, *rest = experiments.list_experiments()
    named = {row.name: row for row in rest}
    assert (baseline.state, baseline.changes) == ("baseline", {})
    assert named["wider"].changes == {"evaluate.value": (0.9, 0.8)}
    assert named["later"].state == "queued"
    assert named["later"].changes["train.epochs"] == (20, 3)
    assert named["later"].selected is None
    for row in (baseline, named["wider"]):
        assert row.selected is not None
        assert (row.selected.row, row.selected.reaches_floors) == ("light_cnn", True)
        assert row.selected.val_auc > 0.9
    main.main(["experiments"])
    printed = capsys.readouterr().out
    assert max(map(len, printed.splitlines())) <= 80
    for part in ("wider", "evaluate.value: 0.9 -> 0.8", "light_cnn", "AUC 0.500 (0.400-0.800)", "sensitivity 0.900"):
        assert part in printed
    assert "(queued)" in printed
    main.main(["experiments", "--all", "--json"])
    assert {row["name"] for row in json.loads(capsys.readouterr().out)} >= {"wider", "later"}


def test_no_test_score_selects_a_row(workspace):
    with open_revision("HEAD") as revision:
        before = experiments.select_row(revision)
    write_workspace(test_separation=4.0)  # continue_training is by far the best on test rows
    with Repo() as repo:
        repo.reproduce()
    commit()
    with open_revision("HEAD") as revision:
        assert pd.read_csv("metrics/comparison.csv")["auc"].idxmax() == 1
        after = experiments.select_row(revision)
    assert (after.row, after.val_auc) == (before.row, before.val_auc) == ("light_cnn", before.val_auc)


def test_without_a_row_that_holds_the_floors_the_row_is_marked(workspace, capsys):
    content = yaml.safe_load(Path("params.yaml").read_text())
    content["tracking"]["champion"] |= {"sensitivity_floor": 1.0, "specificity_floor": 1.0}
    Path("params.yaml").write_text(yaml.safe_dump(content))
    commit()
    (baseline,) = experiments.list_experiments()
    assert baseline.selected is not None
    assert not baseline.selected.reaches_floors
    main.main(["experiments"])
    printed = capsys.readouterr().out
    assert "light_cnn*" in printed
    assert "No experiments; `dvc exp run -S KEY=VALUE` makes one." in printed


def test_what_a_commit_does_not_hold_is_said(workspace):
    git("rm", "--quiet", "data/splits.csv")
    commit()
    (baseline,) = experiments.list_experiments()
    assert baseline.selected is None
    assert baseline.problem is not None
    assert "has no data/splits.csv" in baseline.problem


def test_a_file_that_dvcs_cache_lacks_and_an_unknown_revision_are_refused(dvc_project):
    with open_revision("HEAD") as revision:
        assert revision.read_text(Path("data/table.csv")) == "a\n1\n"
        for file in Path(".dvc/cache/files").rglob("*"):
            if file.is_file():
                file.unlink()
        with pytest.raises(InputError, match=r"data/table.csv of HEAD is not in DVC's cache; `dvc fetch"):
            revision.read_text(Path("data/table.csv"))
    with pytest.raises(InputError, match="nope: unknown Git revision"), open_revision("nope"):
        pass
