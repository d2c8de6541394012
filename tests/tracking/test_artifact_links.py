"""Bytes that DVC's cache holds are stored once; a link never lets the store change the cache."""

import hashlib
import os
import shutil
from pathlib import Path

import mlflow
import pytest

from mammo.core.files import write_text
from mammo.core.records import read_record, record_path
from mammo.tracking import artifact_links, live_run, publishing

REPORT = Path("data/report/report.html")
TEXT = "a figure " * 20_000


@pytest.fixture
def run(tmp_path: Path, empty_store: Path, monkeypatch: pytest.MonkeyPatch) -> mlflow.entities.Run:
    """The run of a stage whose report is in DVC's cache, as after `dvc repro`."""
    for variable in ("MLFLOW_TRACKING_URI", "DVC_ROOT", "DVC_EXP_NAME", "DVC_EXP_BASELINE_REV"):
        monkeypatch.delenv(variable, raising=False)
    monkeypatch.chdir(tmp_path)
    shutil.copyfile(empty_store, "mlflow.db")
    write_text(REPORT, TEXT)
    with live_run.tracked_run("report", experiment="tests", parameters={}, tags={}) as tracked:
        tracked.log_artifact(REPORT.parent)
    cache(Path(".dvc/cache"))
    return publishing.publish("tests", [read_record(record_path("report"))]).runs[0]


def cache(folder: Path) -> Path:
    digest = hashlib.md5(TEXT.encode()).hexdigest()
    cached = folder / "files" / "md5" / digest[:2] / digest[2:]
    write_text(cached, TEXT)
    cached.chmod(0o444)
    return cached


def stored(run: mlflow.entities.Run) -> Path:
    return Path(run.info.artifact_uri.removeprefix("file://")) / "report" / "report.html"


def test_what_the_cache_holds_is_stored_once(run):
    assert artifact_links.link_artifacts([run]) == len(TEXT)
    cached = next(Path(".dvc/cache/files/md5").rglob("*/*"))
    assert stored(run).samefile(cached)
    assert stored(run).read_text() == TEXT
    assert artifact_links.link_artifacts([run]) == 0
    assert publishing.publish("tests", [read_record(record_path("report"))]).differing == []
    shutil.rmtree(stored(run).parent)
    assert cached.read_text() == TEXT


def test_the_cache_that_dvcs_settings_name_is_used(run):
    shutil.rmtree(".dvc/cache")
    write_text(Path(".dvc/config"), "[core]\n    analytics = false\n['remote \"store\"']\n    url = s3://x/%y\n")
    write_text(Path(".dvc/config.local"), "[cache]\n    dir = ../shared\n    type = hardlink\n")
    cached = cache(Path("shared"))
    assert artifact_links.link_artifacts([run]) == len(TEXT)
    assert stored(run).samefile(cached)


def test_other_bytes_and_a_disk_without_links_are_left_alone(run, monkeypatch):
    def refuse(*words: object) -> None:
        raise OSError("no links here")

    monkeypatch.setattr(os, "link", refuse)
    assert artifact_links.link_artifacts([run]) == 0
    monkeypatch.undo()
    stored(run).write_text(TEXT + "!")
    assert artifact_links.link_artifacts([run]) == 0
    assert stored(run).read_text() == TEXT + "!"
