"""Checks whether a saliency method says anything about the model: maps must change with the weights, and matter.

Cascade: with every layer randomised, maps must not rank the pixels as the trained model's do (mean rank correlation
below verdicts.MAX_CORRELATION). Perturbation: insertion less deletion must be above verdicts.MIN_GAIN on average.
Random maps have 0: the reverse of one is as likely, and reversing a map turns its insertion into its deletion. Images:
maps must tell one image from another (mean rank correlation of two patients' maps below verdicts.MAX_CORRELATION), or
they show a pattern that is the network's own, such as what its padding adds to the corners.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import cv2
import keras
import numpy as np
import numpy.typing as npt
import pandas as pd
from scipy.stats import spearmanr

from mammo.explain import verdicts
from mammo.explain.saliency import Explainer, Floats, Images
from mammo.metrics.clustered_means import clustered_means
from mammo.metrics.resampling import Resampling

CUTS = 6  # stops of the cascade: a deep base has hundreds of layers
STEPS = 16  # of insertion and deletion
BLUR_SHARE = 0.08  # SD of the blur that hides, as a share of the image's width


@dataclass(frozen=True)
class PatientImages:
    """Images (n, h, w, 1) and the patients (n,) that they are of."""

    images: Images
    patient_id: npt.ArrayLike


def randomize_cascade(model: keras.Model, images: Images, method: str, seed: int) -> pd.DataFrame:
    """Compare maps with the trained model's as its layers are randomised from the logit down.

    Adebayo et al., NeurIPS 2018. One row per stop and image: layers (randomised so far), layer (the last of them),
    image (its position), and `compare_maps` with the trained model's map. `model` stays as it is.
    """
    copy = keras.models.clone_model(model)
    copy.set_weights(model.get_weights())
    explainer = Explainer(copy)
    trained = explainer.crop_visible(explainer.maps(images, method, seed))
    stops = []
    for layers, layer in _randomize_layers(copy, seed):
        likeness = compare_maps(trained, explainer.crop_visible(_map_random_logit(explainer, images, method, seed)))
        stops.append(likeness.assign(layers=layers, layer=layer, image=range(len(images))))
    return pd.concat(stops, ignore_index=True)[["layers", "layer", "image", *MEASURES]]


def _map_random_logit(explainer: Explainer, images: Images, method: str, seed: int) -> Floats:
    """Return maps (n, h, w) of a model whose logit is random; where one is empty, of the logit's reverse.

    The reverse is as likely a draw. Of features that are alike everywhere, as those of random layers are, half of the
    draws speak against malignancy at every place, and would leave an empty map.
    """
    maps = explainer.maps(images, method, seed)
    empty = ~maps.any(axis=(1, 2))
    if empty.any():
        logit = explainer.model.get_layer("logit")
        weights = logit.get_weights()
        logit.set_weights([-weight for weight in weights])
        maps[empty] = explainer.maps(images[empty], method, seed)
        logit.set_weights(weights)
    return maps


def average_by_layer(rows: pd.DataFrame) -> pd.DataFrame:
    """Average `randomize_cascade` over the images; `compared` counts those with two maps that are not even."""
    stops = rows.groupby(["layers", "layer"], sort=True)
    return stops[list(MEASURES)].mean().assign(compared=stops["rank_correlation"].count()).reset_index()


def compare_maps(maps: Floats, others: Floats) -> pd.DataFrame:
    """Return MEASURES of each pair of maps, both (n, h, w); nan where either is even, and so tells nothing."""
    rows = [
        [measure(a, b) if np.ptp(a) and np.ptp(b) else np.nan for measure in MEASURES.values()]
        for a, b in zip(maps, others, strict=True)
    ]
    return pd.DataFrame(rows, columns=list(MEASURES), dtype=np.float64)


def _randomize_layers(model: keras.Model, seed: int) -> Iterator[tuple[int, str]]:
    """Randomise the layers of `model` from the top, and stop at the logit, then CUTS - 1 times at even distances.

    A layer of Normalization stays: it holds statistics of images, not learnt weights.
    """
    rng = np.random.default_rng(seed)
    learnt = [layer for layer in model.layers if layer.weights and not isinstance(layer, keras.layers.Normalization)]
    stops = np.unique(np.linspace(1, len(learnt), CUTS).round().astype(int))
    for number, layer in enumerate(reversed(learnt), start=1):
        for weight in layer.weights:
            weight.assign(_draw_weights(weight.name, tuple(weight.shape), rng))
        if number in stops:
            yield number, layer.name


def _draw_weights(name: str, shape: tuple[int, ...], rng: np.random.Generator) -> npt.NDArray[np.floating]:
    """Draw a kernel by He et al., ICCV 2015, which keeps the signal's size; scales become 1, other vectors 0."""
    if len(shape) > 1:
        return rng.normal(0, np.sqrt(2 / np.prod(shape[:-1])), shape)
    return np.ones(shape) if name in {"gamma", "moving_variance"} else np.zeros(shape)


def rank_correlation(a: Floats, b: Floats) -> float:
    """Return Spearman's rank correlation of two maps (h, w), neither of them even."""
    return float(spearmanr(a.ravel(), b.ravel()).statistic)


def ssim(a: Floats, b: Floats) -> float:
    """Return the structural similarity of two maps (h, w) in 0..1. Wang et al., IEEE Trans Image Process 2004."""

    def local(values: npt.NDArray[np.floating]) -> npt.NDArray[np.floating]:
        return np.asarray(cv2.GaussianBlur(values.astype(np.float64), (11, 11), 1.5))

    mean_a, mean_b = local(a), local(b)
    spread_a, spread_b = local(a * a) - mean_a**2, local(b * b) - mean_b**2
    together = local(a * b) - mean_a * mean_b
    light = (2 * mean_a * mean_b + 0.01**2) / (mean_a**2 + mean_b**2 + 0.01**2)
    structure = (2 * together + 0.03**2) / (spread_a + spread_b + 0.03**2)
    return float((light * structure).mean())


MEASURES: dict[str, Callable[[Floats, Floats], float]] = {"rank_correlation": rank_correlation, "ssim": ssim}


def measure_insertion_deletion(explainer: Explainer, images: Images, maps: Floats) -> pd.DataFrame:
    """Measure the areas under the probability as pixels appear (insertion) or vanish (deletion) in a map's order.

    In 0..1, one row per image: insertion (higher is better), deletion (lower is better). Petsiuk et al., BMVC 2018.
    Hidden pixels are those of the blurred image, for both: black ones would add edges, which the model was not trained
    on. An even map has no order: nan.
    """
    rows = [
        _areas(explainer, image, heat) if np.ptp(heat) else (np.nan, np.nan)
        for image, heat in zip(images.astype(np.float32), maps, strict=True)
    ]
    return pd.DataFrame(rows, columns=["insertion", "deletion"])


def _areas(explainer: Explainer, image: Images, heat: Floats) -> tuple[float, float]:
    width = image.shape[1]
    blurred = cv2.GaussianBlur(image[..., 0], (0, 0), BLUR_SHARE * width)[..., np.newaxis]
    place = np.empty(heat.size, np.int64)
    place[np.argsort(-heat.ravel(), kind="stable")] = np.arange(heat.size)
    first = place.reshape(1, *heat.shape, 1) < np.linspace(0, heat.size, STEPS + 1).reshape(-1, 1, 1, 1)
    inserted, deleted = np.where(first, image, blurred), np.where(first, blurred, image)
    insertion, deletion = (1 / (1 + np.exp(-explainer.logits(mixed))) for mixed in (inserted, deleted))
    return float(np.trapezoid(insertion, dx=1 / STEPS)), float(np.trapezoid(deletion, dx=1 / STEPS))


def correlate_patients(maps: Floats, patient_id: npt.ArrayLike) -> "pd.Series[float]":
    """Correlate the ranks of each map (n, h, w) with those of another patient's map; nan where either is even."""
    return compare_maps(maps, maps[_pair_patients(np.asarray(patient_id))])["rank_correlation"]


def _pair_patients(patient_id: npt.NDArray[np.object_]) -> npt.NDArray[np.int64]:
    """Return for each row (n,) the position of a row of another patient, half of the rows away in an order by patient.

    A patient of more than half of the rows is paired with himself.
    """
    order = np.argsort(patient_id, kind="stable")
    other = np.empty(len(order), np.int64)
    other[order] = np.roll(order, len(order) // 2)
    return other


def check_images(maps: Floats, patient_id: npt.ArrayLike, resampling: Resampling) -> dict[str, object]:
    """Return the check of images as a row of `judge_check`, on maps (n, h, w) of patients (n,)."""
    correlation = clustered_means(correlate_patients(maps, patient_id), patient_id, resampling)
    return verdicts.judge_check(verdicts.IMAGES, correlation, verdicts.BELOW, verdicts.MAX_CORRELATION)


@dataclass(frozen=True)
class MethodChecks:
    """cascade: `average_by_layer`; perturbation: `measure_insertion_deletion`; verdicts: rows of `judge_check`."""

    cascade: pd.DataFrame
    perturbation: pd.DataFrame
    verdicts: pd.DataFrame


def check_method(
    explainer: Explainer, samples: PatientImages, method: str, seed: int, resampling: Resampling
) -> MethodChecks:
    """Run the checks that need many predictions of a method.

    cascade: the mean rank correlation of the last stop. perturbation: the mean of insertion less deletion.
    """
    rows = randomize_cascade(explainer.model, samples.images, method, seed)
    areas = measure_insertion_deletion(explainer, samples.images, explainer.maps(samples.images, method, seed))
    last = rows.loc[rows["layers"] == rows["layers"].max(), "rank_correlation"]
    correlation = clustered_means(last, samples.patient_id, resampling)
    gain = clustered_means(areas["insertion"] - areas["deletion"], samples.patient_id, resampling)
    judged = [
        verdicts.judge_check(verdicts.CASCADE, correlation, verdicts.BELOW, verdicts.MAX_CORRELATION),
        verdicts.judge_check(verdicts.PERTURBATION, gain, verdicts.ABOVE, verdicts.MIN_GAIN),
    ]
    return MethodChecks(average_by_layer(rows), areas, pd.DataFrame(judged))
