"""A workspace as a stage of `dvc repro` finds it: params.yaml in the current folder, and no tracking server."""

from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
import pytest
import yaml

from mammo.core import schemas
from mammo.core.files import write_table
from tests import arrays

PATIENTS = 30  # of `write_store`
COMMITTED = Path(__file__).resolve().parents[1] / "params.yaml"


def enter(folder: Path, monkeypatch: pytest.MonkeyPatch, **ingest: Any) -> Path:
    """Make `folder` a workspace with the committed parameters, those of `ingest` replaced, and go there."""
    content = yaml.safe_load(COMMITTED.read_text(encoding="utf-8"))
    content["ingest"] |= ingest
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "params.yaml").write_text(yaml.safe_dump(content), encoding="utf-8")
    for variable in ("DVC_ROOT", "DVC_EXP_NAME", "DVC_EXP_BASELINE_REV"):
        monkeypatch.delenv(variable, raising=False)
    # No server listens there: stages warn and write their records.
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://127.0.0.1:9")
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    monkeypatch.chdir(folder)
    return folder


def change(folder: Path, **sections: dict[str, Any]) -> None:
    """Replace values of sections of the workspace's parameters."""
    path = folder / "params.yaml"
    content = yaml.safe_load(path.read_text(encoding="utf-8"))
    for name, values in sections.items():
        content[name] |= values
    path.write_text(yaml.safe_dump(content), encoding="utf-8")


def write_store(folder: Path) -> None:
    """Write an array store as preprocess does, of PATIENTS of tests/arrays.py; lesions are the bright discs."""
    pixels = folder / "data" / "pixels"
    pixels.mkdir(parents=True)
    index = arrays.index(PATIENTS)
    images, masks = arrays.images(index["label"].to_numpy())
    write_table(pixels / "index.csv", index, schemas.INDEX)
    np.save(pixels / "images.npy", images)
    np.save(pixels / "masks.npy", masks.astype(np.uint8))
    write_without_lesion(pixels, index, np.where(masks, np.uint8(60), images))
    share = np.linspace(0.001, 0.1, len(index))
    sizes = pd.DataFrame({"sample_id": index["sample_id"], "lesion_share": share})
    write_table(pixels / "sizes.csv", sizes, schemas.SIZES)
    (pixels / "fingerprint.txt").write_text(f"{64 * '0'}\n", encoding="utf-8")


def write_without_lesion(pixels: Path, index: pd.DataFrame, images: npt.NDArray[np.uint8]) -> None:
    """Write the samples without their lesions into an array store; the malignant rows have one."""
    np.save(pixels / "without_lesion.npy", images)
    removal = np.where(index["label"] == 1, "inpainted", schemas.NONE_MARKED)
    write_table(pixels / "without_lesion.csv", index[["sample_id"]].assign(removal=removal), schemas.WITHOUT_LESION)
