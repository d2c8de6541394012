"""Ensembles and rows of two views say of films what their stage computed, here and away from their run."""

import json
import shutil
import zipfile
from collections.abc import Callable
from pathlib import Path

import cv2
import finished
import keras
import numpy as np
import pandas as pd
import pytest
from workspaces import change

import mammo
from mammo import models
from mammo.cli import main as command
from mammo.core import row_names, schemas
from mammo.core.config import load_config
from mammo.core.errors import InputError
from mammo.core.files import read_table, write_table
from mammo.core.paths import CASES, ENSEMBLES, MODEL_CARDS, MODELS, PIXELS, PREDICTIONS, data_fingerprint
from mammo.data import lesions
from mammo.data.images import preprocess
from mammo.data.samples import open_store
from mammo.evaluation import ensembling
from mammo.evaluation.ensembling import Combination
from mammo.explain.saliency import Explainer
from mammo.inference import bundle, export, films, heat_maps, labelled_cases, model_files, predictor, served_model
from mammo.inference.about import About, BundleError
from mammo.inference.ensemble import list_rows, read_row
from mammo.inference.films import FilmRequest, Pairs
from mammo.inference.model_files import Ensemble
from mammo.inference.predictor import Predictor
from mammo.inference.workspace_models import fit_decisions
from mammo.metrics.resampling import Resampling
from mammo.pipeline import train_run
from mammo.pipeline.train_run import TrainingTask
from mammo.tracking import live_run, mlflow_client
from stages.ensemble import main

NAME = finished.NAME
NAMES = ["ensemble_mean", "ensemble_weighted", "ensemble_stacked"]
TWO_VIEWS = ["two_views_ensemble_stacked", f"two_views_{NAME}"]


@pytest.fixture(scope="module")
def run(finished_lesions: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished run with a second model, one under a further seed, and the ensembles of all three."""
    folder = tmp_path_factory.mktemp("ensembles") / "run"
    shutil.copytree(finished_lesions, folder)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("MLFLOW_TRACKING_URI", "http://127.0.0.1:9")
        patch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
        patch.delenv("DVC_ROOT", raising=False)
        patch.chdir(folder)
        change(folder, seeds={"count": 1}, ensemble={"two_views": ["ensemble_stacked", NAME]})
        config = load_config()
        _add_member("continue_training", TrainingTask("continue_training", None, config.for_model(NAME), "none"), 5)
        seed = row_names.seed_member_names(NAME, config.seed, config.seeds)[config.seed + 1]
        _add_member(seed, train_run.task_for("seeds", NAME, config), 6)
        main()
        tags = {"data": data_fingerprint(), "unit": config.ingest.unit}
        for name in [*NAMES, *TWO_VIEWS]:
            (folder / MODEL_CARDS / f"{name}.md").write_text("# Model card\n")
            experiment, parameters = config.tracking.experiment, config.evaluate.model_dump()
            with live_run.tracked_run("evaluate", model=name, experiment=experiment, parameters=parameters, tags=tags):
                pass
    return folder


def _add_member(member: str, task: TrainingTask, seed: int) -> None:
    """Leave an untrained model and its predictions as the stage of the task does."""
    samples = open_store(PIXELS)
    model = finished.spread(models.build(task.config.model, samples.image_shape, seed=seed), samples)
    models.save(model, MODELS / f"{member}.keras")
    with train_run.start(task, "tests") as training:
        training.save_predictions(member, model)
        training.log.log_artifact(PREDICTIONS / f"{member}.csv")
        if task.stage != "seeds":  # whose record names no models
            training.log.log_model(MODELS / f"{member}.keras")


@pytest.fixture
def here(run: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(run)
    return run


@pytest.fixture
def mine(run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy that may be spoilt."""
    for name in ("data/models", "data/predictions", "data/ensembles", "metrics"):
        shutil.copytree(run / name, tmp_path / name)
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture(scope="module")
def bundled(run: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Bundles by name, away from their run: zip files of an ensemble and of two rows of two views."""
    place = tmp_path_factory.mktemp("bundled")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(run)
        for name in ("ensemble_stacked", *TWO_VIEWS):
            bundle.write(name, place / f"{name}.zip")
    return {path.stem: path for path in place.iterdir()}


@pytest.fixture(scope="module")
def pairs(run: Path) -> pd.DataFrame:
    """The test films whose lesions' views are all among finished.films: file, box, its corners, pair, sample_id."""
    cases = read_table(run / CASES, schemas.CASES)
    cases = cases.assign(pair=lesions.name_lesions(cases))
    rows = finished.films(run).query("split == 'test'").merge(cases[["sample_id", "pair"]], on="sample_id")
    whole = rows.groupby("pair")["sample_id"].transform("size") == rows["pair"].map(cases["pair"].value_counts())
    rows = rows[whole].assign(file=rows["path"].map(str)).reset_index(drop=True)
    return rows.join(pd.DataFrame(rows["box"].to_list(), columns=films.CORNERS))


def to_pairs(rows: pd.DataFrame) -> Pairs:
    return Pairs(tuple(FilmRequest(row.path, row.box, pair=row.pair) for row in rows.itertuples()))


def table_of(run: Path, name: str) -> "pd.Series[float]":
    return read_table(run / ENSEMBLES / f"{name}.csv", schemas.PREDICTIONS).set_index("sample_id")["prob"]


def test_the_rows_of_the_run_are_known(here: Path) -> None:
    assert list_rows() == [NAME, "continue_training", *NAMES, *TWO_VIEWS]


@pytest.mark.parametrize("name", NAMES)
def test_films_get_the_runs_own_probabilities(here: Path, name: str) -> None:
    rows = finished.films(here).query("split == 'test'")  # validation rows are combined out of fold
    boxes = rows.groupby("path", sort=False)["box"].agg(list).to_dict()
    found = mammo.load(name).predict(list(boxes), boxes=boxes)
    own = read_table(ENSEMBLES / f"{name}.csv", schemas.PREDICTIONS).set_index("sample_id")["prob"]
    order = pd.concat([rows.loc[rows["path"] == path, "sample_id"] for path in boxes])
    expected = own[order].to_numpy()
    assert found["error"].isna().all()
    assert np.ptp(expected) > 0.1
    np.testing.assert_allclose(found["prob"], expected, atol=1e-6)


@pytest.mark.parametrize("name", NAMES)
def test_what_is_said_rests_on_the_ensembles_own_validation_rows(here: Path, name: str) -> None:
    evaluate = load_config().evaluate
    own = read_table(ENSEMBLES / f"{name}.csv", schemas.PREDICTIONS)
    fitted = fit_decisions(own, evaluate.rule, evaluate.value, evaluate.conformal)
    about = read_row(name).about
    assert {key: getattr(about, key) for key in fitted} == fitted


def test_a_film_is_prepared_once_for_all_members(here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    rows = finished.films(here).iloc[0]
    prepared: list[object] = []
    prepare = preprocess.locate_film
    monkeypatch.setattr(preprocess, "locate_film", lambda *words: prepared.append(words) or prepare(*words))
    mammo.load(NAMES[0]).predict(rows["path"], box=rows["box"])
    assert len(prepared) == 1


def test_the_hash_of_an_ensemble_is_that_of_its_members_and_weights(mine: Path) -> None:
    before = read_row(NAMES[0]).about.model_sha256
    assert read_row(NAMES[2]).about.model_sha256 != before
    (seed,) = (mine / "data/models/seeds" / NAME).glob("*.keras")
    seed.write_bytes(seed.read_bytes() + b"x")  # no record holds the hash of a seed's model
    assert read_row(NAMES[0]).about.model_sha256 != before


@pytest.mark.parametrize(
    ("path", "why"),
    [
        ("data/models/light_cnn.keras", "is not what .* says"),
        ("data/predictions/continue_training.csv", "is not what .* says"),
        ("data/ensembles/ensemble_stacked.csv", "do not lead from its members' predictions to its own"),
    ],
)
def test_parts_that_do_not_fit_are_refused(mine: Path, path: str, why: str) -> None:
    if path.endswith(".csv"):
        table = read_table(Path(path), schemas.PREDICTIONS)
        write_table(Path(path), table.assign(prob=1 - table["prob"]), schemas.PREDICTIONS)
    else:
        Path(path).write_bytes(Path(path).read_bytes() + b"x")
    with pytest.raises(InputError, match=why):
        read_row("ensemble_stacked")


def test_a_combination_so_sure_that_most_probabilities_are_1_is_read_back_whole(
    mine: Path, run: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """No intercept could be worked out from such outputs: the log-odds of 1 are infinite."""

    def sure(probs: np.ndarray, label: np.ndarray) -> Combination:
        return Combination(np.full(probs.shape[1], 0.5), "log_odds", intercept=40.25)

    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://127.0.0.1:9")
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    monkeypatch.setitem(ensembling.METHODS, "stacked", sure)
    for name in ("params.yaml", "data/cases.csv", "data/splits.csv", "data/pixels/fingerprint.txt"):
        (mine / name).parent.mkdir(exist_ok=True)
        shutil.copyfile(run / name, mine / name)
    main()
    assert (read_table(ENSEMBLES / "ensemble_stacked.csv", schemas.PREDICTIONS)["prob"] == 1).mean() > 0.5
    combination = read_row("ensemble_stacked").combination
    assert (combination.kind, combination.intercept) == ("log_odds", 40.25)


def test_an_ensemble_without_its_combination_is_refused_with_the_cure(mine: Path) -> None:
    (mine / ENSEMBLES / "ensemble_mean.json").unlink()
    with pytest.raises(InputError, match=r"ensemble_mean\.json does not exist; run `dvc repro ensemble`"):
        read_row("ensemble_mean")


def test_an_unknown_row_is_named_with_the_others(here: Path, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no ensemble 'ensemble_median' in this workspace; there are ensemble_mean"):
        mammo.load("ensemble_median")
    with pytest.raises(InputError, match=r"no row 'two_views_nobody' of two views.*there are two_views_ensemble_stac"):
        mammo.load("two_views_nobody")
    with pytest.raises(SystemExit, match=r"no finished model 'nobody' .* light_cnn, .* two_views_light_cnn"):
        command.main(["export", "nobody", "--out", str(tmp_path / "x.zip")])
    assert not list(tmp_path.iterdir())


def test_a_member_of_other_pixels_and_one_that_is_missing_are_named(mine: Path) -> None:
    record = mine / "metrics/records/continue_training.json"
    record.write_text(record.read_text().replace('"data": "', '"data": "f'))
    with pytest.raises(InputError, match=r"of different pixels: continue_training learned from images"):
        read_row("ensemble_mean")
    (mine / "data/models/light_cnn.keras").unlink()
    with pytest.raises(InputError, match=r"light_cnn\.keras does not exist; restore it"):
        read_row("ensemble_mean")


# Away from the run


def test_a_bundle_of_an_ensemble_gives_the_numbers_of_its_table(
    bundled: dict[str, Path], run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)  # nothing of the run is at hand
    rows = finished.films(run).query("split == 'test'").drop_duplicates("path")
    boxes = {path: [box] for path, box in zip(rows["path"], rows["box"], strict=True)}
    found = mammo.load(bundled["ensemble_stacked"]).predict(list(boxes), boxes=boxes)
    expected = table_of(run, "ensemble_stacked")[rows["sample_id"]]
    np.testing.assert_allclose(found["prob"], expected, atol=1e-6)
    assert found[["prob_one_view", "views", "pair"]].isna().all(axis=None)


@pytest.mark.parametrize("name", TWO_VIEWS)
def test_a_bundle_of_two_views_gives_the_numbers_of_its_table(
    bundled: dict[str, Path], pairs: pd.DataFrame, run: Path, tmp_path: Path, name: str
) -> None:
    pairs[["file", "pair", *films.CORNERS]].to_csv(tmp_path / "pairs.csv", index=False)
    csv, out = str(tmp_path / "pairs.csv"), str(tmp_path / "said.csv")
    command.main(["predict", "--pairs", csv, "--model", str(bundled[name]), "--out", out])
    said = pd.read_csv(out)
    np.testing.assert_allclose(said["prob"], table_of(run, name)[pairs["sample_id"]], atol=1e-6)
    assert said["views"].tolist() == said.groupby("pair")["pair"].transform("size").tolist()
    assert set(said["views"]) == {1, 2}
    assert said.groupby("pair")["prob"].nunique().max() == 1
    assert said[said["views"] == 2].groupby("pair")["prob_one_view"].nunique().min() == 2
    about = mammo.load(bundled[name]).about
    assert said["call"].tolist() == about.classify(said["prob"].to_numpy())
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(run)
        own = read_table(ENSEMBLES / f"{name}.csv", schemas.PREDICTIONS)
        evaluate = load_config().evaluate
        fitted = fit_decisions(own, evaluate.rule, evaluate.value, evaluate.conformal)
    assert {key: getattr(about, key) for key in fitted} == fitted


def rewrite(source: Path, place: Path, change: Callable[[Path], None]) -> Path:
    """Unpack a bundle, change its folder, and make its checksums true."""
    folder = place / "changed"
    with zipfile.ZipFile(source) as archive:
        archive.extractall(folder)
    change(folder)
    bundle.write_checksums(folder)
    return folder


def edit_json(name: str, **changes: object) -> Callable[[Path], None]:
    def edit(folder: Path) -> None:
        content = json.loads((folder / name).read_text())
        (folder / name).write_text(json.dumps(content | changes))

    return edit


def small_member(folder: Path) -> None:
    """Put a model of other inputs in the place of a member, and describe it."""
    pixels = keras.Input((8, 8, 1))
    small = keras.Model(pixels, keras.layers.Dense(1, "sigmoid")(keras.layers.Flatten()(pixels)))
    models.save(small, folder / model_files.member_file("light_cnn"))
    edit_json(bundle.ABOUT, model_sha256=model_files.hash_model(folder, folder))(folder)


@pytest.mark.parametrize(
    ("change", "why"),
    [
        (lambda folder: (folder / "members/light_cnn.keras").unlink(), r"members/light_cnn\.keras is missing"),
        (small_member, r"member light_cnn: its model takes \(None, 8, 8, 1\)"),
        (
            lambda folder: (folder / "members/more.keras").write_bytes(b"1"),
            "more.keras is no member of its combination",
        ),
        (lambda folder: (folder / "model.keras").write_bytes(b"1"), "holds a model and an ensemble"),
        (lambda folder: (folder / "combination.json").unlink(), r"does not list model\.keras"),
        (edit_json("combination.json", intercept=float("nan")), "no finite number"),
        (edit_json("combination.json", kind="median"), "kind 'median'"),
        (edit_json("combination.json", kind="probabilities", weights={"light_cnn": 7}), "of sum 1"),
        (edit_json("combination.json", weights={"../../x": 1}), "which is no name"),
        (edit_json("combination.json", weights={"nobody": 1}), r"members/nobody\.keras is missing"),
        (edit_json("combination.json", weights={"light_cnn": 1}), "is no member of its combination"),
        (edit_json("bundle.json", model_sha256="0" * 64), "describes another model"),
    ],
)
def test_a_bundle_whose_parts_do_not_fit_is_refused(
    bundled: dict[str, Path], tmp_path: Path, change: Callable[[Path], None], why: str
) -> None:
    with pytest.raises(BundleError, match=why):
        predictor.load(rewrite(bundled["ensemble_stacked"], tmp_path, change))


# Two views


@pytest.fixture(scope="module")
def two_views(bundled: dict[str, Path]) -> Predictor:
    return mammo.load(bundled[TWO_VIEWS[1]])


def test_a_film_without_its_other_view_keeps_its_own_score(two_views: Predictor, pairs: pd.DataFrame) -> None:
    rows = pairs.iloc[:3].assign(pair=["a", "", ""])
    found = two_views.predict(to_pairs(rows))
    np.testing.assert_allclose(found["prob"], found["prob_one_view"], atol=1e-9)
    assert found["views"].tolist() == [1, 1, 1]
    assert found["pair"].tolist() == ["a", None, None]


def test_a_view_that_cannot_be_read_leaves_the_other_its_own_score(
    two_views: Predictor, pairs: pd.DataFrame, tmp_path: Path
) -> None:
    """Also where the decoder only warns of the damage, which is known after the batch has been predicted."""
    rows = pairs.iloc[:2].assign(pair="a")
    grey, whole = cv2.imread(str(rows["path"].iloc[1]), cv2.IMREAD_GRAYSCALE), tmp_path / "whole.jpg"
    cv2.imwrite(str(whole), grey)
    content = whole.read_bytes()
    middle = len(content) // 2
    flipped = bytes(byte ^ 255 for byte in content[middle:][:50])
    (tmp_path / "damaged.jpg").write_bytes(content[:middle] + flipped + content[middle + 50 :])
    (tmp_path / "cut.jpg").write_bytes(content[:middle])
    alone = two_views.predict(to_pairs(rows.iloc[:1]))["prob"].item()
    for name, why in (("damaged.jpg", "damaged ("), ("cut.jpg", "truncated"), ("missing.jpg", "does not exist")):
        spoilt = [rows["path"].iloc[0], tmp_path / name]
        found = two_views.predict(
            Pairs(
                (
                    FilmRequest(spoilt[0], rows["box"].iloc[0], pair="a"),
                    *films.read_pairs(_one(tmp_path, name)).requests,
                )
            )
        )
        assert why in found["error"].iloc[1]
        assert found["prob"].iloc[0] == pytest.approx(alone, abs=1e-6)
        assert found["views"].tolist() == [1, None]


def _one(folder: Path, name: str) -> Path:
    (folder / "one.csv").write_text(f"file,pair,x0,y0,x1,y1\n{name},a,10,10,40,40\n")
    return folder / "one.csv"


def test_what_does_not_go_together_is_said(two_views: Predictor, pairs: pd.DataFrame, run: Path) -> None:
    rows = pairs.iloc[:2]
    with pytest.raises(InputError, match=r"two_views_light_cnn averages .* say which belong together .*--pairs"):
        two_views.predict(rows["path"].iloc[0], box=rows["box"].iloc[0])
    single = Predictor(two_views.model, two_views.about.model_copy(update={"name": NAME, "two_views": False}))
    with pytest.raises(
        InputError, match=r"light_cnn reads every film alone, and pairs are given; ask .*two_views_light"
    ):
        single.predict(to_pairs(rows))
    with pytest.raises(InputError, match="boxes of films that belong together stand in the table"):
        two_views.predict(to_pairs(rows), box=rows["box"].iloc[0])
    with pytest.raises(InputError, match="no files are given"):
        two_views.predict(Pairs(()))
    without = two_views.predict(Pairs((FilmRequest(rows["path"].iloc[0], pair="a"),)))
    assert "no box says where one is; give x0, y0, x1, y1" in without["error"].item()
    image = Predictor(two_views.model, two_views.about.model_copy(update={"unit": "image"}))
    with pytest.raises(InputError, match="reads whole films; leave the columns x0, y0, x1, y1 out"):
        image.predict(to_pairs(rows))


@pytest.mark.parametrize(
    ("content", "why"),
    [
        ("", "needs the columns file, pair, x0"),
        ("file\na\n", "needs the columns file, pair, x0"),
        ("file,pair,x0\na,1,2\n", "needs the columns file, pair, x0"),
        ("file,pair,x0,y0,x1,y1\na,1,2,3,4,\n", "needs the columns"),
        ("file,pair\n,1\n", "a row names no file"),
        ("file,pair\na,1\na,1\n", "a is listed twice in the pair '1'"),
    ],
)
def test_a_table_of_pairs_that_is_none_is_refused(tmp_path: Path, content: str, why: str) -> None:
    (tmp_path / "pairs.csv").write_text(content)
    with pytest.raises(InputError, match=why):
        films.read_pairs(tmp_path / "pairs.csv")


def test_a_name_of_a_pair_is_a_text_and_makes_no_difference(two_views: Predictor, pairs: pd.DataFrame) -> None:
    rows = pairs[pairs["pair"] == pairs["pair"].iloc[0]]
    expected = two_views.predict(to_pairs(rows))["prob"]
    names = ("0", "-1", "nan", "[red]", "=1", "a\nb", "é")
    named = pd.concat([rows.assign(pair=name) for name in names])
    np.testing.assert_allclose(two_views.predict(to_pairs(named))["prob"], np.tile(expected, len(names)), atol=1e-6)


def test_own_cases_are_evaluated_by_their_pairs(two_views: Predictor, pairs: pd.DataFrame, tmp_path: Path) -> None:
    pairs[["file", "patient_id", "label", "pair", *films.CORNERS]].to_csv(tmp_path / "labels.csv", index=False)
    evaluated = labelled_cases.evaluate(two_views, tmp_path, tmp_path / "labels.csv", Resampling(20, seed=1))
    assert evaluated.failed == 0
    assert evaluated.answers["prob"].tolist() == two_views.predict(to_pairs(pairs))["prob"].tolist()


# Heat maps and other formats


@pytest.fixture(scope="module")
def members(run: Path) -> dict[str, keras.Model]:
    """Two models by name."""
    return {name: models.load(run / MODELS / f"{name}.keras") for name in (NAME, "continue_training")}


def test_the_heat_map_of_an_ensemble_is_the_weighted_sum_of_its_members(members: dict[str, keras.Model]) -> None:
    ensemble = Ensemble(members, Combination(np.array([2.0, -0.5]), "log_odds", 0.1, tuple(members)))
    pixels = np.random.default_rng(0).integers(0, 256, (3, finished.SIZE_PX, finished.SIZE_PX, 1)).astype(np.uint8)
    first, second = (Explainer(model).maps(pixels, "layercam") for model in members.values())
    expected = np.maximum(2 * first - 0.5 * second, 0)
    drawer = heat_maps.make_drawer(ensemble)
    found = drawer.explainer.maps(pixels, "layercam")
    np.testing.assert_allclose(found, expected / expected.max(axis=(1, 2), keepdims=True), atol=1e-6)
    assert drawer._describe_method() == "layercam, weighted sum of 2 members"


def test_heat_maps_of_two_views_lie_where_the_rows_say(
    two_views: Predictor, pairs: pd.DataFrame, tmp_path: Path
) -> None:
    found = two_views.predict(to_pairs(pairs.iloc[:2]), heat_maps=tmp_path / "maps")
    assert [cv2.imread(name).std() > 0 for name in found["heat_map"]] == [True, True]


@pytest.mark.skipif(keras.backend.backend() != "tensorflow", reason="these formats are TensorFlow's")
@pytest.mark.parametrize("two_views", [False, True], ids=["one view", "two views"])
@pytest.mark.parametrize("kind", ["probabilities", "log_odds"])
def test_the_graph_of_other_formats_says_what_the_ensemble_says(
    here: Path, members: dict[str, keras.Model], kind: str, two_views: bool
) -> None:
    weights = np.array([0.25, 0.75]) if kind == "probabilities" else np.array([1.5, -0.25])
    ensemble = Ensemble(members, Combination(weights, kind, 0.25 * (kind == "log_odds"), tuple(members)))
    about = read_row("two_views_ensemble_stacked").about.model_copy(update={"two_views": two_views})
    images = export.comparison_images(about)
    answer = export._build_predict(about, ensemble)(images.astype(np.float32))
    expected = export._predict_expected(Predictor(ensemble, about), images)
    assert len(expected) == len(images)
    assert np.ptp(expected) > 0.1
    np.testing.assert_allclose(answer["prob"], expected, atol=export.TOLERANCE)
    np.testing.assert_allclose(answer["calibrated"], about.calibrate(expected), atol=10 * export.TOLERANCE)


def test_onnx_of_a_whole_row_is_one_graph_with_its_description(here: Path, tmp_path: Path) -> None:
    onnx = pytest.importorskip("onnx", reason="pip install -r requirements/onnx.txt")
    onnxruntime = pytest.importorskip("onnxruntime")
    pytest.importorskip("tf2onnx")
    name, out = "two_views_ensemble_stacked", tmp_path / "one.onnx"
    command.main(["export", name, "--out", str(out)])
    assert [path.name for path in tmp_path.iterdir()] == ["one.onnx"]
    model = mammo.load(name)
    images = np.random.default_rng(1).integers(0, 256, (3, 2, finished.SIZE_PX, finished.SIZE_PX, 1)).astype(np.uint8)
    (prob,) = onnxruntime.InferenceSession(str(out)).run(["prob"], {"image": images.astype(np.float32)})
    np.testing.assert_allclose(prob, export._predict_expected(model, images), atol=export.TOLERANCE)
    described = {item.key: item.value for item in onnx.load(str(out)).metadata_props}
    assert About.model_validate_json(described["bundle.json"]) == model.about
    assert Combination.from_json(described["combination.json"]).members == model.model.combination.members


# MLflow


@pytest.mark.parametrize("name", NAMES)
def test_a_served_ensemble_gives_its_own_table(here: Path, tmp_path: Path, name: str) -> None:
    about = served_model.write(name, tmp_path / "served")
    store = open_store(PIXELS).take("test")
    expected = read_table(ENSEMBLES / f"{name}.csv", schemas.PREDICTIONS).query("split == 'test'")
    served = served_model._load_pyfunc(str(tmp_path / "served")).predict(store.images[store.index.index][..., None])
    prob = pd.Series(served["prob"].to_numpy(), store.index["sample_id"])
    np.testing.assert_allclose(prob[expected["sample_id"]], expected["prob"], atol=1e-6)
    assert served_model.version_tags(about)["threshold"] == repr(about.operating_point.threshold)


def test_a_served_row_of_two_views_takes_pairs(here: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    about = served_model.write(TWO_VIEWS[1], tmp_path / "served")
    assert served_model.list_flags(about) == ("raw", "pairs")
    served = served_model._load_pyfunc(str(tmp_path / "served"))
    store = open_store(PIXELS).take("test")
    images = store.images[store.index.index][:4][..., None]
    alone = served.predict(images)["prob"]
    paired = served.predict(images, {"pairs": True})["prob"]
    odds = np.log(alone / (1 - alone)).to_numpy().reshape(2, 2).mean(axis=1).repeat(2)
    np.testing.assert_allclose(paired, 1 / (1 + np.exp(-odds)), atol=1e-9)
    with pytest.raises(InputError, match="3 images are no pairs"):
        served.predict(images[:3], {"pairs": True})
    # What a URI of MLflow leads to is read by the same door.
    monkeypatch.setattr(mlflow_client, "download", lambda uri: tmp_path)
    assert predictor.load("models:/any@champion").about == about
    member = tmp_path / "served/model.keras"
    member.write_bytes(member.read_bytes() + b"x")
    with pytest.raises(BundleError, match="describes other models than lie beside it"):
        predictor.load("models:/any@champion")
