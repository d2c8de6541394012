"""Whether a saliency method says anything about the model: it must change with the weights, and matter to the score.

A check is one of VERDICTS, by the interval of its value over resampled patients: passed where all of it is on the right
side of the limit, failed where all of it is on the wrong side, else undecided, so too with fewer than two patients.

Cascade: with every layer drawn anew, maps must not rank the pixels as the trained model's do (mean rank correlation
below MAX_CORRELATION). Perturbation: insertion less deletion must be above 0 on average. That is what random maps have:
the reverse of one is as likely, and reversing a map turns its insertion into its deletion. Images: maps must tell one
image from another (mean rank correlation of two patients' maps below MAX_CORRELATION), or they show a pattern that is
the network's own, such as what its padding adds to the corners.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import cv2
import keras
import numpy as np
import numpy.typing as npt
import pandas as pd
from scipy.stats import spearmanr

from mammo.explain.saliency import Explainer, Floats, Images
from mammo.metrics.clustered_means import Means, clustered_means
from mammo.metrics.resampling import Resampling

MAX_CORRELATION = 0.5
CUTS = 6  # how often maps are made while layers are drawn anew: a deep base has hundreds of layers
STEPS = 16  # of insertion and deletion
BLUR_SHARE = 0.08  # SD of the blur that hides, as a share of the image's width

CASCADE = "cascade"
PERTURBATION = "perturbation"
IMAGES = "images"
VERDICTS = PASSED, FAILED, UNDECIDED = "passed", "failed", "undecided"
BELOW, ABOVE = "below", "above"  # where a value must lie


def cascade(model: keras.Model, images: Images, method: str, seed: int) -> pd.DataFrame:
    """How alike maps stay as the layers are drawn anew from the logit down. Adebayo et al., NeurIPS 2018.

    One row per stop and image: layers (drawn anew so far), layer (the last of them), image (its position), and `alike`
    with the trained model's map. `model` stays as it is.
    """
    copy = keras.models.clone_model(model)
    copy.set_weights(model.get_weights())
    explainer = Explainer(copy)
    trained = explainer.visible(explainer.maps(images, method, seed))
    stops = []
    for layers, layer in _drawn_anew(copy, seed):
        found = alike(trained, explainer.visible(_of_drawn_logit(explainer, images, method, seed)))
        stops.append(found.assign(layers=layers, layer=layer, image=range(len(images))))
    return pd.concat(stops, ignore_index=True)[["layers", "layer", "image", *MEASURES]]


def _of_drawn_logit(explainer: Explainer, images: Images, method: str, seed: int) -> Floats:
    """Maps (n, h, w) of a model whose logit was drawn anew; where one is empty, of the logit's reverse.

    The reverse is as likely a draw. Of features that are alike everywhere, as those of drawn layers are, half of the
    draws speak against malignancy at every place, and would leave no map to tell by.
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


def by_layer(rows: pd.DataFrame) -> pd.DataFrame:
    """Means over the images of `cascade`, and `compared`: how many had two maps to tell by."""
    stops = rows.groupby(["layers", "layer"], sort=True)
    return stops[list(MEASURES)].mean().assign(compared=stops["rank_correlation"].count()).reset_index()


def alike(maps: Floats, others: Floats) -> pd.DataFrame:
    """MEASURES of each two maps, of maps (n, h, w) both: nan where either is even, and so tells nothing."""
    rows = [
        [measure(a, b) if np.ptp(a) and np.ptp(b) else np.nan for measure in MEASURES.values()]
        for a, b in zip(maps, others, strict=True)
    ]
    return pd.DataFrame(rows, columns=list(MEASURES), dtype=np.float64)


def _drawn_anew(model: keras.Model, seed: int) -> Iterator[tuple[int, str]]:
    """Draw the layers of `model` anew from the top, and stop at the logit, then CUTS - 1 times at even distances.

    A layer of Normalization stays: it holds statistics of images, not what was learnt.
    """
    rng = np.random.default_rng(seed)
    learnt = [layer for layer in model.layers if layer.weights and not isinstance(layer, keras.layers.Normalization)]
    stops = np.unique(np.linspace(1, len(learnt), CUTS).round().astype(int))
    for number, layer in enumerate(reversed(learnt), start=1):
        for weight in layer.weights:
            weight.assign(_drawn(weight.name, tuple(weight.shape), rng))
        if number in stops:
            yield number, layer.name


def _drawn(name: str, shape: tuple[int, ...], rng: np.random.Generator) -> npt.NDArray[np.floating]:
    """A kernel by He et al., ICCV 2015, which keeps the signal's size; scales and variances 1, other vectors 0."""
    if len(shape) > 1:
        return rng.normal(0, np.sqrt(2 / np.prod(shape[:-1])), shape)
    return np.ones(shape) if name in {"gamma", "moving_variance"} else np.zeros(shape)


def rank_correlation(a: Floats, b: Floats) -> float:
    """Spearman's rank correlation of two maps (h, w), neither of them even."""
    return float(spearmanr(a.ravel(), b.ravel()).statistic)


def ssim(a: Floats, b: Floats) -> float:
    """Structural similarity of two maps (h, w) in 0..1. Wang et al., IEEE Trans Image Process 2004."""

    def local(values: npt.NDArray[np.floating]) -> npt.NDArray[np.floating]:
        return np.asarray(cv2.GaussianBlur(values.astype(np.float64), (11, 11), 1.5))

    mean_a, mean_b = local(a), local(b)
    spread_a, spread_b = local(a * a) - mean_a**2, local(b * b) - mean_b**2
    together = local(a * b) - mean_a * mean_b
    light = (2 * mean_a * mean_b + 0.01**2) / (mean_a**2 + mean_b**2 + 0.01**2)
    structure = (2 * together + 0.03**2) / (spread_a + spread_b + 0.03**2)
    return float((light * structure).mean())


MEASURES: dict[str, Callable[[Floats, Floats], float]] = {"rank_correlation": rank_correlation, "ssim": ssim}


def insertion_deletion(explainer: Explainer, images: Images, maps: Floats) -> pd.DataFrame:
    """Areas (0..1) under the probability while pixels appear (insertion) or vanish (deletion) in the map's order.

    One row per image: insertion (higher is better), deletion (lower is better). Petsiuk et al., BMVC 2018. Hidden
    pixels are those of the blurred image, for both: black ones would be edges, which a model has never seen.
    """
    rows = [_areas(explainer, image, heat) for image, heat in zip(images.astype(np.float32), maps, strict=True)]
    return pd.DataFrame(rows, columns=["insertion", "deletion"])


def _areas(explainer: Explainer, image: Images, heat: Floats) -> tuple[float, float]:
    width = image.shape[1]
    blurred = cv2.GaussianBlur(image[..., 0], (0, 0), BLUR_SHARE * width)[..., np.newaxis]
    place = np.empty(heat.size, np.int64)
    place[np.argsort(-heat.ravel(), kind="stable")] = np.arange(heat.size)
    first = place.reshape(1, *heat.shape, 1) < np.linspace(0, heat.size, STEPS + 1).reshape(-1, 1, 1, 1)
    inserted, deleted = np.where(first, image, blurred), np.where(first, blurred, image)
    insertion, deletion = (1 / (1 + np.exp(-explainer.logits(shown))) for shown in (inserted, deleted))
    return float(np.trapezoid(insertion, dx=1 / STEPS)), float(np.trapezoid(deletion, dx=1 / STEPS))


def of_two_patients(maps: Floats, patient_id: npt.ArrayLike) -> "pd.Series[float]":
    """Rank correlation of each map (n, h, w) with that of another patient's image: nan where either is even."""
    return alike(maps, maps[_of_another_patient(np.asarray(patient_id))])["rank_correlation"]


def _of_another_patient(patient_id: npt.NDArray[np.object_]) -> npt.NDArray[np.int64]:
    """For each row (n,) the position of a row of another patient: the ends of halves apart in an order by patient.

    A patient of more than half of the rows meets himself.
    """
    order = np.argsort(patient_id, kind="stable")
    other = np.empty(len(order), np.int64)
    other[order] = np.roll(order, len(order) // 2)
    return other


def check_images(maps: Floats, patient_id: npt.ArrayLike, how: Resampling) -> dict[str, object]:
    """The check of images as a row of `verdict`, on maps (n, h, w) of patients (n,)."""
    return verdict(IMAGES, clustered_means(of_two_patients(maps, patient_id), patient_id, how), BELOW, MAX_CORRELATION)


@dataclass(frozen=True)
class Checked:
    """cascade: `by_layer`; perturbation: `insertion_deletion`; verdicts: rows of `verdict`."""

    cascade: pd.DataFrame
    perturbation: pd.DataFrame
    verdicts: pd.DataFrame


def check(
    explainer: Explainer, images: Images, patient_id: npt.ArrayLike, method: str, seed: int, how: Resampling
) -> Checked:
    """The checks that need many predictions, of a method on images (n, h, w, 1) of patients (n,).

    cascade: the mean rank correlation of the last stop. perturbation: the mean of insertion less deletion.
    """
    rows = cascade(explainer.model, images, method, seed)
    areas = insertion_deletion(explainer, images, explainer.maps(images, method, seed))
    last = rows.loc[rows["layers"] == rows["layers"].max(), "rank_correlation"]
    verdicts = [
        verdict(CASCADE, clustered_means(last, patient_id, how), BELOW, MAX_CORRELATION),
        verdict(PERTURBATION, clustered_means(areas["insertion"] - areas["deletion"], patient_id, how), ABOVE, 0.0),
    ]
    return Checked(by_layer(rows), areas, pd.DataFrame(verdicts))


def verdict(check: str, found: Means, must: str, limit: float) -> dict[str, object]:
    """A row of sanity.csv, of means of one column: check, value, low, high, must, limit, verdict, n, n_patients.

    must: whether the value has to lie BELOW or ABOVE the limit.
    """
    row = found.row()
    value = {"check": check, "value": row.pop("mean"), "low": row.pop("low"), "high": row.pop("high")}
    return {**value, "must": must, "limit": limit, "verdict": _judged(found, must, limit), **row}


def _judged(found: Means, must: str, limit: float) -> str:
    if found.n_patients < 2:
        return UNDECIDED
    # Without limits the patients agree throughout.
    ends = found.mean if np.isnan(found.low[0]) else np.concatenate([found.low, found.high])
    if (ends < limit).all():
        return PASSED if must == BELOW else FAILED
    if (ends > limit).all():
        return PASSED if must == ABOVE else FAILED
    return UNDECIDED
