"""A finished model in formats that need no Keras: TensorFlow SavedModel and ONNX, each compared with the model itself.

Both take images as the model does, (n, h, w, 1) in 0..255, predict with mirrored images where the model does, and
return `prob` and `calibrated`, (n,). The SavedModel has a second signature, `encoded`, for PNG or JPEG bytes of such an
image, which it resizes where they have another size. Neither finds a breast or cuts out a lesion: that is
`Predictor.prepare`.
"""

import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import keras
import numpy as np
import numpy.typing as npt

from mammo.inference.about import About, BundleError
from mammo.inference.predictor import Predictor
from mammo.training import predict

TOLERANCE = 1e-5  # between probabilities; more is no copy of the model
N_COMPARED = 32  # images that a copy is compared on
SUMMARY = "formats.json"
OPSET = 17

Images = npt.NDArray[np.uint8]  # (n, h, w, 1)
Floats = npt.NDArray[np.float64]


def write_formats(folder: Path, about: About, model: keras.Model, names: Sequence[str]) -> None:
    """Write the formats `names` of FORMATS into `folder`, and formats.json with how far each is from the model.

    Raises BundleError for an unknown name, another Keras backend than TensorFlow, a package that is not installed, and
    for a copy that differs by more than TOLERANCE.
    """
    if keras.backend.backend() != "tensorflow":
        raise BundleError("other formats are written on the TensorFlow backend; unset KERAS_BACKEND")
    if unknown := [name for name in names if name not in FORMATS]:
        raise BundleError(f"unknown format {', '.join(unknown)}; there are {', '.join(FORMATS)}")
    images = comparison_images(about)
    expected = Predictor(model, about).probabilities(images[..., 0])
    differences = {}
    for name in names:
        write, predict_with = FORMATS[name]
        write(folder, about, model)
        difference = float(np.abs(predict_with(folder, images) - expected).max())
        if difference > TOLERANCE:
            raise BundleError(f"{name} differs from the model by up to {difference:.2g}; it is not written")
        differences[name] = {"largest_difference_of_prob": difference, "images": len(images)}
    (folder / SUMMARY).write_text(json.dumps(differences, indent=1) + "\n", encoding="utf-8")


def comparison_images(about: About) -> Images:
    """Return the images that a copy is compared on: from black over noise of every brightness to white."""
    height, width, _ = about.image_shape
    rng = np.random.default_rng(0)
    level = np.linspace(0, 255, N_COMPARED)[:, np.newaxis, np.newaxis, np.newaxis]
    spread = rng.uniform(0, 80, (N_COMPARED, 1, 1, 1))
    return np.clip(level + spread * rng.normal(size=(N_COMPARED, height, width, 1)), 0, 255).astype(np.uint8)


def _build_predict(about: About, model: keras.Model) -> Callable[[Any], dict[str, Any]]:
    """Return the TensorFlow function of images (n, h, w, 1) float32 that returns `prob` and `calibrated`, (n,)."""
    import tensorflow as tf

    views = predict.FLIPS if about.flips else [()]

    def predict_images(images: Any) -> dict[str, Any]:
        parts = [model(tf.reverse(images, axes) if axes else images, training=False) for axes in views]
        prob = tf.cast(tf.add_n(parts)[:, 0] / len(parts), tf.float32)
        if about.calibration is None:
            return {"prob": prob}
        clipped = tf.clip_by_value(prob, 1e-7, 1 - 1e-7)
        log_odds = tf.math.log(clipped) - tf.math.log(1 - clipped)
        calibrated = tf.sigmoid(about.calibration.slope * log_odds + about.calibration.shift)
        return {"prob": prob, "calibrated": calibrated}

    return predict_images


def _write_saved_model(folder: Path, about: About, model: keras.Model) -> None:
    import tensorflow as tf

    predict_images, (height, width, _) = _build_predict(about, model), about.image_shape

    def decode(content: Any) -> Any:
        image = tf.io.decode_image(content, channels=1, expand_animations=False)
        return tf.image.resize(tf.ensure_shape(image, (None, None, 1)), (height, width), antialias=True)

    module = tf.Module()
    module.model = model
    arrays = tf.function(predict_images, input_signature=[tf.TensorSpec((None, height, width, 1), tf.float32, "image")])
    encoded = tf.function(
        lambda content: predict_images(tf.map_fn(decode, content, fn_output_signature=tf.float32)),
        input_signature=[tf.TensorSpec((None,), tf.string, "content")],
    )
    tf.saved_model.save(
        module,
        str(folder / "saved_model"),
        signatures={
            "serving_default": arrays.get_concrete_function(),
            "encoded": encoded.get_concrete_function(),
        },
    )


def _predict_saved_model(folder: Path, images: Images) -> Floats:
    import tensorflow as tf

    signature = tf.saved_model.load(str(folder / "saved_model")).signatures["serving_default"]
    return np.asarray(signature(image=tf.constant(images, tf.float32))["prob"], np.float64)


def _write_onnx(folder: Path, about: About, model: keras.Model) -> None:
    try:
        import onnxruntime  # noqa: F401  # the comparison needs it
        import tf2onnx
    except ImportError as error:
        raise BundleError(f"ONNX needs the packages of requirements/onnx.txt: {error}") from error
    import tensorflow as tf

    for layer in model.layers:
        if isinstance(layer, keras.layers.Normalization):  # its tensors would become inputs of the graph
            layer.mean, layer.variance = map(keras.ops.convert_to_numpy, (layer.mean, layer.variance))
    signature = [tf.TensorSpec((None, *about.image_shape), tf.float32, "image")]
    graph = tf.function(_build_predict(about, model), input_signature=signature)
    tf2onnx.convert.from_function(graph, signature, opset=OPSET, output_path=str(folder / "model.onnx"))


def _predict_onnx(folder: Path, images: Images) -> Floats:
    import onnxruntime

    session = onnxruntime.InferenceSession(str(folder / "model.onnx"), providers=["CPUExecutionProvider"])
    (prob,) = session.run(["prob"], {"image": images.astype(np.float32)})
    return np.asarray(prob, np.float64)


Write = Callable[[Path, About, keras.Model], None]
Predict = Callable[[Path, Images], Floats]
FORMATS: dict[str, tuple[Write, Predict]] = {
    "saved_model": (_write_saved_model, _predict_saved_model),
    "onnx": (_write_onnx, _predict_onnx),
}
