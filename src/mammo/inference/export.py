"""A finished model in formats that need no Keras: TensorFlow SavedModel and ONNX, each compared with the model itself.

Both take images as the model does, (n, h, w, 1) in 0..255, predict with mirrored images where the model does, combine
the members of an ensemble, and return `prob` and `calibrated`, (n,). Of a model of two views they take (n, views, h, w,
1), and average the log-odds of the views; a lesion with one view is (n, 1, h, w, 1). The ONNX graph's metadata hold
bundle.json, and the combination of an ensemble. The SavedModel of one view has a second signature, `encoded`, for PNG
or JPEG bytes of such an image, which it resizes where they have another size. Neither finds a breast or cuts out a
lesion: that is `Predictor.prepare`.
"""

import json
import shutil
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import keras
import numpy as np
import numpy.typing as npt

from mammo.core.files import atomic_write
from mammo.evaluation import ensembling
from mammo.inference import model_files
from mammo.inference.about import About, BundleError
from mammo.inference.ensemble import read_row
from mammo.inference.model_files import Ensemble
from mammo.inference.predictor import Predictor
from mammo.training import predict

TOLERANCE = 1e-5  # between probabilities; more is no copy of the model
N_COMPARED = 32  # images that a copy is compared on
SUMMARY, ONNX = "formats.json", "model.onnx"
CALIBRATION_FLOOR = 1e-7  # keeps the log-odds of the graph finite, which NumPy's need not be
OPSET = 17

Images = npt.NDArray[np.uint8]  # (n, h, w, 1), of a model of two views (n, views, h, w, 1)
Floats = npt.NDArray[np.float64]


def write_onnx(name: str, out: Path) -> tuple[About, float]:
    """Write a finished row of this workspace as one ONNX graph; return its description and how far it is from the row.

    The distance is the largest difference of a probability. Raises BundleError as write_formats does.
    """
    row = read_row(name)
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        differences = write_formats(folder, row.about, row.load(), ["onnx"])
        with atomic_write(out) as unfinished:
            shutil.copyfile(folder / ONNX, unfinished)
    return row.about, differences["onnx"]


def write_formats(folder: Path, about: About, model: keras.Model | Ensemble, names: Sequence[str]) -> dict[str, float]:
    """Write the formats `names` of FORMATS into `folder`, and formats.json with how far each is from the model.

    Return the largest difference of a probability by format. Raises BundleError for an unknown name, another Keras
    backend than TensorFlow, a package that is not installed, and for a copy that differs by more than TOLERANCE.
    """
    if keras.backend.backend() != "tensorflow":
        raise BundleError("other formats are written on the TensorFlow backend; unset KERAS_BACKEND")
    if unknown := [name for name in names if name not in FORMATS]:
        raise BundleError(f"unknown format {', '.join(unknown)}; there are {', '.join(FORMATS)}")
    images = comparison_images(about)
    expected = _predict_expected(Predictor(model, about), images)
    differences = {}
    for name in names:
        write, predict_with = FORMATS[name]
        write(folder, about, model)
        difference = float(np.abs(predict_with(folder, images) - expected).max())
        if difference > TOLERANCE:
            raise BundleError(f"{name} differs from the model by up to {difference:.2g}; it is not written")
        differences[name] = difference
    stated = {name: {"largest_difference_of_prob": value, "images": len(images)} for name, value in differences.items()}
    (folder / SUMMARY).write_text(json.dumps(stated, indent=1) + "\n", encoding="utf-8")
    return differences


def _predict_expected(predictor: Predictor, images: Images) -> Floats:
    """Return the probabilities (n,) of images (n, h, w, 1), of a model of two views (n, views, h, w, 1)."""
    squares = images[..., 0]
    prob = predictor.probabilities(squares.reshape(-1, *squares.shape[-2:]))
    if not predictor.about.two_views:
        return prob
    views = squares.shape[1]
    return predictor.average_views(prob, [str(place // views) for place in range(len(prob))])[::views]


def comparison_images(about: About) -> Images:
    """Return the images that a copy is compared on: from black over noise of every brightness to white.

    Of a model of two views they are pairs, (n / 2, 2, h, w, 1).
    """
    height, width, _ = about.image_shape
    rng = np.random.default_rng(0)
    level = np.linspace(0, 255, N_COMPARED)[:, np.newaxis, np.newaxis, np.newaxis]
    spread = rng.uniform(0, 80, (N_COMPARED, 1, 1, 1))
    images = np.clip(level + spread * rng.normal(size=(N_COMPARED, height, width, 1)), 0, 255).astype(np.uint8)
    return images.reshape(-1, 2, height, width, 1) if about.two_views else images


def _build_predict(about: About, model: keras.Model | Ensemble) -> Callable[[Any], dict[str, Any]]:
    """Return the TensorFlow function of images (n, h, w, 1) float32 that returns `prob` and `calibrated`, (n,).

    Of a model of two views the images are (n, views, h, w, 1). Probabilities are combined in 64 bits, as in NumPy.
    """
    import tensorflow as tf

    def predict_images(images: Any) -> dict[str, Any]:
        single = tf.reshape(images, (-1, *about.image_shape)) if about.two_views else images
        prob = _combine_members(about, model, single)
        if about.two_views:
            odds = _log_odds(tf.reshape(prob, tf.shape(images)[:2]), ensembling.PROB_FLOOR)
            prob = tf.sigmoid(tf.reduce_mean(odds, axis=1))
        answer = {"prob": tf.cast(prob, tf.float32)}
        if about.calibration is None:
            return answer
        odds = _log_odds(prob, CALIBRATION_FLOOR)
        calibrated = tf.sigmoid(about.calibration.slope * odds + about.calibration.shift)
        return answer | {"calibrated": tf.cast(calibrated, tf.float32)}

    return predict_images


def _combine_members(about: About, model: keras.Model | Ensemble, images: Any) -> Any:
    """Return the probabilities (n,) float64 of images (n, h, w, 1), each alone."""
    import tensorflow as tf

    if not isinstance(model, Ensemble):
        return _predict_member(about, model, images)
    probs = tf.stack([_predict_member(about, member, images) for member in model.members.values()], axis=1)
    weights = tf.constant(model.combination.weights[:, np.newaxis], tf.float64)
    if model.combination.kind == ensembling.LOG_ODDS:
        odds = tf.matmul(_log_odds(probs, ensembling.PROB_FLOOR), weights)
        return tf.sigmoid(odds[:, 0] + model.combination.intercept)
    return tf.clip_by_value(tf.matmul(probs, weights)[:, 0], 0.0, 1.0)


def _predict_member(about: About, model: keras.Model, images: Any) -> Any:
    """Return the mean over the image and its mirror images, (n,) float64."""
    import tensorflow as tf

    views = predict.FLIPS if about.flips else [()]
    parts = [model(tf.reverse(images, axes) if axes else images, training=False) for axes in views]
    return tf.cast(tf.add_n(parts)[:, 0] / len(parts), tf.float64)


def _log_odds(prob: Any, floor: float) -> Any:
    import tensorflow as tf

    clipped = tf.clip_by_value(prob, floor, 1 - floor)
    return tf.math.log(clipped) - tf.math.log(1 - clipped)


def _write_saved_model(folder: Path, about: About, model: keras.Model | Ensemble) -> None:
    import tensorflow as tf

    predict_images, (height, width, _) = _build_predict(about, model), about.image_shape

    def decode(content: Any) -> Any:
        image = tf.io.decode_image(content, channels=1, expand_animations=False)
        return tf.image.resize(tf.ensure_shape(image, (None, None, 1)), (height, width), antialias=True)

    module = tf.Module()
    module.models = model_files.list_members(model)
    arrays = tf.function(predict_images, input_signature=[_image_spec(about)])
    signatures = {"serving_default": arrays.get_concrete_function()}
    if not about.two_views:
        encoded = tf.function(
            lambda content: predict_images(tf.map_fn(decode, content, fn_output_signature=tf.float32)),
            input_signature=[tf.TensorSpec((None,), tf.string, "content")],
        )
        signatures["encoded"] = encoded.get_concrete_function()
    tf.saved_model.save(module, str(folder / "saved_model"), signatures=signatures)


def _image_spec(about: About) -> Any:
    import tensorflow as tf

    counts = (None, None) if about.two_views else (None,)
    return tf.TensorSpec((*counts, *about.image_shape), tf.float32, "image")


def _predict_saved_model(folder: Path, images: Images) -> Floats:
    import tensorflow as tf

    signature = tf.saved_model.load(str(folder / "saved_model")).signatures["serving_default"]
    return np.asarray(signature(image=tf.constant(images, tf.float32))["prob"], np.float64)


def _write_onnx(folder: Path, about: About, model: keras.Model | Ensemble) -> None:
    try:
        import onnx
        import onnxruntime  # noqa: F401  # the comparison needs it
        import tf2onnx
    except ImportError as error:
        raise BundleError(f"ONNX needs the packages of requirements/onnx.txt: {error}") from error
    import tensorflow as tf

    for layer in (layer for member in model_files.list_members(model) for layer in member.layers):
        if isinstance(layer, keras.layers.Normalization):  # its tensors would become inputs of the graph
            layer.mean, layer.variance = map(keras.ops.convert_to_numpy, (layer.mean, layer.variance))
    signature = [_image_spec(about)]
    graph = tf.function(_build_predict(about, model), input_signature=signature)
    converted, _ = tf2onnx.convert.from_function(graph, signature, opset=OPSET)
    onnx.helper.set_model_props(converted, _metadata(about, model))
    onnx.save(converted, str(folder / ONNX))


def _metadata(about: About, model: keras.Model | Ensemble) -> dict[str, str]:
    """Return what the graph does not compute: how films are prepared and probabilities read, as of bundle.json."""
    described = {model_files.ABOUT: about.model_dump_json()}
    if isinstance(model, Ensemble):
        described[model_files.COMBINATION] = model.combination.to_json()
    return described


def _predict_onnx(folder: Path, images: Images) -> Floats:
    import onnxruntime

    session = onnxruntime.InferenceSession(str(folder / ONNX), providers=["CPUExecutionProvider"])
    (prob,) = session.run(["prob"], {"image": images.astype(np.float32)})
    return np.asarray(prob, np.float64)


Write = Callable[[Path, About, keras.Model | Ensemble], None]
Predict = Callable[[Path, Images], Floats]
FORMATS: dict[str, tuple[Write, Predict]] = {
    "saved_model": (_write_saved_model, _predict_saved_model),
    "onnx": (_write_onnx, _predict_onnx),
}
