"""What augmentation does, for people: each change alone at its limits, under a name that says its value."""

from collections.abc import Callable

import keras
import numpy as np
import numpy.typing as npt
from keras import ops

from mammo.core.config import AugmentationConfig
from mammo.training.augmentation import build_layers

SHARES = {"blur": "blur", "artifacts": "artifact"}  # shares of images; the others are amounts
Images = npt.NDArray[np.float32]  # (n, h, w, 1), 0..1
Change = Callable[[Images], Images]


def show_changes(
    params: AugmentationConfig, strength: float, images: npt.NDArray[np.uint8], seed: int
) -> dict[str, npt.NDArray[np.uint8]]:
    """Return `images` (n, h, w) unchanged, under each change alone at its limits, and after all of them at random.

    The names say the value: `rotation, +10 degrees`. A change that only a share of images gets is applied to all.
    """
    changes = {} if strength == 0 else _list_changes(params, strength)
    scaled = images[..., np.newaxis].astype(np.float32) / np.float32(255)
    versions = {name: _to_pixels(change(scaled)) for name, change in changes.items()}
    for name, label, value in _list_random(params, strength):
        alone = params.model_copy(update=dict.fromkeys(type(params).model_fields, 0) | {"flip": False, name: value})
        versions[label] = _apply_layers(images, build_layers(alone, strength, seed))
    together = _apply_layers(images, build_layers(params, strength, seed))
    return {"original": images} | versions | {"all, at random": together}


def _list_changes(params: AugmentationConfig, strength: float) -> dict[str, Change]:
    """Return the changes that have limits, by name, at either of them."""
    changes: dict[str, Change] = {}
    if params.flip:
        changes["flip, left to right"] = lambda images: images[:, :, ::-1]
        changes["flip, top to bottom"] = lambda images: images[:, ::-1]
    for sign in (1, -1):
        changes |= _geometry(params, sign * strength)
    for sign in (1, -1):
        changes |= _intensity(params, sign * strength)
    return changes


def _geometry(params: AugmentationConfig, strength: float) -> dict[str, Change]:
    """Return the changes of geometry by name; the sign of `strength` chooses the limit."""
    kinds, fill = keras.layers, "constant"
    turn, shift, zoom = (strength * value for value in (params.rotation_degrees, params.translation, params.zoom))
    layers: dict[str, keras.layers.Layer] = {}
    if turn:
        layers[f"rotation, {turn:+.3g} degrees"] = kinds.RandomRotation((turn / 360, turn / 360), fill_mode=fill)
    if zoom:
        layers[f"zoom, {'out' if zoom > 0 else 'in'} {abs(zoom):.0%}"] = kinds.RandomZoom((zoom, zoom), fill_mode=fill)
    if shift:
        way = "down and right" if shift > 0 else "up and left"
        limits = ((shift, shift), (shift, shift))
        layers[f"shift, {abs(shift):.0%} {way}"] = kinds.RandomTranslation(*limits, fill_mode=fill)
    return {name: _as_change(layer) for name, layer in layers.items()}


def _intensity(params: AugmentationConfig, strength: float) -> dict[str, Change]:
    """Return the changes of intensity by name; the sign of `strength` chooses the limit."""
    changes: dict[str, Change] = {}
    if params.gamma:
        power = float((1 + abs(strength) * params.gamma) ** np.sign(strength))
        changes[f"gamma, {power:.2f}"] = lambda images: np.asarray(images**power, np.float32)
    if params.contrast:
        factor = 1 + strength * params.contrast
        changes[f"contrast, times {factor:.2f}"] = lambda images: _scale_contrast(images, factor)
    return changes


def _scale_contrast(images: Images, factor: float) -> Images:
    mean = images.mean(axis=(1, 2), keepdims=True)
    return np.asarray(np.clip(mean + factor * (images - mean), 0, 1), np.float32)


def _list_random(params: AugmentationConfig, strength: float) -> list[tuple[str, str, float]]:
    """Return field, label and value of the changes without limits: each is one draw."""
    if strength == 0:
        return []
    drawn = [(name, label, 1.0 / strength) for name, label in SHARES.items() if getattr(params, name)]
    if params.shear_degrees:
        label = f"shear, up to {strength * params.shear_degrees:.3g} degrees"
        drawn.append(("shear_degrees", label, params.shear_degrees))
    if params.noise:
        drawn.append(("noise", f"noise, SD {strength * params.noise:.2g}", params.noise))
    return drawn


def _as_change(layer: keras.layers.Layer) -> Change:
    return lambda images: np.asarray(ops.convert_to_numpy(layer(images, training=True)))


def _apply_layers(images: npt.NDArray[np.uint8], chain: list[keras.layers.Layer]) -> npt.NDArray[np.uint8]:
    x = ops.convert_to_tensor(images[..., np.newaxis].astype(np.float32))
    for layer in chain:
        x = layer(x, training=True)
    return np.asarray(ops.convert_to_numpy(x)[..., 0].round(), np.uint8)


def _to_pixels(images: Images) -> npt.NDArray[np.uint8]:
    return np.asarray(np.rint(255 * np.clip(images[..., 0], 0, 1)), np.uint8)
