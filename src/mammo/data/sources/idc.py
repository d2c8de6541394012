"""Collections of the Imaging Data Commons, DICOM, no account: to `ingest.root`, or to data/downloads/idc/<dataset>.

Layout: <root>/<SeriesInstanceUID>/*.dcm, and the tables of labels that The Cancer Imaging Archive publishes. Which
series there are, and how large, says the index inside the package idc-index-data, so that choosing needs no network.
The files come from the public bucket on AWS; MAMMO_IDC_ENDPOINT names another S3 address of it, such as the mirror
https://storage.googleapis.com.
"""

import os
import zipfile
from collections.abc import Callable
from dataclasses import dataclass
from itertools import cycle
from pathlib import Path, PurePosixPath

import pandas as pd
import requests

from mammo.core.config import ConfigError, IngestConfig
from mammo.core.parallel import parallel_map
from mammo.core.paths import IDC_DOWNLOADS, resolve_path
from mammo.data.sources import _download
from mammo.data.sources._download import DownloadError, Remote

ENDPOINT = "https://s3.amazonaws.com"
# Where The Cancer Imaging Archive keeps its tables: its site, and its older wiki with the same files.
TABLE_ADDRESSES = (
    "https://www.cancerimagingarchive.net/wp-content/uploads/{name}",
    "https://wiki.cancerimagingarchive.net/download/attachments/{page}/{name}?api=v2",
)
SERIES_COLUMNS = ["PatientID", "SeriesInstanceUID", "instanceCount", "series_aws_url", "series_size_MB"]
MB = 1_000_000  # as the index counts

# A subset takes one patient of each in turn: (official split, label). The first two hold both splits and both classes.
TURNS = (("train", 1), ("test", 0), ("train", 0), ("test", 1), ("train", 1), ("train", 0))

Labels = pd.DataFrame  # one row per series of a lesion: patient_id, official_split, label (0/1), abnormality_type, key


@dataclass(frozen=True)
class Table:
    """A published table of labels; checksum: as in _download.Remote, of the version whose counts are published."""

    path: str
    checksum: str = ""
    starts_with: bytes = b""


@dataclass(frozen=True)
class Collection:
    """The downloads of a data set. key: the column of the index with the values of the labels' `key`."""

    name: str
    doi: str
    wiki_page: str
    tables: tuple[Table, ...]
    key: str
    labels: Callable[[Path, list[str]], Labels]


_CBIS_DDSM_PATHS = ["image file path", "cropped image file path", "ROI mask file path"]
_CBIS_DDSM_TABLES = {  # abnormality type, official split, SHA-256
    "csv/mass_case_description_train_set.csv": (
        "mass",
        "train",
        "a4bcc1c32bfd040212737e6e8c304819334abe717cfefff56431dc50ae6db723",
    ),
    "csv/mass_case_description_test_set.csv": (
        "mass",
        "test",
        "60f0b4504ec024106bbdd1555030d220163ea9da0ea4688473a4c9c3e8ab0457",
    ),
    "csv/calc_case_description_train_set.csv": (
        "calcification",
        "train",
        "3c7b07e8202f66709f446b9695e96c5d17484a65fda6a24d0170a0c1b81d56e3",
    ),
    "csv/calc_case_description_test_set.csv": (
        "calcification",
        "test",
        "03a2f72efb6ed29f417e07f4598950e6a1e02e6b11250ff516ebe7924ace3689",
    ),
}
_CMMD_TABLE = Table("CMMD_clinicaldata_revision.xlsx", starts_with=b"PK")


def fetch(ingest: IngestConfig, raw: Path, seed: int) -> Path:
    """Download the missing series of the selected patients; raises DownloadError with what to do.

    `ingest.idc.patients` patients are the first of one fixed order, so that more patients extend the download. Complete
    series are recognised by the sizes in the index, without the network.
    """
    place = root(ingest, raw)
    collection = COLLECTIONS[ingest.dataset]
    with _download.lock_folder(place):
        for table in collection.tables:
            _fetch_table(collection, table, place)
        labels = collection.labels(place, list(ingest.abnormality_types))
        if ingest.idc.patients is not None:
            labels = labels[labels["patient_id"].isin(choose_patients(labels, ingest.idc.patients))]
        series = _series(collection, labels)
        missing = series[[not _is_complete(place, *row) for row in _expected(series)]]
        if len(missing):
            _download.fetch(_remotes(missing, place), f"{ingest.dataset} from the Imaging Data Commons")
    return place


def root(ingest: IngestConfig, raw: Path) -> Path:
    """Return `ingest.root` or the default; raises ConfigError listing the collections for another data set."""
    if ingest.dataset not in COLLECTIONS:
        raise ConfigError(f"ingest.source: idc has {', '.join(COLLECTIONS)}, not {ingest.dataset!r}")
    return resolve_path(ingest.root or IDC_DOWNLOADS / ingest.dataset)


def read_index(collection_id: str) -> pd.DataFrame:
    """Read the series of a collection from the installed package: SERIES_COLUMNS, one row each."""
    import idc_index_data

    if idc_index_data.IDC_INDEX_PARQUET_FILEPATH is None:
        raise DownloadError("the package idc-index-data has no index; install it again")
    filters = [("collection_id", "==", collection_id)]
    return pd.read_parquet(idc_index_data.IDC_INDEX_PARQUET_FILEPATH, columns=SERIES_COLUMNS, filters=filters)


def choose_patients(labels: Labels, count: int) -> list[str]:
    """Return the first `count` patients of a fixed order that takes splits, classes and abnormality types in turn.

    A patient is of the test split, or malignant, if any lesion is.
    """
    patients = labels.groupby("patient_id").agg(
        official_split=("official_split", "min"),  # "test" comes before "train"
        label=("label", "max"),
        types=("abnormality_type", lambda types: "+".join(sorted(set(types)))),
    )
    patients["turn"] = patients.groupby(["official_split", "label", "types"]).cumcount()
    ordered = patients.sort_values(["turn", "types"], kind="stable")
    queues = {turn: list(group.index) for turn, group in ordered.groupby(["official_split", "label"])}
    turns = cycle(TURNS)
    chosen: list[str] = []
    while len(chosen) < min(count, len(patients)):
        queue = queues.get(next(turns))
        if queue:
            chosen.append(queue.pop(0))
    return chosen


def _fetch_table(collection: Collection, table: Table, place: Path) -> None:
    """Download a table from the first address that has it, unless it exists already."""
    problems = []
    name = PurePosixPath(table.path).name
    for address in TABLE_ADDRESSES:
        url = address.format(name=name, page=collection.wiki_page)
        try:
            return _download.fetch([Remote(url, place / table.path, None, table.checksum, table.starts_with)], name)
        except DownloadError as error:
            problems.append(str(error))
    raise DownloadError(
        f"{name} is needed for the labels and cannot be downloaded: {'; '.join(problems)}. Download it by hand from "
        f"https://doi.org/{collection.doi} to {place / table.path}, and run again"
    )


def _cbis_ddsm_labels(place: Path, abnormality_types: list[str]) -> Labels:
    parts = [
        _cbis_ddsm_part(place / path, abnormality_type, official_split)
        for path, (abnormality_type, official_split, _) in _CBIS_DDSM_TABLES.items()
        if abnormality_type in abnormality_types
    ]
    return pd.concat(parts, ignore_index=True)


def _cbis_ddsm_part(path: Path, abnormality_type: str, official_split: str) -> Labels:
    try:
        rows = pd.read_csv(path, dtype=str, keep_default_na=False, encoding="utf-8-sig").rename(columns=str.strip)
        labels = pd.DataFrame(
            {
                "patient_id": rows["patient_id"].str.strip(),
                "official_split": official_split,
                "label": (rows["pathology"].str.strip() == "MALIGNANT").astype(int),
                "abnormality_type": abnormality_type,
            }
        )
        # <folder>/<study>/<series>/000000.dcm
        series = [rows[column].str.strip().str.split("/").str[-2] for column in _CBIS_DDSM_PATHS]
    except (pd.errors.ParserError, pd.errors.EmptyDataError, UnicodeDecodeError, KeyError) as error:
        raise DownloadError(f"{path} is not the table as published ({error}). Delete it and run again") from error
    return pd.concat([labels.assign(key=column) for column in series]).dropna(subset="key")


def _cmmd_labels(place: Path, abnormality_types: list[str]) -> Labels:
    """Return all patients, whatever the types: many have several, and films show the whole breast."""
    path = place / _CMMD_TABLE.path
    try:
        rows = pd.read_excel(path, dtype=str, keep_default_na=False).dropna(subset="ID1")
        patients = rows["ID1"].str.strip()
        return pd.DataFrame(
            {
                "patient_id": patients,
                "official_split": "test",
                "label": (rows["classification"].str.strip().str.lower() == "malignant").astype(int),
                "abnormality_type": rows["abnormality"].str.strip(),
                "key": patients,
            }
        )
    except (zipfile.BadZipFile, KeyError, ValueError) as error:
        raise DownloadError(f"{path} is not the table as published ({error}). Delete it and run again") from error


def _series(collection: Collection, labels: Labels) -> pd.DataFrame:
    """Return the index rows of the labels; each label has at least one."""
    index = read_index(collection.name)
    unknown = sorted(set(labels["key"]) - set(index[collection.key]))
    if unknown:
        raise DownloadError(
            f"the installed index of the Imaging Data Commons lacks {len(unknown)} of the {labels['key'].nunique()} "
            f"{collection.key}s in the tables of {collection.name}, the first being {unknown[0]}. "
            "Take the tables as published and idc-index-data as pinned in requirements.txt"
        )
    return index[index[collection.key].isin(labels["key"])].sort_values("SeriesInstanceUID")


def _expected(series: pd.DataFrame) -> list[tuple[str, int, int]]:
    """Return SeriesInstanceUID, number of files and their bytes together."""
    sizes = (series["series_size_MB"] * MB).round().astype(int)
    return list(zip(series["SeriesInstanceUID"], series["instanceCount"].astype(int), sizes, strict=True))


def _is_complete(place: Path, uid: str, count: int, size_bytes: int) -> bool:
    sizes = [file.stat().st_size for file in (place / uid).glob("*.dcm")]
    return (len(sizes), sum(sizes)) == (count, size_bytes)


def _remotes(series: pd.DataFrame, place: Path) -> list[Remote]:
    """List the files of the series in the bucket."""
    endpoint = os.environ.get("MAMMO_IDC_ENDPOINT", ENDPOINT).rstrip("/")
    with _download.open_session() as session:
        rows = zip(_expected(series), series["series_aws_url"], strict=True)
        listings = parallel_map(
            lambda row: _listed(session, endpoint, row[1], row[0], place), rows, _download.CONNECTIONS, "listing series"
        )
        return [remote for remotes in listings for remote in remotes]


def _listed(
    session: requests.Session, endpoint: str, address: str, expected: tuple[str, int, int], place: Path
) -> list[Remote]:
    """List the files of one series; address: s3://<bucket>/<prefix>/*."""
    uid, count, size_bytes = expected
    bucket, prefix = address.removeprefix("s3://").removesuffix("*").split("/", 1)
    objects = [item for item in _download.list_objects(session, endpoint, bucket, prefix) if item.key.endswith(".dcm")]
    if (len(objects), sum(item.size_bytes for item in objects)) != (count, size_bytes):
        raise DownloadError(
            f"{endpoint}/{bucket}/{prefix} holds {len(objects)} files of {sum(item.size_bytes for item in objects)} "
            f"bytes, but the index gives {count} of {size_bytes}. Upgrade idc-index-data, or correct MAMMO_IDC_ENDPOINT"
        )
    return [
        Remote(
            f"{endpoint}/{bucket}/{item.key}",
            place / uid / PurePosixPath(item.key).name,
            item.size_bytes,
            item.checksum,
        )
        for item in objects
    ]


COLLECTIONS = {
    "cbis_ddsm": Collection(
        "cbis_ddsm",
        "10.7937/K9/TCIA.2016.7O02S9CY",
        "22516629",
        tuple(Table(path, f"sha256:{digest}") for path, (_, _, digest) in _CBIS_DDSM_TABLES.items()),
        "SeriesInstanceUID",
        _cbis_ddsm_labels,
    ),
    "cmmd": Collection("cmmd", "10.7937/tcia.eqde-4b16", "70230508", (_CMMD_TABLE,), "PatientID", _cmmd_labels),
}
