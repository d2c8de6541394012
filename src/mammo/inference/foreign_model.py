"""Models that nothing is known of: their output is checked before it is read as a probability of malignancy."""

import keras
import numpy as np
import numpy.typing as npt

from mammo.core.errors import InputError
from mammo.training import predict

N_PROBES = 8  # images that a model is asked about: even ones from black to white, and noise of every brightness
BOUNDED = ("sigmoid", "softmax", "hard_sigmoid")  # activations whose values lie in 0..1
ROUNDING = 1e-6


def select_probability(model: keras.Model, output: int | None, name: str) -> keras.Model:
    """Return the model with the probability of malignancy as its only output, (n, 1).

    output: which of several outputs it is, counted from 0. Raises InputError for a model whose output cannot be a
    probability, or of which it is not said which one it is.
    """
    check_shapes(model, name)
    count = model.output_shape[-1]
    if count > 1 and output is None:
        raise InputError(
            f"{name} gives {count} numbers for an image; say which one is the probability of malignancy, counted from "
            f"0: --output malignant={count - 1} (in Python output={count - 1})"
        )
    if not 0 <= (output or 0) < count:
        raise InputError(f"{name} has no output {output}; it has {count}, counted from 0")
    _check_activation(model, name)
    if output is not None and count > 1:
        model = keras.Model(model.inputs, model.outputs[0][:, output : output + 1])
    _check_range(predict.predict_batch(model, _probe_images(model.input_shape[1:])), name)
    return model


def check_shapes(model: keras.Model, name: str) -> None:
    """Raise InputError where a model does not take one image and give one row of numbers for it."""
    if len(model.inputs) != 1 or len(model.outputs) != 1:
        raise InputError(
            f"{name} has {len(model.inputs)} inputs and {len(model.outputs)} outputs; a model takes one image "
            "(n, h, w, 1) and gives probabilities (n, 1)"
        )
    if len(model.output_shape) != 2 or not model.output_shape[-1]:
        raise InputError(f"{name} gives {model.output_shape} for n images; probabilities are (n, 1)")


def _check_activation(model: keras.Model, name: str) -> None:
    activation = getattr(getattr(model.layers[-1], "activation", None), "__name__", BOUNDED[0])
    if activation not in BOUNDED:
        raise InputError(
            f"{name} ends in a {activation} activation, which gives no probability; end it in a sigmoid or softmax "
            "and save it again"
        )
    if activation == "softmax" and model.output_shape[-1] == 1:
        raise InputError(f"{name} ends in a softmax of one output, which is 1 for every image; use a sigmoid")


def _check_range(values: npt.NDArray[np.floating], name: str) -> None:
    # A damaged model's nan is an error of each film.
    if ((values < -ROUNDING) | (values > 1 + ROUNDING)).any():
        raise InputError(
            f"{name} gives values from {np.nanmin(values):.3g} to {np.nanmax(values):.3g}; a probability lies in 0..1: "
            "end the model in a sigmoid or softmax and save it again"
        )


def _probe_images(shape: tuple[int, int, int]) -> npt.NDArray[np.float32]:
    level = np.linspace(0, 255, N_PROBES)[:, np.newaxis, np.newaxis, np.newaxis]
    noise = np.random.default_rng(0).normal(0, 60, (N_PROBES // 2, *shape))
    images = np.broadcast_to(level, (N_PROBES, *shape)).copy()
    images[::2] += noise
    return np.clip(images, 0, 255).astype(np.float32)
