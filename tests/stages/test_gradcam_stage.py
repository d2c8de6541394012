"""The stages gradcam and retrained_maps: which samples are shown, and what they leave in a tiny workspace."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import get_args

import keras
import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mammo import models
from mammo.core import row_names, schemas
from mammo.core.config import SaliencyMethod, load_config
from mammo.core.errors import InputError
from mammo.core.files import write_table
from mammo.core.paths import GRADCAM, MODELS, PIXELS, PREDICTIONS, RETRAINED_MAPS
from mammo.data.samples import Samples, open_store
from mammo.evaluation import operating_point
from mammo.explain import saliency, sanity_checks, shortcuts, verdicts
from mammo.pipeline import explaining
from stages import gradcam, report, retrained_maps
from tests import arrays, workspaces

OUTCOMES = list(operating_point.OUTCOMES.values())


def samples(outcomes: list[str]) -> pd.DataFrame:
    return pd.DataFrame({"sample_id": [f"P_{number}" for number in range(len(outcomes))], "outcome": outcomes})


@given(st.lists(st.sampled_from(OUTCOMES), min_size=1, max_size=40), st.integers(1, 12), st.integers(0, 99))
def test_mixed_shows_every_outcome_alike_while_there_are_any(outcomes, count, seed):
    rows = samples(outcomes)
    chosen = gradcam.choose_samples(rows, "mixed", count, seed)
    assert len(chosen) == len(set(chosen)) == min(count, len(rows))
    assert list(chosen) == sorted(chosen)
    shown = rows["outcome"].iloc[chosen].value_counts()
    left = rows["outcome"].value_counts().sub(shown, fill_value=0)
    unused = [shown.get(name, 0) for name in left.index[left > 0]]
    assert not unused or shown.max() <= min(unused) + 1


def test_random_depends_on_the_seed_alone():
    rows = samples(OUTCOMES * 10)
    first, again, other = (gradcam.choose_samples(rows, "random", 8, seed) for seed in (1, 1, 2))
    np.testing.assert_array_equal(first, again)
    assert list(first) != list(other)


def test_samples_may_be_named():
    assert list(gradcam.choose_samples(samples(OUTCOMES), ["P_2", "P_0"], 1, 0)) == [0, 2]
    with pytest.raises(InputError, match=r"no reported sample is named P_9; there are e\.g\. P_0"):
        gradcam.choose_samples(samples(OUTCOMES), ["P_9"], 1, 0)


def test_params_know_every_method():
    assert set(get_args(SaliencyMethod)) == set(saliency.METHODS)


# --- the stage in a workspace -------------------------------------------------------------------------------

METHODS = ["layercam", "smoothgrad"]
SHOWN = ["P_004_CC", "P_009_MLO"]


@pytest.fixture(scope="module")
def explained(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A workspace in which the stage has explained an untrained light_cnn by two methods, for named samples."""
    with pytest.MonkeyPatch.context() as monkeypatch:
        root = workspaces.enter(tmp_path_factory.mktemp("explained"), monkeypatch)
        workspaces.change(root, gradcam={"methods": METHODS, "choose": SHOWN}, evaluate={"resamples": 100})
        workspaces.write_store(root)
        models.save(models.build(arrays.LIGHT, arrays.SHAPE, seed=1), root / MODELS / "light_cnn.keras")
        write_table(root / PREDICTIONS / "light_cnn.csv", arrays.predictions(workspaces.PATIENTS), schemas.PREDICTIONS)
        gradcam.main("light_cnn")
        yield root / GRADCAM / "light_cnn"


def test_the_samples_may_be_named_in_params(explained: Path) -> None:
    areas = pd.read_csv(explained / "perturbation.csv")
    assert list(areas["sample_id"]) == SHOWN * 2


def test_the_report_draws_the_chosen_samples_by_each_method(
    explained: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(explained.parents[2])
    report.draw_saliency(tmp_path, "light_cnn", load_config(), None)
    assert (tmp_path / "overlays.png").is_file()
    assert (tmp_path / "overlays_smoothgrad.png").is_file()


def test_maps_are_those_of_the_test_samples_by_each_method(explained: Path) -> None:
    root = explained.parents[2]
    test = open_store(root / PIXELS).take("test")
    explainer = saliency.Explainer(models.load(root / MODELS / "light_cnn.keras"))
    seed = load_config(root / "params.yaml").seed
    assert list(pd.read_csv(explained / "samples.csv")["sample_id"]) == list(test.index["sample_id"])
    for method, file in zip(METHODS, ("maps.npy", "maps_smoothgrad.npy"), strict=True):
        expected = explainer.maps(test.pixels(np.arange(len(test.index))), method, seed)
        np.testing.assert_allclose(np.load(explained / file), expected, atol=2e-3)


def test_every_method_has_scores_regions_and_verdicts(explained: Path) -> None:
    scores, summary, looked, checks = (
        pd.read_csv(explained / f"{name}.csv") for name in ("scores", "summary", "shortcuts", "sanity")
    )
    for table in (scores, summary, looked, checks):
        assert list(dict.fromkeys(table["method"])) == METHODS
    means = scores.groupby("method")["energy"].mean()
    overall = summary[(summary["variable"] == "all") & (summary["metric"] == "energy")].set_index("method")
    np.testing.assert_allclose(overall["mean"], means[overall.index], atol=1e-5)
    assert set(summary.loc[summary["variable"] == "size", "value"]) <= {"small", "medium", "large"}
    assert list(looked["region"]) == [*shortcuts.REGIONS] * 2
    assert list(checks["check"]) == [verdicts.CASCADE, verdicts.PERTURBATION, verdicts.IMAGES] * 2
    of_images = checks[checks["check"] == verdicts.IMAGES].set_index("method")
    maps = np.load(explained / "maps.npy").astype(np.float32)
    own = sanity_checks.correlate_patients(maps, pd.read_csv(explained / "samples.csv")["patient_id"])
    assert of_images.loc[METHODS[0], "value"] == pytest.approx(own.mean(), abs=1e-5)
    assert (checks.loc[checks["check"] != verdicts.IMAGES, "n_patients"] == 2).all()


def test_maps_are_scored_within_what_the_model_sees() -> None:
    model = models.build(arrays.light(crops=[0.5], input_px=32), (64, 64, 1), seed=0)
    images, masks = np.full((2, 64, 64), 9, np.uint8), np.zeros((2, 64, 64), np.uint8)
    masks[:, 24:40, 24:40] = 1
    test = Samples(pd.DataFrame({"sample_id": ["a", "b"]}), images)
    maps = np.zeros((2, 64, 64), np.float16)
    maps[:, 16:48, 16:48] = 1
    explained = gradcam.ExplainedTest(
        saliency.Explainer(model), test, test.index, masks, {"gradcam": maps}, np.arange(2)
    )
    scores = gradcam.score_maps(explained, maps)
    np.testing.assert_allclose(
        scores[["energy", "energy_random", "sides_area"]], [[1 / 4, 1 / 4, 1 - 28**2 / 32**2]] * 2
    )


def test_the_record_holds_scores_shares_and_failures(explained: Path) -> None:
    record = json.loads((explained.parents[2] / "metrics/records/gradcam/light_cnn.json").read_text())
    assert {"layercam_energy", "smoothgrad_sides_share", "centre_pointing", "layercam_cascade_failed"} <= set(
        record["metrics"]
    )
    assert list(record["artifacts"]) == ["data/gradcam/light_cnn"]


def test_a_test_sample_without_a_prediction_is_refused(explained: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(explained.parents[2])
    predictions = arrays.predictions(workspaces.PATIENTS)
    lacking = predictions[predictions["sample_id"] != SHOWN[0]]
    write_table(PREDICTIONS / "other.csv", lacking, schemas.PREDICTIONS)
    with pytest.raises(InputError, match="1 test samples have no prediction"):
        gradcam.main("other")


def test_a_model_that_cannot_be_explained_is_refused_by_its_file(explained: Path, tmp_path: Path) -> None:
    test = open_store(explained.parents[2] / PIXELS).take("test")
    image = keras.Input(arrays.SHAPE)
    flat = keras.layers.Dense(1, name="logit")(keras.layers.Flatten()(image))
    models.save(keras.Model(image, keras.layers.Activation("sigmoid")(flat)), tmp_path / "flat.keras")
    with pytest.raises(InputError, match=r"flat\.keras: .* has no layer named 'features'.*name its last spatial"):
        explaining.open_explainer(tmp_path / "flat.keras", test)
    models.save(models.build(arrays.LIGHT, (48, 48, 1), seed=1), tmp_path / "large.keras")
    with pytest.raises(InputError, match=r"large\.keras: .*\(48, 48, 1\).*data/pixels holds \(32, 32, 1\).*size_px"):
        explaining.open_explainer(tmp_path / "large.keras", test)


# --- and the stage that trains again ------------------------------------------------------------------------


def test_maps_of_a_model_of_permuted_labels_and_of_another_seed_are_compared(
    explained: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    root = explained.parents[2]
    monkeypatch.chdir(root)
    workspaces.change(root, train={"epochs": 1}, seeds={"count": 1})
    seed = load_config().seed
    (further,) = row_names.seed_member_names("light_cnn", seed, load_config().seeds).values()
    models.save(models.build(arrays.LIGHT, arrays.SHAPE, seed + 1), MODELS / f"{further}.keras")
    retrained_maps.main("light_cnn")
    agreement, summary, checks = (
        pd.read_csv(RETRAINED_MAPS / "light_cnn" / f"{name}.csv") for name in ("agreement", "summary", "sanity")
    )
    test = pd.read_csv(explained / "samples.csv")["sample_id"]
    assert list(agreement["sample_id"]) == [*test] * len(METHODS)
    assert list(checks["check"]) == [
        verdicts.LABELS,
        verdicts.TEACHING,
        verdicts.SEEDS,
    ] * len(METHODS)
    mean = agreement[agreement["method"] == METHODS[0]][verdicts.SEEDS].mean()
    rows = summary[summary["method"] == METHODS[0]].set_index("comparison")
    assert rows.loc[verdicts.SEEDS, "mean"] == pytest.approx(mean, abs=1e-5)
    record = json.loads((root / "metrics/records/retrained_maps/light_cnn.json").read_text())
    checks = [f"{method}_{check}" for method in METHODS for check in ("labels", "teaching", "seeds")]
    assert {f"{check}_{verdict}" for check in checks for verdict in ("failed", "undecided")} <= set(record["metrics"])
    assert len(record["history"]) == 1


def test_a_closed_test_set_is_not_explained(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    root = workspaces.enter(tmp_path, monkeypatch)
    workspaces.change(root, evaluate={"test": "closed"})
    workspaces.write_store(root)
    held_out = open_store(root / PIXELS).take(load_config().evaluate.reported_split)
    assert set(held_out.index["split"]) == {"val"}
    predictions = arrays.predictions(workspaces.PATIENTS)
    # Each held-out row is decided without its own part, so that both parts need both classes.
    predictions["label"] = np.arange(len(predictions)) % 2
    held_out.index["label"] = held_out.index["sample_id"].map(predictions.set_index("sample_id")["label"])
    clean, poisoned = (
        gradcam._decide(held_out, table, load_config().evaluate)
        for table in (
            predictions,
            predictions.assign(label=predictions["label"].where(predictions["split"] == "val", 0)),
        )
    )
    pd.testing.assert_frame_equal(clean, poisoned)
    assert list(clean["sample_id"]) == list(held_out.index["sample_id"])
