"""Shortcuts are found where they are planted, and a clean cohort is reported as clean."""

from collections.abc import Iterator
from pathlib import Path
from statistics import NormalDist

import cv2
import numpy as np
import pandas as pd
import pytest

from mammo.core import schemas
from mammo.core.errors import InputError
from mammo.data.datasets import cbis_ddsm
from mammo.data.images.border import measure_border
from mammo.data.sources import demo
from mammo.data.sources._border_cue import plant_border_cue
from mammo.evaluation import border_scores, lesion_verdict, shortcut_controls, shortcut_probe
from mammo.metrics.controlled_auc import controlled_auc
from mammo.metrics.discrimination import auc
from mammo.metrics.resampling import Interval, LabelledRows, Resampling

RESAMPLING = Resampling(200, seed=0)
CUE = 2.0
FOLDS = 3


@pytest.fixture(scope="module")
def cohort(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("cohort")
    demo.write_cohort(root, patients=70, height_px=96, signal=1.8, seed=3)
    return root


def read_cases(root: Path) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Cases with folds by patient, missing for test rows, and the border statistics of their films."""
    cases = cbis_ddsm.locate(root, "lesion", ["mass", "calcification"], 1).cases
    patients = {patient: number % FOLDS for number, patient in enumerate(sorted(set(cases["patient_id"])))}
    fold = cases["patient_id"].map(patients).astype("Int64").where(cases["official_split"] == "train")
    films = cases["image_path"].unique()
    pixels = [cv2.imread(str(root / film), cv2.IMREAD_GRAYSCALE) for film in films]
    statistics = [measure_border(grey, grey.shape) for grey in pixels]
    borders = pd.DataFrame(statistics, columns=schemas.BORDER_STATISTICS).assign(image_path=films)
    return cases.assign(fold=fold), borders


def score(root: Path) -> tuple[pd.DataFrame, Interval]:
    """All cases with their border scores, and the AUC of the training rows out of fold."""
    cases, borders = read_cases(root)
    scores = border_scores.score_borders(cases, borders, seed=0)
    schemas.check_table(scores, schemas.BORDER_SCORES, "scores")
    rows = cases.merge(scores, on="sample_id")
    training = rows[rows["fold"].notna()]
    prob = training["border_score"].to_numpy()
    labelled = LabelledRows.from_table(training)
    return rows, controlled_auc(labelled, prob, np.zeros(len(training), int), RESAMPLING)


@pytest.fixture(scope="module")
def clean(cohort: Path) -> tuple[pd.DataFrame, Interval]:
    return score(cohort)


@pytest.fixture(scope="module")
def planted(cohort: Path) -> Iterator[tuple[pd.DataFrame, Interval]]:
    films = {path: path.read_bytes() for path in (cohort / "jpeg").rglob("*.jpg")}
    plant_border_cue(cohort, CUE, seed=0)
    yield score(cohort)
    for path, content in films.items():
        path.write_bytes(content)


def test_a_clean_cohort_is_reported_as_clean(clean: tuple[pd.DataFrame, Interval]) -> None:
    _, interval = clean
    assert interval.low < 0.5 < interval.high


def test_a_planted_border_cue_is_found(clean: object, planted: tuple[pd.DataFrame, Interval]) -> None:
    rows, interval = planted
    assert interval.low > 0.6
    assert interval.value < NormalDist().cdf(CUE / np.sqrt(2)) + 0.02
    test = rows[rows["fold"].isna()]
    assert auc(test["label"], test["border_score"]) > 0.65
    shares = border_scores.share_by_quartile(rows, RESAMPLING)
    assert shares["share"][3] > shares["share"][0] + 0.3
    assert shares["n"].sum() == rows["fold"].notna().sum()
    assert (shares["low"] < shares["share"]).all()


def test_the_cue_vanishes_within_its_quartiles_and_a_lesion_does_not(
    clean: object, planted: tuple[pd.DataFrame, Interval]
) -> None:
    rows, _ = planted
    rng = np.random.default_rng(0)
    borders = rows[list(schemas.BORDER_SCORES.columns)]
    cue = rows[["sample_id", "patient_id", "label"]].assign(prob=rows["border_score"])
    lesion = cue.assign(prob=1 / (1 + np.exp(-rng.normal(1.5 * cue["label"], 1))))
    of_cue, of_lesion = (shortcut_controls.control_auc(table, borders, RESAMPLING) for table in (cue, lesion))
    plain = [auc(table["label"], table["prob"]) for table in (cue, lesion)]
    assert plain[0] - of_cue["auc_controlled"] > 0.1
    assert of_cue["border_correlation"] == pytest.approx(1)
    assert abs(plain[1] - of_lesion["auc_controlled"]) < 0.06
    assert of_lesion["auc_controlled_low"] > 0.65


# Border scores


def test_no_score_of_a_training_film_has_seen_its_patient(cohort: Path) -> None:
    cases, borders = read_cases(cohort)
    scores = border_scores.score_borders(cases, borders, seed=0)
    changed = cases.assign(label=cases["label"].where(cases["fold"] != 1, 1 - cases["label"]))
    again = border_scores.score_borders(changed, borders, seed=0)
    same = scores["border_score"] == again["border_score"]
    assert same[cases["fold"] == 1].all()
    assert not same[cases["fold"] == 0].all()
    test_labels = cases.assign(label=cases["label"].where(cases["fold"].notna(), 1 - cases["label"]))
    assert border_scores.score_borders(test_labels, borders, seed=0).equals(scores)


def test_a_breast_has_the_mean_score_of_its_films(cohort: Path) -> None:
    cases, borders = read_cases(cohort)
    first, second = cases["image_path"].unique()[:2]
    single = cases.drop_duplicates("image_path").reset_index(drop=True)
    scores = border_scores.score_borders(single, borders, seed=0).set_index("sample_id")["border_score"]
    pair = single.assign(image_path=single["image_path"].where(single["image_path"] != first, f"{first}|{second}"))
    assert len(border_scores.score_borders(pair, borders, seed=0)) == len(single)
    assert scores.notna().all()


def test_a_film_without_statistics_is_named(cohort: Path) -> None:
    cases, borders = read_cases(cohort)
    with pytest.raises(InputError, match=r"jpg has no border statistics; run `dvc repro -f preprocess`"):
        border_scores.score_borders(cases, borders.iloc[1:], seed=0)


def test_quartiles_are_cut_at_the_training_rows() -> None:
    scores = pd.Series([0.1, 0.2, 0.3, 0.4, 0.0, 0.9, 0.25])
    training = pd.Series([True] * 4 + [False] * 3)
    assert border_scores.cut_quartiles(scores, training).tolist() == [0, 1, 2, 3, 0, 3, 1]


def test_the_border_is_measured_on_one_scale_and_knows_size_and_depth() -> None:
    rng = np.random.default_rng(0)
    small = cv2.GaussianBlur(rng.integers(0, 255, (400, 300), np.uint8), (0, 0), 3)
    large = cv2.resize(small, (900, 1200), interpolation=cv2.INTER_CUBIC)
    names = pd.Index(schemas.BORDER_STATISTICS)
    values = [pd.Series(measure_border(film, film.shape), names) for film in (small, large, small.astype("u2") * 257)]
    assert values[1]["top_mean"] == pytest.approx(values[0]["top_mean"], abs=2)
    assert values[1]["height_px"] == 1200
    assert (values[0]["bits"], values[2]["bits"]) == (8, 16)
    assert values[2]["left_sd"] == pytest.approx(values[0]["left_sd"])
    black = small.copy()
    black[50:-50, 50:-50] = 0
    assert np.array_equal(measure_border(black, black.shape), values[0].to_numpy())


# Without the lesion


def predictions(drop: float, n: int = 300) -> pd.DataFrame:
    rng = np.random.default_rng(1)
    label = rng.integers(0, 2, n)
    logit = rng.normal(1.5 * label, 1)
    without = logit - drop * 1.5 * label + rng.normal(0, 0.1, n)
    prob, prob_without = (1 / (1 + np.exp(-value)) for value in (logit, without))
    table = {"sample_id": [f"s{k}" for k in range(n)], "patient_id": [f"p{k // 2}" for k in range(n)]}
    return pd.DataFrame(table | {"label": label, "prob": prob, "prob_without_lesion": prob_without})


def no_borders() -> pd.DataFrame:
    return pd.DataFrame(columns=list(schemas.BORDER_SCORES.columns))


@pytest.mark.parametrize(
    ("drop", "verdict"),
    [(1.0, lesion_verdict.LOOKS), (0.0, lesion_verdict.DOES_NOT_LOOK), (-0.2, lesion_verdict.DOES_NOT_LOOK)],
)
def test_a_model_whose_auc_does_not_fall_has_not_looked_at_the_lesion(drop: float, verdict: str) -> None:
    rows = predictions(drop)
    metrics = shortcut_controls.control_auc(rows, no_borders(), RESAMPLING)
    plain = auc(rows["label"], rows["prob"])
    assert metrics["auc_without_lesion"] == pytest.approx(auc(rows["label"], rows["prob_without_lesion"]))
    assert metrics["auc_drop"] == pytest.approx(plain - metrics["auc_without_lesion"])
    assert metrics["auc_drop_low"] <= metrics["auc_drop"] <= metrics["auc_drop_high"]
    assert lesion_verdict.judge_drop({"auc": plain} | metrics) == verdict


def test_too_few_samples_decide_nothing() -> None:
    row = {"auc": 0.7, "auc_drop": 0.08, "auc_drop_low": -0.05, "auc_drop_high": 0.2}
    assert lesion_verdict.judge_drop(row) == lesion_verdict.NOT_SHOWN
    assert lesion_verdict.judge_drop({"auc": 0.7}) == ""
    whole_films = {"auc": 0.715, "auc_drop": 0.028, "auc_drop_low": 0.016, "auc_drop_high": 0.040}
    assert lesion_verdict.judge_drop(whole_films) == lesion_verdict.LITTLE


def test_what_was_not_predicted_is_left_out() -> None:
    rows = predictions(1.0).drop(columns="prob_without_lesion")
    assert shortcut_controls.control_auc(rows, no_borders(), RESAMPLING) == {}


def test_controls_stand_in_the_table_of_metrics_as_in_the_comparison() -> None:
    metrics = shortcut_controls.control_auc(predictions(1.0), no_borders(), RESAMPLING)
    table = shortcut_controls.tabulate_controls(metrics | {"n": 300.0, "n_patients": 150.0}).set_index("metric")
    assert table.loc["auc_drop", ["value", "low", "high"]].tolist() == [
        metrics[name] for name in ("auc_drop", "auc_drop_low", "auc_drop_high")
    ]
    assert set(table.index) == {"auc_without_lesion", "auc_drop", "auc_drop_p"}


# The probe


def test_the_probe_finds_what_is_left_in_the_arrays_and_only_that() -> None:
    rng = np.random.default_rng(2)
    n, size = 120, 32
    label = np.arange(n) % 2
    patients = [f"p{number // 4}" for number in range(n)]
    fold = pd.array([number // 4 % FOLDS for number in range(n)], dtype="Int64")
    index = pd.DataFrame(
        {"sample_id": [f"s{k}" for k in range(n)], "patient_id": patients, "label": label, "fold": fold}
    )
    images = rng.integers(90, 110, (n, size, size)).astype(np.uint8)
    images[:, 12:20, 12:20] = (100 + 100 * label)[:, None, None]  # the lesion
    without = images.copy()
    without[:, 12:20, 12:20] = 100
    scores = pd.Series(rng.random(n), index=index["sample_id"])

    def probe(images: np.ndarray, without: np.ndarray) -> pd.DataFrame:
        arrays = {"images": images, "without_lesion": without}
        return shortcut_probe.probe_shortcuts(index, arrays, scores, RESAMPLING).set_index("number")

    clean = probe(images, without)
    assert list(clean.index) == [shortcut_probe.FILM_BORDER, *shortcut_probe.PROBES]
    assert ((clean["low"] < 0.5) & (clean["high"] > 0.5) | (clean["auc"] == 0.5)).all()
    images[label == 1, :1] += 40
    cued = probe(images, without)
    assert cued.loc["border of the preprocessed image", "auc"] > 0.9
    assert cued.loc["without the lesion"].equals(clean.loc["without the lesion"])
