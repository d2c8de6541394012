"""What a model needs beside its weights: how films are prepared for it, and how its probabilities are read."""

import math
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal

import numpy as np
import numpy.typing as npt
from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator
from scipy.special import expit, logit

from mammo.core.config import PreprocessConfig, Unit
from mammo.core.errors import InputError, list_issues
from mammo.data.images import preprocess

CONFORMAL_TOLERANCE = 1e-8  # MAPIE's own
BENIGN, MALIGNANT, REFER = "benign", "malignant", "refer"
NOTICE = "For research only. Not a medical device; not for diagnosis."

Floats = npt.NDArray[np.float64]


def agree(call: str | None, held: str | None) -> str | None:
    """Return the class that call and prediction set have in common, REFER where they differ.

    What is not known (None: no operating point, no quantiles) is passed over; None where neither is known.
    """
    if call is None or held is None:
        return call or held
    return call if call == held else REFER


class BundleError(InputError):
    """A bundle, or a model of this workspace, cannot be used or written; the message says which, why and the cure."""


class _Section(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, protected_namespaces=())


Finite = Annotated[float, Field(allow_inf_nan=False)]
Probability = Annotated[float, Field(ge=0, le=1, allow_inf_nan=False)]


class OperatingPoint(_Section):
    """Predicted malignant: prob >= threshold, which `rule` at `value` chose on validation rows.

    The threshold of full specificity lies just above the highest score, of 1 just above 1.
    """

    rule: str
    value: Finite
    threshold: Annotated[float, Field(ge=0, le=math.nextafter(1, 2), allow_inf_nan=False)]


class Platt(_Section):
    """Calibrated: expit(slope * logit(prob) + shift), fitted on validation rows (metrics.calibration.platt)."""

    slope: Annotated[float, Field(gt=0, allow_inf_nan=False)]
    shift: Finite


CONFIDENCE = 0.9  # of prediction sets, where nobody chooses one
MAX_SCORES = 1000  # that a bundle keeps of validation rows


class Reference(_Section):
    """What later films are compared with: the model's own probabilities of validation rows, sorted.

    refer_rate: the share of those rows that is referred; None where nothing refers.
    """

    scores: list[Probability]
    refer_rate: Probability | None = None


class About(_Section):
    """How films are prepared for a model and how its probabilities are read.

    conformal: the quantile by confidence (metrics.conformal.quantiles); None: there were too few validation rows, so
    that every film is referred. Without operating point, calibration or conformal nothing is known of them. data:
    fingerprint of the pixels it was trained on; record: content hash of its training's record, the tag `content` in
    MLflow. two_views: all of this is of the mean log-odds over the views of a lesion, or breast, where there are
    several. model_sha256: of the model's file, of an ensemble `model_files.hash_ensemble`.
    """

    format: Literal[1] = 1
    name: str
    unit: Unit
    two_views: bool = False
    preprocess: PreprocessConfig
    flips: bool
    operating_point: OperatingPoint | None = None
    calibration: Platt | None = None
    conformal: dict[str, Probability | None] = {}
    validation: dict[str, Annotated[int, Field(ge=0)]] = {}
    reference: Reference | None = None
    data: str | None = None
    record: str | None = None
    model_sha256: str
    packages: dict[str, str] = {}
    licence: str = "MIT"

    @field_validator("conformal")
    @classmethod
    def _confidences_are_shares(cls, quantiles: dict[str, float | None]) -> dict[str, float | None]:
        for level in quantiles:
            if not 0 < float(level) < 1:
                raise ValueError(f"a confidence lies between 0 and 1, and is not {level}")
        return quantiles

    @property
    def image_shape(self) -> tuple[int, int, int]:
        """(h, w, 1) of what the model takes."""
        return (*preprocess.square_shape(self.unit, self.preprocess.size_px), 1)

    def calibrate(self, prob: Floats) -> Floats:
        """Return calibrated probabilities (n,); nan where there is no calibration."""
        if self.calibration is None:
            return np.full_like(prob, np.nan)
        return np.asarray(expit(self.calibration.slope * logit(prob) + self.calibration.shift))

    def classify(self, prob: Floats) -> list[str | None]:
        """Return BENIGN or MALIGNANT at the operating point; None where there is none."""
        if self.operating_point is None:
            return [None] * len(prob)
        return [MALIGNANT if value >= self.operating_point.threshold else BENIGN for value in prob]

    def nearest_confidence(self) -> float:
        """Return the confidence nearest to CONFIDENCE of those that the model has quantiles for."""
        levels = [float(level) for level in self.conformal] or [CONFIDENCE]
        return min(levels, key=lambda level: abs(level - CONFIDENCE))

    def prediction_sets(self, prob: Floats, confidence: float) -> list[str | None]:
        """Return the one class of each prediction set, or REFER for a set of both or none; None without quantiles.

        Raises BundleError for a confidence without quantile.
        """
        if not self.conformal:
            return [None] * len(prob)
        quantiles = {float(level): quantile for level, quantile in self.conformal.items()}
        if confidence not in quantiles:
            levels = ", ".join(map(str, quantiles))
            raise BundleError(f"{self.name}: no prediction sets of confidence {confidence:g}; there are {levels}")
        quantile = quantiles[confidence]
        limit = CONFORMAL_TOLERANCE + (math.inf if quantile is None else quantile)
        sets = np.column_stack([prob <= limit, 1 - prob <= limit])  # benign, malignant
        return [REFER if row.sum() != 1 else (MALIGNANT if row[1] else BENIGN) for row in sets]


def make_reference(prob: Floats, fitted: Mapping[str, Any]) -> Reference:
    """Return the reference of the probabilities (n,) of validation rows.

    fitted: the fields of About that say what is referred, operating_point and conformal.
    """
    decided = About.model_construct(name="", **fitted)
    sets = decided.prediction_sets(prob, decided.nearest_confidence())
    answers = [agree(call, held) for call, held in zip(decided.classify(prob), sets, strict=True)]
    known = bool(decided.conformal) and bool(answers)
    scores = np.sort(prob) if len(prob) <= MAX_SCORES else np.quantile(prob, np.linspace(0, 1, MAX_SCORES))
    return Reference(
        scores=[round(float(score), 6) for score in scores],
        refer_rate=answers.count(REFER) / len(answers) if known else None,
    )


def read_about(path: Path, source: object) -> About:
    """Return the description in a file; raises BundleError naming its `source` where it is none."""
    try:
        return About.model_validate_json(path.read_bytes())
    except ValidationError as error:
        issues = "; ".join(list_issues(error))
        raise BundleError(
            f"{source}: {path.name} is not of this version of mammo ({issues}); export it again"
        ) from None
