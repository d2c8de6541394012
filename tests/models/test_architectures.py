"""The contract that every architecture keeps, then the properties of single ones."""

import zipfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import keras
import numpy as np
import numpy.typing as npt
import pytest

from mammo import models
from mammo.core import plugins
from mammo.core.config import ModelConfig
from mammo.core.errors import InputError
from mammo.models import ModelFileError
from mammo.models.layers import inputs, pretrained
from mammo.models.layers.pretrained import WeightsError
from mammo.pipeline import train_run
from mammo.tracking import mlflow_client
from tests import arrays
from tests.arrays import model_config

NAMES = plugins.plugin_names("mammo.models.architectures")
ROOT = Path(__file__).resolve().parents[2]
WITH_A_BASE = ["vgg16", "efficientnet_b0", "mobilenet_v2", "resnet50_v2", "convnext_tiny"]
REAL_WEIGHTS = ROOT.parent / "shared/weights"
needs_real_weights = pytest.mark.skipif(
    not REAL_WEIGHTS.is_dir(), reason=f"pretrained weights are not at {REAL_WEIGHTS}"
)

Weights = dict[str, list[npt.NDArray[np.float32]]]


def build(config: ModelConfig, image_shape: models.Shape, seed: int) -> keras.Model:
    """Build a model as a stage does, with the file that `weights` stands for."""
    return models.build(config, image_shape, seed, train_run.find_weights(config))


def weights(model: keras.Model) -> Weights:
    """Weights of each layer that has any, by the layer's name."""
    return {layer.name: layer.get_weights() for layer in model.layers if layer.weights}


def equal(before: Weights, after: Weights, layer: str) -> bool:
    return all(np.array_equal(a, b) for a, b in zip(before[layer], after[layer], strict=True))


def changed(before: Weights, after: Weights) -> set[str]:
    return {layer for layer in before if not equal(before, after, layer)}


def learning(model: keras.Model) -> set[str]:
    return {layer.name for layer in model.layers if layer.trainable_weights}


def predicted(model: keras.Model, images: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
    """Predict without a compiled graph, which takes longer to trace than a few small images to predict."""
    return np.asarray(keras.ops.convert_to_numpy(model(images, training=False)))


def raw_images() -> npt.NDArray[np.float32]:
    """Noise, black and white, (4, 32, 32, 1) in 0..255."""
    noise = np.random.default_rng(0).integers(0, 256, (2, *arrays.SHAPE))
    return np.stack([*noise, np.zeros(arrays.SHAPE), np.full(arrays.SHAPE, 255)]).astype(np.float32)


@pytest.fixture(scope="module", params=arrays.deep_ones_slow(NAMES))
def name(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture(scope="module")
def model(name: str) -> keras.Model:
    return build(model_config(name), arrays.SHAPE, seed=3)


@dataclass(frozen=True)
class Trained:
    """Weights before and after a short training, the layers that may learn, and the loss per step."""

    before: Weights
    after: Weights
    learning: set[str]
    losses: list[float]


@pytest.fixture(scope="module")
def trained(name: str) -> Trained:
    """Eight steps on the same 16 images, without dropout; plain SGD, because Adam takes TensorFlow long to trace."""
    label = np.arange(16) % 2
    pixels = arrays.images(label)[0][..., np.newaxis].astype(np.float32)
    model = build(arrays.cut(model_config(name, dropout=0.0)), arrays.SHAPE, seed=3)
    before = weights(model)
    model.compile(keras.optimizers.SGD(0.01), "binary_crossentropy", jit_compile=False)
    losses = [float(model.train_on_batch(pixels, label[:, np.newaxis])) for _ in range(8)]
    return Trained(before, weights(model), learning(model), losses)


def test_raw_grey_pixels_go_in_and_a_probability_comes_out(model):
    prob = predicted(model, raw_images())
    assert model.input_shape == (None, *arrays.SHAPE)
    assert prob.shape == (4, 1)
    assert np.isfinite(prob).all()
    assert ((prob >= 0) & (prob <= 1)).all()


def test_the_last_feature_map_and_the_score_are_named(model):
    assert len(model.get_layer("features").output.shape) == 4
    assert tuple(model.get_layer("logit").output.shape) == (None, 1)


def test_the_probability_is_the_sigmoid_of_the_logit(model):
    logit = predicted(keras.Model(model.inputs, model.get_layer("logit").output), raw_images())
    np.testing.assert_allclose(predicted(model, raw_images()), 1 / (1 + np.exp(-logit)), atol=1e-5)


def test_the_graph_is_flat(model):
    assert not [layer.name for layer in model.layers if isinstance(layer, keras.Model)]


def test_a_model_does_not_mix_the_images_of_a_batch(model):
    together = predicted(model, raw_images())
    apart = np.concatenate([predicted(model, image[np.newaxis]) for image in raw_images()])
    np.testing.assert_allclose(together, apart, atol=1e-5)


def test_the_seed_decides_the_weights(name, model):
    again = build(model_config(name), arrays.SHAPE, seed=3)
    other = build(model_config(name), arrays.SHAPE, seed=4)
    assert all(np.array_equal(a, b) for a, b in zip(model.get_weights(), again.get_weights(), strict=True))
    assert any(not np.array_equal(a, b) for a, b in zip(model.get_weights(), other.get_weights(), strict=True))


@pytest.fixture(scope="module")
def saved(model: keras.Model, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    folder = tmp_path_factory.mktemp("saved")
    models.save(model, folder / "model.keras")
    yield folder / "model.keras"
    for path in folder.iterdir():
        path.unlink()


def test_a_loaded_model_predicts_as_the_saved_one(model, saved):
    reloaded = models.load(saved)
    np.testing.assert_allclose(predicted(reloaded, raw_images()), predicted(model, raw_images()), rtol=0, atol=1e-6)
    assert reloaded.get_layer("features").output.shape == model.get_layer("features").output.shape


def test_two_saves_of_a_model_are_the_same_bytes_and_leave_nothing_else(model, saved):
    models.save(model, saved.with_name("again.keras"))
    assert saved.read_bytes() == saved.with_name("again.keras").read_bytes()
    assert {path.name for path in saved.parent.iterdir()} == {"model.keras", "again.keras"}


def test_a_few_steps_lower_the_training_loss(trained):
    assert np.isfinite(trained.losses).all()
    assert trained.losses[-1] < trained.losses[0]


def test_training_changes_the_layers_that_may_learn_and_no_other(trained):
    assert changed(trained.before, trained.after) == trained.learning


@pytest.mark.parametrize("shape", [(48, 32, 1), (64, 64, 1)])
def test_other_image_shapes_are_taken(shape):
    model = build(arrays.LIGHT, shape, seed=0)
    assert model.predict_on_batch(np.zeros((2, *shape), np.float32)).shape == (2, 1)


def test_the_light_cnn_is_light():
    assert build(model_config("light_cnn"), arrays.SHAPE, seed=0).count_params() <= 500_000


def test_the_basic_vgg16_learns_in_its_head_only():
    basic = build(model_config("basic_vgg16"), arrays.SHAPE, seed=0)
    assert learning(basic) == {"pool_norm", "head_1", "logit"}


def test_the_medical_vgg16_learns_in_its_upper_blocks_under_a_larger_head():
    basic, medical = (build(model_config(name), arrays.SHAPE, seed=0) for name in ("basic_vgg16", "medical_vgg16"))
    assert {name[:6] for name in learning(medical) if name.startswith("block")} == {"block4", "block5"}
    assert model_config("medical_vgg16").loss == "focal"
    assert model_config("medical_vgg16").augmentation_strength > model_config("basic_vgg16").augmentation_strength
    assert medical.count_params() > basic.count_params()


def test_a_save_holds_no_date(tmp_path):
    models.save(build(arrays.LIGHT, arrays.SHAPE, seed=0), tmp_path / "light.keras")
    with zipfile.ZipFile(tmp_path / "light.keras") as archive:
        assert b"date" not in archive.read("metadata.json")
        assert {entry.date_time for entry in archive.infolist()} == {models.EPOCH_OF_ZIP}


def test_an_unknown_model_lists_the_others():
    with pytest.raises(InputError, match="'resnet'.*" + ", ".join(NAMES)):
        build(arrays.light(architecture="resnet"), arrays.SHAPE, seed=0)


def test_an_architecture_without_a_features_layer_is_refused(monkeypatch):
    def without_features(config: ModelConfig, image_shape: models.Shape, weights_path: Path | None) -> keras.Model:
        image = inputs.grey_input(image_shape)
        prob = keras.layers.Dense(1, activation="sigmoid", name="logit")(keras.layers.Flatten(name="pool")(image))
        return keras.Model(image, prob)

    monkeypatch.setattr("mammo.models.architectures.light_cnn.build", without_features)
    with pytest.raises(ModelFileError, match=r"light_cnn\.py.*'features'"):
        build(arrays.LIGHT, arrays.SHAPE, seed=0)


class ArrivedError(Exception):
    """What the base got."""


@pytest.mark.parametrize("name", WITH_A_BASE)
def test_every_base_is_built_by_the_layer_that_refuses_unknown_prefixes_and_weights(name, tmp_path, monkeypatch):
    """What it refuses is tested below on VGG16: to build each of the bases for each refusal takes ten seconds."""

    def arrive(application: object, config: ModelConfig, x: keras.KerasTensor, weights_path: Path | None) -> None:
        raise ArrivedError(config, weights_path)

    monkeypatch.setattr(pretrained, "pretrained_base", arrive)
    config = model_config(name, trainable=["blok5"], weights="some")
    with pytest.raises(ArrivedError) as arrived:
        models.build(config, arrays.SHAPE, 0, tmp_path)
    assert arrived.value.args == (config, tmp_path)


def test_an_unknown_trainable_prefix_lists_the_layers():
    with pytest.raises(InputError, match=r"'blok5'.*all, .*conv"):
        build(model_config("vgg16", trainable=["blok5"]), arrays.SHAPE, seed=0)


@pytest.mark.parametrize("change", [{"weights": "imagenet"}, {"trainable": []}])
def test_the_light_cnn_refuses_what_it_has_not(change):
    with pytest.raises(InputError, match="weights: none"):
        build(arrays.light(**change), arrays.SHAPE, seed=0)


def test_weights_that_are_no_file_name_the_alternatives(tmp_path):
    with pytest.raises(WeightsError, match=r"none, nor imagenet.*absent\.weights\.h5"):
        build(model_config("vgg16", weights=str(tmp_path / "absent.weights.h5")), arrays.SHAPE, seed=0)


def test_imagenet_without_a_network_names_the_alternatives(monkeypatch):
    def unreachable(*args: object, **kwargs: object) -> str:
        raise Exception("URL fetch failure: None -- Temporary failure in name resolution")  # Keras raises it bare

    monkeypatch.setattr("keras.src.utils.file_utils.get_file", unreachable)
    with pytest.raises(WeightsError, match=r"name resolution.*weights: none.*weights: <path>"):
        build(model_config("vgg16", weights="imagenet"), arrays.SHAPE, seed=0)


def vgg16_of_photographs() -> keras.Model:
    return keras.applications.VGG16(include_top=False, weights=None, input_shape=(32, 32, 3))


def as_weights(model: keras.Model, folder: Path) -> Path:
    model.save_weights(folder / "vgg16.weights.h5")
    return folder / "vgg16.weights.h5"


def as_model(model: keras.Model, folder: Path) -> Path:
    model.save(folder / "vgg16.keras")
    return folder / "vgg16.keras"


@pytest.mark.parametrize("write", [as_weights, as_model])
def test_weights_of_the_bare_base_load_by_path(write: Callable[[keras.Model, Path], Path], tmp_path):
    base = vgg16_of_photographs()
    path = write(base, tmp_path)
    built = weights(build(model_config("basic_vgg16", weights=str(path)), arrays.SHAPE, seed=0))
    path.unlink()
    assert all(equal(weights(base), built, layer) for layer in weights(base))


@pytest.mark.parametrize("content", [b"", b"not a weights file"])
def test_a_weights_file_that_is_none_is_refused(content, tmp_path):
    path = tmp_path / "broken.weights.h5"
    path.write_bytes(content)
    with pytest.raises(WeightsError, match=r"broken\.weights\.h5 does not fit VGG16"):
        build(model_config("basic_vgg16", weights=str(path)), arrays.SHAPE, seed=0)


@pytest.mark.parametrize("suffix", [".weights.h5", ".txt"])
def test_weights_of_another_architecture_are_refused(suffix, tmp_path):
    light, path = build(arrays.LIGHT, arrays.SHAPE, seed=0), tmp_path / f"light{suffix}"
    light.save_weights(tmp_path / "light.weights.h5")
    (tmp_path / "light.weights.h5").rename(path)
    with pytest.raises(WeightsError, match=r"light.* does not fit VGG16 without top"):
        build(model_config("basic_vgg16", weights=str(path)), arrays.SHAPE, seed=0)


def test_a_missing_model_file_names_the_stages_that_write_it(tmp_path):
    with pytest.raises(ModelFileError, match=r"absent\.keras does not exist; `dvc repro`"):
        models.load(tmp_path / "absent.keras")


def truncated(whole: bytes) -> bytes:
    return whole[: len(whole) // 2]


def flipped(whole: bytes) -> bytes:
    """The archive with one byte of its weights changed."""
    middle = len(whole) // 2
    return whole[:middle] + bytes([whole[middle] ^ 0xFF]) + whole[middle + 1 :]


@pytest.mark.parametrize("damage", [lambda whole: b"", lambda whole: b"no zip", truncated, flipped])
def test_a_damaged_model_file_is_refused_by_name(damage: Callable[[bytes], bytes], tmp_path):
    path = tmp_path / "light.keras"
    models.save(build(arrays.LIGHT, arrays.SHAPE, seed=0), path)
    path.write_bytes(damage(path.read_bytes()))
    with pytest.raises(ModelFileError, match=r"light\.keras \(.*\) cannot be loaded by Keras .*train the model again"):
        models.load(path)


@pytest.mark.parametrize("config", ["{}", "no json", '{"module": "keras", "class_name": "Nonesuch", "config": {}}'])
def test_a_model_file_with_an_unknown_config_is_refused(config, tmp_path):
    with pytest.raises(ModelFileError, match=r"light\.keras \(.*\) cannot be loaded by Keras"):
        models.load(edited(tmp_path, "config.json", lambda whole: config))


@pytest.mark.parametrize(
    ("old", "new", "cause"),
    [
        ('"class_name": "Conv2D"', '"class_name": "Conv2DOfTomorrow"', "Conv2DOfTomorrow"),
        ('"padding"', '"padding_of_tomorrow"', "Unrecognized keyword arguments"),
        (
            '"keras.layers", "class_name": "Conv2D"',
            '"theirs", "class_name": "Theirs"',
            "Could not locate class 'Theirs'",
        ),
    ],
)
def test_a_model_of_another_keras_is_refused_with_both_versions_the_cause_and_a_cure(old, new, cause, tmp_path):
    edited(tmp_path, "metadata.json", lambda whole: whole.replace(keras.__version__, "9.8.7"))
    (tmp_path / "light.keras").rename(tmp_path / "whole.keras")
    with pytest.raises(ModelFileError) as refused:
        models.load(edited(tmp_path, "config.json", lambda whole: whole.replace(old, new)))
    message = str(refused.value)
    assert f"light.keras (written by Keras 9.8.7) cannot be loaded by Keras {keras.__version__}: " in message
    assert cause in message
    assert "train the model again" in message
    assert len(message) < 600


def test_an_hdf5_file_of_an_older_framework_is_refused_by_name(tmp_path):
    path = tmp_path / "old.h5"
    path.write_bytes(b"\x89HDF\r\n\x1a\n" + bytes(64))
    with pytest.raises(ModelFileError, match=r"old\.h5 \(no whole \.keras archive\) cannot be loaded by Keras"):
        models.load(path)


def edited(folder: Path, member: str, edit: Callable[[str], str]) -> Path:
    """folder/light.keras: folder/whole.keras, which is saved where there is none, with one member changed."""
    if not (folder / "whole.keras").is_file():
        models.save(build(arrays.LIGHT, arrays.SHAPE, seed=0), folder / "whole.keras")
    with zipfile.ZipFile(folder / "whole.keras") as whole, zipfile.ZipFile(folder / "light.keras", "w") as other:
        for entry in whole.namelist():
            content = whole.read(entry)
            other.writestr(entry, edit(content.decode()) if entry == member else content)
    return folder / "light.keras"


def colourful(application: Callable[..., keras.Model]) -> keras.Model:
    """A base for photographs with random weights and, as trained ones have, statistics of its own."""
    keras.utils.set_random_seed(1)
    base = application(include_top=False, weights=None, input_shape=(64, 64, 3))
    rng = np.random.default_rng(0)
    for layer in base.layers:
        if isinstance(layer, keras.layers.BatchNormalization):
            layer.moving_mean.assign(rng.normal(0, 0.1, layer.moving_mean.shape))
            layer.moving_variance.assign(rng.uniform(0.5, 1.5, layer.moving_variance.shape))
    return base


BASES = [
    ("mobilenet_v2", keras.applications.MobileNetV2, as_model),
    ("resnet50_v2", keras.applications.ResNet50V2, as_weights),
]


def features_of(model: keras.Model, images: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
    return predicted(keras.Model(model.inputs, model.get_layer("features").output), images)


def grey_images() -> npt.NDArray[np.float32]:
    return np.random.default_rng(0).integers(0, 256, (2, 64, 64, 1)).astype(np.float32)


# Both kinds of file and both bases, each once: how a file is read does not depend on the base.
@pytest.mark.slow
@pytest.mark.parametrize(("name", "application", "write"), BASES)
def test_grey_goes_through_a_third_of_the_filters_and_gives_what_colour_would(name, application, write, tmp_path):
    base = colourful(application)
    model = build(model_config(name, weights=str(write(base, tmp_path))), (64, 64, 1), seed=0)
    in_colour = predicted(base, np.repeat(grey_images(), 3, axis=-1) / 127.5 - 1)
    np.testing.assert_allclose(features_of(model, grey_images()), in_colour, rtol=1e-3, atol=1e-3)
    first = next(layer for layer in model.layers if isinstance(layer, keras.layers.Conv2D))
    assert first.kernel.shape[2] == 1


@pytest.mark.slow
@pytest.mark.parametrize("write", [as_weights, as_model])
def test_convnext_gives_what_its_nested_original_would(write, tmp_path):
    base = colourful(keras.applications.ConvNeXtTiny)
    path = str(write(base, tmp_path))
    model = build(model_config("convnext_tiny", weights=path), (64, 64, 1), seed=0)
    in_colour = predicted(base, np.repeat(grey_images(), 3, axis=-1))
    np.testing.assert_allclose(features_of(model, grey_images()), in_colour, rtol=1e-3, atol=1e-3)


@pytest.mark.slow
def test_a_cut_base_takes_its_part_of_the_weights_and_refuses_less(tmp_path):
    whole = colourful(keras.applications.ResNet50V2)
    cut = keras.Model(whole.input, whole.get_layer("conv3_block1_out").output)
    path = str(as_model(cut, tmp_path))
    model = build(model_config("resnet50_v2", weights=path, cut_after="conv3_block1_out"), (64, 64, 1), 0)
    in_colour = predicted(cut, np.repeat(grey_images(), 3, axis=-1) / 127.5 - 1)
    np.testing.assert_allclose(features_of(model, grey_images()), in_colour, rtol=1e-3, atol=1e-3)
    with pytest.raises(WeightsError, match=r"ResNet50V2 .*nothing for \d+ of \d+ layers, e.g. conv3_block2"):
        build(model_config("resnet50_v2", weights=path), (64, 64, 1), 0)


def test_an_unknown_cut_lists_layers_and_a_model_without_a_base_refuses_one():
    with pytest.raises(InputError, match=r"cut_after: no layer is named 'conv9'.*conv4_block6_out"):
        build(model_config("resnet50_v2", cut_after="conv9"), arrays.SHAPE, seed=0)
    with pytest.raises(InputError, match="weights: none"):
        build(arrays.light(cut_after="block3_relu"), arrays.SHAPE, seed=0)


@pytest.mark.parametrize(
    ("name", "layer"),
    [("mobilenet_v2", "block_3_expand_relu"), ("vgg16", "block4_conv3"), ("resnet50_v2", "conv3_block1_out")],
)
def test_any_base_ends_after_the_layer_that_cut_after_names(name, layer):
    whole, cut = (build(model_config(name, cut_after=end), arrays.SHAPE, seed=0) for end in (None, layer))
    names = [known.name for known in cut.layers]
    assert layer in names
    assert len(names) < len(whole.layers)


def test_weights_of_another_run_come_from_mlflow(tmp_path, monkeypatch):
    trained = build(model_config("mobilenet_v2"), arrays.SHAPE, seed=1)
    models.save(trained, tmp_path / "model.keras")
    requested = []

    def download_model(uri: str) -> Path:
        requested.append(uri)
        return tmp_path / "model.keras"

    monkeypatch.setattr(mlflow_client, "download_model", download_model)
    started = build(model_config("mobilenet_v2", weights="runs:/abc/train"), arrays.SHAPE, seed=2)
    assert requested == ["runs:/abc/train"]
    assert changed(weights(trained), weights(started)) == {"logit"}


@pytest.mark.slow
def test_the_norms_of_a_pretrained_base_keep_their_statistics(tmp_path):
    path = str(as_weights(colourful(keras.applications.MobileNetV2), tmp_path))
    model = build(model_config("mobilenet_v2", weights=path), arrays.SHAPE, seed=0)
    before = weights(model)
    model.compile(keras.optimizers.SGD(0.01), "binary_crossentropy", jit_compile=False)
    model.train_on_batch(raw_images(), np.array([[0], [1], [0], [1]]))
    after = weights(model)
    assert not [layer for layer in changed(before, after) if layer.endswith("_BN") or "bn" in layer.lower()]
    assert "Conv_1" in changed(before, after)


def test_a_model_sees_the_centre_that_its_crop_names():
    model = build(arrays.light(crops=[0.5]), (64, 64, 1), seed=0)
    images = grey_images()
    around = images.copy()
    around[:, 16:48, 16:48] = 0
    only = images - around
    np.testing.assert_array_equal(predicted(model, images), predicted(model, only))
    assert (predicted(model, around) != predicted(model, images)).any()


@pytest.mark.parametrize("crops", [[0.5], [1.0, 0.5]])
def test_a_model_called_without_a_mode_is_one_in_inference(crops):
    """Keras notes the default mode of a layer in the graph, where it would decide that of all layers after it."""
    model = build(arrays.light(crops=crops, input_px=32), (64, 64, 1), seed=0)
    images = grey_images()
    as_called, inference, training = (
        keras.ops.convert_to_numpy(model(images, **mode)) for mode in ({}, {"training": False}, {"training": True})
    )
    np.testing.assert_array_equal(as_called, inference)
    assert np.abs(training - inference).max() > 1e-3


def test_a_model_resizes_what_it_sees():
    small = build(arrays.light(), (32, 32, 1), seed=0)
    resizing = build(arrays.light(input_px=32), (64, 64, 1), seed=0)
    halves = grey_images().reshape(2, 32, 2, 32, 2, 1).mean(axis=(2, 4))
    large = np.repeat(np.repeat(halves, 2, axis=1), 2, axis=2)
    smooth = keras.ops.convert_to_numpy(keras.ops.image.resize(large, (32, 32), antialias=True))
    np.testing.assert_allclose(predicted(resizing, large), predicted(small, smooth), atol=1e-4)
    tall = build(arrays.light(input_px=32), (128, 64, 1), seed=0)
    assert tall.get_layer("resize").output.shape[1:3] == (64, 32)


@pytest.mark.parametrize("name", arrays.deep_ones_slow(["light_cnn", "vgg16", "mobilenet_v2"]))
def test_several_crops_go_through_the_same_layers_and_side_by_side_into_the_classifier(name, tmp_path):
    whole, centre, both = (
        build(model_config(name, crops=crops, input_px=32), (64, 64, 1), seed=0) for crops in ([1.0], [0.5], [1.0, 0.5])
    )
    centre.set_weights(whole.get_weights())
    base = {layer.name for layer in whole.layers} - {"pool_norm", "logit", "head_1"}
    for layer in both.layers:
        if layer.weights and layer.name in base:
            layer.set_weights(whole.get_layer(layer.name).get_weights())
    vectors = [
        predicted(keras.Model(model.inputs, model.get_layer("pool").output), grey_images())
        for model in (whole, centre, both)
    ]
    np.testing.assert_allclose(np.concatenate(vectors[:2], axis=1), vectors[2], atol=1e-5)
    models.save(both, tmp_path / "both.keras")
    reloaded = models.load(tmp_path / "both.keras")
    np.testing.assert_allclose(predicted(reloaded, grey_images()), predicted(both, grey_images()), atol=1e-6)
    assert not [layer.name for layer in reloaded.layers if isinstance(layer, keras.Model)]


def test_the_maximum_of_each_channel_stands_beside_its_average():
    model = build(arrays.light(pool_max=True), arrays.SHAPE, seed=0)
    features = features_of(model, raw_images())
    pooled = predicted(keras.Model(model.inputs, model.get_layer("pool").output), raw_images())
    np.testing.assert_allclose(pooled, np.concatenate([features.mean((1, 2)), features.max((1, 2))], axis=1), rtol=1e-5)


@pytest.mark.slow
@needs_real_weights
@pytest.mark.parametrize(
    ("name", "file", "cut_after"),
    [
        ("mobilenet_v2", "mobilenet_v2_imagenet_notop.weights.h5", None),
        ("resnet50_v2", "resnet50_v2_imagenet_conv4.keras", "conv5_block1_preact_relu"),
    ],
)
def test_real_weights_see_the_same_in_grey_as_in_colour(name, file, cut_after):
    section = model_config(name, weights=str(REAL_WEIGHTS / file), cut_after=cut_after)
    model = build(section, (224, 224, 1), seed=0)
    images = np.random.default_rng(0).integers(0, 256, (1, 28, 28, 1)).astype(np.float32).repeat(8, 1).repeat(8, 2)
    if name == "mobilenet_v2":
        base = keras.applications.MobileNetV2(include_top=False, weights=REAL_WEIGHTS / file, input_shape=(224, 224, 3))
    else:
        base = keras.models.load_model(REAL_WEIGHTS / file, compile=False)
    in_colour = base.predict_on_batch(np.repeat(images, 3, axis=-1) / 127.5 - 1)
    np.testing.assert_allclose(features_of(model, images), in_colour, rtol=1e-3, atol=1e-3)


@pytest.mark.slow
def test_efficientnet_weights_by_path_scale_as_imagenet_does(tmp_path, monkeypatch):
    base = keras.applications.EfficientNetB0(include_top=False, weights=None, input_shape=(*arrays.SHAPE[:2], 3))
    (normalization,) = [layer for layer in base.layers if isinstance(layer, keras.layers.Normalization)]
    normalization.adapt_mean.assign([0.485, 0.456, 0.406])
    normalization.adapt_variance.assign([0.229, 0.224, 0.225])
    normalization.finalize_state()
    path = as_weights(base, tmp_path)
    monkeypatch.setattr("keras.src.applications.efficientnet.file_utils.get_file", lambda *args, **kwargs: str(path))
    by_path, imagenet = (
        build(model_config("efficientnet_b0", weights=source), arrays.SHAPE, seed=0)
        for source in (str(path), "imagenet")
    )
    features = [keras.Model(model.inputs, model.get_layer("features").output) for model in (by_path, imagenet)]
    from_path, from_imagenet = (predicted(model, raw_images()) for model in features)
    np.testing.assert_allclose(from_path, from_imagenet, rtol=1e-3, atol=1e-4)


def test_a_model_file_that_unpacks_to_many_times_its_size_is_refused(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "bomb.keras", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("model.weights.h5", bytes(10_000_000))
    with pytest.raises(ModelFileError, match="more than 20 times its size; refused"):
        models.load(tmp_path / "bomb.keras")
