"""A bundle holds what the run had, says so when it does not, and reads probabilities as the run's own code does."""

import json
import math
import shutil
import subprocess
import zipfile
from pathlib import Path

import finished
import numpy as np
import pytest
import yaml

from mammo.core import schemas
from mammo.core.config import load_config
from mammo.core.files import read_table, sha256
from mammo.core.paths import PREDICTIONS
from mammo.evaluation import operating_point
from mammo.inference import bundle, predictor
from mammo.inference.about import About, BundleError, agree
from mammo.inference.workspace_models import describe_model
from mammo.metrics import calibration, conformal
from tests import arrays


@pytest.fixture
def run(finished_lesions: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A finished run of its own, as the current folder."""
    place = tmp_path / "run"
    shutil.copytree(finished_lesions, place)
    monkeypatch.chdir(place)
    return place


@pytest.fixture
def folder(run: Path, tmp_path: Path) -> Path:
    """The bundle of its model."""
    bundle.write(finished.NAME, tmp_path / "bundle")
    return tmp_path / "bundle"


def about_of(**changes: object) -> About:
    settings = load_config(finished.ROOT / "params.yaml")
    given: dict[str, object] = {
        "name": "one",
        "unit": "lesion",
        "preprocess": settings.preprocess,
        "flips": True,
        "model_sha256": "0" * 64,
    }
    return About.model_validate(given | changes)


# What a bundle says


def test_it_says_what_the_run_did(run: Path) -> None:
    about, loaded = describe_model(finished.NAME), load_config()
    predictions = read_table(PREDICTIONS / f"{finished.NAME}.csv", schemas.PREDICTIONS)
    validation = predictions[predictions["split"] == "val"]
    assert (about.unit, about.preprocess, about.flips) == ("lesion", loaded.preprocess, loaded.predict.flips)
    point = about.operating_point
    assert point is not None
    frozen = operating_point.choose_thresholds(predictions, loaded.evaluate.rule, loaded.evaluate.value)
    assert point.threshold == frozen.iloc[0]
    assert about.validation["n"] == len(validation)
    record = json.loads(Path(f"metrics/records/train/{finished.NAME}.json").read_text())
    assert about.model_sha256 == record["artifacts"][f"data/models/{finished.NAME}.keras"]
    assert about.data == record["tags"]["data"]


def test_what_params_say_now_changes_nothing(run: Path) -> None:
    before = describe_model(finished.NAME)
    content = yaml.safe_load(Path("params.yaml").read_text())
    content["preprocess"] |= {"size_px": 96, "clahe": 2.0}
    content["predict"]["flips"] = False
    content["evaluate"]["value"] = 0.5
    Path("params.yaml").write_text(yaml.safe_dump(content))
    assert describe_model(finished.NAME) == before


@pytest.mark.parametrize("seed", range(3))
def test_probabilities_are_read_as_the_evaluation_reads_them(seed: int) -> None:
    predictions = arrays.predictions(patients=100, seed=seed)
    validation = predictions[predictions["split"] == "val"]
    label, known = validation["label"].to_numpy(), validation["prob"].to_numpy()
    slope, shift = calibration.platt_line(label, known)
    levels = [0.8, 0.9, 0.95]
    quantiles = conformal.quantiles(label, known, levels)
    about = about_of(
        calibration={"slope": slope, "shift": shift},
        conformal=dict(zip(map(str, levels), quantiles, strict=True)),
    )
    asked = np.concatenate([np.linspace(0, 1, 501), known, 1 - known])
    np.testing.assert_allclose(about.calibrate(asked), calibration.platt(label, known)(asked), atol=1e-12)
    for level, held in zip(levels, conformal.fit(label, known, levels)(asked), strict=True):
        expected = np.where(held.sum(axis=1) != 1, "refer", np.where(held[:, 1], "malignant", "benign"))
        assert about.prediction_sets(asked, level) == expected.tolist()


def test_too_few_validation_rows_refer_every_film() -> None:
    label, known = np.array([0, 1, 0, 1]), np.array([0.2, 0.7, 0.3, 0.9])
    (quantile,) = conformal.quantiles(label, known, [0.95])
    assert quantile == np.inf
    about = about_of(conformal={"0.95": None})
    assert set(about.prediction_sets(np.linspace(0, 1, 11), 0.95)) == {"refer"}


def test_an_unknown_confidence_is_refused_with_the_others() -> None:
    with pytest.raises(BundleError, match=r"confidence 0\.7; there are 0\.8, 0\.9"):
        about_of(conformal={"0.8": 0.5, "0.9": 0.6}).prediction_sets(np.array([0.5]), 0.7)


def test_what_is_not_known_is_not_made_up() -> None:
    about, prob = about_of(), np.array([0.1, 0.9])
    assert np.isnan(about.calibrate(prob)).all()
    assert about.classify(prob) == about.prediction_sets(prob, 0.9) == [None, None]


@pytest.mark.parametrize(
    ("call", "held", "answer"),
    [
        ("malignant", "malignant", "malignant"),
        ("benign", "benign", "benign"),
        ("malignant", "benign", "refer"),
        ("benign", "malignant", "refer"),
        ("malignant", "refer", "refer"),
        ("benign", None, "benign"),
        (None, "malignant", "malignant"),
        (None, None, None),
    ],
)
def test_where_call_and_set_differ_the_answer_is_refer(call: str | None, held: str | None, answer: str | None) -> None:
    assert agree(call, held) == answer


def test_the_operating_point_itself_is_called_malignant() -> None:
    about = about_of(operating_point={"rule": "youden", "value": 0, "threshold": 0.5})
    assert about.classify(np.array([0.49, 0.5])) == ["benign", "malignant"]


# Writing


def test_a_bundle_passes_sha256sum(folder: Path) -> None:
    checked = subprocess.run(["sha256sum", "--check", "--strict", "SHA256SUMS"], cwd=folder, capture_output=True)
    assert checked.returncode == 0
    listed = {line.split()[1] for line in (folder / "SHA256SUMS").read_text().splitlines()}
    assert listed == {path.name for path in folder.iterdir()} - {"SHA256SUMS"}


def test_a_zip_has_the_same_bytes_every_time_and_holds_the_folder(folder: Path, tmp_path: Path) -> None:
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        bundle.write(finished.NAME, tmp_path / name / "one.zip")
    assert sha256(tmp_path / "a/one.zip") == sha256(tmp_path / "b/one.zip")
    with zipfile.ZipFile(tmp_path / "a/one.zip") as archive:
        assert set(archive.namelist()) == {path.name for path in folder.iterdir()}


def test_it_replaces_an_older_bundle_and_nothing_else(folder: Path, tmp_path: Path) -> None:
    bundle.write(finished.NAME, folder)
    other = tmp_path / "thesis"
    other.mkdir()
    (other / "chapter.tex").write_text("years of work")
    with pytest.raises(BundleError, match="something else"):
        bundle.write(finished.NAME, other)
    assert (other / "chapter.tex").read_text() == "years of work"


def test_an_unknown_model_is_named_with_the_others(run: Path) -> None:
    with pytest.raises(BundleError, match=rf"no finished model 'nobody'.*{finished.NAME}"):
        describe_model("nobody")


@pytest.mark.parametrize("changed", [f"data/models/{finished.NAME}.keras", f"data/predictions/{finished.NAME}.csv"])
def test_a_file_that_is_not_the_recorded_one_is_refused(run: Path, changed: str) -> None:
    with Path(changed).open("a") as file:
        file.write("\n")
    with pytest.raises(BundleError, match="not what its record says; restore it with `dvc checkout`"):
        describe_model(finished.NAME)


def test_stages_that_saw_other_pixels_are_refused(run: Path) -> None:
    path = Path("metrics/records/preprocess.json")
    path.write_text(path.read_text().replace('"data": "', '"data": "f'))
    with pytest.raises(BundleError, match="different pixels; run `dvc repro`"):
        describe_model(finished.NAME)


# Reading


@pytest.mark.parametrize("name", ["model.keras", "bundle.json", "model_card.md"])
def test_a_changed_file_is_a_wrong_checksum(folder: Path, name: str) -> None:
    content = bytearray((folder / name).read_bytes())
    content[len(content) // 2] ^= 1
    (folder / name).write_bytes(content)
    with pytest.raises(BundleError, match=rf"{name} has a wrong checksum"), bundle.open_bundle(folder):
        pass


def test_a_missing_file_is_named(folder: Path) -> None:
    (folder / "model.keras").unlink()
    with pytest.raises(BundleError, match=r"model\.keras is missing"), bundle.open_bundle(folder):
        pass


def test_a_model_cannot_be_smuggled_past_the_checksums(folder: Path) -> None:
    sums = folder / "SHA256SUMS"
    sums.write_text("".join(line for line in sums.read_text().splitlines(keepends=True) if "model.keras" not in line))
    with pytest.raises(BundleError, match=r"does not list model\.keras"), bundle.open_bundle(folder):
        pass


@pytest.mark.parametrize("content", [b"", b"PK\x03\x04 torn"])
def test_a_torn_zip_is_named(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "one.zip").write_bytes(content)
    with (
        pytest.raises(BundleError, match=r"one\.zip: not a zip file, or damaged"),
        bundle.open_bundle(tmp_path / "one.zip"),
    ):
        pass


def test_a_bundle_of_another_version_is_refused(folder: Path) -> None:
    path = folder / "bundle.json"
    path.write_text(path.read_text().replace('"format": 1', '"format": 2'))
    lines = [line for line in (folder / "SHA256SUMS").read_text().splitlines() if not line.endswith("bundle.json")]
    (folder / "SHA256SUMS").write_text("\n".join([*lines, f"{sha256(path)}  bundle.json"]) + "\n")
    with pytest.raises(BundleError, match=r"not of this version of mammo.*format"), bundle.open_bundle(folder):
        pass


def opened(path: Path) -> None:
    with bundle.open_bundle(path):
        pass


def rezip(folder: Path, target: Path, **more: bytes) -> Path:
    """Zip a bundle's folder with further members, compressed."""
    with zipfile.ZipFile(target, "w", zipfile.ZIP_DEFLATED) as archive:
        for path in sorted(folder.iterdir()):
            archive.write(path, path.name)
        for name, content in more.items():
            archive.writestr(name, content)
    return target


def test_a_zip_that_others_compressed_is_the_same_bundle(folder: Path, tmp_path: Path) -> None:
    opened(rezip(folder, tmp_path / "again.zip"))


def test_a_zip_bomb_is_refused_before_it_is_unpacked(folder: Path, tmp_path: Path) -> None:
    with pytest.raises(BundleError, match=r"unpacks to .* bytes, more than 20 times its own size"):
        opened(rezip(folder, tmp_path / "bomb.zip", padding=bytes(100_000_000)))


def test_a_file_that_is_not_listed_is_refused(folder: Path, tmp_path: Path) -> None:
    with pytest.raises(BundleError, match=r"sitecustomize is in it and not listed"):
        opened(rezip(folder, tmp_path / "more.zip", sitecustomize=b"print()"))
    (folder / "notes.txt").write_text("mine")
    with pytest.raises(BundleError, match=r"notes\.txt is in it and not listed"):
        opened(folder)


@pytest.mark.parametrize("name", ["../x.txt", "/etc/passwd", "a\\..\\b"])
def test_a_list_of_files_outside_is_refused(folder: Path, name: str) -> None:
    with (folder / "SHA256SUMS").open("a") as sums:
        sums.write(f"{'0' * 64}  {name}\n")
    with pytest.raises(BundleError, match="lies outside of it"):
        opened(folder)


def damage(content: bytes, kind: str) -> bytes:
    """Damage a zip file: set a bit of its first member's header, of its central directory, or of its data."""
    damaged, directory = bytearray(content), content.index(b"PK\x01\x02")
    if kind == "encrypted":
        damaged[6] |= 1
        damaged[directory + 8] |= 1
    elif kind == "method":
        damaged[8:10] = damaged[directory + 10 : directory + 12] = b"\x63\x00"
    elif kind == "data":
        damaged[200:260] = bytes(60)
    return bytes(damaged)


@pytest.mark.parametrize(
    ("kind", "why"), [("encrypted", "encrypted; unpack it"), ("method", "or damaged"), ("data", "or damaged")]
)
def test_a_zip_that_cannot_be_read_is_an_error(folder: Path, tmp_path: Path, kind: str, why: str) -> None:
    path = rezip(folder, tmp_path / "one.zip")
    path.write_bytes(damage(path.read_bytes(), kind))
    with pytest.raises(BundleError, match=why):
        opened(path)


@pytest.mark.parametrize(("name", "why"), [("SHA256SUMS", "is no text"), ("bundle.json", "not of this version")])
def test_a_text_that_is_no_utf_8_is_an_error(folder: Path, name: str, why: str) -> None:
    (folder / name).write_bytes(b"\xff\xfe\x00")
    if name != "SHA256SUMS":
        sign(folder)
    with pytest.raises(BundleError, match=why):
        opened(folder)


def sign(folder: Path) -> None:
    """Make the checksums true, as somebody who changes a bundle would."""
    files = sorted(path for path in folder.iterdir() if path.name != "SHA256SUMS")
    (folder / "SHA256SUMS").write_text("".join(f"{sha256(path)}  {path.name}\n" for path in files))


@pytest.mark.parametrize("value", ["NaN", "7", "-1", "Infinity", "null", '"high"'])
def test_an_impossible_threshold_is_refused(folder: Path, value: str) -> None:
    about = json.loads((folder / "bundle.json").read_text())
    about["operating_point"]["threshold"] = "VALUE"
    (folder / "bundle.json").write_text(json.dumps(about).replace('"VALUE"', value))
    sign(folder)
    with pytest.raises(BundleError, match=r"operating_point\.threshold"):
        opened(folder)


@pytest.mark.parametrize(
    ("change", "why"),
    [
        ({"calibration": {"slope": -1.0, "shift": 0.0}}, "calibration.slope"),
        ({"calibration": {"slope": 1.0, "shift": math.inf}}, "calibration.shift"),
        ({"conformal": {"0.9": 7.0}}, "conformal"),
        ({"conformal": {"often": 0.5}}, "conformal"),
        ({"conformal": {"1.5": 0.5}}, "conformal"),
        ({"validation": {"n": -5}}, "validation"),
        ({"unit": "toe"}, "unit"),
        ({"more": 1}, "more"),
        ({"model_sha256": "0" * 64}, "describes another model"),
    ],
)
def test_an_impossible_description_is_refused(folder: Path, change: dict[str, object], why: str) -> None:
    about = json.loads((folder / "bundle.json").read_text()) | change
    (folder / "bundle.json").write_text(json.dumps(about))
    sign(folder)
    with pytest.raises(BundleError, match=why):
        opened(folder)


def test_a_model_of_another_size_than_described_is_refused(folder: Path) -> None:
    about = json.loads((folder / "bundle.json").read_text())
    about["preprocess"]["size_px"] = 1_000_000
    (folder / "bundle.json").write_text(json.dumps(about))
    sign(folder)
    with pytest.raises(BundleError, match=r"is of images \(1000000, 1000000, 1\)"):
        predictor.load(folder)
