"""The grey input of a model, and its crop, size, colours and scale as the base takes them."""

import keras

from mammo.core.config import ModelConfig

# Keras would note these layers' default, training=True, and take it for all layers after them in `model(image)`.
INFERENCE = {"training": False}


def grey_input(image_shape: tuple[int, int, int]) -> keras.KerasTensor:
    """Return the input of a model: raw pixels (h, w, 1) in 0..255."""
    return keras.Input(image_shape, name="image")


def crop_and_resize(image: keras.KerasTensor, config: ModelConfig, number: int = 0) -> keras.KerasTensor:
    """Return the central share `crops[number]` of `image`, resized to a width of `input_px`."""
    height, width = image.shape[1:3]
    share, suffix = config.crops[number], f"_{number}" if number else ""
    if share < 1:
        height, width = round(share * height), round(share * width)
        image = keras.layers.CenterCrop(height, width, name=f"crop{suffix}")(image, **INFERENCE)
    if config.input_px is not None and config.input_px != width:
        resized = (round(config.input_px * height / width), config.input_px)
        image = keras.layers.Resizing(*resized, antialias=True, name=f"resize{suffix}")(image, **INFERENCE)
    return image


def grey_to_rgb(image: keras.KerasTensor) -> keras.KerasTensor:
    """Return the grey channel three times, for a base whose own layers treat the colours differently."""
    return keras.layers.Concatenate(name="grey_to_rgb")([image, image, image])


def symmetric_scale(image: keras.KerasTensor) -> keras.KerasTensor:
    """Scale 0..255 to -1..1, as MobileNetV2 and ResNet50V2 were trained: equally for every colour, so grey suffices."""
    return keras.layers.Rescaling(1 / 127.5, offset=-1.0, name="scale")(image)
