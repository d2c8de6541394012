"""`predict --dicom` writes what it prints: results of each DICOM film, whatever becomes of the others."""

from pathlib import Path
from typing import Any

import finished
import numpy as np
import pydicom
import pytest
from pydicom.sr.codedict import codes

import mammo
from mammo.cli import main
from mammo.data.images import io
from mammo.inference.dicom_results import maker
from mammo.inference.predictor import Predictor
from tests.data.test_preprocess import left_film
from tests.dicoms import coded, errors, number, write_dicom, write_mammogram


@pytest.fixture(scope="module")
def lesions(finished_lesions: Path) -> Predictor:
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(finished_lesions)
        return mammo.load(finished.NAME)


@pytest.fixture(scope="module")
def film(finished_lesions: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str]:
    """A film of the run as DICOM, and the box of its lesion."""
    row = finished.films(finished_lesions).iloc[0]
    path = tmp_path_factory.mktemp("films") / "film.dcm"
    write_mammogram(path, io.read_film(Path(row["path"])))
    return path, ",".join(map(str, row["box"]))


def test_the_command_writes_what_it_prints(
    film: tuple[Path, str], finished_lesions: Path, lesions: Predictor, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path, box = film
    monkeypatch.chdir(finished_lesions)
    words = ["predict", str(path), "--model", finished.NAME, "--box", box, "--out", str(tmp_path / "rows.csv")]
    main.main([*words, "--dicom", str(tmp_path / "out")])
    assert {file.name for file in (tmp_path / "out").iterdir()} == {"film.sr.dcm", "film.seg.dcm", "film.sc.dcm"}
    x0, y0, x1, y1 = map(int, box.split(","))
    row = lesions.predict(path, (x0, y0, x1, y1)).iloc[0]
    report = pydicom.dcmread(tmp_path / "out/film.sr.dcm")
    assert number(report, "prob") == pytest.approx([row["prob"]], abs=1e-6)
    assert number(report, codes.DCM.ProbabilityOfCancer.value) == pytest.approx([100 * row["calibrated"]], abs=1e-4)
    assert [value.lower() for value in coded(report, "call")] == [row["call"]]
    segmentation = pydicom.dcmread(tmp_path / "out/film.seg.dcm").pixel_array
    assert segmentation.any()
    rows, columns = np.nonzero(segmentation)
    margin = max(x1 - x0, y1 - y0)  # the model sees the lesion with its surroundings
    assert y0 - margin <= rows.min() <= rows.max() < y1 + margin
    assert x0 - margin <= columns.min() <= columns.max() < x1 + margin


def test_a_film_that_is_no_dicom_is_named_after_all_others(
    film: tuple[Path, str], finished_lesions: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Any
) -> None:
    dicom_film, box = film
    row = finished.films(finished_lesions).iloc[0]
    monkeypatch.chdir(finished_lesions)
    boxes = tmp_path / "boxes.csv"
    corners = ",".join(map(str, row["box"]))
    boxes.write_text(f"file,x0,y0,x1,y1\n{row['path']},{corners}\n{dicom_film},{box}\n{dicom_film},5,5,60,70\n")
    words = ["predict", str(row["path"]), str(dicom_film), "--model", finished.NAME, "--boxes", str(boxes)]
    with pytest.raises(SystemExit, match="1 of 3 failed"):
        main.main([*words, "--dicom", str(tmp_path / "out")])
    assert "is no DICOM file" in capsys.readouterr().err
    assert pydicom.dcmread(tmp_path / "out/film.seg.dcm").NumberOfFrames == 2, "both boxes of a film in one result"


def test_results_do_not_go_among_the_films(
    film: tuple[Path, str], finished_lesions: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path, box = film
    monkeypatch.chdir(finished_lesions)
    with pytest.raises(SystemExit, match="lies among the films"):
        main.main(["predict", str(path), "--model", finished.NAME, "--box", box, "--dicom", str(path.parent)])


def test_a_plain_dicom_without_patient_gets_results_too(lesions: Predictor, tmp_path: Path) -> None:
    path = write_dicom(tmp_path / "film.dcm", left_film()[0][::4, ::4])
    predictions = lesions.predict(path, (25, 50, 75, 100))
    writer = maker.open_writer(lesions, tmp_path / "out", "layercam", [path])
    assert writer.write(predictions) == []
    assert writer.write(predictions) == []
    assert (tmp_path / "out/film_2.sr.dcm").is_file(), "a second film of that name replaces nothing"
    assert errors(tmp_path / "out/film.sr.dcm") == []
