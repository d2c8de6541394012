"""The models on another data set: nothing is chosen there, and what is written says what was asked."""

import shutil
from pathlib import Path

import cv2
import numpy as np
import pandas as pd
import pytest
import yaml

from mammo import models
from mammo.core import schemas
from mammo.core.config import Config, ConfigError, parse_config
from mammo.core.errors import InputError
from mammo.core.files import read_splits, read_table, sha256, write_table
from mammo.core.paths import ENSEMBLES, MANIFEST, MODELS, PIXELS, PREDICTIONS, SPLITS
from mammo.core.records import read_record, record_path
from mammo.data import datasets
from mammo.data.cohort import leakage, manifest
from mammo.data.datasets import Located
from mammo.data.images import io
from mammo.evaluation import comparison_rows, ensembling, external
from mammo.metrics import discrimination
from stages.external import main
from tests import arrays, external_fixtures, poisons

ROOT = Path(__file__).resolve().parents[2]
SETTINGS = {"source": "folder", "root": "elsewhere", "expect": "subset", "on_error": "exclude", "patients": None}


def loaded(external_sets: dict[str, dict[str, object]], **ingest: object) -> Config:
    content = yaml.safe_load((ROOT / "params.yaml").read_text())
    content["models"] = {"light_cnn": content["models"]["light_cnn"]}
    content["cross_validate"]["models"] = {}
    content["seeds"] = {"models": {"light_cnn": "light_cnn"}, "count": 1}
    content["external"] = external_sets
    content["evaluate"]["resamples"] = 100
    content["preprocess"]["size_px"] = arrays.SIZE_PX
    content["ingest"] |= ingest
    return parse_config(content)


def strangers(skill: float = 2.0) -> pd.DataFrame:
    """Predictions on the patients of another data set."""
    rows = arrays.predictions(skill=skill, seed=4)
    rows = rows[rows["split"] == "test"]
    return rows.assign(patient_id="mini_mias_" + rows["patient_id"], sample_id="mini_mias_" + rows["sample_id"])


# What is frozen


def test_the_operating_point_does_not_depend_on_the_external_rows():
    home, abroad = arrays.predictions(), strangers()
    flipped = abroad.assign(label=1 - abroad["label"], prob=abroad["prob"] ** 3)
    evaluated = [
        comparison_rows.evaluate_predictions(external.replace_test_rows(home, rows), arrays.EVALUATE, seed=0)
        for rows in (abroad, flipped)
    ]
    at_home = comparison_rows.evaluate_predictions(home, arrays.EVALUATE, seed=0)
    assert evaluated[0].thresholds == evaluated[1].thresholds == at_home.thresholds


def test_only_external_rows_are_reported():
    found = comparison_rows.evaluate_predictions(
        external.replace_test_rows(arrays.predictions(), strangers()), arrays.EVALUATE, seed=0
    )
    assert set(found.rows["sample_id"]) == set(strangers()["sample_id"])
    assert found.intervals["auc"].value == pytest.approx(discrimination.auc(strangers()["label"], strangers()["prob"]))


def test_a_patient_known_from_validation_is_refused():
    home = arrays.predictions()
    known = home[home["split"] == "val"].head(2).assign(split="test", sample_id=["a", "b"])
    with pytest.raises(InputError, match=f"1 patient.*{known['patient_id'].iloc[0]}.*not external"):
        external.replace_test_rows(home, known)


@pytest.mark.parametrize("split", ["train", "val", "test"])
def test_a_patient_of_any_split_is_refused(split: str) -> None:
    splits = arrays.index()[list(schemas.SPLITS.columns)]
    known = splits.loc[splits["split"] == split, "patient_id"].iloc[0]
    cases = pd.DataFrame({"patient_id": ["mini_mias_001", known, known]})
    with pytest.raises(InputError, match=rf"1 of 2 patient\(s\).*splits\.csv.*{known} \({split}\)"):
        external.refuse_known_patients(cases, splits)
    external.refuse_known_patients(cases.head(1), splits)


def manifest_of(root: Path) -> pd.DataFrame:
    return manifest.examine(root, located(root), 1)[1]


@pytest.mark.parametrize("change", ["same bytes", "another encoding"])
def test_a_film_of_the_models_data_is_refused_under_any_name(change: str, tmp_path: Path) -> None:
    known = manifest_of(tmp_path / "home")
    film = tmp_path / "home" / "mdb004.pgm"
    foreign = tmp_path / "abroad" / "stranger.png"
    foreign.parent.mkdir()
    if change == "same bytes":
        shutil.copy(film, foreign.with_suffix(".pgm"))
    else:
        cv2.imwrite(str(foreign), cv2.imread(str(film), cv2.IMREAD_GRAYSCALE)[:, ::-1] // 2)
    path = next(foreign.parent.iterdir()).name
    films = pd.DataFrame({"path": [path], "sha256": [sha256(foreign.parent / path)]})
    films["perceptual_hash"] = [leakage.perceptual_hash(io.read_grey(foreign.parent / path))]
    with pytest.raises(InputError, match=rf"1 external film\(s\).*{path} is mdb004\.pgm"):
        external.refuse_known_films(films, known)
    external.refuse_known_films(films, known[known["path"] != "mdb004.pgm"])


def test_recalibration_is_not_fitted_on_the_external_rows():
    home, abroad = arrays.predictions(patients=200), strangers()
    half = abroad.assign(prob=abroad["prob"] / 2)
    one, other = (
        external.measure_calibration(external.replace_test_rows(home, rows), arrays.EVALUATE) for rows in (abroad, half)
    )
    assert one["brier_raw"] != other["brier_raw"]
    assert other["intercept_platt"] > one["intercept_platt"]


def test_an_external_set_of_one_class_has_no_auc_but_a_row():
    rows = strangers().query("label == 1")
    found = comparison_rows.evaluate_predictions(
        external.replace_test_rows(arrays.predictions(), rows), arrays.EVALUATE, seed=0
    )
    table = external.tabulate_rows(
        {
            "m": {"samples": "external: x", "unit": "image", "weights": "none", "auc_official_test": 0.7}
            | external.measure_calibration(external.replace_test_rows(arrays.predictions(), rows), arrays.EVALUATE)
        },
        {"m": found},
    )
    assert np.isnan(table.loc[0, "auc"])
    assert table.loc[0, "n_malignant"] == len(rows)
    assert 0 <= table.loc[0, "sensitivity"] <= 1


# Parameters


def test_an_external_set_is_read_like_the_training_set():
    own = loaded({"mini_mias": SETTINGS | {"patients": 7}}, unit="image", abnormality_types=["mass"])
    ingest = external.external_ingest_config(own, "mini_mias")
    assert (ingest.unit, ingest.abnormality_types) == ("image", ["mass"])
    assert (ingest.dataset, ingest.source, ingest.root, ingest.idc.patients) == ("mini_mias", "folder", "elsewhere", 7)


def test_an_unknown_set_lists_the_known_ones():
    with pytest.raises(ConfigError, match=r"'cmd'.*mini_mias"):
        external.external_ingest_config(loaded({"mini_mias": SETTINGS}), "cmd")


def test_the_training_set_is_not_external():
    with pytest.raises(ConfigError, match="trained on cbis_ddsm"):
        external.external_ingest_config(loaded({"cbis_ddsm": SETTINGS}), "cbis_ddsm")


def test_errors_of_readers_name_the_section_they_are_about():
    with pytest.raises(InputError, match=r"external\.cmmd.*set ingest\.root"), external.name_section_in_errors("cmmd"):
        raise InputError("set ingest.root")


def located(root: Path, unit: str = "image") -> Located:
    external_fixtures.write_mini_mias(root)
    return datasets.load_dataset("mini_mias").locate(root, unit, ["mass", "calcification"], 1)


def test_expect_full_names_what_is_missing(tmp_path):
    ingest = external.external_ingest_config(loaded({"mini_mias": SETTINGS | {"expect": "full"}}), "mini_mias")
    with pytest.raises(datasets.DatasetError, match="films: 8 instead of 322"):
        external.check_copy(located(tmp_path), ingest)


def test_on_error_fail_refuses_damage_but_not_what_nobody_asked_for(tmp_path):
    ingest = external.external_ingest_config(loaded({"mini_mias": SETTINGS | {"on_error": "fail"}}), "mini_mias")
    external.check_copy(located(tmp_path, "lesion"), ingest)
    (tmp_path / "mdb001.pgm").write_bytes(b"")
    broken = datasets.load_dataset("mini_mias").locate(tmp_path, "lesion", ["mass", "calcification"], 1)
    with pytest.raises(datasets.DatasetError, match="1 unusable row"):
        external.check_copy(broken, ingest)


# Pixels


def test_a_film_that_cannot_be_decoded_moves_to_the_excluded_rows(tmp_path):
    found = located(tmp_path)
    torn = tmp_path / "mdb003.pgm"
    torn.write_bytes(torn.read_bytes()[:9000])
    bad = found.cases.set_index("image_path").loc["mdb003.pgm", "sample_id"]
    size_px = 32
    images = np.zeros((len(found.cases), size_px, size_px), np.uint8)
    settings = loaded({}).preprocess
    damaged = external.prepare_films(
        found.cases, external.FilmPreparation(tmp_path, "image", settings, workers=2), images
    )
    left = manifest.exclude_samples(found, damaged)
    assert set(damaged) == {bad}
    assert damaged[bad].startswith("mdb003.pgm: ")
    assert (images.any(axis=(1, 2)) == (found.cases["sample_id"] != bad)).all()
    assert bad not in set(left.cases["sample_id"])
    assert left.excluded["reason"].to_list()[-1] == damaged[bad]
    assert len(left.cases) + len(left.excluded) == len(found.cases) + len(found.excluded)
    schemas.check_table(left.excluded, schemas.EXCLUDED, "excluded")


def test_no_usable_film_is_an_error(tmp_path):
    found = located(tmp_path)
    with pytest.raises(datasets.DatasetError, match="first reason: torn"):
        manifest.exclude_samples(found, dict.fromkeys(found.cases["sample_id"], "torn"))


# The stage


def enter(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Go to a workspace without a tracking server."""
    monkeypatch.chdir(folder)
    monkeypatch.setenv("DVC_ROOT", str(folder))
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://127.0.0.1:9")
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished pipeline of small, untrained models, a copy of mini-MIAS beside it, and what the stage made of it."""
    folder = tmp_path_factory.mktemp("external")
    with pytest.MonkeyPatch.context() as monkeypatch:
        enter(folder, monkeypatch)
        external_fixtures.write_mini_mias(folder / "mias", patients=12)
        sets = {"mini_mias": SETTINGS | {"root": "mias"}}
        own = loaded(sets, unit="image")
        (folder / "params.yaml").write_text(yaml.safe_dump(own.model_dump(mode="json")))
        index = arrays.index(60)  # the patients of arrays.predictions
        PIXELS.mkdir(parents=True)
        write_table(PIXELS / "index.csv", index, schemas.INDEX)
        write_table(SPLITS, index[list(schemas.SPLITS.columns)], schemas.SPLITS)
        write_table(MANIFEST, manifest_of(folder / "home").iloc[:0], schemas.MANIFEST)
        np.save(PIXELS / "images.npy", arrays.images(index["label"].to_numpy())[0])
        for number, name in enumerate(MEMBERS):
            models.save(models.build(arrays.LIGHT, arrays.SHAPE, seed=number), MODELS / f"{name}.keras")
            write_table(PREDICTIONS / f"{name}.csv", arrays.predictions(seed=number), schemas.PREDICTIONS)
        for name in ENSEMBLES_MADE:
            write_table(ENSEMBLES / f"{name}.csv", arrays.predictions(seed=9), schemas.PREDICTIONS)
        main("mini_mias")
    return folder


@pytest.fixture
def workspace(finished: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy of the finished workspace."""
    folder = tmp_path / "workspace"
    shutil.copytree(finished, folder)
    enter(folder, monkeypatch)
    return folder


MEMBERS = ["light_cnn", "continue_training", "seeds/light_cnn/21"]
ENSEMBLES_MADE = ["ensemble_mean", "ensemble_weighted", "ensemble_stacked", "two_views_ensemble_stacked"]
MODELS_AND_ENSEMBLES = ["light_cnn", "continue_training", *ENSEMBLES_MADE]


def test_the_stage_leaves_a_row_and_a_record_for_every_model(workspace):
    table = pd.read_csv("metrics/external/mini_mias.csv")
    assert table["model"].to_list() == MODELS_AND_ENSEMBLES
    assert table.columns.to_list() == external.COLUMNS
    assert set(table["samples"]) == {"external: mini_mias"}
    for name in MODELS_AND_ENSEMBLES:
        record = read_record(record_path("external", f"mini_mias/{name}"))
        assert (record.tags["samples"], record.tags["unit"]) == ("external: mini_mias", "image")
        row = table.set_index("model").loc[name]
        assert record.metrics["auc"] == pytest.approx(row["auc"], abs=1e-6)
        assert record.metrics["n"] == row["n"]
        assert f"data/external/mini_mias/predictions/{name}.csv" in record.artifacts
    curves = pd.read_csv("data/external/mini_mias/roc.csv")
    assert list(dict.fromkeys(curves["model"])) == MODELS_AND_ENSEMBLES


def test_the_stage_accounts_for_every_film_and_a_torn_one(workspace):
    folder = Path("data/external/mini_mias")
    whole = read_table(folder / "predictions" / "light_cnn.csv", schemas.PREDICTIONS).set_index("sample_id")["prob"]
    film = workspace / "mias" / "mdb003.pgm"
    film.write_bytes(film.read_bytes()[:4000])
    main("mini_mias")
    cases, excluded = (
        read_table(folder / "cases.csv", schemas.CASES),
        read_table(folder / "excluded.csv", schemas.EXCLUDED),
    )
    predicted = read_table(folder / "predictions" / "light_cnn.csv", schemas.PREDICTIONS)
    assert predicted["sample_id"].to_list() == cases["sample_id"].to_list()
    assert set(predicted["split"]) == {"test"}
    np.testing.assert_allclose(predicted["prob"], whole[predicted["sample_id"]], rtol=1e-5)
    assert not cases["image_path"].eq("mdb003.pgm").any()
    assert any("mdb003.pgm" in reason for reason in excluded["reason"])
    assert not list(folder.glob("pixels*"))


def test_the_stage_refuses_a_torn_film_on_request(workspace):
    film = workspace / "mias" / "mdb003.pgm"
    film.write_bytes(film.read_bytes()[:4000])
    content = yaml.safe_load(Path("params.yaml").read_text())
    content["external"]["mini_mias"]["on_error"] = "fail"
    shutil.rmtree("data/external")
    Path("params.yaml").write_text(yaml.safe_dump(content))
    with pytest.raises(InputError, match=r"1 unusable row.*mdb003\.pgm"):
        main("mini_mias")
    assert not Path("data/external/mini_mias").exists()


def test_the_stage_refuses_a_training_patient_who_is_planted(workspace):
    splits = read_splits(SPLITS)
    splits["patient_id"] = splits["patient_id"].replace(splits["patient_id"].iloc[0], "mini_mias_003")
    write_table(SPLITS, splits, schemas.SPLITS)
    with pytest.raises(InputError, match=r"external\.mini_mias.*mini_mias_003 \(train\)"):
        main("mini_mias")


def test_the_stage_refuses_a_film_that_ingest_knows(workspace):
    write_table(MANIFEST, manifest_of(Path("home")), schemas.MANIFEST)  # of the same phantoms
    with pytest.raises(InputError, match=r"external\.mini_mias.*mdb001\.pgm is mdb001\.pgm"):
        main("mini_mias")


def test_the_stage_is_deterministic(workspace):
    def outcome() -> dict[str, str]:
        return {path.name: sha256(path) for path in sorted(Path("metrics").rglob("*.*")) if path.is_file()}

    before = outcome()
    main("mini_mias")
    assert outcome() == before


@pytest.mark.slow
def test_poisoned_test_labels_change_no_byte_while_the_test_set_is_closed(workspace):
    content = yaml.safe_load(Path("params.yaml").read_text())
    content["evaluate"]["test"] = "closed"
    Path("params.yaml").write_text(yaml.safe_dump(content))

    def outcome() -> dict[str, str]:
        main("mini_mias")
        paths = [*Path("metrics").rglob("*.*"), *Path("data/external").rglob("*.*")]
        return {str(path): sha256(path) for path in paths if path.is_file()}

    clean, own = outcome(), (PREDICTIONS / "light_cnn.csv").read_bytes()
    poisons.turn_test_labels(workspace)
    assert (PREDICTIONS / "light_cnn.csv").read_bytes() != own
    assert outcome() == clean
    assert pd.read_csv("metrics/external/mini_mias.csv")["auc_official_test"].isna().all()


def test_the_mean_ensemble_is_the_mean_of_its_members_abroad_too(workspace):
    folder = Path("data/external/mini_mias/predictions")
    prob = {name: read_table(folder / f"{name}.csv", schemas.PREDICTIONS)["prob"] for name in MODELS_AND_ENSEMBLES}
    under_another_seed = 3 * prob["ensemble_mean"] - prob["light_cnn"] - prob["continue_training"]
    assert under_another_seed.between(0, 1).all()
    assert not np.allclose(under_another_seed, prob["light_cnn"])


def test_a_breasts_views_share_a_score_abroad_too(workspace):
    folder = Path("data/external/mini_mias")
    cases = read_table(folder / "cases.csv", schemas.CASES)
    single, together = (
        read_table(folder / "predictions" / f"{name}.csv", schemas.PREDICTIONS)
        for name in ("ensemble_stacked", "two_views_ensemble_stacked")
    )
    expected = ensembling.average_views(single, cases, "image")
    np.testing.assert_allclose(together["prob"], expected["prob"], atol=1e-9)


def test_the_stage_blames_the_section_when_the_data_are_not_there(workspace):
    shutil.rmtree(workspace / "mias")
    shutil.rmtree("data/external")
    with pytest.raises(InputError, match=r"external\.mini_mias.*mias"):
        main("mini_mias")
    assert not Path("data/external/mini_mias").exists()
