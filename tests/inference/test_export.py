"""A model in another format says what the model says, of arrays and of encoded images, mirrored and calibrated."""

import json
from pathlib import Path

import cv2
import finished
import keras
import numpy as np
import pytest

from mammo import models
from mammo.cli import main
from mammo.inference import bundle, export
from mammo.inference.about import About, BundleError
from mammo.inference.predictor import Predictor
from mammo.inference.workspace_models import describe_model
from tests import arrays

pytestmark = pytest.mark.skipif(keras.backend.backend() != "tensorflow", reason="these formats are TensorFlow's")


@pytest.fixture(scope="module")
def about(finished_lesions: Path) -> About:
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(finished_lesions)
        return describe_model(finished.NAME)


@pytest.fixture(scope="module")
def model(finished_lesions: Path) -> keras.Model:
    return models.load(finished_lesions / f"data/models/{finished.NAME}.keras")


@pytest.fixture(scope="module")
def written(about: About, model: keras.Model, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("formats")
    export.write_formats(folder, about, model, ["saved_model"])
    return folder


def images(count: int = 12) -> np.ndarray:
    """Images (n, h, w, 1) that no format was compared on."""
    return arrays.images(np.arange(count) % 2, seed=5)[0][..., np.newaxis]


def test_a_saved_model_says_the_same_of_arrays(about: About, model: keras.Model, written: Path) -> None:
    expected = Predictor(model, about).probabilities(images()[..., 0])
    found = _signature(written, "serving_default")(image=images().astype(np.float32))
    np.testing.assert_allclose(found["prob"], expected, atol=export.TOLERANCE)
    np.testing.assert_allclose(found["calibrated"], about.calibrate(expected), atol=10 * export.TOLERANCE)


@pytest.mark.parametrize("suffix", [".png", ".jpg"])
def test_a_saved_model_says_the_same_of_encoded_images(
    about: About, model: keras.Model, written: Path, suffix: str
) -> None:
    content = [cv2.imencode(suffix, image)[1].tobytes() for image in images()]
    decoded = np.stack([cv2.imdecode(np.frombuffer(one, np.uint8), cv2.IMREAD_GRAYSCALE) for one in content])
    expected = Predictor(model, about).probabilities(decoded)
    found = _signature(written, "encoded")(content=_strings(content))
    # libjpeg's and TensorFlow's decoders round differently, by a grey level.
    np.testing.assert_allclose(found["prob"], expected, atol=export.TOLERANCE if suffix == ".png" else 0.02)


def test_encoded_images_of_another_size_are_resized(about: About, written: Path) -> None:
    large = [cv2.imencode(".png", cv2.resize(image, (96, 96)))[1].tobytes() for image in images(3)]
    found = _signature(written, "encoded")(content=_strings(large))
    assert found["prob"].shape == (3,)


def test_what_is_stated_was_measured(written: Path) -> None:
    stated = json.loads((written / export.SUMMARY).read_text())
    assert stated["saved_model"]["images"] == export.N_COMPARED
    assert 0 <= stated["saved_model"]["largest_difference_of_prob"] <= export.TOLERANCE


@pytest.mark.parametrize("name", ["light_cnn", pytest.param("efficientnet_b0", marks=pytest.mark.slow)])
def test_onnx_says_the_same(about: About, tmp_path: Path, name: str) -> None:
    pytest.importorskip("tf2onnx", reason="pip install -r requirements/onnx.txt")
    onnxruntime = pytest.importorskip("onnxruntime")
    other = models.build(arrays.model_config(name), about.image_shape, seed=0)
    export.write_formats(tmp_path, about, other, ["onnx"])
    session = onnxruntime.InferenceSession(str(tmp_path / "model.onnx"))
    prob, calibrated = session.run(["prob", "calibrated"], {"image": images().astype(np.float32)})
    expected = Predictor(other, about).probabilities(images()[..., 0])
    np.testing.assert_allclose(prob, expected, atol=export.TOLERANCE)
    np.testing.assert_allclose(calibrated, about.calibrate(expected), atol=10 * export.TOLERANCE)


def test_a_copy_that_differs_is_refused(
    about: About, model: keras.Model, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write, predict_with = export.FORMATS["saved_model"]
    monkeypatch.setitem(
        export.FORMATS, "saved_model", (write, lambda folder, images: predict_with(folder, images) + 1e-3)
    )
    with pytest.raises(BundleError, match=r"saved_model differs from the model by up to 0\.001"):
        export.write_formats(tmp_path, about, model, ["saved_model"])


def test_an_unknown_format_is_refused_with_the_others(about: About, model: keras.Model, tmp_path: Path) -> None:
    with pytest.raises(BundleError, match="unknown format tflite; there are saved_model, onnx"):
        export.write_formats(tmp_path, about, model, ["tflite"])


def test_the_command_puts_formats_under_the_checksums(
    finished_lesions: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(finished_lesions)
    main.main(["export", finished.NAME, "--out", str(tmp_path / "one"), "--formats", "saved_model"])
    sums = (tmp_path / "one" / bundle.SUMS).read_text()
    assert "saved_model/saved_model.pb" in sums
    assert "formats.json" in sums
    weights = tmp_path / "one/saved_model/variables/variables.data-00000-of-00001"
    weights.write_bytes(weights.read_bytes()[::-1])
    with pytest.raises(BundleError, match=r"variables.* has a wrong checksum"), bundle.open_bundle(tmp_path / "one"):
        pass


def _signature(folder: Path, name: str):
    import tensorflow as tf

    loaded = tf.saved_model.load(str(folder / "saved_model"))
    _KEPT.append(loaded)  # a signature lives as long as its model
    return lambda **given: {key: value.numpy() for key, value in loaded.signatures[name](**_tensors(given)).items()}


_KEPT: list[object] = []


def _tensors(given: dict[str, object]) -> dict[str, object]:
    import tensorflow as tf

    return {key: tf.constant(value) for key, value in given.items()}


def _strings(content: list[bytes]) -> object:
    import tensorflow as tf

    return tf.constant(content)
