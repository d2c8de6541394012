"""Results as DICOM: valid objects of the film's study that say what `predict` says, and know of the patient what the
film says."""

from dataclasses import replace
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
import pydicom
import pytest
from highdicom.sr import srread
from pydicom.dataset import Dataset
from pydicom.sr.codedict import codes

from mammo.core.errors import InputError
from mammo.inference.about import NOTICE, About
from mammo.inference.dicom_results import capture, results
from mammo.inference.dicom_results.maker import ResultMaker, ResultWriter
from mammo.inference.dicom_results.reading import Reading, read_columns
from mammo.inference.dicom_results.results import Film, make_results
from tests.data.test_preprocess import SETTINGS, left_film
from tests.dicoms import PATIENT, coded, errors, items, number, write_mammogram

ABOUT = About(name="light_cnn", unit="lesion", preprocess=SETTINGS, flips=False, model_sha256="a" * 64, record="b" * 64)
FILM = left_film()[0].astype(np.uint16)[::4, ::4] * 16
UNKNOWN_PATIENT = {keyword: None for keyword in PATIENT if keyword != "SpecificCharacterSet"}


def heat(shape: tuple[int, ...] = FILM.shape) -> npt.NDArray[np.float32]:
    values = np.zeros(shape, np.float32)
    values[50:90, 20:60] = np.random.default_rng(0).random((40, 40))
    return values


LESION = Reading(0.7123, (25, 50, 75, 100), 0.6, 0.5, "malignant", "refer", "refer", 0.9, "it is nearly blank", heat())
OTHER = Reading(0.2, (5, 5, 40, 45), threshold=0.5, call="benign", answer="benign", heat=heat()[::-1].copy())
WHOLE = Reading(0.4, heat=heat())


def made(path: Path, *readings: Reading, about: About = ABOUT) -> dict[str, Dataset]:
    return make_results(Film(path, path.read_bytes()), readings, about, "layercam")


def read(result: Dataset) -> Dataset:
    """The object as another program reads it from its file."""
    return pydicom.dcmread(BytesIO(results.encode(result)))


# The objects


@pytest.mark.parametrize("header", [{}, UNKNOWN_PATIENT | {"PatientOrientation": None, "ImageLaterality": None}])
@pytest.mark.parametrize("readings", [(LESION, OTHER), (WHOLE,), (replace(WHOLE, heat=None),)])
def test_every_result_passes_the_validator(
    readings: tuple[Reading, ...], header: dict[str, Any], tmp_path: Path
) -> None:
    film = write_mammogram(tmp_path / "film.dcm", FILM, **header)
    for kind, result in made(film, *readings).items():
        path = tmp_path / f"{kind}.dcm"
        path.write_bytes(results.encode(result))
        assert errors(path) == [], kind


def test_the_validator_finds_what_is_wrong(tmp_path: Path) -> None:
    """The check above can fail."""
    report = made(write_mammogram(tmp_path / "film.dcm", FILM), WHOLE)["sr"]
    del report.CompletionFlag
    (tmp_path / "sr.dcm").write_bytes(results.encode(report))
    assert any("CompletionFlag" in error for error in errors(tmp_path / "sr.dcm"))


def test_results_belong_to_the_patient_and_the_study_of_the_film_and_name_it(tmp_path: Path) -> None:
    path = write_mammogram(tmp_path / "film.dcm", FILM)
    source = pydicom.dcmread(path)
    for kind, result in made(path, LESION).items():
        result = read(result)
        for keyword in ("StudyInstanceUID", *PATIENT):
            assert str(result.get(keyword)) == str(source.get(keyword)), (kind, keyword)
        assert result.SeriesInstanceUID != source.SeriesInstanceUID
        named = [element.value for element in result.iterall() if element.keyword == "ReferencedSOPInstanceUID"]
        assert set(named) == {source.SOPInstanceUID}, kind
    report = made(path, LESION)["sr"]
    (evidence,) = report.CurrentRequestedProcedureEvidenceSequence
    assert evidence.StudyInstanceUID == source.StudyInstanceUID


def test_of_the_patient_nothing_else_is_known_and_nothing_of_the_machine(tmp_path: Path) -> None:
    """A private name, an address and the hospital stay with the film, and so does the path of the file."""
    secret = {"InstitutionName": "SECRET1", "PatientAddress": "SECRET2", "OperatorsName": "SECRET3"}
    film = write_mammogram(tmp_path / "film.dcm", FILM, **(UNKNOWN_PATIENT | secret))
    for result in made(film, LESION).values():
        content = results.encode(result)
        assert b"SECRET1" not in content
        assert b"SECRET3" not in content
        assert str(tmp_path).encode() not in content
        assert not read(result).PatientName


def test_the_report_says_what_the_reading_says(tmp_path: Path) -> None:
    report = read(made(write_mammogram(tmp_path / "film.dcm", FILM), LESION, OTHER)["sr"])
    assert report.ContentTemplateSequence[0].TemplateIdentifier == "1500"
    assert number(report, "prob") == [0.7123, 0.2]
    assert number(report, codes.DCM.ProbabilityOfCancer.value) == pytest.approx([60])
    assert number(report, "threshold") == [0.5, 0.5]
    assert number(report, "confidence") == [90]
    assert coded(report, "call") == ["Malignant", "Benign"]
    assert coded(report, "set") == ["Refer to a reader: no single class stands"]
    comments = [item.TextValue for item in items(report, codes.DCM.Comment.value)]
    assert comments == ["The image can be no mammogram: it is nearly blank", NOTICE]
    (serial,) = items(report, "Device Observer Serial Number")
    assert serial.TextValue == ABOUT.model_sha256
    assert {item.TextValue for item in items(report, "Algorithm Version")} == {"b" * 16}


def test_highdicom_reads_the_boxes_and_measurements_back(tmp_path: Path) -> None:
    """Independent of how it was written: as a viewer asks for them."""
    path = write_mammogram(tmp_path / "film.dcm", FILM)
    (tmp_path / "sr.dcm").write_bytes(results.encode(made(path, LESION, OTHER)["sr"]))
    report = srread(tmp_path / "sr.dcm")
    groups = report.content.get_planar_roi_measurement_groups()
    corners = [group.roi.value for group in groups]
    assert [(*box.min(axis=0), *box.max(axis=0)) for box in corners] == [LESION.box, OTHER.box]


def test_the_heat_map_lies_on_the_grid_of_the_film(tmp_path: Path) -> None:
    segmentation = read(made(write_mammogram(tmp_path / "film.dcm", FILM), LESION, OTHER)["seg"])
    assert (segmentation.Rows, segmentation.Columns) == FILM.shape
    assert segmentation.SegmentationType == "FRACTIONAL"
    expected = np.stack([LESION.heat, OTHER.heat])  # type: ignore[arg-type, list-item]
    np.testing.assert_allclose(segmentation.pixel_array / 255, expected, atol=0.51 / 255)
    assert "no outline" in segmentation.SegmentSequence[0].SegmentedPropertyTypeCodeSequence[0].CodeMeaning


def test_the_picture_has_the_notice_burnt_in_above_the_film(tmp_path: Path) -> None:
    path = write_mammogram(tmp_path / "film.dcm", FILM)
    picture = read(made(path, LESION)["sc"]).pixel_array
    strip = picture[: capture.LINE_PX].astype(int)
    assert (strip[..., 0] - strip[..., 1] > 100).sum() > 200, "red letters on white"
    without = capture.draw_picture(np.zeros(FILM.shape, np.uint8), [WHOLE], ABOUT)
    assert (picture[: capture.LINE_PX, : without.shape[1]] == without[: capture.LINE_PX]).all()


def test_the_same_question_gives_the_same_object_and_another_one_another(tmp_path: Path) -> None:
    path = write_mammogram(tmp_path / "film.dcm", FILM)
    first, again = (made(path, LESION) for _ in range(2))
    other_model = made(path, LESION, about=ABOUT.model_copy(update={"model_sha256": "c" * 64}))
    other_box = made(path, OTHER)
    for kind, result in first.items():
        assert result.SOPInstanceUID == again[kind].SOPInstanceUID
        assert result.SOPInstanceUID not in (other_model[kind].SOPInstanceUID, other_box[kind].SOPInstanceUID)
    assert len({result.SOPInstanceUID for result in first.values()}) == 3


@pytest.mark.parametrize(
    ("header", "reason"),
    [
        ({"StudyInstanceUID": None}, "has no StudyInstanceUID"),
        ({"PatientSex": "X?"}, "is not valid DICOM"),
        ({"StudyDate": "yesterday"}, "is not valid DICOM"),
    ],
)
def test_a_header_that_cannot_be_copied_is_named(header: dict[str, Any], reason: str, tmp_path: Path) -> None:
    path = write_mammogram(tmp_path / "film.dcm", FILM)
    film = pydicom.dcmread(path)
    for keyword, value in header.items():
        film[keyword] = pydicom.DataElement(film[keyword].tag, film[keyword].VR, value, validation_mode=0)
    film.save_as(path)
    with pytest.raises(InputError, match=rf"film\.dcm: .*{reason}"):
        made(path, WHOLE)


def test_results_of_a_film_with_the_longest_name_are_written(tmp_path: Path) -> None:
    """The file in the making has a longer name than the film, and a file system takes 255 bytes."""
    film = write_mammogram(tmp_path / f"{'x' * 251}.dcm", FILM)
    answer = pd.DataFrame([{"file": str(film), "box": None, "prob": 0.5, "error": None}])
    assert ResultWriter(ResultMaker(ABOUT, None), tmp_path / "out").write(answer) == []
    assert len(list((tmp_path / "out").glob("*.dcm"))) == 2


def test_a_number_that_is_missing_in_a_table_is_not_known() -> None:
    row = {"prob": 0.5, "calibrated": float("nan"), "call": None}
    assert read_columns(row, None, None) == Reading(0.5)
