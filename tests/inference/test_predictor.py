"""The whole chain, file -> pixels -> model, gives what the run's own stages gave; and each bad file its own error."""

import json
import shutil
import threading
from collections.abc import Iterator
from io import StringIO
from pathlib import Path

import cv2
import finished
import keras
import numpy as np
import pandas as pd
import pytest
from dicoms import write_dicom

import mammo
from mammo import models
from mammo.cli import main
from mammo.core.errors import InputError
from mammo.core.files import sha256
from mammo.data.images import io
from mammo.inference import bundle, films, predictor
from mammo.inference.heat_maps import HeatMapSettings
from mammo.inference.predictor import Predictor
from mammo.tracking import mlflow_client
from mammo.training import predict


@pytest.fixture(scope="module")
def packed(finished_lesions: Path, finished_images: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Bundles by unit, away from their runs."""
    place = tmp_path_factory.mktemp("packed")
    for unit, folder in (("lesion", finished_lesions), ("image", finished_images)):
        with pytest.MonkeyPatch.context() as patch:
            patch.chdir(folder)
            bundle.write(finished.NAME, place / f"{unit}.zip")
    return {unit: place / f"{unit}.zip" for unit in ("lesion", "image")}


@pytest.fixture(scope="module")
def lesions(packed: dict[str, Path]) -> Predictor:
    return mammo.load(packed["lesion"])


@pytest.fixture(scope="module")
def images(packed: dict[str, Path]) -> Predictor:
    return mammo.load(packed["image"])


@pytest.fixture(scope="module")
def film(finished_lesions: Path) -> Path:
    return Path(finished.films(finished_lesions)["path"].iloc[0])


# The same numbers


def test_lesions_get_the_runs_own_probabilities(lesions: Predictor, finished_lesions: Path, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)  # nothing of the run is at hand
    rows = finished.films(finished_lesions)
    boxes = rows.groupby("path", sort=False)["box"].agg(list).to_dict()
    found = lesions.predict(list(boxes), boxes=boxes)
    expected = pd.concat([rows[rows["path"] == path] for path in boxes])["prob"].to_numpy()
    assert found["error"].isna().all()
    assert len(found) == len(rows)
    assert np.ptp(expected) > 0.1
    np.testing.assert_allclose(found["prob"], expected, atol=1e-6)


def test_whole_films_get_the_runs_own_probabilities(images: Predictor, finished_images: Path, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    rows = finished.films(finished_images)
    found = images.predict(rows["path"].to_list())
    assert np.ptp(rows["prob"]) > 0.1
    np.testing.assert_allclose(found["prob"], rows["prob"], atol=1e-6)


def test_a_file_gets_the_same_alone_and_in_company(images: Predictor, finished_images: Path) -> None:
    paths = finished.films(finished_images)["path"].to_list()
    together = images.predict(paths)
    for place in (0, len(paths) - 1):
        assert images.predict(paths[place])["prob"].iloc[0] == pytest.approx(together["prob"].iloc[place], abs=1e-6)


def test_many_batches_say_the_same_in_the_same_order(images: Predictor, finished_images: Path, monkeypatch) -> None:
    paths = finished.films(finished_images)["path"].to_list()
    at_once = images.predict([*paths, "nowhere.png"])
    monkeypatch.setattr(predict, "BATCH", 3)
    in_batches = images.predict([*paths, "nowhere.png"])
    assert in_batches["file"].to_list() == [*map(str, paths), "nowhere.png"]
    pd.testing.assert_frame_equal(in_batches, at_once, atol=1e-6)


def test_the_next_batch_is_read_while_the_model_is_asked() -> None:
    made = [threading.Event() for _ in range(3)]

    def items() -> Iterator[int]:
        for number, event in enumerate(made):
            event.set()
            yield number

    def work(number: int) -> bool:
        return number + 1 == len(made) or made[number + 1].wait(timeout=30)

    assert list(predictor.map_ahead(work, items())) == [True] * len(made)


def test_what_is_said_agrees_with_itself(lesions: Predictor, finished_lesions: Path) -> None:
    rows = finished.films(finished_lesions)
    found = lesions.predict(rows["path"].iloc[0], box=rows["box"].iloc[0]).iloc[0]
    about = lesions.about
    assert found["call"] == about.classify(np.array([found["prob"]]))[0]
    assert found["set"] == about.prediction_sets(np.array([found["prob"]]), found["confidence"])[0]
    assert found["calibrated"] == about.calibrate(np.array([found["prob"]]))[0]
    assert (found["version"], found["model_sha256"]) == (about.record, about.model_sha256)


@pytest.mark.parametrize("suffix", [".png", ".dcm", ".tif"])
def test_the_format_makes_no_difference(images: Predictor, film: Path, tmp_path: Path, suffix: str) -> None:
    grey = cv2.imread(str(film), cv2.IMREAD_GRAYSCALE)
    path = tmp_path / f"film{suffix}"
    if suffix == ".dcm":
        write_dicom(path, grey)
    else:
        cv2.imwrite(str(path), grey)
    reference = tmp_path / "reference.png"
    cv2.imwrite(str(reference), grey)
    found = images.predict([path, reference])
    assert found["error"].isna().all()
    assert found["prob"].iloc[0] == pytest.approx(found["prob"].iloc[1], abs=1e-3)


def test_a_film_is_decoded_once(images: Predictor, film: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    decoded: list[object] = []
    decode = io.decode
    monkeypatch.setattr(io, "decode", lambda *words: decoded.append(words) or decode(*words))
    images.predict(film)
    assert len(decoded) == 1


# Which model


@pytest.fixture
def here(finished_lesions: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(finished_lesions)
    return finished_lesions


def test_a_name_a_file_and_a_bundle_are_the_same_model(here: Path, packed: dict[str, Path], tmp_path: Path) -> None:
    copy = tmp_path / "sent_by_mail.keras"
    shutil.copyfile(f"data/models/{finished.NAME}.keras", copy)
    known = predictor.load(finished.NAME).about
    assert predictor.load(copy).about == known
    assert predictor.load(packed["lesion"]).about == known


def test_a_model_of_the_server_is_known_by_its_weights(here: Path, tmp_path: Path, monkeypatch) -> None:
    again = tmp_path / "model.keras"
    models.load(Path(f"data/models/{finished.NAME}.keras")).save(again)
    monkeypatch.setattr(mlflow_client, "download", lambda uri: again)
    for uri in (f"runs:/0123/{finished.NAME}", "models:/registered-under-another-name@champion"):
        assert predictor.load(uri).about == predictor.load(finished.NAME).about
    other = models.load(again)
    other.get_layer("logit").set_weights([weight + 1 for weight in other.get_layer("logit").get_weights()])
    other.save(again)
    assert predictor.load(f"runs:/0123/{finished.NAME}").about.operating_point is None


def test_a_stranger_is_prepared_for_by_params_and_says_no_more_than_a_probability(
    here: Path, tmp_path: Path, film: Path, caplog: pytest.LogCaptureFixture
) -> None:
    stranger = tmp_path / "stranger.keras"
    pixels = keras.Input((finished.SIZE_PX, finished.SIZE_PX, 1))
    keras.Model(pixels, keras.layers.Dense(1, "sigmoid")(keras.layers.Flatten()(pixels))).save(stranger)
    found = predictor.load(stranger).predict(film, box=(10, 10, 30, 30)).iloc[0]
    assert 0 <= found["prob"] <= 1
    assert found[["calibrated", "threshold", "call", "set", "confidence"]].isna().all()
    assert "no operating point" in caplog.text


def test_a_strangers_softmax_is_read_at_the_named_output(here: Path, tmp_path: Path, film: Path) -> None:
    pixels = keras.Input((finished.SIZE_PX, finished.SIZE_PX, 1))
    keras.Model(pixels, keras.layers.Dense(2, "softmax")(keras.layers.Flatten()(pixels))).save(tmp_path / "two.keras")
    with pytest.raises(InputError, match="say which one"):
        predictor.load(tmp_path / "two.keras")
    prob = [
        predictor.load(tmp_path / "two.keras", place).predict(film, box=(10, 10, 30, 30))["prob"].item()
        for place in (0, 1)
    ]
    assert sum(prob) == pytest.approx(1, abs=1e-6)
    with pytest.raises(InputError, match="says itself how it is read"):
        predictor.load(finished.NAME, 1)


def test_a_stranger_of_another_size_is_refused(here: Path, tmp_path: Path) -> None:
    pixels = keras.Input((8, 8, 1))
    keras.Model(pixels, keras.layers.Flatten()(pixels)).save(tmp_path / "small.keras")
    with pytest.raises(InputError, match=r"takes images of \(8, 8, 1\).*prepares \(32, 32, 1\)"):
        predictor.load(tmp_path / "small.keras")


@pytest.mark.parametrize("source", ["nobody", "data/models/nobody.keras", "nobody.zip", "/nowhere/bundle", "data"])
def test_a_model_that_is_not_there_is_an_error_that_says_so(here: Path, source: str) -> None:
    with pytest.raises(InputError, match=r"no finished model|does not exist|is no bundle"):
        predictor.load(source)


# Bad files


@pytest.fixture
def bad(tmp_path: Path, film: Path) -> dict[str, tuple[Path, str]]:
    """Files that cannot be used, and what is said of them."""
    whole = film.read_bytes()
    rng = np.random.default_rng(0)
    torn, tiny, colour, volume, text = (
        tmp_path / name for name in ("torn.jpg", "tiny.png", "colour.png", "volume.dcm", "text.png")
    )
    torn.write_bytes(whole[: len(whole) // 2])
    cv2.imwrite(str(tiny), np.zeros((1, 1), np.uint8))
    cv2.imwrite(str(colour), rng.integers(0, 256, (64, 64, 3), np.uint8))
    write_dicom(volume, np.zeros((4 * 64, 64), np.uint8), Rows=64, NumberOfFrames=4)
    text.write_text("no image")
    return {
        "torn": (torn, "truncated"),
        "tiny": (tiny, "1x1 px"),
        "colour": (colour, "a colour image"),
        "volume": (volume, "4 frames"),
        "text": (text, "not an image"),
        "missing": (tmp_path / "missing.png", "does not exist"),
    }


def test_every_bad_file_gets_its_error_and_the_others_are_done(images: Predictor, bad, film: Path) -> None:
    files = [path for path, _ in bad.values()]
    found = images.predict([*files, film]).set_index("file")
    for path, why in bad.values():
        assert why in found.loc[str(path), "error"]
        assert str(path) in found.loc[str(path), "error"]
        assert pd.isna(found.loc[str(path), "prob"])
    assert found.loc[str(film), "prob"] == images.predict(film)["prob"].iloc[0]


@pytest.mark.parametrize("suffix", [".jpg", ".tif"])
def test_a_file_damaged_inside_is_an_error_and_the_others_are_done(
    lesions: Predictor, film: Path, tmp_path: Path, suffix: str
) -> None:
    grey, paths = cv2.imread(str(film), cv2.IMREAD_GRAYSCALE), [tmp_path / f"{name}{suffix}" for name in ("a", "b")]
    for path in paths:
        cv2.imwrite(str(path), grey)
    content = paths[0].read_bytes()
    middle = len(content) // 2
    paths[0].write_bytes(
        content[:middle] + bytes(byte ^ 255 for byte in content[middle:][:50]) + content[middle + 50 :]
    )
    boxes = {path: [(10, 10, 40, 40)] for path in paths}
    found = lesions.predict(paths, boxes=boxes, heat_maps=tmp_path / "maps")
    assert f"{paths[0]}: damaged (" in found["error"].iloc[0]
    assert found["prob"].isna().to_list() == [True, False]
    assert [path.name for path in (tmp_path / "maps").iterdir()] == ["b.png"]


@pytest.mark.parametrize("box", [(0, 0, 1000, 10), (-1, 0, 5, 5), (9, 9, 9, 20), (20, 0, 10, 5)])
def test_a_box_outside_the_film_is_an_error_of_its_file(lesions: Predictor, film: Path, box) -> None:
    found = lesions.predict([film], boxes={film: [box, (10, 10, 40, 40)]})
    assert "is not on the film, which is" in found["error"].iloc[0]
    assert found["prob"].notna().to_list() == [False, True]


def test_a_model_that_gives_no_number_calls_nothing(images: Predictor, film: Path) -> None:
    broken = keras.models.clone_model(images.model)
    broken.set_weights([np.full_like(weight, np.nan) for weight in broken.get_weights()])
    found = Predictor(broken, images.about).predict(film).iloc[0]
    assert "gives no number for it (nan)" in found["error"]
    assert found[["prob", "call", "set"]].isna().all()
    linear = keras.Model(images.model.inputs, images.model.get_layer("logit").output * 1000)
    assert "which is no probability" in Predictor(linear, images.about).predict(film)["error"].item()


def test_a_lesion_model_asks_for_a_box_and_an_image_model_refuses_one(
    lesions: Predictor, images: Predictor, film: Path
) -> None:
    assert "no box says where one is" in lesions.predict(film)["error"].iloc[0]
    with pytest.raises(InputError, match="reads whole films; leave the box out"):
        images.predict(film, box=(0, 0, 10, 10))


def test_one_box_is_of_one_file(lesions: Predictor, film: Path) -> None:
    with pytest.raises(InputError, match="one box, but 2 files"):
        lesions.predict([film, film], box=(0, 0, 10, 10))


def test_a_table_of_boxes(lesions: Predictor, film: Path, tmp_path: Path) -> None:
    shutil.copyfile(film, tmp_path / "a.jpg")
    shutil.copyfile(film, tmp_path / "b.jpg")
    table = tmp_path / "boxes.csv"
    table.write_text("file,x0,y0,x1,y1\na.jpg,10,10,30,30\na.jpg,20,20,50,50\nelsewhere.jpg,0,0,5,5\n")
    found = lesions.predict(tmp_path, boxes=films.read_boxes(table))
    assert found["box"].fillna("none").to_list() == ["10,10,30,30", "20,20,50,50", "none", "none"]
    assert "b.jpg" in found["error"].iloc[2]
    assert found["error"].iloc[3] == "elsewhere.jpg: has a box, but is not among the files"


@pytest.mark.parametrize(
    "content",
    [
        "file,x0\na,1\n",
        "file,x0,y0,x1,y1\na,1,2,3,four\n",
        "",
        "file,x0,y0,x1,y1\na,1.5,2,30,40\n",
        "file,x0,y0,x1,y1\n,1,2,30,40\n",
        "file,x0,y0,x1,y1\na,1,2,inf,40\n",
    ],
)
def test_a_table_that_is_none_is_refused(tmp_path: Path, content: str) -> None:
    (tmp_path / "boxes.csv").write_text(content)
    with pytest.raises(InputError, match="needs the columns file, x0, y0, x1, y1"):
        films.read_boxes(tmp_path / "boxes.csv")


def test_a_folder_is_searched_and_an_empty_one_is_an_error(images: Predictor, film: Path, tmp_path: Path) -> None:
    full, empty = tmp_path / "full", tmp_path / "empty"
    (full / "deep").mkdir(parents=True)
    empty.mkdir()
    shutil.copyfile(film, full / "deep" / "film.jpg")
    write_dicom(full / "IM0001", cv2.imread(str(film), cv2.IMREAD_GRAYSCALE))
    (full / "notes.txt").write_text("no image")
    found = images.predict([full, empty])
    assert [Path(file).name for file in found["file"]] == ["IM0001", "film.jpg", "empty"]
    assert "no image in this folder" in found["error"].iloc[2]


@pytest.mark.parametrize(
    "name", ["a|b.png", "a;b.png", "box:1,2,3,4.png", "=1.png", "[red].png", "\x1b[31m.png", "b\udcff.png"]
)
def test_a_name_makes_no_difference(lesions: Predictor, film: Path, tmp_path: Path, name: str) -> None:
    shutil.copyfile(film, tmp_path / name)
    box = (10, 10, 40, 40)
    found = lesions.predict(tmp_path / name, box, heat_maps=tmp_path / "maps").iloc[0]
    assert found["error"] is None
    assert found["prob"] == lesions.predict(film, box)["prob"].item()
    assert Path(found["heat_map"]).is_file()


# Heat maps


def test_heat_maps_lie_where_the_rows_say(lesions: Predictor, film: Path, tmp_path: Path) -> None:
    boxes = {film: [(10, 10, 40, 40), (20, 20, 60, 60)]}
    found = lesions.predict(film, boxes=boxes, heat_maps=tmp_path / "maps")
    assert found["heat_map"].nunique() == 2
    for name in found["heat_map"]:
        picture = cv2.imread(name)
        assert picture.std() > 0


def test_no_heat_map_replaces_another_or_a_film(lesions: Predictor, film: Path, tmp_path: Path) -> None:
    for name in ("one/a.jpg", "two/a.jpg", "one/a_2.jpg"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        shutil.copyfile(film, tmp_path / name)
    files = [tmp_path / name for name in ("one/a.jpg", "two/a.jpg", "one/a_2.jpg")]
    boxes = {file: [(10 * place, 10, 40, 40)] for place, file in enumerate(files)}
    found = lesions.predict(files, boxes=boxes, heat_maps=tmp_path / "maps")
    assert found["heat_map"].nunique() == len(list((tmp_path / "maps").iterdir())) == len(files)
    with pytest.raises(InputError, match="holds films, which heat maps could replace"):
        lesions.predict(files, boxes=boxes, heat_maps=tmp_path / "one")


@pytest.mark.parametrize("method", ["layercam", "smoothgrad"])
def test_a_heat_map_is_the_same_alone_and_in_company(
    lesions: Predictor, film: Path, tmp_path: Path, method: str
) -> None:
    boxes = {film: [(10, 10, 40, 40), (20, 20, 60, 60)]}
    together = lesions.predict(film, boxes=boxes, heat_maps=HeatMapSettings(tmp_path / "both", method))
    alone = lesions.predict(film, box=(20, 20, 60, 60), heat_maps=HeatMapSettings(tmp_path / "one", method))
    both, one = (cv2.imread(table["heat_map"].iloc[-1]).astype(int) for table in (together, alone))
    assert np.abs(both - one).max() <= 2


def test_an_unknown_method_is_refused_before_any_work(lesions: Predictor, film: Path, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"unknown saliency method 'x'; there are .*layercam"):
        lesions.predict(film, box=(0, 0, 9, 9), heat_maps=HeatMapSettings(tmp_path / "maps", "x"))
    assert not (tmp_path / "maps").exists()


# The command


def test_the_command_says_the_same_and_its_exit_code_tells_of_failures(
    packed: dict[str, Path], film: Path, bad, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    good = ["predict", "--model", str(packed["image"]), str(film)]
    main.main([*good, "--out", str(tmp_path / "said.csv")])
    said = pd.read_csv(tmp_path / "said.csv")
    expected = mammo.load(packed["image"]).predict(film)
    assert said.columns.to_list() == predictor.COLUMNS
    assert said["prob"].iloc[0] == pytest.approx(expected["prob"].iloc[0], abs=1e-9)
    main.main([*good, "--json"])
    assert pd.read_json(StringIO(capsys.readouterr().out))["call"].iloc[0] == expected["call"].iloc[0]
    with pytest.raises(SystemExit, match="1 of 2 failed"):
        main.main([*good, str(bad["tiny"][0])])
    printed = capsys.readouterr()
    assert expected["call"].iloc[0] in printed.out
    assert "1x1 px" in printed.err


def test_export_then_predict_from_the_command_line(here: Path, film: Path, tmp_path: Path, capsys) -> None:
    main.main(["export", finished.NAME, "--out", str(tmp_path / "one"), "--json"])
    told = json.loads(capsys.readouterr().out)
    assert Path(told["bundle"]) == tmp_path / "one"
    assert told["model_sha256"] == sha256(tmp_path / "one" / bundle.MODEL)
    main.main(["predict", str(film), "--model", str(tmp_path / "one"), "--box", "10,10,40,40", "--format", "csv"])
    assert "10,10,40,40" in capsys.readouterr().out
    with pytest.raises(SystemExit, match=r"error: no finished model 'nobody'"):
        main.main(["export", "nobody", "--out", str(tmp_path / "two")])
