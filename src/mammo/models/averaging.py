"""One model that stands for several: its probability of malignancy is the mean of theirs."""

from collections.abc import Sequence, Set

import keras
import numpy as np

from mammo.core.errors import InputError

PROB_FLOOR = 1e-6  # keeps the logit of a mean probability finite in float32


def average_members(members: Sequence[keras.Model]) -> keras.Model:
    """Return a model (n, h, w, 1) -> (n, 1) whose probability is the mean over `members`, trained models of one kind.

    It is one flat graph, as all models are (models/__init__). Members whose bases have equal weights (a frozen base)
    share one, so that the mean costs one prediction. The layer `features` has the members' feature maps side by side,
    so that a saliency map of it sums over the members; `logit` is the log-odds of the mean. Raise InputError for no
    member, or members of different inputs.
    """
    shapes = {model.input_shape for model in members}
    if len(shapes) != 1:
        raise InputError(f"members take inputs of {len(shapes)} shapes ({sorted(map(str, shapes))}); one is needed")
    image = keras.Input(members[0].input_shape[1:], name="image")
    probs = _share_base(image, members) if _bases_are_equal(members) else _join_features(image, members)
    mean = probs[0] if len(probs) == 1 else keras.layers.Average(name="mean_prob")(probs)
    clipped = keras.ops.clip(mean, PROB_FLOOR, 1 - PROB_FLOOR)
    logit = keras.layers.Identity(name="logit")(keras.ops.log(clipped) - keras.ops.log(1 - clipped))
    prob = keras.layers.Activation("sigmoid", dtype="float32", name="prob")(logit)
    return keras.Model(image, prob)


def _bases_are_equal(members: Sequence[keras.Model]) -> bool:
    """Return whether all members have the same weights up to their layer `pool`."""
    first, *others = [keras.Model(model.inputs, model.get_layer("pool").output).get_weights() for model in members]
    return all(len(first) == len(other) and all(map(np.array_equal, first, other)) for other in others)


def _share_base(image: keras.KerasTensor, members: Sequence[keras.Model]) -> list[keras.KerasTensor]:
    """Return the probability of each member's head on the vector of the one base, which is the first member's."""
    base = members[0]
    shared = {layer.name for layer in keras.Model(base.inputs, base.get_layer("pool").output).layers}
    copies = [_rename_layers(model, _prefix(number), shared) for number, model in enumerate(members)]
    pool = keras.Model(copies[0].inputs, copies[0].get_layer("pool").output).call(image)
    return [keras.Model(model.get_layer("pool").output, model.output).call(pool) for model in copies]


def _join_features(image: keras.KerasTensor, members: Sequence[keras.Model]) -> list[keras.KerasTensor]:
    """Return the probability that each member reads from its own part of the joined feature maps."""
    copies = [_rename_layers(model, _prefix(number)) for number, model in enumerate(members)]
    outputs = [model.get_layer(f"{_prefix(number)}features").output for number, model in enumerate(copies)]
    maps = [keras.Model(model.inputs, output).call(image) for model, output in zip(copies, outputs, strict=True)]
    features = keras.layers.Concatenate(name="features")(maps)
    channels = outputs[0].shape[-1]
    parts = [features[..., number * channels : (number + 1) * channels] for number in range(len(copies))]
    return [
        keras.Model([*model.inputs, output], model.output).call([image, part])
        for model, output, part in zip(copies, outputs, parts, strict=True)
    ]


def _prefix(number: int) -> str:
    """Return what the names of a member's own layers start with."""
    return f"member{number}_"


def _rename_layers(model: keras.Model, prefix: str, kept: Set[str] = frozenset()) -> keras.Model:
    """Return a copy of `model` with `prefix` before the names of its layers, but for those in `kept`."""

    def rename(layer: keras.layers.Layer) -> keras.layers.Layer:
        name = layer.name if layer.name in kept else f"{prefix}{layer.name}"
        return type(layer).from_config(layer.get_config() | {"name": name})

    copy = keras.models.clone_model(model, clone_function=rename)
    copy.set_weights(model.get_weights())
    return copy
