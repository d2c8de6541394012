"""The output of a model that nothing is known of is a probability, or the model is refused."""

import keras
import numpy as np
import pytest

from mammo.cli.main import build_parser
from mammo.core.errors import InputError
from mammo.inference.foreign_model import select_probability
from mammo.training import predict

SHAPE = (8, 8, 1)


def model(units: int, activation: str | None, *, bias: float = 0.0) -> keras.Model:
    pixels = keras.Input(SHAPE)
    head = keras.layers.Dense(units, activation, bias_initializer=keras.initializers.Constant(bias))
    return keras.Model(pixels, head(keras.layers.GlobalAveragePooling2D()(pixels)))


def test_of_a_softmax_the_named_output_is_taken() -> None:
    foreign, images = model(2, "softmax"), np.random.default_rng(0).uniform(0, 255, (3, *SHAPE)).astype(np.float32)
    with pytest.raises(InputError, match=r"gives 2 numbers.*--output malignant=1"):
        select_probability(foreign, None, "theirs")
    whole = predict.predict_batch(foreign, images)
    for place in (0, 1):
        taken = predict.predict_batch(select_probability(foreign, place, "theirs"), images)
        np.testing.assert_array_equal(taken, whole[:, place : place + 1])
    with pytest.raises(InputError, match="has no output 2; it has 2"):
        select_probability(foreign, 2, "theirs")


def test_one_sigmoid_is_taken_as_it_is() -> None:
    foreign = model(1, "sigmoid")
    assert select_probability(foreign, None, "theirs") is foreign
    assert select_probability(foreign, 0, "theirs") is foreign


@pytest.mark.parametrize("activation", ["linear", "tanh", "relu", "softplus"])
@pytest.mark.parametrize("units", [1, 2])
def test_a_head_without_bounds_is_refused(activation: str, units: int) -> None:
    with pytest.raises(InputError, match=f"ends in a {activation} activation, which gives no probability"):
        select_probability(model(units, activation), units - 1, "theirs")


def test_values_beyond_a_probability_are_refused_whatever_the_last_layer() -> None:
    foreign = model(1, "sigmoid")
    stretched = keras.Model(foreign.inputs, keras.layers.Rescaling(100.0, offset=2.0)(foreign.output))
    with pytest.raises(InputError, match=r"a probability lies in 0\.\.1"):
        select_probability(stretched, None, "theirs")


def test_a_softmax_of_one_is_refused() -> None:
    with pytest.raises(InputError, match="is 1 for every image"):
        select_probability(model(1, "softmax"), None, "theirs")


def test_other_shapes_are_refused() -> None:
    pixels, more = keras.Input(SHAPE), keras.Input((3,))
    with pytest.raises(InputError, match="2 inputs and 1 outputs"):
        select_probability(keras.Model([pixels, more], keras.layers.Dense(1)(more)), None, "theirs")
    with pytest.raises(InputError, match=r"gives .* for n images"):
        select_probability(keras.Model(pixels, keras.layers.Conv2D(1, 1)(pixels)), None, "theirs")


@pytest.mark.parametrize("text", ["malignant", "malignant=", "malignant=-1", "benign=1", "1", "malignant=1.5"])
def test_another_word_for_the_output_is_wrong_usage(text: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as caught:
        build_parser().parse_args(["predict", "x.png", "--model", "m.keras", "--output", text])
    assert caught.value.code == 2
    assert "is not malignant=K" in capsys.readouterr().err
