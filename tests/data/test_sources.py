"""Sources: what they download and where to, resumed and checked, against a server on loopback; the index's contract."""

import errno
import hashlib
import io
import json
import os
import re
import zipfile
from collections.abc import Iterator
from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import s3_server
from s3_server import Fault, Server

from mammo.core import plugins
from mammo.core.config import ConfigError, IdcConfig, IngestConfig, load_config
from mammo.core.paths import project_root
from mammo.data import sources
from mammo.data.sources import _download, folder, idc, kaggle
from mammo.data.sources._download import DownloadError

COMMITTED = Path(__file__).resolve().parents[2] / "params.yaml"
TABLES = [table.path for table in idc.COLLECTIONS["cbis_ddsm"].tables]


def ingest(source: str, **changed: object) -> IngestConfig:
    return load_config(COMMITTED).ingest.model_copy(update={"source": source, **changed})


def idc_ingest(root: Path, patients: int | None = None, **changed: object) -> IngestConfig:
    return ingest("idc", root=str(root), idc=IdcConfig(patients=patients), **changed)


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[Server]:
    monkeypatch.setattr(_download, "WAITS_S", (0, 0, 0))
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    with s3_server.running() as started:
        yield started


def files_under(root: Path) -> dict[str, bytes]:
    """Content by path; the lock file of a download is none of it."""
    return {
        path.relative_to(root).as_posix(): path.read_bytes()
        for path in root.rglob("*")
        if path.is_file() and path.name != ".download.lock"
    }


@pytest.mark.parametrize("name", [name for name in plugins.plugin_names(sources.__name__) if name != "demo"])
def test_root_needs_no_network_and_is_absolute(name: str, tmp_path: Path) -> None:
    assert sources.load_source(name).root(ingest(name, root=str(tmp_path)), tmp_path / "raw") == tmp_path


@pytest.mark.parametrize(
    ("name", "dataset", "expected"),
    [
        ("kaggle", "cbis_ddsm", "data/downloads/kaggle"),
        ("idc", "cbis_ddsm", "data/downloads/idc/cbis_ddsm"),
        ("idc", "cmmd", "data/downloads/idc/cmmd"),
    ],
)
def test_without_a_root_downloads_stay_in_the_users_repository_and_out_of_raw(
    name: str, dataset: str, expected: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DVC_ROOT", str(tmp_path))
    raw = tmp_path / "elsewhere" / "data" / "raw"
    assert sources.load_source(name).root(ingest(name, root=None, dataset=dataset), raw) == tmp_path / expected
    assert project_root() == tmp_path


def test_folder_names_every_layout_it_takes(tmp_path: Path) -> None:
    with pytest.raises(ConfigError) as unset:
        folder.root(ingest("folder", root=None), tmp_path)
    with pytest.raises(ValueError, match="is not a folder") as absent:
        folder.fetch(ingest("folder", root="nowhere"), tmp_path, seed=0)
    for error in (unset, absent):
        assert all(word in str(error.value) for word in ("csv/", "jpeg/", "DICOM", "PNG"))


# Imaging Data Commons


@pytest.fixture
def commons(server: Server, cohort: Path, monkeypatch: pytest.MonkeyPatch) -> Server:
    """The server holds the cohort as collection cbis_ddsm, with its tables; the index knows it."""
    rng = np.random.default_rng(1)
    rows = []
    for number, uid in enumerate(sorted(path.name for path in (cohort / "jpeg").iterdir())):
        contents = [rng.bytes(2000 + number) for _ in (cohort / "jpeg" / uid).iterdir()]
        for part, content in enumerate(contents):
            server.files[f"/idc-open-data/series-{number}/{part}.dcm"] = content
        rows.append(("any", uid, len(contents), f"s3://idc-open-data/series-{number}/*", len(b"".join(contents)) / 1e6))
    for path in TABLES:
        server.files[f"/tcia/{Path(path).name}"] = (cohort / path).read_bytes()
    tables = tuple(
        replace(table, checksum=f"sha256:{hashlib.sha256((cohort / table.path).read_bytes()).hexdigest()}")
        for table in idc.COLLECTIONS["cbis_ddsm"].tables
    )
    monkeypatch.setitem(idc.COLLECTIONS, "cbis_ddsm", replace(idc.COLLECTIONS["cbis_ddsm"], tables=tables))
    monkeypatch.setattr(idc, "TABLE_ADDRESSES", (f"{server.url}/tcia/{{name}}", f"{server.url}/wiki/{{page}}/{{name}}"))
    monkeypatch.setattr(idc, "read_index", lambda collection: pd.DataFrame(rows, columns=idc.SERIES_COLUMNS))
    monkeypatch.setenv("MAMMO_IDC_ENDPOINT", server.url)
    return server


def official_rows(root: Path) -> pd.DataFrame:
    """The cohort's published rows, with the series of each."""
    parts = []
    for path in TABLES:
        rows = pd.read_csv(root / path, dtype=str)
        paths = rows[["image file path", "cropped image file path", "ROI mask file path"]]
        rows["series"] = [{path.strip().split("/")[-2] for path in line} for line in paths.to_numpy()]
        rows["split"] = "test" if "test_set" in path else "train"
        rows["kind"] = "mass" if "mass_case" in path else "calcification"
        parts.append(rows)
    return pd.concat(parts, ignore_index=True)


def series_of(rows: pd.DataFrame) -> set[str]:
    return set().union(*rows["series"])


def downloaded_series(root: Path) -> set[str]:
    return {path.parent.name for path in root.rglob("*.dcm")}


def test_idc_brings_every_series_into_a_folder_of_its_uid_and_the_tables_into_csv(
    commons: Server, cohort: Path, tmp_path: Path
) -> None:
    root = tmp_path / "root"
    assert idc.fetch(idc_ingest(root), tmp_path / "raw", seed=0) == root
    assert downloaded_series(root) == {path.name for path in (cohort / "jpeg").iterdir()}
    brought = files_under(root)
    assert {path: brought.pop(path) for path in TABLES} == {path: (cohort / path).read_bytes() for path in TABLES}
    stored = {path: content for path, content in commons.files.items() if path.startswith("/idc-open-data/")}
    assert sorted(map(hash, brought.values())) == sorted(map(hash, stored.values()))
    assert all(re.fullmatch(r"[0-9.]+/\d+\.dcm", path) for path in brought)
    assert not (tmp_path / "raw").exists()


def test_what_is_whole_needs_no_network(commons: Server, tmp_path: Path) -> None:
    chosen = idc_ingest(tmp_path, patients=3)
    idc.fetch(chosen, tmp_path / "raw", seed=0)
    before = files_under(tmp_path)
    commons.asked.clear()
    idc.fetch(chosen, tmp_path / "raw", seed=0)
    assert commons.asked == []
    assert files_under(tmp_path) == before


def test_a_damaged_series_is_mended_and_it_alone(commons: Server, tmp_path: Path) -> None:
    chosen = idc_ingest(tmp_path, patients=3)
    idc.fetch(chosen, tmp_path / "raw", seed=0)
    before = files_under(tmp_path)
    victims = sorted(tmp_path.rglob("*.dcm"))[:2]
    victims[0].unlink()
    victims[1].write_bytes(b"cut")
    commons.asked.clear()
    idc.fetch(chosen, tmp_path / "raw", seed=0)
    assert files_under(tmp_path) == before
    assert sum(path.endswith(".dcm") for path, _ in commons.asked) == len(victims)


def test_an_interrupted_download_goes_on(commons: Server, tmp_path: Path) -> None:
    broken = next(path for path in commons.files if path.endswith(".dcm"))
    commons.faults[broken] = [Fault(status=404)]
    chosen = idc_ingest(tmp_path)
    with pytest.raises(DownloadError, match=re.escape(broken)):
        idc.fetch(chosen, tmp_path / "raw", seed=0)
    finished = {content: path for path, content in files_under(tmp_path).items() if path.endswith(".dcm")}
    commons.asked.clear()
    idc.fetch(chosen, tmp_path / "raw", seed=0)
    asked = [path for path, _ in commons.asked if path.endswith(".dcm")]
    assert broken in asked and len(asked) == len(set(asked))
    assert not [path for path in asked if commons.files[path] in finished]
    assert not list(tmp_path.rglob("*.part"))
    stored = [content for path, content in commons.files.items() if path.startswith("/idc-open-data/")]
    assert {path.read_bytes() for path in tmp_path.rglob("*.dcm")} == set(stored)


@pytest.mark.parametrize("patients", [2, 5, 12])
def test_a_subset_holds_both_splits_and_both_classes_and_all_series_of_its_rows(
    commons: Server, cohort: Path, tmp_path: Path, patients: int
) -> None:
    idc.fetch(idc_ingest(tmp_path, patients), tmp_path / "raw", seed=0)
    rows = official_rows(cohort)
    got = downloaded_series(tmp_path)
    whole = rows[[series <= got for series in rows["series"]]]
    assert whole["patient_id"].nunique() == patients
    assert series_of(rows[rows["patient_id"].isin(whole["patient_id"])]) == got
    assert set(whole["split"]) == {"train", "test"}
    assert set(whole["pathology"] == "MALIGNANT") == {True, False}


def test_a_larger_subset_extends_a_smaller_one(commons: Server, tmp_path: Path) -> None:
    sizes = [2, 3, 7, 20, None]
    for patients in sizes:
        idc.fetch(idc_ingest(tmp_path / str(patients), patients), tmp_path / "raw", seed=0)
    for smaller, larger in pairwise(downloaded_series(tmp_path / str(patients)) for patients in sizes):
        assert smaller < larger


def test_only_series_of_the_types_asked_for_come(commons: Server, cohort: Path, tmp_path: Path) -> None:
    rows = official_rows(cohort)
    for kind in ("mass", "calcification"):
        idc.fetch(idc_ingest(tmp_path / kind, abnormality_types=[kind]), tmp_path / "raw", seed=0)
        assert downloaded_series(tmp_path / kind) == series_of(rows[rows["kind"] == kind])


def test_a_subset_of_more_patients_than_there_are_is_all_of_them(commons: Server, cohort: Path, tmp_path: Path) -> None:
    idc.fetch(idc_ingest(tmp_path, patients=10_000), tmp_path / "raw", seed=0)
    assert downloaded_series(tmp_path) == series_of(official_rows(cohort))


def test_types_take_turns_in_a_subset() -> None:
    labels = pd.DataFrame(
        [(f"P_{kind}_{split}_{label}_{n}", split, label, kind, "uid")
         for kind in ("mass", "calcification") for split in ("train", "test") for label in (0, 1) for n in range(9)],
        columns=["patient_id", "official_split", "label", "abnormality_type", "key"],
    )  # fmt: skip
    chosen = labels[labels["patient_id"].isin(idc.choose_patients(labels, 24))]
    counts = pd.crosstab([chosen["official_split"], chosen["label"]], chosen["abnormality_type"])
    assert (counts["mass"] - counts["calcification"]).abs().max() <= 1
    assert len(chosen) == 24
    shuffled = labels.sample(frac=1, random_state=3)
    assert idc.choose_patients(shuffled, 24) == idc.choose_patients(labels, 24)


def test_a_table_comes_from_the_second_address_where_the_first_has_another_file(
    commons: Server, cohort: Path, tmp_path: Path
) -> None:
    name = Path(TABLES[0]).name
    page = idc.COLLECTIONS["cbis_ddsm"].wiki_page
    commons.files[f"/wiki/{page}/{name}"] = commons.files[f"/tcia/{name}"]
    commons.files[f"/tcia/{name}"] = b"<html>moved</html>"
    idc.fetch(idc_ingest(tmp_path, patients=2), tmp_path / "raw", seed=0)
    assert (tmp_path / TABLES[0]).read_bytes() == (cohort / TABLES[0]).read_bytes()


def test_a_table_that_cannot_be_had_is_named_with_doi_and_place(commons: Server, tmp_path: Path) -> None:
    del commons.files[f"/tcia/{Path(TABLES[3]).name}"]
    with pytest.raises(DownloadError) as error:
        idc.fetch(idc_ingest(tmp_path), tmp_path / "raw", seed=0)
    for part in (str(tmp_path / TABLES[3]), "https://doi.org/10.7937/K9/TCIA.2016.7O02S9CY", "404", "by hand"):
        assert part in str(error.value)
    assert not list(tmp_path.rglob("*.dcm"))


def test_tables_put_there_by_hand_are_taken_as_they_are(commons: Server, cohort: Path, tmp_path: Path) -> None:
    for path in TABLES:
        commons.files.pop(f"/tcia/{Path(path).name}")
        (tmp_path / path).parent.mkdir(exist_ok=True)
        (tmp_path / path).write_bytes((cohort / path).read_bytes().replace(b"\r\n", b"\n"))
    idc.fetch(idc_ingest(tmp_path, patients=2), tmp_path / "raw", seed=0)
    assert downloaded_series(tmp_path)


@pytest.mark.parametrize("content", [b"", b"patient_id,pathology\n", b"\xff\xfe\x00", b"<html>no table</html>"])
def test_a_table_that_is_none_is_named(commons: Server, tmp_path: Path, content: bytes) -> None:
    (tmp_path / "csv").mkdir()
    (tmp_path / TABLES[0]).write_bytes(content)
    with pytest.raises(DownloadError, match=re.escape(TABLES[0]) + " is not the table as published.*Delete it"):
        idc.fetch(idc_ingest(tmp_path), tmp_path / "raw", seed=0)


def test_a_bucket_that_differs_from_the_index_is_refused(commons: Server, tmp_path: Path) -> None:
    path = next(path for path in commons.files if path.endswith(".dcm"))
    del commons.files[path]
    with pytest.raises(DownloadError, match=r"holds \d files of \d+ bytes, but the index gives \d of \d+"):
        idc.fetch(idc_ingest(tmp_path), tmp_path / "raw", seed=0)
    assert not list(tmp_path.rglob("*.dcm*"))


def test_a_series_that_the_index_lacks_is_named(
    commons: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    known = idc.read_index("cbis_ddsm")
    monkeypatch.setattr(idc, "read_index", lambda collection: known.iloc[1:])
    with pytest.raises(DownloadError, match=f"lacks 1 of the .*{known['SeriesInstanceUID'].iloc[0]}"):
        idc.fetch(idc_ingest(tmp_path), tmp_path / "raw", seed=0)


@pytest.mark.parametrize("source", ["idc", "kaggle"])
def test_a_data_set_that_a_source_does_not_bring_is_refused_with_those_it_does(source: str, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=rf"ingest\.source: {source} has cbis_ddsm.*not 'inbreast'"):
        sources.load_source(source).fetch(ingest(source, dataset="inbreast", root=str(tmp_path)), tmp_path, seed=0)


def test_cmmd_patients_come_by_their_names_with_the_clinical_table(
    server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    patients = [f"D1-{number:04d}" for number in range(1, 7)]
    for patient in patients:
        server.files[f"/idc-open-data/{patient}/0.dcm"] = patient.encode() * 50
    rows = [(name, f"1.2.{n}", 1, f"s3://idc-open-data/{name}/*", 7 * 50 / 1e6) for n, name in enumerate(patients)]
    clinical = pd.DataFrame(
        {
            "ID1": patients,
            "LeftRight": "L",
            "abnormality": ["mass", "calcification", "both"] * 2,
            "classification": ["Benign"] * 4 + ["Malignant"] * 2,
        }
    )
    table = io.BytesIO()
    clinical.to_excel(table, index=False)
    server.files["/tcia/CMMD_clinicaldata_revision.xlsx"] = table.getvalue()
    monkeypatch.setattr(idc, "TABLE_ADDRESSES", (f"{server.url}/tcia/{{name}}",))
    monkeypatch.setattr(idc, "read_index", lambda collection: pd.DataFrame(rows, columns=idc.SERIES_COLUMNS))
    monkeypatch.setenv("MAMMO_IDC_ENDPOINT", server.url)
    idc.fetch(idc_ingest(tmp_path / "two", 2, dataset="cmmd"), tmp_path / "raw", seed=0)
    got = {path.read_bytes()[:7].decode() for path in (tmp_path / "two").rglob("*.dcm")}
    assert sorted(clinical.set_index("ID1").loc[sorted(got), "classification"]) == ["Benign", "Malignant"]
    idc.fetch(idc_ingest(tmp_path / "all", dataset="cmmd", abnormality_types=["mass"]), tmp_path / "raw", seed=0)
    assert len(downloaded_series(tmp_path / "all")) == len(patients)

    server.files["/tcia/CMMD_clinicaldata_revision.xlsx"] = b"<html>moved</html>"
    with pytest.raises(DownloadError, match=r"another format.*doi\.org/10\.7937/tcia\.eqde-4b16"):
        idc.fetch(idc_ingest(tmp_path / "none", dataset="cmmd"), tmp_path / "raw", seed=0)


# The index that is installed


def test_the_installed_index_holds_the_collections_as_published() -> None:
    cbis_ddsm, cmmd = idc.read_index("cbis_ddsm"), idc.read_index("cmmd")
    assert len(cbis_ddsm) == cbis_ddsm["SeriesInstanceUID"].nunique() == 6_775
    assert cbis_ddsm["series_size_MB"].sum() == pytest.approx(163_513, abs=1)
    assert cmmd["PatientID"].nunique() == 1_775
    assert cmmd["instanceCount"].sum() == 5_202
    assert cmmd["series_size_MB"].sum() == pytest.approx(22_862, abs=1)


@pytest.mark.parametrize("collection", idc.COLLECTIONS)
def test_the_installed_index_gives_whole_bytes_and_an_address_for_every_series(collection: str) -> None:
    known = idc.read_index(collection)
    sizes = known["series_size_MB"] * idc.MB
    assert (sizes - sizes.round()).abs().max() < 1e-6
    assert (sizes > 0).all() and (known["instanceCount"] > 0).all()
    assert known["series_aws_url"].str.fullmatch(r"s3://[a-z0-9-]+/[0-9a-f-]{36}/\*").all()


def test_the_official_tables_name_exactly_the_series_of_the_installed_index(real_root: Path) -> None:
    labels = idc.COLLECTIONS["cbis_ddsm"].labels(real_root, ["mass", "calcification"])
    assert set(labels["key"]) == set(idc.read_index("cbis_ddsm")["SeriesInstanceUID"])
    assert labels["patient_id"].nunique() == 1_566


def test_the_official_tables_are_those_whose_checksums_are_known(real_root: Path) -> None:
    for table in idc.COLLECTIONS["cbis_ddsm"].tables:
        assert f"sha256:{hashlib.sha256((real_root / table.path).read_bytes()).hexdigest()}" == table.checksum


@pytest.mark.parametrize("kinds", [["mass"], ["calcification"], ["mass", "calcification"]])
def test_the_first_two_real_patients_hold_both_splits_and_both_classes(real_root: Path, kinds: list[str]) -> None:
    labels = idc.COLLECTIONS["cbis_ddsm"].labels(real_root, kinds)
    chosen = labels[labels["patient_id"].isin(idc.choose_patients(labels, 2))]
    assert set(chosen["official_split"]) == {"train", "test"}
    assert set(chosen["label"]) == {0, 1}


# Kaggle


ARCHIVE = "/storage/archive.zip"
DOWNLOAD = "/api/v1/datasets.DatasetApiService/DownloadDataset"
KAGGLE_CHUNK = 1 << 14


def archive_requests(site: Server) -> list[tuple[str, str]]:
    return [asked for asked in site.asked if asked[0] == ARCHIVE]


@pytest.fixture
def kaggle_site(server: Server, cohort: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Server:
    """kagglehub asks the server, which redirects to its archive of the cohort, as Kaggle does; no credentials."""
    from kagglesdk import kaggle_env

    archive = io.BytesIO()
    with zipfile.ZipFile(archive, "w") as packed:
        for path, content in sorted(files_under(cohort).items()):
            packed.writestr(path, content)
    server.files[ARCHIVE] = archive.getvalue()
    server.redirects[DOWNLOAD] = f"{server.url}{ARCHIVE}"
    monkeypatch.setitem(kaggle_env._env_to_endpoint, kaggle_env.KaggleEnv.LOCAL, server.url)
    monkeypatch.setenv("KAGGLE_API_ENVIRONMENT", "LOCALHOST")
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.setenv("KAGGLE_CONFIG_DIR", str(tmp_path / "home" / ".kaggle"))
    for name in ("KAGGLE_API_TOKEN", "KAGGLE_USERNAME", "KAGGLE_KEY", "KAGGLEHUB_CACHE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr("kagglehub.config.DEFAULT_KAGGLE_CREDENTIALS_FOLDER", str(tmp_path / "home" / ".kaggle"))
    monkeypatch.setattr("kagglehub.clients.CHUNK_SIZE", KAGGLE_CHUNK)
    monkeypatch.setattr(kaggle, "SIZE_BYTES", 1)
    return server


def test_kaggle_brings_csv_and_jpeg_under_the_root_and_nothing_else(
    kaggle_site: Server, cohort: Path, tmp_path: Path
) -> None:
    root = tmp_path / "root"
    assert kaggle.fetch(ingest("kaggle", root=str(root)), tmp_path / "raw", seed=0) == root
    assert files_under(root) == files_under(cohort)
    assert not (tmp_path / "raw").exists()


def test_a_whole_kaggle_copy_needs_no_network(kaggle_site: Server, cohort: Path, tmp_path: Path) -> None:
    kaggle.fetch(ingest("kaggle", root=str(cohort)), tmp_path, seed=0)
    assert kaggle_site.asked == []


def test_a_cut_kaggle_archive_is_resumed(
    kaggle_site: Server, cohort: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    half = len(kaggle_site.files[ARCHIVE]) // 2
    kaggle_site.faults[ARCHIVE] = [Fault(cut_after=half)]
    kaggle.fetch(ingest("kaggle", root=str(tmp_path / "root")), tmp_path, seed=0)
    assert files_under(tmp_path / "root") == files_under(cohort)
    start = max(int(asked.removeprefix("bytes=").removesuffix("-") or 0) for _, asked in archive_requests(kaggle_site))
    assert half - KAGGLE_CHUNK <= start <= half
    assert "100%" in capfd.readouterr().err


def test_a_kaggle_download_that_was_given_up_goes_on_in_the_next_run(
    kaggle_site: Server, cohort: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    chosen = ingest("kaggle", root=str(tmp_path / "root"))
    kaggle_site.faults[ARCHIVE] = [Fault(cut_after=4 * KAGGLE_CHUNK)]
    with monkeypatch.context() as patched:
        patched.setattr(_download, "WAITS_S", ())
        with pytest.raises(DownloadError, match=r"the Kaggle copy: cannot be reached or breaks off"):
            kaggle.fetch(chosen, tmp_path, seed=0)
    assert {path.name for path in (tmp_path / "root").iterdir()} == {".download.lock", kaggle.UNFINISHED}
    kaggle_site.asked.clear()
    kaggle.fetch(chosen, tmp_path, seed=0)
    assert files_under(tmp_path / "root") == files_under(cohort)
    assert archive_requests(kaggle_site)[-1] == (ARCHIVE, f"bytes={4 * KAGGLE_CHUNK}-")


@pytest.mark.parametrize("unpacked", [0, 1, 50])
def test_a_kaggle_copy_that_is_half_unpacked_has_no_final_name_and_is_not_fetched_again(
    kaggle_site: Server, cohort: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, unpacked: int
) -> None:
    chosen = ingest("kaggle", root=str(tmp_path / "root"))
    with monkeypatch.context() as patched:
        patched.setattr(zipfile.ZipFile, "extractall", stopping_after(unpacked, KeyboardInterrupt()))
        with pytest.raises(KeyboardInterrupt):
            kaggle.fetch(chosen, tmp_path, seed=0)
    assert not (tmp_path / "root" / "csv").exists() and not (tmp_path / "root" / "jpeg").exists()
    served = len(archive_requests(kaggle_site))
    kaggle.fetch(chosen, tmp_path, seed=0)
    assert files_under(tmp_path / "root") == files_under(cohort)
    assert len(archive_requests(kaggle_site)) == served + 1  # kagglehub asks for the size, and reads no content
    assert archive_requests(kaggle_site)[-1] == (ARCHIVE, "")


def stopping_after(members: int, error: BaseException):  # type: ignore[no-untyped-def]
    """An extractall that unpacks so many members, and then ends in `error`."""

    def extractall(archive: zipfile.ZipFile, path: str) -> None:
        for name in archive.namelist()[:members]:
            archive.extract(name, path)
        raise error

    return extractall


def test_a_disk_that_fills_while_unpacking_is_told_and_the_archive_stays(
    kaggle_site: Server, cohort: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    chosen = ingest("kaggle", root=str(tmp_path / "root"))
    with monkeypatch.context() as patched:
        patched.setattr(zipfile.ZipFile, "extractall", stopping_after(3, OSError(errno.ENOSPC, "full")))
        with pytest.raises(DownloadError, match="the disk is full"):
            kaggle.fetch(chosen, tmp_path, seed=0)
    assert kaggle._archive_bytes(tmp_path / "root" / kaggle.UNFINISHED) == len(kaggle_site.files[ARCHIVE])
    kaggle.fetch(chosen, tmp_path, seed=0)
    assert files_under(tmp_path / "root") == files_under(cohort)


def test_a_kaggle_copy_stopped_between_its_two_final_names_is_completed(
    kaggle_site: Server, cohort: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    chosen = ingest("kaggle", root=str(tmp_path / "root"))
    real_replace = Path.replace

    def replace_once(path: Path, target: Path) -> Path:
        if path.name == "csv":
            raise KeyboardInterrupt
        return real_replace(path, target)

    with monkeypatch.context() as patched:
        patched.setattr(Path, "replace", replace_once)
        with pytest.raises(KeyboardInterrupt):
            kaggle.fetch(chosen, tmp_path, seed=0)
    kaggle_site.asked.clear()
    kaggle.fetch(chosen, tmp_path, seed=0)
    assert files_under(tmp_path / "root") == files_under(cohort)
    assert kaggle_site.asked == []


@pytest.mark.parametrize("kind", ["same size", "no archive", "damaged member"])
def test_a_damaged_kaggle_archive_is_thrown_away_and_the_next_run_starts_anew(
    kaggle_site: Server, cohort: Path, tmp_path: Path, kind: str
) -> None:
    chosen = ingest("kaggle", root=str(tmp_path / "root"))
    good = kaggle_site.files[ARCHIVE]
    spoilt = bytes([byte ^ 1 for byte in good[:200]]) + good[200:]
    if kind == "same size":
        kaggle_site.faults[ARCHIVE] = [Fault(body=spoilt)]
    else:  # with the checksum of the damage, so that only unpacking shows it
        kaggle_site.files[ARCHIVE] = spoilt if kind == "damaged member" else b"<html>Log in</html>"
    with pytest.raises(DownloadError, match=r"the Kaggle copy is damaged .* deleted\. Run again"):
        kaggle.fetch(chosen, tmp_path, seed=0)
    assert {path.name for path in (tmp_path / "root").iterdir()} == {".download.lock"}
    kaggle_site.files[ARCHIVE] = good
    kaggle.fetch(chosen, tmp_path, seed=0)
    assert files_under(tmp_path / "root") == files_under(cohort)


@pytest.mark.parametrize("status", [401, 403])
@pytest.mark.parametrize("token", ["", "a-token"])
def test_kaggle_without_accepted_credentials_says_where_to_get_them(
    kaggle_site: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, status: int, token: str
) -> None:
    if token:
        monkeypatch.setenv("KAGGLE_API_TOKEN", token)
    kaggle_site.faults[DOWNLOAD] = [Fault(status=status)]
    problem = "refuses the credentials found" if token else "asks for credentials, none found"
    with pytest.raises(DownloadError, match=rf"Kaggle {problem}.*kaggle\.com/settings/api.*KAGGLE_API_TOKEN"):
        kaggle.fetch(ingest("kaggle", root=str(tmp_path / "root")), tmp_path, seed=0)
    assert len(kaggle_site.asked) == 1


@pytest.mark.parametrize("content", ["{", json.dumps({"username": "me"})])
def test_a_broken_credentials_file_is_named(kaggle_site: Server, tmp_path: Path, content: str) -> None:
    file = tmp_path / "home" / ".kaggle" / "kaggle.json"
    file.parent.mkdir(parents=True)
    file.write_text(content)
    with pytest.raises(DownloadError, match=rf"{file}.*kaggle\.com/settings/api"):
        kaggle.fetch(ingest("kaggle", root=str(tmp_path / "root")), tmp_path, seed=0)


def test_a_passing_refusal_of_kaggle_is_asked_again(kaggle_site: Server, cohort: Path, tmp_path: Path) -> None:
    kaggle_site.faults = {DOWNLOAD: [Fault(status=503), Fault(status=429)], ARCHIVE: [Fault(status=500)]}
    kaggle.fetch(ingest("kaggle", root=str(tmp_path / "root")), tmp_path, seed=0)
    assert files_under(tmp_path / "root") == files_under(cohort)


def test_a_kaggle_copy_that_is_gone_is_told(kaggle_site: Server, tmp_path: Path) -> None:
    kaggle_site.faults[DOWNLOAD] = [Fault(status=404)]
    with pytest.raises(DownloadError, match=r"404 .*not available there"):
        kaggle.fetch(ingest("kaggle", root=str(tmp_path / "root")), tmp_path, seed=0)


def test_kaggle_without_a_network_is_told(kaggle_site: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from kagglesdk import kaggle_env

    with s3_server.running() as gone:
        address = gone.url
    monkeypatch.setitem(kaggle_env._env_to_endpoint, kaggle_env.KaggleEnv.LOCAL, address)
    with pytest.raises(DownloadError, match=r"the Kaggle copy: cannot be reached.*Check the network and HTTPS_PROXY"):
        kaggle.fetch(ingest("kaggle", root=str(tmp_path / "root")), tmp_path, seed=0)


def test_a_kaggle_copy_of_another_layout_is_refused(kaggle_site: Server, tmp_path: Path) -> None:
    archive = io.BytesIO()
    with zipfile.ZipFile(archive, "w") as packed:
        packed.writestr("csv/mass_case_description_train_set.csv", "patient_id")
    kaggle_site.files[ARCHIVE] = archive.getvalue()
    with pytest.raises(DownloadError, match=r"holds no jpeg/; its layout has changed"):
        kaggle.fetch(ingest("kaggle", root=str(tmp_path / "root")), tmp_path, seed=0)
    assert not (tmp_path / "root" / "csv").exists()


def test_too_small_a_disk_is_told_before_kaggle_is_asked(
    kaggle_site: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(kaggle, "SIZE_BYTES", 1e18)
    with pytest.raises(DownloadError, match=r"1,000,000,000\.0 GB are to be downloaded"):
        kaggle.fetch(ingest("kaggle", root=str(tmp_path / "root")), tmp_path, seed=0)
    assert kaggle_site.asked == []


def test_the_environment_is_as_before(kaggle_site: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("KAGGLEHUB_CACHE", str(tmp_path / "mine"))
    before = dict(os.environ)
    kaggle.fetch(ingest("kaggle", root=str(tmp_path / "root")), tmp_path, seed=0)
    assert dict(os.environ) == before
    assert not (tmp_path / "mine").exists()
