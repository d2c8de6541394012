"""While the test set is closed, other test labels change no byte of what gradcam, report and publish write."""

import hashlib
import shutil
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from mammo import models
from mammo.core import schemas
from mammo.core.files import write_table
from mammo.core.paths import (
    AUGMENTED,
    CASES,
    COMPARISON,
    DROPPED,
    EXCLUDED,
    GRADCAM,
    HISTORY,
    MODELS,
    RECORDS,
    REPORT,
)
from mammo.pipeline import promotion
from mammo.tracking import live_run, model_registry
from stages import gradcam, publish, report
from tests import arrays, poisons, workspaces
from tests.stages import test_closed_test_set

NAME = "light_cnn"
STAGES = ["ingest", "split", "preprocess", "data_report", "continue_training", "ensemble", "report"]
NO_FLOORS = {"significance": 0.05, "sensitivity_floor": 0.0, "specificity_floor": 0.0}
EPOCHS = {"loss": [0.7, 0.6], "val_loss": [0.7, 0.6], "val_auc": [0.5, 0.6]}
RATES = {"val_sensitivity": [0.4, 0.5], "val_specificity": [0.6, 0.7]}


def write_trainings(root: Path) -> None:
    """Write what trainings leave for the explanation and the report: an untrained model, histories, records."""
    models.save(models.build(arrays.LIGHT, arrays.SHAPE, seed=1), root / MODELS / f"{NAME}.keras")
    for path in (EXCLUDED, DROPPED):
        write_table(root / path, pd.DataFrame(columns=list(schemas.EXCLUDED.columns)), schemas.EXCLUDED)
    for folder in (HISTORY, AUGMENTED):
        (root / folder).mkdir(parents=True)
    examples = np.zeros(2, [("original", np.uint8, arrays.SHAPE[:2]), ("all", np.uint8, arrays.SHAPE[:2])])
    for name in (NAME, "continue_training"):
        pd.DataFrame(EPOCHS | RATES).to_csv(root / HISTORY / f"{name}.csv", index=False)
        np.save(root / AUGMENTED / f"{name}.npy", examples)
    per_model = [(stage, NAME) for stage in ("train", "cross_validate", "gradcam")]
    for stage, model in [*((stage, None) for stage in STAGES), *per_model]:
        with live_run.tracked_run(stage, model=model, experiment="mammo", parameters={}, tags={}) as tracked:
            tracked.log_metrics({"best_epoch": 1} if stage in report.TRAININGS else {})


def poison(root: Path) -> None:
    """Turn every label of a test patient, wherever one stands."""
    poisons.turn_test_labels(root)
    cases = pd.read_csv(root / CASES, dtype=str, keep_default_na=False)
    pathology = cases["label"].map({"0": "BENIGN", "1": "MALIGNANT"})
    cases.assign(pathology=pathology).to_csv(root / CASES, index=False)


def publish_workspace(root: Path, store: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, str]:
    """Publish on an empty server; return the pages, and the version that would be registered."""
    registered: dict[str, str] = {}

    def register(run: object, spec: model_registry.VersionSpec) -> model_registry.Version:
        registered["version"] = f"{spec.name} {spec.model} {spec.alias} {spec.tags} {spec.note}"
        return model_registry.Version(spec.name, "1", "", spec.model, "")

    monkeypatch.chdir(root)
    shutil.copyfile(store, root / "store.db")
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{root / 'store.db'}")
    monkeypatch.setattr(promotion, "register", register)
    publish.main()
    return registered | {path.name: path.read_text() for path in (COMPARISON, COMPARISON.with_suffix(".md"))}


def run_stages(root: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, str]:
    """Run gradcam and report in a workspace that evaluate has left; return the hash of each file that they write."""
    monkeypatch.chdir(root)
    gradcam.main(NAME)
    report.main()
    paths = [path for folder in (GRADCAM, REPORT, RECORDS) for path in sorted(folder.rglob("*.*")) if path.is_file()]
    return {str(path): hashlib.sha256(path.read_bytes()).hexdigest() for path in paths}


@pytest.fixture(scope="module")
def evaluated(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A closed workspace of real data, after evaluate."""
    root = tmp_path_factory.mktemp("evaluated") / "a"
    with pytest.MonkeyPatch.context() as monkeypatch:
        test_closed_test_set.run(root, "closed", source="folder")
        monkeypatch.chdir(root)
        workspaces.change(root, ingest={"root": "films"})  # of a download that is no longer there
        workspaces.change(root, gradcam={"methods": ["gradcam"], "samples": 2}, tracking={"champion": NO_FLOORS})
        write_trainings(root)
    return root


@pytest.fixture(scope="module")
def poisoned(evaluated: Path) -> Path:
    """The same workspace with other test labels."""
    root = evaluated.parent / "b"
    shutil.copytree(evaluated, root)
    poison(root)
    assert (root / CASES).read_bytes() != (evaluated / CASES).read_bytes()
    return root


@pytest.mark.slow
def test_poisoned_test_labels_change_no_byte_of_maps_and_report(
    evaluated: Path, poisoned: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    clean = run_stages(evaluated, monkeypatch)
    assert {"summary.csv", "report.html"} <= {Path(path).name for path in clean}
    assert run_stages(poisoned, monkeypatch) == clean


@pytest.mark.slow
def test_poisoned_test_labels_change_no_byte_that_is_published_and_no_promotion(
    evaluated: Path, poisoned: Path, empty_store: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    clean = publish_workspace(evaluated, empty_store, monkeypatch)
    assert "members_light_cnn" in clean["comparison.csv"]
    assert "test_auc" not in clean["version"]
    assert "The test set was closed" in clean["version"]
    assert publish_workspace(poisoned, empty_store, monkeypatch) == clean
