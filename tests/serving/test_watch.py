"""The worker beside an archive: each film is answered once, in its study, whatever is killed; results are no films."""

import json
import shutil
import subprocess
import time
from collections.abc import Iterator
from io import BytesIO
from pathlib import Path

import finished
import numpy as np
import pydicom
import pytest
import requests
from pydicom.dataset import Dataset

import mammo
from mammo.cli import main
from mammo.core.errors import InputError
from mammo.data.images import io
from mammo.inference import bundle
from mammo.inference.dicom_results.results import encode
from mammo.inference.predictor import Predictor
from mammo.serving import audit_log, watch
from mammo.serving.dicomweb import Archive, StoredFilm, StoreError
from mammo.serving.watch import ALREADY, ANSWERED, FAILED, REFUSED, Memory, Worker, open_worker
from tests.dicoms import errors, number, write_mammogram
from tests.mlflow_server import free_port

PLUGIN = Path("/usr/share/orthanc/plugins/libOrthancDicomWeb.so")


class MemoryArchive:
    """An archive in memory: studies of instances by UID."""

    def __init__(self) -> None:
        self.instances: dict[str, bytes] = {}
        self.broken: Exception | None = None

    def add(self, data: bytes) -> None:
        self.instances[str(pydicom.dcmread(BytesIO(data), stop_before_pixels=True).SOPInstanceUID)] = data

    def headers(self) -> list[Dataset]:
        return [pydicom.dcmread(BytesIO(data), stop_before_pixels=True) for data in self.instances.values()]

    def find_films(self, since: str | None = None) -> Iterator[StoredFilm]:
        """Everything: what is no film must be refused by its header."""
        for header in self.headers():
            yield StoredFilm(str(header.StudyInstanceUID), str(header.SeriesInstanceUID), str(header.SOPInstanceUID))

    def holds(self, study: str, instance: str) -> bool:
        return instance in self.instances

    def fetch(self, film: StoredFilm) -> bytes:
        return self.instances[film.instance]

    def store(self, study: str, results: list[Dataset]) -> None:
        if self.broken is not None:
            raise self.broken
        for result in results:
            assert result.StudyInstanceUID == study
            self.add(encode(result))


@pytest.fixture(scope="module")
def films_model(finished_images: Path) -> Predictor:
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(finished_images)
        return mammo.load(finished.NAME)


@pytest.fixture
def film(finished_images: Path, tmp_path: Path) -> bytes:
    row = finished.films(finished_images).iloc[0]
    return write_mammogram(tmp_path / "film.dcm", io.read_film(Path(row["path"]))).read_bytes()


@pytest.fixture
def archive(film: bytes) -> MemoryArchive:
    archive = MemoryArchive()
    archive.add(film)
    return archive


def worker_of(archive: MemoryArchive, model: Predictor, folder: Path) -> Worker:
    return open_worker(archive, model, Memory(folder / "watch.db"), folder / "audit.jsonl")  # type: ignore[arg-type]


def test_a_film_is_answered_once_and_its_results_never(
    archive: MemoryArchive, films_model: Predictor, tmp_path: Path
) -> None:
    worker = worker_of(archive, films_model, tmp_path)
    assert worker.run_once() == {ANSWERED: 1}
    assert sorted(header.Modality for header in archive.headers()) == ["MG", "OT", "SEG", "SR"]
    assert worker.run_once() == {REFUSED: 3}, "its results, each looked at once"
    assert worker.run_once() == {}
    assert worker_of(archive, films_model, tmp_path).run_once() == {}
    assert len(archive.instances) == 4
    (entry,) = map(json.loads, (tmp_path / "audit.jsonl").read_text().splitlines())
    assert (entry["event"], entry["user"], audit_log.verify(tmp_path / "audit.jsonl").lines) == ("watch", "watch", 1)


def test_a_result_that_calls_itself_a_mammogram_is_none(
    archive: MemoryArchive, films_model: Predictor, tmp_path: Path
) -> None:
    worker_of(archive, films_model, tmp_path).run_once()
    (picture,) = (header for header in archive.headers() if header.Modality == "OT")
    whole = pydicom.dcmread(BytesIO(archive.instances[picture.SOPInstanceUID]))
    whole.Modality = "MG"
    archive.add(encode(whole))
    worker = worker_of(archive, films_model, tmp_path / "second")
    assert worker.run_once() == {ALREADY: 1, REFUSED: 3}


def test_a_worker_killed_before_it_noted_its_answer_stores_no_second_one(
    archive: MemoryArchive, films_model: Predictor, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    worker = worker_of(archive, films_model, tmp_path)
    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(Memory, "note", lambda *_: (_ for _ in ()).throw(KeyboardInterrupt))
        worker.run_once()
    before = dict(archive.instances)
    assert worker.run_once()[ALREADY] == 1
    assert archive.instances == before


def test_a_worker_killed_between_two_results_finishes_them(
    archive: MemoryArchive, films_model: Predictor, tmp_path: Path
) -> None:
    worker = worker_of(archive, films_model, tmp_path)
    worker.run_once()
    (report,) = (header.SOPInstanceUID for header in archive.headers() if header.Modality == "SR")
    others = set(archive.instances) - {report}
    del archive.instances[report]
    assert worker_of(archive, films_model, tmp_path / "second").run_once()[ANSWERED] == 1
    assert set(archive.instances) == others | {report}, "the same objects, not new ones"


@pytest.mark.parametrize("error", [StoreError("full"), requests.HTTPError("503")])
def test_what_the_archive_does_not_take_is_tried_again(
    error: Exception, archive: MemoryArchive, films_model: Predictor, tmp_path: Path
) -> None:
    worker, archive.broken = worker_of(archive, films_model, tmp_path), error
    assert worker.run_once() == {FAILED: 1}
    archive.broken = None
    assert worker.run_once() == {ANSWERED: 1}


def test_an_archive_that_does_not_answer_ends_the_round_alone(films_model: Predictor, tmp_path: Path) -> None:
    url = f"http://127.0.0.1:{free_port()}/dicom-web"
    worker = open_worker(Archive(url), films_model, Memory(tmp_path / "watch.db"), None)
    assert worker.run_once() == {}


def test_a_film_that_cannot_be_read_is_refused_once_with_the_reason(films_model: Predictor, tmp_path: Path) -> None:
    archive = MemoryArchive()
    tiny = write_mammogram(tmp_path / "tiny.dcm", np.zeros((8, 8), np.uint8))
    archive.add(tiny.read_bytes())
    worker = worker_of(archive, films_model, tmp_path)
    assert worker.run_once() == {REFUSED: 1}
    assert worker.run_once() == {}
    ((reason,),) = worker.memory._execute("SELECT reason FROM films")
    assert "8x8 px" in reason


def test_a_model_of_lesions_needs_somebody_who_marks_them(films_model: Predictor, tmp_path: Path) -> None:
    about = films_model.about.model_copy(update={"unit": "lesion"})
    with pytest.raises(InputError, match="needs a model of whole films"):
        worker_of(MemoryArchive(), Predictor(films_model.model, about), tmp_path)


# A real archive


@pytest.fixture
def orthanc(tmp_path: Path) -> Iterator[str]:
    """The address of the DICOMweb services of a new Orthanc."""
    if shutil.which("Orthanc") is None or not PLUGIN.is_file():
        pytest.skip("Orthanc is not installed (Debian: apt-get install orthanc orthanc-dicomweb)")
    port = free_port()
    settings = {
        "HttpPort": port,
        "DicomServerEnabled": False,
        "RemoteAccessAllowed": False,
        "AuthenticationEnabled": False,
        "StorageDirectory": str(tmp_path / "orthanc"),
        "IndexDirectory": str(tmp_path / "orthanc"),
        "Plugins": [str(PLUGIN)],
        "DicomWeb": {"Enable": True, "Root": "/dicom-web/"},
    }
    (tmp_path / "orthanc.json").write_text(json.dumps(settings))
    with (tmp_path / "orthanc.log").open("wb") as log:
        process = subprocess.Popen(["Orthanc", str(tmp_path / "orthanc.json")], stdout=log, stderr=log)
    url, deadline = f"http://127.0.0.1:{port}", time.monotonic() + 60
    try:
        while not _answers(url):
            assert process.poll() is None, (tmp_path / "orthanc.log").read_text()
            assert time.monotonic() < deadline
            time.sleep(0.1)
        yield f"{url}/dicom-web"
    finally:
        process.terminate()
        process.wait(30)


def _answers(url: str) -> bool:
    try:
        return requests.get(f"{url}/system", timeout=5).ok
    except requests.ConnectionError:
        return False


def test_a_film_in_orthanc_gets_its_results_in_the_same_study(
    orthanc: str, film: bytes, finished_images: Path, films_model: Predictor, tmp_path: Path, monkeypatch, capsys
) -> None:
    source = pydicom.dcmread(BytesIO(film))
    client = Archive(orthanc)
    client.store(source.StudyInstanceUID, [source])
    monkeypatch.chdir(finished_images)
    bundle.write(finished.NAME, tmp_path / "model.zip")
    words = ["watch", orthanc, "--model", str(tmp_path / "model.zip"), "--once"]
    main.main([*words, "--memory", str(tmp_path / "watch.db")])
    assert capsys.readouterr().out == "1 answered\n"
    main.main([*words, "--memory", str(tmp_path / "watch.db")])
    main.main([*words, "--memory", str(tmp_path / "lost.db")])
    assert capsys.readouterr().out == "no new films\n1 already answered\n"
    study = client._client.search_for_instances(source.StudyInstanceUID)
    results = [
        client.fetch(watch.StoredFilm(*(entry[tag]["Value"][0] for tag in ("0020000D", "0020000E", "00080018"))))
        for entry in study
    ]
    by_modality = {}
    for data in results:
        result = pydicom.dcmread(BytesIO(data))
        by_modality[result.Modality] = result
        (tmp_path / "stored.dcm").write_bytes(data)
        assert errors(tmp_path / "stored.dcm") == [] or result.Modality == "MG"
    assert sorted(by_modality) == ["MG", "OT", "SEG", "SR"]
    row = films_model.predict(tmp_path / "film.dcm").iloc[0]
    assert number(by_modality["SR"], "prob") == pytest.approx([row["prob"]], abs=1e-6)
