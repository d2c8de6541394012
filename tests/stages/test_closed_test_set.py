"""While the test set is closed, other test labels change no byte of what evaluate writes; open, they do."""

import hashlib
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import yaml

from mammo.core import row_names, schemas
from mammo.core.errors import InputError
from mammo.core.files import write_table
from mammo.core.paths import (
    BORDERS,
    CASES,
    ENSEMBLES,
    EVALUATION,
    EVALUATION_TABLES,
    OUT_OF_FOLD,
    PAIRED_TESTS,
    PREDICTIONS,
    RECORDS,
    ROC,
    SPLITS,
)
from mammo.core.records import read_record, record_path
from mammo.evaluation import fold_members
from mammo.metrics import discrimination
from stages import evaluate
from tests import arrays, workspaces
from tests.evaluation.test_clinical_tables import cases_of

OUTPUTS = [EVALUATION, EVALUATION_TABLES, PAIRED_TESTS, ROC, RECORDS]


def write_workspace(root: Path, poisoned: bool) -> None:
    """Write what evaluate reads; poisoned: every test label is the other one, wherever a label stands."""
    workspaces.write_store(root)
    index = arrays.index(workspaces.PATIENTS)
    if poisoned:
        index = index.assign(label=np.where(index["split"] == "test", 1 - index["label"], index["label"]))
        write_table(root / "data/pixels/index.csv", index, schemas.INDEX)
    labels = index.set_index("sample_id")["label"]
    write_table(root / SPLITS, index[list(schemas.SPLITS.columns)], schemas.SPLITS)
    birads = pd.array(np.random.default_rng(1).integers(2, 6, len(index)), dtype="Int64")
    cases = cases_of(index).drop(columns="size").assign(birads=birads, image_path=index["sample_id"])
    write_table(root / CASES, cases, schemas.CASES)
    statistics = np.random.default_rng(2).random((len(index), len(schemas.BORDER_STATISTICS)))
    borders = pd.DataFrame(statistics, columns=schemas.BORDER_STATISTICS).assign(image_path=index["sample_id"])
    write_table(root / BORDERS, borders, schemas.BORDERS)
    for number, path in enumerate((PREDICTIONS / "light_cnn.csv", PREDICTIONS / "continue_training.csv")):
        table = arrays.predictions(workspaces.PATIENTS, seed=number)
        table = table.assign(label=table["sample_id"].map(labels))
        write_table(root / path, table, schemas.PREDICTIONS)
    write_table(root / ENSEMBLES / "ensemble_mean.csv", table, schemas.PREDICTIONS)
    write_members(root, labels)


def write_members(root: Path, labels: "pd.Series[int]") -> None:
    """Write the predictions of the members of a cross-validation, each of its own fold and of all test rows."""
    tested = arrays.predictions(workspaces.PATIENTS).query("split == 'test'")
    folds = pd.concat([arrays.out_of_fold(workspaces.PATIENTS), *(tested.assign(fold=fold) for fold in range(3))])
    folds = folds.assign(repeat=0, label=folds["sample_id"].map(labels))
    write_table(root / OUT_OF_FOLD / "light_cnn.csv", folds, schemas.OUT_OF_FOLD)
    mean = fold_members.average_members(folds)
    write_table(root / PREDICTIONS / "members_light_cnn.csv", mean, schemas.PREDICTIONS)


def run(root: Path, test: str, poisoned: bool = False, source: str = "demo") -> dict[str, str]:
    """Evaluate in a new workspace; return the hash of each file that is written."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(workspaces, "PATIENTS", 100)
        workspaces.enter(root, patch, source=source, root="films")
        workspaces.change(
            root,
            seeds={"models": {}},
            cross_validate={"models": {"light_cnn": "light_cnn"}},
            ensemble={"methods": ["mean"], "two_views": []},
            evaluate={
                "test": test,
                "primary": ["baseline_birads", "ensemble_mean"],
                "resamples": 100,
                "reader": {"models": ["ensemble_mean"], "error_shares": [0, 0.5]},
            },
        )
        content = yaml.safe_load((root / "params.yaml").read_text())
        content["models"] = {"light_cnn": content["models"]["light_cnn"]}
        (root / "params.yaml").write_text(yaml.safe_dump(content))
        write_workspace(root, poisoned)
        evaluate.main()
        files = [file for path in OUTPUTS for file in ([path] if path.is_file() else sorted(path.rglob("*.*")))]
        return {str(file): hashlib.sha256(file.read_bytes()).hexdigest() for file in files if file.is_file()}


@pytest.fixture(scope="module")
def closed_root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("closed") / "a"


@pytest.fixture(scope="module")
def closed(closed_root: Path) -> dict[str, str]:
    return run(closed_root, "closed", source="folder")


def test_poisoned_test_labels_change_no_byte_while_closed(closed: dict[str, str], tmp_path: Path) -> None:
    assert len(closed) > 10
    assert run(tmp_path / "b", "closed", poisoned=True, source="folder") == closed


@pytest.mark.slow
def test_the_same_poison_is_seen_where_the_test_set_is_open(tmp_path: Path) -> None:
    clean, poisoned = run(tmp_path / "a", "open"), run(tmp_path / "b", "open", poisoned=True)
    assert clean[str(EVALUATION)] != poisoned[str(EVALUATION)]


def test_an_open_test_set_of_real_data_needs_an_entry(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="python -m mammo open-test"):
        run(tmp_path / "a", "open", source="folder")
    assert not (tmp_path / "a" / EVALUATION).exists()


def test_closed_rows_say_what_they_are_measured_on(closed_root: Path, closed: dict[str, str]) -> None:
    metrics = pd.read_csv(closed_root / EVALUATION_TABLES / "metrics.csv")
    assert set(metrics["samples"]) == {row_names.HELD_OUT_ROWS, row_names.HELD_OUT_FOLDS}
    counts = metrics.query("samples == @row_names.HELD_OUT_ROWS").groupby("model")["n"].max()
    split = arrays.index(100)["split"]
    out_of_fold = counts.index.str.startswith(("members_", "baseline_"))
    assert set(counts[out_of_fold]) == {(split != "test").sum()}
    assert set(counts[~out_of_fold]) == {(split == "val").sum()}


def test_closed_members_have_mean_and_sd_over_the_folds_that_each_never_saw(closed_root: Path, closed: object) -> None:
    folds = pd.read_csv(closed_root / OUT_OF_FOLD / "light_cnn.csv").query("split == 'oof'")
    aucs = [discrimination.auc(rows["label"], rows["prob"]) for _, rows in folds.groupby("fold")]
    metrics = read_record(closed_root / record_path("evaluate", "members_light_cnn")).metrics
    assert metrics["retrained"] == len(aucs) == 3
    assert metrics["auc_retrained_mean"] == pytest.approx(np.mean(aucs))
    assert metrics["auc_retrained_sd"] == pytest.approx(np.std(aucs, ddof=1))
