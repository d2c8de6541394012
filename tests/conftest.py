"""Fixtures that several test files share: a small synthetic cohort, and the real mammograms where they lie."""

import gc
import os
import runpy
import shutil
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from filelock import FileLock
from hypothesis import settings

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")

import imports

from mammo.data.sources import demo

# Of the processes that tests start, and of this one, which has started.
os.environ["PYTHONPATH"] = imports.python_path(*filter(None, [os.environ.get("PYTHONPATH")]))
runpy.run_path(str(imports.PROCESSES / "sitecustomize.py"))

REPOSITORY = Path(__file__).resolve().parents[1]
# A deadline measures how busy the machine is. --hypothesis-profile fast: see tests/examples.py.
settings.register_profile("all", deadline=None)
settings.register_profile("fast", deadline=None, max_examples=20)
settings.load_profile("all")

# The dearest files, dearest first; by the times that `pytest --durations 0` tells.
DEAREST = ["whole_pipeline", "notebook", "architectures", "trainer", "parameter_search", "servers", "api"]
DEAREST += ["cbis_ddsm_fuzz", "cbis_ddsm", "saliency", "external_datasets", "ui"]


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Order the files by their cost, so that every worker has work until the end."""
    rank = {f"test_{name}.py": number for number, name in enumerate(DEAREST)}
    items.sort(key=lambda item: rank.get(item.path.name, len(rank)))


def pytest_collection() -> None:
    """Look for no garbage among what the test files import: that would be a quarter of the imports' time."""
    gc.disable()


def pytest_collection_finish() -> None:
    """Look for garbage again among what the tests make, after as many objects as the tracing of a model makes."""
    gc.freeze()
    gc.set_threshold(50_000, 10, 10)
    gc.enable()


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
    return _finished(tmp_path_factory, "lesion")


@pytest.fixture(scope="session")
def finished_images(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished run of whole films; shared by all tests, so copy it before changing it."""
    return _finished(tmp_path_factory, "image")


def _finished(tmp_path_factory: pytest.TempPathFactory, unit: str) -> Path:
    def make(folder: Path) -> None:
        import finished  # Keras, only where it is needed

        finished.make(folder, unit)

    return _make_once(tmp_path_factory, f"finished_{unit}", make)


@pytest.fixture(scope="module")
def shallow_light_cnn() -> Iterator[None]:
    """light_cnn is shallow in this module: what a training of few batches costs is the tracing of its step."""
    from mammo.models.architectures import light_cnn  # Keras, only where it is needed
    from tests import arrays

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(light_cnn, "WIDTHS", arrays.SHALLOW)
        yield


@pytest.fixture(scope="session")
def empty_store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A new SQLite store of MLflow, which takes seconds to make one; shared by all tests, so copy it."""

    def make(folder: Path) -> None:
        import mlflow

        folder.mkdir()
        mlflow.MlflowClient(f"sqlite:///{folder / 'empty.db'}").search_experiments()

    return _make_once(tmp_path_factory, "store", make) / "empty.db"


@pytest.fixture
def dvc_project(tmp_path_factory: pytest.TempPathFactory, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy of the tiny project of tests/dvc_project.py, finished, as the current folder; no tracking server."""
    import dvc_project  # DVC, only where it is needed

    for variable in [name for name in os.environ if name.startswith(("DVC_", "MLFLOW_"))]:
        monkeypatch.delenv(variable)
    monkeypatch.setenv("DVC_SITE_CACHE_DIR", str(tmp_path / "site"))
    finished = _make_once(tmp_path_factory, "dvc_project", dvc_project.make)
    shutil.copytree(finished, tmp_path / "project", symlinks=True)
    monkeypatch.chdir(tmp_path / "project")
    return tmp_path / "project"


def _make_once(tmp_path_factory: pytest.TempPathFactory, name: str, make: Callable[[Path], object]) -> Path:
    """Return the folder that `make` fills, once for all workers of pytest-xdist."""
    base = tmp_path_factory.getbasetemp()
    folder = (base.parent if "PYTEST_XDIST_WORKER" in os.environ else base) / name
    with FileLock(folder.with_suffix(".lock")):
        if not folder.is_dir():
            unfinished = folder.with_suffix(".unfinished")
            make(unfinished)
            unfinished.rename(folder)
    return folder
