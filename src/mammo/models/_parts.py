"""What architectures share: the grey input and what a base sees of it, pretrained weights, and the classifier."""

import re
from collections.abc import Callable
from typing import Any

import keras
import numpy.typing as npt

from mammo import project, tracking
from mammo.errors import InputError
from mammo.params import ModelParams

# Keras' 0.99 needs hundreds of steps before validation sees the statistics that training used; small data have fewer.
NORM_MOMENTUM = 0.9

Weights = dict[str, list[npt.NDArray[Any]]]  # by the layer's name


class WeightsError(InputError):
    """Pretrained weights cannot be had; the message names the alternatives."""


def grey_input(image_shape: tuple[int, int, int]) -> keras.KerasTensor:
    """Raw pixels (h, w, 1) in 0..255."""
    return keras.Input(image_shape, name="image")


def seen(image: keras.KerasTensor, params: ModelParams, number: int = 0) -> keras.KerasTensor:
    """What the base sees of `image`: the central share `crops[number]`, resized to a width of `input_px`."""
    height, width = image.shape[1:3]
    share, suffix = params.crops[number], f"_{number}" if number else ""
    if share < 1:
        height, width = round(share * height), round(share * width)
        image = keras.layers.CenterCrop(height, width, name=f"crop{suffix}")(image)
    if params.input_px is not None and params.input_px != width:
        resized = (round(params.input_px * height / width), params.input_px)
        image = keras.layers.Resizing(*resized, antialias=True, name=f"resize{suffix}")(image)
    return image


def grey_to_rgb(image: keras.KerasTensor) -> keras.KerasTensor:
    """The grey channel three times, for a base whose own layers treat the colours differently."""
    return keras.layers.Concatenate(name="grey_to_rgb")([image, image, image])


def symmetric_scale(image: keras.KerasTensor) -> keras.KerasTensor:
    """0..255 -> -1..1, as MobileNetV2 and ResNet50V2 were trained: the same for every colour, so that grey will do."""
    return keras.layers.Rescaling(1 / 127.5, offset=-1.0, name="scale")(image)


def pretrained(
    application: Callable[..., keras.Model], params: ModelParams, x: keras.KerasTensor, cut_after: str | None = None
) -> keras.Model:
    """A base of keras.applications on top of `x`, up to `cut_after`; weights: none, imagenet, a path or a MLflow URI.

    Where `x` is grey, the first convolution has the sum of the filters for red, green and blue: on a grey image it
    gives the same for a third of the work. Only the layers that `trainable` names learn.
    """
    if params.cut_after is not None and cut_after is None:
        raise InputError(f"cut_after is {params.cut_after!r}, but {application.__name__} is used whole here")
    base = _flat(application(include_top=False, weights=None, input_tensor=x), x)
    if cut_after is not None:
        base = keras.Model(base.inputs, _layer(base, cut_after).output)
    if params.weights == "none":
        _quicken_norms(base)
    else:
        _copy(base, _weights(application, params.weights), f"weights: {params.weights}", application.__name__)
    _set_trainable(base, params)
    return base


def _flat(base: keras.Model, x: keras.KerasTensor) -> keras.Model:
    """`base` with the layers of its sequential blocks (ConvNeXt has some) as nodes of its own graph."""

    def call(layer: keras.layers.Layer, x: keras.KerasTensor, *args: Any, **kwargs: Any) -> keras.KerasTensor:
        if not isinstance(layer, keras.Sequential):
            return layer(x, *args, **kwargs)
        for inner in layer.layers:
            x = inner(x)
        return x

    if not any(isinstance(layer, keras.Sequential) for layer in base.layers):
        return base
    apart = keras.models.clone_model(
        keras.Model(x, base.output), clone_function=lambda layer: layer, call_function=call
    )
    return keras.Model(base.inputs, apart.call(x))


def _layer(base: keras.Model, name: str) -> keras.layers.Layer:
    names = [layer.name for layer in base.layers]
    if name not in names:
        ends = [end for end in names if end.endswith(("_out", "_relu"))]
        raise InputError(f"cut_after: no layer is named {name!r}; e.g. {', '.join(ends)}")
    return base.get_layer(name)


def _weights(application: Callable[..., keras.Model], source: str) -> Weights:
    """Weights by layer name, of the bare base or of a model of ours; raises WeightsError."""
    if source == "imagenet":
        try:
            return _by_layer(application(include_top=False, weights="imagenet"))
        except Exception as error:  # Keras raises a bare Exception where a download fails
            raise WeightsError(
                f"weights: imagenet could not be downloaded for {application.__name__} ({error}). Alternatives: "
                "`weights: none` (train from scratch), or `weights: <path>` of a Keras weights file without top"
            ) from error
    path = tracking.model_file(source) if tracking.is_uri(source) else project.resolve(source)
    if not path.is_file():
        raise WeightsError(
            f"weights: {source!r} is neither none, nor imagenet, nor an MLflow URI (runs:/..., models:/...), "
            f"nor an existing file ({path})"
        )
    try:
        if path.suffix == ".keras":
            return _by_layer(keras.models.load_model(path, compile=False))
        base = application(include_top=False, weights=None)
        base.load_weights(path)
        return _by_layer(base)
    except (ValueError, OSError, KeyError) as error:
        raise WeightsError(f"weights: {path} does not fit {application.__name__} without top: {error}") from error


def _by_layer(model: keras.Model) -> Weights:
    found: Weights = {}
    for layer in model.layers:
        if isinstance(layer, keras.Sequential):
            found |= _by_layer(layer)
        elif layer.weights:
            found[_stable(layer.name)] = layer.get_weights()
    return found


def _stable(name: str) -> str:
    """Keras numbers the layers that an application does not name."""
    return re.sub(r"^(normalization|rescaling|layer_normalization)_\d+$", r"\1", name)


def _copy(base: keras.Model, found: Weights, told: str, architecture: str) -> None:
    """Put `found` into the layers of `base`; each of them must be there, in the same shape or in colour."""
    wanted = [layer for layer in base.layers if layer.weights]
    missing = [layer.name for layer in wanted if _stable(layer.name) not in found]
    if missing:
        raise WeightsError(
            f"{told} does not fit {architecture} without top: nothing for {len(missing)} of {len(wanted)} layers, "
            f"e.g. {', '.join(missing[:3])}"
        )
    for layer in wanted:
        arrays = found[_stable(layer.name)]
        if arrays[0].ndim == 4 and arrays[0].shape[2] == 3 and layer.weights[0].shape[2] == 1:
            arrays = [arrays[0].sum(axis=2, keepdims=True), *arrays[1:]]
        shapes = [tuple(weight.shape) for weight in layer.weights]
        if [array.shape for array in arrays] != shapes:
            raise WeightsError(
                f"{told} does not fit {architecture} without top: layer {layer.name} has shapes "
                f"{[array.shape for array in arrays]} there and {shapes} here"
            )
        layer.set_weights(arrays)
        if isinstance(layer, keras.layers.Normalization):
            layer.finalize_state()


def _quicken_norms(base: keras.Model) -> None:
    for layer in base.layers:
        if isinstance(layer, keras.layers.BatchNormalization):
            layer.momentum = NORM_MOMENTUM


def _set_trainable(base: keras.Model, params: ModelParams) -> None:
    """Let only the layers of `base` learn whose names start with one of `trainable`; [all] is everything.

    Normalisation of a pretrained base stays as it is: its weights were trained under these statistics, and those of
    small batches of mammograms would break them.
    """
    names = [layer.name for layer in base.layers if layer.weights]
    for prefix in params.trainable:
        if prefix != "all" and not any(name.startswith(prefix) for name in names):
            raise InputError(f"trainable: no layer starts with {prefix!r}; there are: all, {', '.join(names)}")
    for layer in base.layers:
        named = any(prefix == "all" or layer.name.startswith(prefix) for prefix in params.trainable)
        is_norm = isinstance(layer, keras.layers.BatchNormalization)
        layer.trainable = named and not (is_norm and params.weights != "none")


def finish(
    image: keras.KerasTensor,
    first: keras.KerasTensor,
    found: keras.KerasTensor,
    params: ModelParams,
    reduce: Callable[[keras.KerasTensor], keras.KerasTensor] | None = None,
) -> keras.Model:
    """The whole model: `found` is what the base makes of `first`, what is seen of `image`.

    It is named `features`; the other `crops` go through the same layers, and the vectors of all are put side by side
    in `pool`. reduce: of a feature map, before it is pooled.
    """
    others = [seen(image, params, number) for number in range(1, len(params.crops))]
    # The base's own `call` puts its layers into the graph; calling the base would nest it.
    maps = [keras.layers.Identity(name="features")(found), *[keras.Model(first, found).call(crop) for crop in others]]
    vectors = [pooled for found_map in maps for pooled in _pooled(reduce(found_map) if reduce else found_map, params)]
    if len(vectors) == 1:
        vector = keras.layers.Identity(name="pool")(vectors[0])
    else:
        vector = keras.layers.Concatenate(name="pool")(vectors)
    return keras.Model(image, _classifier(vector, params))


def _pooled(found: keras.KerasTensor, params: ModelParams) -> list[keras.KerasTensor]:
    """Average, and where asked for the maximum, of every channel."""
    average = keras.layers.GlobalAveragePooling2D()(found)
    return [average, keras.layers.GlobalMaxPooling2D()(found)] if params.pool_max else [average]


def _classifier(vector: keras.KerasTensor, params: ModelParams) -> keras.KerasTensor:
    """Vector -> probability: normalisation, `head_units` hidden layers, one logit."""
    x = keras.layers.BatchNormalization(momentum=NORM_MOMENTUM, name="pool_norm")(vector)
    for number, units in enumerate(params.head_units, start=1):
        x = keras.layers.Dense(units, activation="relu", name=f"head_{number}")(x)
        x = keras.layers.Dropout(params.dropout, name=f"head_{number}_dropout")(x)
    if not params.head_units:
        x = keras.layers.Dropout(params.dropout, name="dropout")(x)
    logit = keras.layers.Dense(1, name="logit")(x)
    return keras.layers.Activation("sigmoid", dtype="float32", name="prob")(logit)
