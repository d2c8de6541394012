"""Bases of keras.applications with pretrained weights, on grey images."""

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import keras
import numpy.typing as npt

from mammo.core.config import ModelConfig
from mammo.core.errors import InputError
from mammo.models.layers.head import NORM_MOMENTUM

Weights = dict[str, list[npt.NDArray[Any]]]  # by the layer's name


class WeightsError(InputError):
    """Pretrained weights that are missing or do not fit; the message names the alternatives."""


def pretrained_base(
    application: Callable[..., keras.Model], config: ModelConfig, x: keras.KerasTensor, weights_path: Path | None
) -> keras.Model:
    """Return a base of keras.applications on top of `x`, up to `cut_after`, with the weights that `config` names.

    weights_path: the file that `config.weights` stands for; None where it is `none` or `imagenet`. Where `x` is grey,
    the first convolution has the sum of the filters for red, green and blue: on a grey image it gives the same for a
    third of the work. Only the layers that `trainable` names learn.
    """
    base = _flatten_blocks(application(include_top=False, weights=None, input_tensor=x), x)
    if config.cut_after is not None:
        base = keras.Model(base.inputs, _layer(base, config.cut_after).output)
    if config.weights == "none":
        _lower_norm_momentum(base)
    else:
        weights = _read_weights(application, config.weights, weights_path)
        _copy_weights(base, weights, f"weights: {config.weights}", application.__name__)
    _set_trainable(base, config)
    return base


def _flatten_blocks(base: keras.Model, x: keras.KerasTensor) -> keras.Model:
    """Return `base` with the layers of its sequential blocks (ConvNeXt has some) as nodes of its own graph."""

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


def _read_weights(application: Callable[..., keras.Model], source: str, path: Path | None) -> Weights:
    """Return weights by layer name, of the bare base or of a model of ours; raise WeightsError."""
    if source == "imagenet":
        try:
            return _by_layer(application(include_top=False, weights="imagenet"))
        except Exception as error:  # Keras raises a bare Exception where a download fails
            raise WeightsError(
                f"weights: imagenet could not be downloaded for {application.__name__} ({error}). Alternatives: "
                "`weights: none` (train from scratch), or `weights: <path>` of a Keras weights file without top"
            ) from error
    if path is None or not path.is_file():
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
    weights: Weights = {}
    for layer in model.layers:
        if isinstance(layer, keras.Sequential):
            weights |= _by_layer(layer)
        elif layer.weights:
            weights[_stable(layer.name)] = layer.get_weights()
    return weights


def _stable(name: str) -> str:
    """Return a layer's name without the number that Keras gives where an application sets none."""
    return re.sub(r"^(normalization|rescaling|layer_normalization)_\d+$", r"\1", name)


def _copy_weights(base: keras.Model, weights: Weights, source: str, architecture: str) -> None:
    """Put `weights` into the layers of `base`, in the same shape or summed over colour; raise WeightsError."""
    layers = [layer for layer in base.layers if layer.weights]
    missing = [layer.name for layer in layers if _stable(layer.name) not in weights]
    if missing:
        raise WeightsError(
            f"{source} does not fit {architecture} without top: nothing for {len(missing)} of {len(layers)} layers, "
            f"e.g. {', '.join(missing[:3])}"
        )
    for layer in layers:
        arrays = weights[_stable(layer.name)]
        if arrays[0].ndim == 4 and arrays[0].shape[2] == 3 and layer.weights[0].shape[2] == 1:
            arrays = [arrays[0].sum(axis=2, keepdims=True), *arrays[1:]]
        shapes = [tuple(weight.shape) for weight in layer.weights]
        if [array.shape for array in arrays] != shapes:
            raise WeightsError(
                f"{source} does not fit {architecture} without top: layer {layer.name} has shapes "
                f"{[array.shape for array in arrays]} there and {shapes} here"
            )
        layer.set_weights(arrays)
        if isinstance(layer, keras.layers.Normalization):
            layer.finalize_state()


def _lower_norm_momentum(base: keras.Model) -> None:
    for layer in base.layers:
        if isinstance(layer, keras.layers.BatchNormalization):
            layer.momentum = NORM_MOMENTUM


def _set_trainable(base: keras.Model, config: ModelConfig) -> None:
    """Let only the layers of `base` learn whose names start with one of `trainable`; [all] is everything.

    Normalisation of a pretrained base stays as it is: its weights were trained under these statistics, and those of
    small batches of mammograms would break them.
    """
    names = [layer.name for layer in base.layers if layer.weights]
    for prefix in config.trainable:
        if prefix != "all" and not any(name.startswith(prefix) for name in names):
            raise InputError(f"trainable: no layer starts with {prefix!r}; there are: all, {', '.join(names)}")
    for layer in base.layers:
        named = any(prefix == "all" or layer.name.startswith(prefix) for prefix in config.trainable)
        is_norm = isinstance(layer, keras.layers.BatchNormalization)
        layer.trainable = named and not (is_norm and config.weights != "none")
