"""The service over real sockets: the command line's numbers for good films, a 4xx with a reason for all else."""

import http.client
import io
import json
import re
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any

import cv2
import finished
import keras
import numpy as np
import pydicom
import pytest
import requests
from PIL import Image

import mammo
from mammo.core.errors import InputError
from mammo.inference import bundle
from mammo.inference.predictor import Predictor
from mammo.serving import audit_log
from mammo.serving.settings import hash_key
from tests.dicoms import write_mammogram
from tests.service import Server, serving

KEY = "a-key-of-enough-length"


@pytest.fixture(scope="module")
def lesions(finished_lesions: Path, tmp_path_factory: pytest.TempPathFactory) -> Predictor:
    target = tmp_path_factory.mktemp("packed") / "lesion.zip"
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(finished_lesions)
        bundle.write(finished.NAME, target)
    return mammo.load(target)


@pytest.fixture(scope="module")
def server(lesions: Predictor) -> Iterator[Server]:
    with serving(lesions, max_body_bytes=2**20, max_pixels=10**6) as running:
        yield running


@pytest.fixture(scope="module")
def film(finished_lesions: Path) -> tuple[bytes, str, float]:
    """A film's bytes, the box of a lesion in it, and the run's own probability."""
    row = finished.films(finished_lesions).iloc[0]
    return Path(row["path"]).read_bytes(), ",".join(map(str, row["box"])), float(row["prob"])


def png(shape: tuple[int, ...], value: int = 90) -> bytes:
    return cv2.imencode(".png", np.full(shape, value, np.uint8))[1].tobytes()


# Answers


def test_a_raw_film_gets_the_runs_own_probability_and_the_command_lines_reading(
    server: Server, lesions: Predictor, film: tuple[bytes, str, float], tmp_path: Path
) -> None:
    data, box, prob = film
    answer = server.post(f"/v1/predict?box={box}", data=data)
    assert answer.status_code == 200
    (reading,) = answer.json()["films"]
    assert reading["prob"] == pytest.approx(prob, abs=1e-6)
    (tmp_path / "film.png").write_bytes(data)
    x0, y0, x1, y1 = map(int, box.split(","))
    row = lesions.predict(tmp_path / "film.png", (x0, y0, x1, y1)).iloc[0]
    for name in ("calibrated", "threshold", "confidence"):
        assert reading[name] == pytest.approx(row[name], abs=1e-6), name
    for name in ("box", "call", "set", "answer", "doubt"):
        assert reading[name] == row[name], name
    assert answer.json()["model"]["model_sha256"] == row["model_sha256"]
    assert "research only" in answer.json()["notice"]
    assert answer.headers["X-Request-ID"] == answer.json()["request_id"]


def test_two_views_in_one_form_get_a_reading_each_and_their_mean(server: Server, finished_lesions: Path) -> None:
    rows = finished.films(finished_lesions).iloc[:2]
    files = [("file", ("../../etc/passwd", Path(path).read_bytes())) for path in rows["path"]]
    boxes = [("box", ",".join(map(str, box))) for box in rows["box"]]
    answer = server.post(files=files, data=boxes).json()
    np.testing.assert_allclose([film["prob"] for film in answer["films"]], rows["prob"], atol=1e-6)
    assert answer["mean_prob"] == pytest.approx(rows["prob"].mean(), abs=1e-6)


def test_a_model_of_two_views_answers_the_films_of_a_request_together(
    lesions: Predictor, finished_lesions: Path
) -> None:
    both = replace(lesions, about=lesions.about.model_copy(update={"two_views": True}))
    rows = finished.films(finished_lesions).iloc[:2]
    odds = np.log(rows["prob"] / (1 - rows["prob"])).mean()
    files = [("file", ("a.png", Path(path).read_bytes())) for path in rows["path"]]
    boxes = [("box", ",".join(map(str, box))) for box in rows["box"]]
    images = np.random.default_rng(0).integers(0, 256, (2, 2, 32, 32)).astype(np.uint8)
    with serving(both) as server:
        together = server.post(files=files, data=boxes).json()["films"]
        alone = server.post(files=files[:1], data=boxes[:1]).json()["films"][0]
        picture = server.post(f"/v1/explain?box={boxes[0][1]}", data=files[0][1][1])
        inferred = infer(server, shape=[2, 2, 32, 32], data=images.tolist()).json()["outputs"]
        refused = infer(server, shape=[4, 32, 32], data=images.tolist())
        assert server.get("/v1/model").json()["two_views"] is True
    np.testing.assert_allclose([film["prob"] for film in together], 1 / (1 + np.exp(-odds)), atol=1e-6)
    np.testing.assert_allclose([film["prob_one_view"] for film in together], rows["prob"], atol=1e-6)
    assert [film["views"] for film in together] == [2, 2]
    assert together[0]["call"] == both.about.classify(np.array([together[0]["prob"]]))[0]
    assert (alone["views"], alone["prob"]) == (1, pytest.approx(rows["prob"].iloc[0], abs=1e-6))
    assert picture.headers["Content-Type"] == "image/png"
    single = lesions.probabilities(images.reshape(4, 32, 32)).reshape(2, 2)
    expected = 1 / (1 + np.exp(-np.log(single / (1 - single)).mean(axis=1)))
    np.testing.assert_allclose(inferred[0]["data"], expected, atol=1e-6)
    assert (refused.status_code, "[-1, -1, 32, 32]" in refused.text) == (422, True)


def test_many_at_once_get_their_own_answers_in_batches(server: Server, finished_lesions: Path) -> None:
    rows = finished.films(finished_lesions).iloc[:12]
    before = server.get("/metrics").text

    def ask(row: Any) -> float:
        box = ",".join(map(str, row.box))
        return float(server.post(f"/v1/predict?box={box}", data=Path(row.path).read_bytes()).json()["films"][0]["prob"])

    with ThreadPoolExecutor(12) as pool:
        found = list(pool.map(ask, rows.itertuples()))
    np.testing.assert_allclose(found, rows["prob"], atol=1e-6)
    after = server.get("/metrics").text
    predicted = [float(re.search(r"mammo_batch_size_sum (\S+)", text)[1]) for text in (before, after)]  # type: ignore[index]
    assert predicted[1] - predicted[0] == 12


def test_drift_of_the_last_films_is_on_metrics(server: Server, lesions: Predictor, film) -> None:
    reference = lesions.about.reference
    assert reference is not None
    assert len(reference.scores) == lesions.about.validation["n"], "the bundle keeps the scores of its validation rows"
    for _ in range(2):
        server.post(f"/v1/predict?box={film[1]}", data=film[0])
    text = server.get("/metrics").text
    assert int(float(re.search(r"^mammo_drift_films (\S+)", text, re.M)[1])) >= 1  # type: ignore[index]
    for kind in ("scores", "doubt", "refer"):
        assert f'mammo_drift_alarm{{kind="{kind}"}} 0.0' in text, "too few films for an alarm"


def test_what_is_served_is_described(server: Server, lesions: Predictor) -> None:
    described = server.get("/v1/model").json()
    assert described["model"]["name"] == finished.NAME
    assert described["operating_point"]["threshold"] == lesions.about.operating_point.threshold
    assert described["unit"] == "lesion"
    assert server.get("/health/live").json() == {"status": "live"}
    assert server.get("/health/ready").json() == {"status": "ready"}
    schema = server.get("/openapi.json").json()
    assert set(schema["paths"]["/v1/predict"]["post"]["responses"]) >= {"200", "401", "413", "422", "429"}


def test_no_page_of_it_loads_anything_from_elsewhere(server: Server) -> None:
    assert server.get("/docs").status_code == 404
    headers = server.get("/health/live").headers
    assert headers["Content-Security-Policy"].startswith("default-src 'self'")
    assert headers["X-Content-Type-Options"] == "nosniff"


def test_a_film_comes_to_the_screen_in_its_full_depth_and_reduced(server: Server, film) -> None:
    deep = np.random.default_rng(0).integers(0, 2**16, (600, 40)).astype(np.uint16)
    answer = server.post("/v1/film", data=cv2.imencode(".png", deep)[1].tobytes())
    shape = json.loads(answer.headers["X-Film"])
    assert shape == {"height": 600, "width": 40, "film_height": 600, "film_width": 40}
    np.testing.assert_array_equal(np.frombuffer(answer.content, "<u2").reshape(600, 40), deep)
    large = server.post("/v1/film", data=png((5000, 100)))
    assert json.loads(large.headers["X-Film"])["height"] == 1250
    assert server.post("/v1/film", data=b"no film").status_code == 422


def test_a_heat_map_is_that_of_the_command_line(server: Server, lesions: Predictor, film, tmp_path) -> None:
    data, box, _ = film
    answer = server.post(f"/v1/explain?box={box}", data=data)
    assert answer.headers["Content-Type"] == "image/png"
    (tmp_path / "film.jpg").write_bytes(data)
    x0, y0, x1, y1 = map(int, box.split(","))
    row = lesions.predict(tmp_path / "film.jpg", (x0, y0, x1, y1), heat_maps=tmp_path / "maps").iloc[0]
    assert answer.content == Path(row["heat_map"]).read_bytes()


@pytest.fixture(scope="module")
def mammogram(film: tuple[bytes, str, float], tmp_path_factory: pytest.TempPathFactory) -> bytes:
    """The same film as DICOM."""
    pixels = cv2.imdecode(np.frombuffer(film[0], np.uint8), cv2.IMREAD_UNCHANGED)
    return write_mammogram(tmp_path_factory.mktemp("dicom") / "film.dcm", pixels).read_bytes()


def test_a_dicom_film_gets_the_answer_of_its_pixels(server: Server, film, mammogram: bytes) -> None:
    """No file lies behind what comes over HTTP: its header is read from memory as well."""
    answer = server.post(f"/v1/predict?box={film[1]}", data=mammogram)
    assert answer.status_code == 200, answer.text
    assert answer.json()["films"][0]["prob"] == pytest.approx(film[2], abs=0.02)  # JPEG is decoded at a reduced size


def test_a_heat_map_comes_as_a_dicom_object_of_the_films_study(server: Server, film, mammogram: bytes) -> None:
    path, source = f"/v1/explain?box={film[1]}", pydicom.dcmread(io.BytesIO(mammogram))
    for kind, modality in [("seg", "SEG"), ("sr", "SR"), ("sc", "OT")]:
        answer = server.post(f"{path}&result={kind}", data=mammogram, headers={"Accept": "application/dicom"})
        assert answer.headers["Content-Type"] == "application/dicom"
        result = pydicom.dcmread(io.BytesIO(answer.content))
        assert (result.Modality, result.StudyInstanceUID) == (modality, source.StudyInstanceUID)
    every = server.post(path, data=mammogram, headers={"Accept": 'multipart/related; type="application/dicom"'})
    kind, boundary = every.headers["Content-Type"].split("; boundary=")
    assert kind == 'multipart/related; type="application/dicom"'
    parts = every.content.split(f"--{boundary}".encode())[1:-1]
    stored = [pydicom.dcmread(io.BytesIO(part.partition(b"\r\n\r\n")[2].removesuffix(b"\r\n"))) for part in parts]
    assert [result.Modality for result in stored] == ["SR", "SEG", "OT"]
    assert server.post(path, data=mammogram).headers["Content-Type"] == "image/png"
    no_study = server.post(path, data=film[0], headers={"Accept": "application/dicom"})
    assert (no_study.status_code, "is no DICOM file" in no_study.text) == (422, True)
    described = server.get("/openapi.json").json()["paths"]["/v1/explain"]["post"]["responses"]["200"]["content"]
    assert set(described) == {"image/png", "application/dicom", "multipart/related"}


# Refusals


def test_what_is_no_film_is_refused_with_the_reason_and_without_a_path(server: Server) -> None:
    whole = png((64, 64))
    bomb = io.BytesIO()
    Image.new("L", (2000, 2000)).save(bomb, "PNG")
    cases: dict[str, tuple[bytes, str]] = {
        "empty": (b"", "the body is empty"),
        "text": (b"hello", "not an image or truncated"),
        "truncated": (whole[: len(whole) // 2], "truncated"),
        "too many pixels": (bomb.getvalue(), "4,000,000 pixels; at most 1,000,000"),
        "colour": (cv2.imencode(".png", np.random.default_rng(0).integers(0, 255, (64, 64, 3)))[1].tobytes(), "colour"),
        "garbage DICOM": (b"\0" * 128 + b"DICM" + b"\xff" * 64, "the film"),
    }
    for name, (data, reason) in cases.items():
        answer = server.post("/v1/predict?box=1,1,9,9", data=data)
        assert answer.status_code == 422, name
        assert reason in answer.json()["detail"], (name, answer.json())
    assert server.get("/health/live").status_code == 200


@pytest.mark.parametrize("suffix", [".jpg", ".tif"])
def test_a_film_that_its_decoder_only_warns_of_is_refused(server: Server, film, suffix: str) -> None:
    grey = cv2.imdecode(np.frombuffer(film[0], np.uint8), cv2.IMREAD_GRAYSCALE)
    whole = cv2.imencode(suffix, grey)[1].tobytes()
    middle = len(whole) // 2
    damaged = whole[:middle] + bytes(byte ^ 255 for byte in whole[middle:][:50]) + whole[middle + 50 :]
    for route in (f"/v1/predict?box={film[1]}", "/v1/film"):
        assert server.post(route, data=whole).status_code == 200
        answer = server.post(route, data=damaged)
        assert answer.status_code == 422
        assert "the film: damaged (" in answer.json()["detail"]


@pytest.mark.parametrize(
    ("box", "reason"),
    [
        ("", "say where one is"),
        ("1,2,3", "is not x0,y0,x1,y1"),
        ("1,2,3,nan", "is not x0,y0,x1,y1"),
        ("-1,2,3,4", "is not x0,y0,x1,y1"),
        ("9,9,2,2", "is not on the film"),
        ("0,0,99999999999999999999999,5", "is not on the film"),
    ],
)
def test_a_box_that_is_none_is_refused(box: str, reason: str, server: Server, film: tuple[bytes, str, float]) -> None:
    answer = server.post("/v1/predict", params={"box": box}, data=film[0])
    assert answer.status_code == 422
    assert reason in answer.json()["detail"]


def test_a_model_of_breasts_refuses_single_films_as_the_command_line_does(lesions: Predictor, film, tmp_path) -> None:
    data, _, _ = film
    about = lesions.about.model_copy(update={"unit": "breast"})
    model = keras.Sequential([keras.Input(about.image_shape), keras.layers.Flatten(), keras.layers.Dense(1, "sigmoid")])
    pairs = replace(lesions, model=model, about=about)
    (tmp_path / "film.png").write_bytes(data)
    with pytest.raises(InputError, match="reads the CC and MLO view of a breast together") as refused:
        pairs.predict(tmp_path / "film.png")
    with serving(pairs) as server:
        for route in ("/v1/predict", "/v1/explain"):
            answer = server.post(route, data=data)
            assert (answer.status_code, answer.json()["detail"]) == (422, str(refused.value))


def test_a_model_without_the_layers_of_heat_maps_says_so_and_reports_without(lesions: Predictor, mammogram) -> None:
    about = lesions.about.model_copy(update={"unit": "image"})
    model = keras.Sequential([keras.Input(about.image_shape), keras.layers.Flatten(), keras.layers.Dense(1, "sigmoid")])
    with serving(replace(lesions, model=model, about=about)) as server:
        answer = server.post("/v1/explain", data=mammogram)
        assert (answer.status_code, "has no heat map of its own" in answer.text) == (422, True)
        as_dicom = {"data": mammogram, "headers": {"Accept": "application/dicom"}}
        assert server.post("/v1/explain?result=seg", **as_dicom).status_code == 422
        assert server.post("/v1/explain?result=sr", **as_dicom).status_code == 200


def test_forms_that_say_something_else_are_refused(server: Server, film: tuple[bytes, str, float]) -> None:
    data, box, _ = film
    file = ("file", ("a.png", data))
    for status, files, fields in [
        (422, [("path", (None, "/etc/passwd"))], []),
        (422, [("path", (None, "/etc/passwd")), file], []),
        (422, [file, file], [("box", box)]),
        (400, [file] * 5, [("box", box)] * 5),
    ]:
        assert server.post(files=files, data=fields).status_code == status, (files, fields)
    torn = server.post(data=b"--x\r\nno form", headers={"Content-Type": "multipart/form-data; boundary=x"})
    assert torn.status_code in (400, 422)
    nameless = server.post(data=b"x", headers={"Content-Type": "multipart/form-data"})
    assert nameless.status_code == 400


def test_a_body_too_large_is_refused_before_it_is_read_and_while_it_comes(server: Server) -> None:
    declared = server.raw(b"POST /v1/predict HTTP/1.1\r\nHost: x\r\nContent-Length: 99999999\r\n\r\n")
    assert declared.startswith(b"HTTP/1.1 413")
    chunked = (b"%x\r\n" % 2**19) + bytes(2**19) + b"\r\n"
    head = b"POST /v1/predict?box=1,1,9,9 HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n"
    assert server.raw(head + 3 * chunked).startswith(b"HTTP/1.1 413")


def test_a_slow_body_is_refused_and_all_bodies_together_are_bounded(lesions: Predictor) -> None:
    with serving(lesions, read_timeout_s=1.5, max_in_flight_bytes=1000) as server:
        assert server.raw(b"POST /v1/predict HTTP/1.1\r\nHost: x\r\nContent-Length: 9\r\n\r\nab").startswith(
            b"HTTP/1.1 408"
        )
        assert server.post("/v1/predict?box=1,1,9,9", data=bytes(2000)).status_code == 429
        assert server.post("/v1/predict?box=1,1,9,9", data=bytes(500)).status_code == 422  # what was counted is freed


class Moody(Predictor):
    """A predictor that waits for `gate`, and fails while `broken`."""

    def __init__(self, whole: Predictor):
        super().__init__(whole.model, whole.about)
        object.__setattr__(self, "gate", threading.Event())
        object.__setattr__(self, "broken", threading.Event())
        self.gate.set()

    def probabilities(self, images: Any, flips: bool | None = None) -> Any:
        self.gate.wait(30)
        if self.broken.is_set():
            raise RuntimeError("out of memory")
        return super().probabilities(images, flips)


def test_connections_that_ask_nothing_are_closed_and_those_that_ask_are_not(server: Server) -> None:
    connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=30)
    for _ in range(4):
        connection.request("GET", "/health/live")
        assert json.loads(connection.getresponse().read()) == {"status": "live"}
        time.sleep(1)  # four seconds in all: longer than an idle connection has
    assert connection.sock is not None
    connection.sock.sendall(b"GET /health")
    assert connection.sock.recv(65536) == b""
    connection.close()
    assert server.raw(b"GET /health", seconds=30) == b""


def test_a_full_queue_and_a_model_too_slow_are_refused_for_now(lesions: Predictor, film) -> None:
    (data, box, _), moody = film, Moody(lesions)
    with serving(moody, max_queue=1, max_batch=1, answer_timeout_s=1.0) as server:
        moody.gate.clear()
        with ThreadPoolExecutor(6) as pool:
            answers = pool.map(lambda _: server.post(f"/v1/predict?box={box}", data=data), range(6))
            statuses = {answer.status_code for answer in answers}
        moody.gate.set()
        assert statuses == {429, 503}
        deadline = time.monotonic() + 30
        while server.post(f"/v1/predict?box={box}", data=data).status_code != 200:
            assert time.monotonic() < deadline


def test_a_failing_model_fails_its_own_batch_alone(lesions: Predictor, film) -> None:
    (data, box, _), moody = film, Moody(lesions)
    with serving(moody) as server:
        moody.broken.set()
        answer = server.post(f"/v1/predict?box={box}", data=data)
        assert (answer.status_code, "memory" in answer.text) == (500, False)
        moody.broken.clear()
        assert server.post(f"/v1/predict?box={box}", data=data).status_code == 200


# Keys and the audit log


def test_who_has_no_key_is_refused_and_answers_are_logged_without_pixels(lesions: Predictor, film, tmp_path) -> None:
    data, box, prob = film
    log = tmp_path / "audit.jsonl"
    with serving(lesions, api_keys=((hash_key(KEY), "ada"),), audit_log=log) as server:
        path = f"/v1/predict?box={box}"
        assert server.post(path, data=data).status_code == 401
        assert server.post(path, data=data, headers={"X-API-Key": KEY[:-1]}).status_code == 401
        assert server.get("/v1/model").status_code == 401
        assert server.get("/v2/health/ready").status_code == 401
        assert server.get("/health/ready").status_code == 200
        for header in ({"X-API-Key": KEY}, {"Authorization": f"Bearer {KEY}"}):
            assert server.post(path, data=data, headers=header).status_code == 200
        assert server.post(f"/v1/explain?box={box}", data=data, headers=header).status_code == 200
    assert audit_log.verify(log).lines == 3
    assert [json.loads(line)["event"] for line in log.read_text().splitlines()] == ["predict", "predict", "explain"]
    entry = json.loads(log.read_text().splitlines()[0])
    assert entry["user"] == "ada"
    assert entry["films"][0]["prob"] == pytest.approx(prob, abs=1e-6)
    assert KEY not in log.read_text()


# The Open Inference Protocol


def infer(server: Server, **tensor: Any) -> requests.Response:
    body = {"inputs": [{"name": "image", "datatype": "UINT8", "shape": [1, 32, 32], "data": [7] * 1024} | tensor]}
    return server.post(f"/v2/models/{finished.NAME}/infer", json=body | {"id": "42"})


def test_clients_of_the_open_inference_protocol_get_the_models_own_numbers(server: Server, lesions: Predictor) -> None:
    name = finished.NAME
    assert server.get("/v2/health/live").json() == {"live": True}
    assert server.get(f"/v2/models/{name}/ready").json() == {"ready": True}
    (described,) = server.get(f"/v2/models/{name}").json()["inputs"]
    assert described == {"name": "image", "datatype": "UINT8", "shape": [-1, 32, 32]}
    images = np.random.default_rng(0).integers(0, 256, (3, 32, 32)).astype(np.uint8)
    answer = infer(server, shape=[3, 32, 32], data=images.tolist()).json()
    assert answer["id"] == "42"
    outputs = {output["name"]: output["data"] for output in answer["outputs"]}
    np.testing.assert_allclose(outputs["prob"], lesions.probabilities(images), atol=1e-6)
    np.testing.assert_allclose(outputs["calibrated"], lesions.about.calibrate(np.array(outputs["prob"])), atol=1e-9)


@pytest.mark.parametrize(
    "tensor",
    [
        {"name": "other"},
        {"datatype": "FP32"},
        {"shape": [1, 31, 32]},
        {"shape": [0, 32, 32], "data": []},
        {"shape": [10**9, 32, 32]},
        {"data": [7] * 1023},
        {"data": [-1] * 1024},
        {"data": [256] * 1024},
        {"data": ["x"] * 1024},
        {"data": [10**30] * 1024},
        {"data": [[7], [7, 7]]},
    ],
)
def test_a_tensor_that_does_not_fit_is_refused(tensor: dict[str, Any], server: Server) -> None:
    assert infer(server, **tensor).status_code == 422
    assert server.post("/v2/models/other/infer", json={"inputs": []}).status_code == 404
