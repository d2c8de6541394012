"""A name in params.yaml is a file: plugins, sources, data sets; and where the folder source looks."""

import importlib
from collections.abc import Callable
from pathlib import Path
from types import ModuleType

import pytest

from mammo.core import plugins, schemas
from mammo.core.config import ConfigError, IngestConfig, load_config
from mammo.core.errors import InputError
from mammo.core.paths import project_root, resolve_path
from mammo.core.plugins import UnknownNameError
from mammo.data import datasets, sources
from mammo.data.cohort import leakage, splits
from mammo.data.images import dicom
from mammo.data.sources import _download, folder

COMMITTED = Path(__file__).resolve().parents[2] / "params.yaml"


@pytest.fixture
def package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    """A package with the modules `one` and `two`, and a private one."""
    home = tmp_path / "some_package"
    home.mkdir()
    for name in ("__init__", "two", "one", "_shared"):
        (home / f"{name}.py").write_text(f"NAME = {name!r}\n")
    (home / "notes.txt").write_text("no module")
    monkeypatch.syspath_prepend(tmp_path)
    return importlib.import_module("some_package")


def ingest_from(root: str | None) -> IngestConfig:
    return load_config(COMMITTED).ingest.model_copy(update={"source": "folder", "root": root})


def test_a_package_offers_its_public_modules_in_order(package: ModuleType) -> None:
    assert plugins.plugin_names(package.__name__) == ["one", "two"]


def test_a_name_leads_to_its_module(package: ModuleType) -> None:
    assert plugins.load_plugin(package.__name__, "two", "some.key").NAME == "two"


@pytest.mark.parametrize("name", ["three", "_shared", "", "One", "one.py", "notes", "__init__", "..one", "one.two"])
def test_any_other_name_is_refused_with_the_key_and_the_alternatives(package: ModuleType, name: str) -> None:
    with pytest.raises(UnknownNameError) as error:
        plugins.load_plugin(package.__name__, name, "some.key")
    assert str(error.value) == f"some.key: unknown name {name!r}; there are: one, two"


def test_every_source_can_be_had_and_offers_its_verbs() -> None:
    for name in plugins.plugin_names(sources.__name__):
        source = sources.load_source(name)
        assert callable(source.fetch)
        assert callable(source.root)


def test_every_dataset_can_be_had_and_offers_its_verb() -> None:
    for name in plugins.plugin_names(datasets.__name__):
        assert callable(datasets.load_dataset(name).locate)


def test_the_committed_params_name_a_source_and_a_dataset() -> None:
    ingest = load_config(COMMITTED).ingest
    assert ingest.source in plugins.plugin_names(sources.__name__)
    assert ingest.dataset in plugins.plugin_names(datasets.__name__)


@pytest.mark.parametrize(
    ("package", "load", "key"),
    [(sources, sources.load_source, "ingest.source"), (datasets, datasets.load_dataset, "ingest.dataset")],
)
def test_an_unknown_name_tells_the_key_and_the_others(
    package: ModuleType, load: Callable[[str], object], key: str
) -> None:
    with pytest.raises(UnknownNameError, match=f"{key}: unknown name 'kagle'; there are: ") as error:
        load("kagle")
    assert all(name in str(error.value) for name in plugins.plugin_names(package.__name__))


@pytest.mark.parametrize(
    "error",
    [
        ConfigError,
        UnknownNameError,
        schemas.TableError,
        datasets.DatasetError,
        splits.SplitError,
        dicom.PixelError,
        dicom.DicomError,
        _download.DownloadError,
        leakage.LeakError,
    ],
)
def test_every_error_of_the_library_is_one_that_a_user_can_cure(error: type[Exception]) -> None:
    assert issubclass(error, InputError)


# Folder


def test_folder_leads_to_an_absolute_root_and_leaves_raw_empty(tmp_path: Path) -> None:
    data, raw = tmp_path / "data", tmp_path / "raw"
    data.mkdir()
    raw.mkdir()
    assert folder.fetch(ingest_from(str(data)), raw, seed=0) == folder.root(ingest_from(str(data)), raw) == data
    assert not list(raw.iterdir())


def test_a_relative_root_starts_at_the_users_repository_also_in_a_queued_experiment(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    repository, queued = tmp_path / "repository", tmp_path / "queued"
    (tmp_path / "data").mkdir()
    repository.mkdir()
    queued.mkdir()
    monkeypatch.chdir(queued)
    monkeypatch.setenv("DVC_ROOT", str(repository))
    assert folder.fetch(ingest_from("../data"), tmp_path, seed=0) == tmp_path / "data"
    assert project_root() == repository


def test_without_dvc_the_repository_is_the_working_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("DVC_ROOT", raising=False)
    monkeypatch.chdir(tmp_path)
    assert project_root() == tmp_path
    assert resolve_path("data") == tmp_path / "data"


def test_the_home_folder_is_expanded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    assert resolve_path("~/data") == tmp_path / "data"


def test_folder_without_a_root_names_the_key() -> None:
    with pytest.raises(ConfigError, match=r"ingest\.root is not set"):
        folder.fetch(ingest_from(None), Path("raw"), seed=0)


@pytest.mark.parametrize("name", ["absent", "file"])
def test_a_root_that_is_no_folder_is_named_as_given_and_as_looked_up(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    (tmp_path / "file").write_text("no folder")
    monkeypatch.setenv("DVC_ROOT", str(tmp_path))
    with pytest.raises(InputError, match=r"ingest\.root: .* is not a folder") as error:
        folder.fetch(ingest_from(name), tmp_path, seed=0)
    assert repr(name) in str(error.value)
    assert str(tmp_path / name) in str(error.value)
