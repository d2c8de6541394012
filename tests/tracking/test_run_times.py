"""How long a training took, by its newest whole run."""

import shutil
from pathlib import Path

import mlflow
import pytest

from mammo.tracking.run_times import read_run_times


def test_the_newest_whole_run_counts(tmp_path: Path, empty_store: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    monkeypatch.delenv("DVC_ROOT", raising=False)
    monkeypatch.chdir(tmp_path)
    assert read_run_times("tests", ["train@a"]) == {}
    assert not Path("mlflow.db").exists()
    shutil.copyfile(empty_store, "mlflow.db")
    client = mlflow.MlflowClient(f"sqlite:///{tmp_path}/mlflow.db")
    experiment = client.create_experiment("tests")
    for start, end, tags in ((1_000, 9_000, {}), (10_000, 17_500, {}), (20_000, 20_100, {"replayed": "true"})):
        run = client.create_run(experiment, start_time=start, tags=tags, run_name="train@a")
        client.set_terminated(run.info.run_id, end_time=end)
    assert read_run_times("tests", ["train@a", "train@b"]) == {"train@a": 7.5}
    assert read_run_times("others", ["train@a"]) == {}
