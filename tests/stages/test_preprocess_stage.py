"""The stage preprocess, in processes of its own: it resumes after any end, and ends in the same bytes."""

import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import imports
import numpy as np
import pandas as pd
import pytest
import yaml

from mammo.core import schemas
from mammo.core.config import PreprocessConfig
from mammo.core.files import read_table, sha256, write_table
from mammo.data.datasets import cbis_ddsm
from mammo.data.images.preprocess import prepare_case, prepare_sample
from mammo.data.images.without_lesion import REMOVALS

SIZE_PX = 48
# The stage, with a note of every case that it prepares, and slow enough to be stopped on its way.
SLOWED = """
import signal, sys, time
signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell ignores it for what it starts in the background
from pathlib import Path
from mammo.data.images import preprocess as preprocessing
import stages
note, seconds_each = Path(sys.argv[1]), float(sys.argv[2])
prepare_sample = preprocessing.prepare_sample
def noting(case, *rest):
    time.sleep(seconds_each)
    with note.open("a") as file:
        print(case["sample_id"], file=file)
    return prepare_sample(case, *rest)
preprocessing.prepare_sample = noting
from stages import preprocess
sys.argv[1:] = []
stages.run(preprocess.main)
"""


class Project:
    """A folder in which the stage can run: tables and films as ingest and split leave them."""

    def __init__(self, folder: Path, cohort: Path, empty_store: Path):
        self.folder = folder
        self.root = folder / "films"
        shutil.copytree(cohort, self.root)
        shutil.copy(empty_store, folder / "mlflow.db")
        located = cbis_ddsm.locate(self.root, "lesion", ["mass", "calcification"], 1)
        self.cases = located.cases
        write_table(folder / "data/cases.csv", located.cases, schemas.CASES)
        write_table(folder / "data/manifest.csv", manifest(self.root, located.files), schemas.MANIFEST)
        patients = {patient: number % 3 for number, patient in enumerate(sorted(set(located.cases["patient_id"])))}
        place = located.cases["patient_id"].map(patients)
        split = place.map({0: "train", 1: "val", 2: "test"})
        table = located.cases[["sample_id", "patient_id"]].assign(split=split, fold=None)
        write_table(folder / "data/splits.csv", table, schemas.SPLITS)
        self.change({})

    def change(self, preprocess: dict[str, object]) -> None:
        """Write params.yaml: the committed one, with these films and changes."""
        content = yaml.safe_load((imports.ROOT / "params.yaml").read_text())
        content["ingest"] |= {"source": "folder", "root": str(self.root)}
        content["preprocess"] |= {"size_px": SIZE_PX} | preprocess
        (self.folder / "params.yaml").write_text(yaml.safe_dump(content))

    def start(self, note: str, seconds_each: float = 0) -> subprocess.Popen[str]:
        foreign = {name for name in os.environ if name.startswith(("DVC_", "MLFLOW_", "GIT_"))}
        environment = {key: value for key, value in os.environ.items() if key not in foreign}
        environment |= {"PYTHONPATH": imports.python_path(imports.ROOT, imports.ROOT / "src")}
        environment |= {"DVC_ROOT": str(self.folder)}
        environment |= {"MLFLOW_TRACKING_URI": f"sqlite:///{self.folder / 'mlflow.db'}"}
        words = [sys.executable, "-c", SLOWED, str(self.folder / note), str(seconds_each)]
        return subprocess.Popen(
            words, cwd=self.folder, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
        )

    def finish(self, note: str) -> str:
        """Run to the end; returns what was printed."""
        process = self.start(note)
        output = process.communicate(timeout=120)[0]
        assert process.returncode == 0, output
        return output

    def prepared(self, note: str) -> list[str]:
        path = self.folder / note
        return path.read_text().split() if path.is_file() else []

    def workshops(self) -> list[Path]:
        return [path for path in (self.folder / ".dvc/tmp/mammo").glob("pixels-*") if path.is_dir()]

    def finished(self) -> int:
        """How many images the unfinished store holds."""
        sizes = [path.stat().st_size for path in self.folder.glob(".dvc/tmp/mammo/pixels-*/store/images.npy")]
        return sum((size - 128) // SIZE_PX**2 for size in sizes)

    def store(self) -> dict[str, bytes]:
        return {path.name: path.read_bytes() for path in sorted((self.folder / "data/pixels").iterdir())}


def manifest(root: Path, files: list[str]) -> pd.DataFrame:
    rows = [
        {"path": path, "bytes": (root / path).stat().st_size, "height_px": 1, "width_px": 1, "sha256": digest}
        for path in files
        for digest in [sha256(root / path)]
    ]
    return pd.DataFrame(rows).assign(perceptual_hash=None)


@pytest.fixture
def project(tmp_path: Path, cohort: Path, empty_store: Path) -> Project:
    return Project(tmp_path, cohort, empty_store)


@pytest.fixture(scope="module")
def uninterrupted(tmp_path_factory: pytest.TempPathFactory, cohort: Path, empty_store: Path) -> Project:
    whole = Project(tmp_path_factory.mktemp("whole"), cohort, empty_store)
    whole.finish("note")
    return whole


def stopped(project: Project, stop: Callable[[subprocess.Popen[str]], None], after: int = 8) -> tuple[int, str]:
    """Start the stage and stop it once so many images are finished; returns how many were, and what was printed."""
    process = project.start("first", 0.02)
    deadline = time.monotonic() + 60
    while project.finished() < after and process.poll() is None and time.monotonic() < deadline:
        time.sleep(0.002)
    stop(process)
    output = process.communicate(timeout=60)[0]
    assert process.returncode != 0, output
    return project.finished(), output


def test_the_store_holds_every_case_in_order(uninterrupted: Project) -> None:
    folder = uninterrupted.folder / "data/pixels"
    arrays = {"images.npy", "masks.npy", "without_lesion.npy"}
    tables = {"index.csv", "sizes.csv", "without_lesion.csv", "fingerprint.txt"}
    assert set(uninterrupted.store()) == arrays | tables
    index, sizes = read_table(folder / "index.csv", schemas.INDEX), read_table(folder / "sizes.csv", schemas.SIZES)
    removals = read_table(folder / "without_lesion.csv", schemas.WITHOUT_LESION)["removal"]
    images, masks, without_lesion = (np.load(folder / f"{name}.npy") for name in ("images", "masks", "without_lesion"))
    cases = uninterrupted.cases.set_index("sample_id").loc[index["sample_id"]].reset_index()
    settings = PreprocessConfig.model_validate(
        yaml.safe_load((uninterrupted.folder / "params.yaml").read_text())["preprocess"]
    )
    assert sorted(index["sample_id"]) == sorted(uninterrupted.cases["sample_id"])
    assert list(index["sample_id"]) == list(sizes["sample_id"])
    film_marks = uninterrupted.cases.groupby(["patient_id", "laterality", "view"])["mask_path"].agg(";".join)
    for number, case in enumerate(cases.to_dict(orient="records")):
        every_mark = film_marks[case["patient_id"], case["laterality"], case["view"]]
        sample = prepare_sample(case | {"film_mask_path": every_mark}, uninterrupted.root, "lesion", settings)
        assert np.array_equal(without_lesion[number], sample.without_lesion)
        assert removals[number] == sample.removal
        made = prepare_case(case, uninterrupted.root, "lesion", settings)
        assert np.array_equal(images[number], made.image)
        assert np.array_equal(masks[number], made.mask)
        assert sizes["lesion_share"][number] == made.lesion_share
    assert not uninterrupted.workshops()


def test_the_fingerprint_names_the_content(uninterrupted: Project, tmp_path: Path) -> None:
    copy = tmp_path / "copy"
    shutil.copytree(uninterrupted.folder / "data/pixels", copy)
    printed = (copy / "fingerprint.txt").read_text()
    (copy / "fingerprint.txt").unlink()
    assert printed == sha256(copy) + "\n"


@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGINT])
def test_a_stopped_run_goes_on_where_it_was(project: Project, uninterrupted: Project, how: signal.Signals) -> None:
    done, output = stopped(project, lambda process: process.send_signal(how))
    total = len(project.cases)
    assert 8 <= done < total
    assert not (project.folder / "data/pixels").exists()
    if how == signal.SIGINT:
        assert f"stopped at {done} of {total} images; the next run continues there" in output
    output = project.finish("second")
    assert f"resumed at {done} of {total} images" in output
    assert f"{done}/{total}" in output
    order = list(read_table(project.folder / "data/pixels/index.csv", schemas.INDEX)["sample_id"])
    assert sorted(project.prepared("second")) == sorted(order[done:])
    assert project.store() == uninterrupted.store()
    assert not project.workshops()


@pytest.mark.slow
def test_a_run_that_was_stopped_at_its_very_end_prepares_nothing_again(
    project: Project, uninterrupted: Project
) -> None:
    stopped(project, lambda process: process.kill())
    (folder,) = project.workshops()
    whole = uninterrupted.folder / "data/pixels"
    shares, removals = (pd.read_csv(whole / f"{name}.csv").iloc[:, 1] for name in ("sizes", "without_lesion"))
    films = read_table(whole / "index.csv", schemas.INDEX).merge(uninterrupted.cases, on="sample_id")["image_path"]
    borders = read_table(whole.parent / "borders.csv", schemas.BORDERS).set_index("image_path").loc[films]
    columns = np.column_stack([shares, removals.map(REMOVALS.index), borders])
    measurements = np.ascontiguousarray(columns, np.float64)  # the header of another order is another file
    shutil.copytree(whole, folder / "store", dirs_exist_ok=True)
    np.save(folder / "measurements.npy", measurements)
    (folder / "store/fingerprint.txt").write_text("of a run that was cut short\n")
    project.finish("second")
    assert project.prepared("second") == []
    assert project.store() == uninterrupted.store()


@pytest.mark.slow
@pytest.mark.parametrize("changed", ["parameters", "films"])
def test_unfinished_work_on_other_foundations_is_not_used(project: Project, changed: str) -> None:
    stopped(project, lambda process: process.kill())
    if changed == "parameters":
        project.change({"window_percentiles": [2.0, 98.0]})
    else:
        path = project.folder / "data/manifest.csv"
        files = read_table(path, schemas.MANIFEST)
        write_table(path, files.assign(bytes=files["bytes"] + 1), schemas.MANIFEST)
    output = project.finish("second")
    assert "resumed" not in output
    assert len(project.prepared("second")) == len(project.cases)


def test_a_film_that_changed_after_ingest_ends_in_one_message(project: Project) -> None:
    path = project.root / str(project.cases["image_path"].iloc[0])
    path.write_bytes(path.read_bytes() + b"\0")
    process = project.start("first")
    output = process.communicate(timeout=60)[0]
    assert process.returncode == 1
    assert f"{path} has changed since ingest; run `dvc repro -f ingest`" in output
    assert "Traceback" not in output


def test_16_bits_are_stored_and_tracked_in_the_same_range(project: Project, uninterrupted: Project) -> None:
    project.change({"bits": 16})
    project.finish("note")
    fine, coarse = (np.load(each.folder / "data/pixels/images.npy") for each in (project, uninterrupted))
    assert fine.dtype == np.uint16
    assert np.abs(fine / 257 - coarse).mean() < 1
    means = [
        yaml.safe_load((each.folder / "metrics/records/preprocess.json").read_text())["metrics"]["mean_pixel"]
        for each in (project, uninterrupted)
    ]
    assert means[0] == pytest.approx(means[1], abs=1)
    assert means[1] == pytest.approx(coarse.mean())
