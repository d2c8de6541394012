"""Small seeded arrays for tests that need no cohort: images with a planted cue, prediction tables, parameters."""

import re
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
import pytest

from mammo.core.config import (
    EvaluateConfig,
    FocalConfig,
    ModelConfig,
    ReaderConfig,
    TrainConfig,
    TrainingConfig,
    load_config,
)

SIZE_PX = 32
SHAPE = (SIZE_PX, SIZE_PX, 1)
BLOB_RADIUS_PX = 5
SHALLOW = (16, 32)  # light_cnn with two of its five blocks
DEEP = {"convnext_tiny", "efficientnet_b0", "mobilenet_v2", "resnet50_v2"}
LOWER_BLOCKS = {
    "convnext_tiny": "convnext_tiny_stage_1_block_0_identity",
    "mobilenet_v2": "block_6_expand_relu",
    "resnet50_v2": "conv3_block1_out",
}
SPLITS = ["train", "train", "train", "val", "test"]

_DEFAULT = load_config(Path(__file__).resolve().parents[1] / "params.yaml")
AUGMENTATION = _DEFAULT.train.augmentation.model_copy(
    update={
        "flip": True,
        "rotation_degrees": 10.0,
        "zoom": 0.1,
        "translation": 0.05,
        "contrast": 0.15,
        "noise": 0.02,
    }
)
TRAIN = _DEFAULT.train.model_copy(
    update={"epochs": 6, "batch_size": 16, "keep": "last", "patience": 6, "augmentation": AUGMENTATION}
)
LIGHT = _DEFAULT.model("light_cnn").model_copy(
    update={"dropout": 0.2, "learning_rate": 0.003, "augmentation_strength": 1.0}
)
FOCAL = FocalConfig(gamma=2.0, alpha=0.5)
EVALUATE = EvaluateConfig(
    test="open",
    primary=None,
    reader=ReaderConfig(models=[], error_shares=[0, 0.5]),
    rule="target_sensitivity",
    value=0.8,
    levels=["lesion", "patient"],
    min_specificity=0.8,
    prevalence=0.01,
    conformal=[0.8],
    errors=3,
    confidence=0.95,
    resamples=100,
)


def images(labels: npt.NDArray[np.int64], seed: int = 0) -> tuple[npt.NDArray[np.uint8], npt.NDArray[np.bool_]]:
    """Return noise (n, 32, 32) uint8 with a bright disc where the label is 1, and the discs' masks."""
    rng = np.random.default_rng(seed)
    rows, columns = np.mgrid[:SIZE_PX, :SIZE_PX]
    centres = rng.integers(BLOB_RADIUS_PX, SIZE_PX - BLOB_RADIUS_PX, (len(labels), 2, 1, 1))
    inside = (rows - centres[:, 0]) ** 2 + (columns - centres[:, 1]) ** 2 <= BLOB_RADIUS_PX**2
    masks = inside & (labels[:, np.newaxis, np.newaxis] == 1)
    noise = rng.normal(60, 15, masks.shape)
    return np.clip(noise + 120 * masks, 0, 255).astype(np.uint8), masks


def index(patients: int = 40, seed: int = 0) -> pd.DataFrame:
    """Return schemas.INDEX with two samples per patient, whole patients in each split, a third of them malignant."""
    patient = np.repeat(np.arange(patients), 2)
    split = np.array(SPLITS)[patient % len(SPLITS)]
    labels = np.random.default_rng(seed).permutation(np.arange(patients) % 3 == 0).astype(np.int64)
    return pd.DataFrame(
        {
            "sample_id": [
                f"P_{number:03d}_{view}" for number, view in zip(patient, ["CC", "MLO"] * patients, strict=True)
            ],
            "patient_id": [f"P_{number:03d}" for number in patient],
            "split": split,
            "fold": pd.array(np.where(split == "test", None, patient % 3), dtype="Int64"),
            "label": labels[patient],
            "abnormality_type": np.where(patient % 2, "mass", "calcification"),
        }
    )


def predictions(patients: int = 60, skill: float = 1.0, seed: int = 0) -> pd.DataFrame:
    """Return schemas.PREDICTIONS whose mean log-odds differ by `skill` between the classes; `seed` is of the noise."""
    rows = index(patients).query("split != 'train'").reset_index(drop=True)
    logit = skill * (rows["label"] - 0.5) + np.random.default_rng(seed).normal(size=len(rows))
    return rows[["sample_id", "patient_id", "split", "label"]].assign(prob=1 / (1 + np.exp(-logit)))


def out_of_fold(patients: int = 60, skill: float = 2.0, shifts: tuple[float, ...] = (0, 0, 0)) -> pd.DataFrame:
    """Return schemas.OUT_OF_FOLD of three folds, whose log-odds are each shifted by a constant."""
    rows = index(patients).query("split != 'test'").reset_index(drop=True)
    parts = []
    for fold, shift in enumerate(shifts):
        role = np.where(rows["fold"] == fold, "oof", np.where(rows["split"] == "val", "val", "none"))
        logit = skill * (rows["label"] - 0.5) + shift + np.random.default_rng(fold).normal(size=len(rows))
        part = rows.assign(fold=fold, split=role, prob=1 / (1 + np.exp(-logit)))
        parts.append(part[part["split"] != "none"])
    return pd.concat(parts, ignore_index=True)[["sample_id", "patient_id", "fold", "split", "label", "prob"]]


def light(**changes: Any) -> ModelConfig:
    """Return the parameters of light_cnn with some changes."""
    return LIGHT.model_copy(update=changes)


def model_config(name: str, **changes: Any) -> ModelConfig:
    """Return `models.<name>` of params.yaml, or of the architecture `name`, untrained and with some changes."""
    section = _DEFAULT.models.get(name, LIGHT.model_copy(update={"architecture": name}))
    return section.model_copy(update={"weights": "none", **changes})


def make_shallow(repository: Path) -> None:
    """Make light_cnn shallow in a copy of this repository, where its trainings are of few batches."""
    code = repository / "src/mammo/models/architectures/light_cnn.py"
    text = code.read_text(encoding="utf-8")
    text, changes = re.subn(r"^WIDTHS = .*", f"WIDTHS = {SHALLOW}", text, flags=re.MULTILINE)
    assert changes == 1
    code.write_text(text, encoding="utf-8")


def cut(config: ModelConfig) -> ModelConfig:
    """Return the parameters of a deep base without the upper of its blocks, which repeat the lower ones.

    What takes a gradient through all of ResNet50V2 or ConvNeXt spends ten seconds in TensorFlow's tracing.
    """
    return config.model_copy(update={"cut_after": config.cut_after or LOWER_BLOCKS.get(config.architecture)})


def deep_ones_slow(architectures: list[str]) -> list[Any]:
    """Return the names as values of parametrize; of the deep architectures only `make test` sees them."""
    return [pytest.param(name, marks=pytest.mark.slow) if name in DEEP else name for name in architectures]


def training(model_config: ModelConfig = LIGHT, seed: int = 5, **changes: Any) -> TrainingConfig:
    """Return the parameters of a training, with some changes of section `train`."""
    return TrainingConfig(model_config, train_config(**changes), FOCAL, _DEFAULT.predict, seed, seed)


def train_config(**changes: Any) -> TrainConfig:
    """Return section `train` with some changes."""
    return TRAIN.model_copy(update=changes)
