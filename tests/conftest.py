"""Fixtures that several test files share: a small synthetic cohort, and the real mammograms where they lie."""

import os
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")

from mammo.data.sources import demo

REPOSITORY = Path(__file__).resolve().parents[1]


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """The files with slow tests first, so that no worker is alone with one at the end."""
    slow = {item.path for item in items if item.get_closest_marker("slow")}
    items.sort(key=lambda item: item.path not in slow)


@pytest.fixture(autouse=True)
def no_store_for_the_next_test() -> Iterator[None]:
    """MLflow keeps a store's address in the process and in its environment, where monkeypatch does not see it."""
    before = os.environ.get("MLFLOW_TRACKING_URI")
    yield
    if "mlflow" in sys.modules:
        sys.modules["mlflow"].set_tracking_uri(None)
        if before is not None:
            os.environ["MLFLOW_TRACKING_URI"] = before


@pytest.fixture(scope="session")
def cohort(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Root of a synthetic cohort of 30 patients; shared by all tests, so copy it before changing it."""
    root = tmp_path_factory.mktemp("cohort")
    demo.write_cohort(root, patients=30, height_px=128, signal=1.8, seed=7)
    return root


@pytest.fixture(scope="session")
def real_root() -> Path:
    """Root of the real mass set (800 px, Kaggle layout); skips where it is absent."""
    default = REPOSITORY.parent / "shared" / "cbis-ddsm-mass"
    root = Path(os.environ.get("MAMMO_CBIS_DDSM_MASS", default))
    if not (root / "csv").is_dir():
        pytest.skip(
            f"real mammograms are not at {root}; MAMMO_CBIS_DDSM_MASS names the folder that holds csv/ and jpeg/"
        )
    return root


@pytest.fixture(scope="session")
def finished_lesions(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished run of lesions (tests/finished.py); shared by all tests, so copy it before changing it."""
    import finished  # Keras, only where it is needed

    return finished.make(tmp_path_factory.mktemp("finished") / "lesion", "lesion")


@pytest.fixture(scope="session")
def finished_images(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The same of whole films."""
    import finished

    return finished.make(tmp_path_factory.mktemp("finished") / "image", "image")
