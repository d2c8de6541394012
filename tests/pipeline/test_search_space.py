"""`KEY=SPACE`: what may be searched, and what is refused before anything is trained."""

from pathlib import Path
from typing import Any

import imports
import optuna
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mammo.core.config import load_config
from mammo.core.errors import InputError
from mammo.pipeline import search_space
from mammo.pipeline.search_space import Space, SpaceError

LOADED = load_config(imports.ROOT / "params.yaml")
RATE = "models.light_cnn.learning_rate"


@pytest.mark.parametrize(
    ("text", "kind", "values"),
    [
        ("log(1e-4,1e-2)", "log", (0.0001, 0.01)),
        (" uniform( 0 , 0.5 ) ", "uniform", (0, 0.5)),
        ("int(1,5)", "int", (1, 5)),
        ("choice(8,16)", "choice", (8, 16)),
        ("choice([block4, block5],[all],[])", "choice", (["block4", "block5"], ["all"], [])),
        ("choice(true,false,null,a word)", "choice", (True, False, None, "a word")),
    ],
)
def test_a_space_is_read_from_the_command_line_and_from_yaml(
    text: str, kind: str, values: tuple[Any, ...], tmp_path: Path
) -> None:
    (tmp_path / "nested.yaml").write_text(f"models:\n  light_cnn:\n    learning_rate: '{text}'\n")
    (tmp_path / "dotted.yaml").write_text(f"{RATE}: '{text}'\n")
    expected = [Space(RATE, kind, values)]
    assert search_space.parse_spaces([f"{RATE}={text}"]) == search_space.parse_spaces([f"+{RATE}={text}"]) == expected
    assert (
        search_space.parse_spaces([], tmp_path / "nested.yaml")
        == search_space.parse_spaces([], tmp_path / "dotted.yaml")
        == expected
    )


@pytest.mark.parametrize(
    ("word", "message"),
    [
        ("train.epochs", "no KEY=SPACE, such as"),
        ("train.epochs=5", r"is no space; there are uniform\(a,b\), log"),
        ("train.epochs=normal(1,2)", "is no space"),
        ("train.epochs=int(1", "is no space"),
        ("train.epochs=int(1,2.5)", "two whole numbers"),
        ("train.epochs=int(5)", "two whole numbers"),
        ("train.weight_decay=uniform(a,b)", "two numbers, low and high"),
        ("train.weight_decay=uniform(0.1,0.1)", "the first number must be below the second"),
        ("train.weight_decay=uniform(0,.inf)", "both finite"),
        ("train.weight_decay=log(0,1)", "above 0"),
        ("train.keep=choice()", "two values or more"),
        ("train.keep=choice(last)", "two values or more"),
        ("train.keep=choice(last,last)", "each once"),
        ("train.keep=choice([)", "no list of YAML values"),
    ],
)
def test_what_is_no_space_is_refused_with_the_cure(word: str, message: str) -> None:
    with pytest.raises(SpaceError, match=message) as error:
        search_space.parse_spaces([word])
    assert word.partition("=")[0] in str(error.value)


@pytest.mark.parametrize(
    ("text", "message"), [("- a\n", "no mapping"), ("a: [\n", "not valid YAML"), ("a: 3\n", "a=3 is no space")]
)
def test_a_file_without_spaces_is_refused(text: str, message: str, tmp_path: Path) -> None:
    (tmp_path / "spaces.yaml").write_text(text)
    with pytest.raises(SpaceError, match=message):
        search_space.parse_spaces([], tmp_path / "spaces.yaml")
    with pytest.raises(SpaceError, match=r"absent\.yaml does not exist"):
        search_space.parse_spaces([], tmp_path / "absent.yaml")


def test_a_key_has_one_space(tmp_path: Path) -> None:
    (tmp_path / "spaces.yaml").write_text("train.epochs: int(1,3)\n")
    with pytest.raises(SpaceError, match=r"train\.epochs has two spaces"):
        search_space.parse_spaces(["train.epochs=int(1,5)"], tmp_path / "spaces.yaml")


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ([], "nothing to search"),
        (["models.light_cnn.nope=int(1,2)"], "unknown key 'models.light_cnn.nope'; valid here: epochs"),
        (["models.nope.dropout=uniform(0,0.5)"], r"below models\.light_cnn, train, focal"),
        (["models.basic_vgg16.dropout=uniform(0,0.5)"], r"below models\.light_cnn, train, focal"),
        (["seed=int(1,9)"], "on the data as they are"),
        (["split.val_fraction=uniform(0.1,0.3)"], "on the data as they are"),
        (["preprocess.size_px=choice(64,96)"], "on the data as they are"),
        (["models.light_cnn.dropout=uniform(0,1)"], r"models\.light_cnn\.dropout = 1"),
        (["train.epochs=uniform(1,5)"], r"train\.epochs = 3\.4.*integer"),
        (["train.epochs=int(0,5)"], r"train\.epochs = 0"),
        (["train.keep=choice(last,first)"], r"train\.keep = 'first'"),
        (["train.xla=log(0.1,1)"], r"train\.xla = 0\.1"),
        (["train.epochs.more=int(1,2)", "train.epochs=int(1,2)"], r"train\.epochs = "),
        (["train.augmentation=choice({},[])"], r"train\.augmentation"),
        (
            ["models.light_cnn.augmentation_strength=uniform(0.5,2)", "train.augmentation.zoom=uniform(0.1,0.6)"],
            r"augmentation_strength times train\.augmentation\.zoom is 1\.2",
        ),
    ],
)
def test_what_could_not_be_trained_is_refused_before_anything_is(words: list[str], message: str) -> None:
    with pytest.raises(InputError, match=message):
        search_space.check_spaces(search_space.parse_spaces(words), "light_cnn", LOADED)


def test_an_unknown_model_lists_the_others() -> None:
    with pytest.raises(InputError, match=r"unknown model .nope.*light_cnn"):
        search_space.check_spaces(search_space.parse_spaces(["train.epochs=int(1,2)"]), "nope", LOADED)


def test_keys_that_params_yaml_leaves_out_can_be_searched() -> None:
    search_space.check_spaces(
        search_space.parse_spaces(["models.light_cnn.head_epochs=int(0,3)", "focal.gamma=uniform(0,4)"]),
        "light_cnn",
        LOADED,
    )


@given(st.floats(1e-5, 1e-2), st.floats(1.5, 1e3), st.floats(0, 1), st.sampled_from(["uniform", "log"]))
def test_what_is_drawn_stays_inside_and_is_written_with_few_digits(
    low: float, ratio: float, share: float, kind: str
) -> None:
    space = Space("train.weight_decay", kind, (low, low * ratio))
    value = space.from_optuna(low + share * (low * ratio - low))
    assert low <= value <= low * ratio
    assert value in space.values or float(f"{value:.4g}") == value


@pytest.mark.parametrize("text", ["log(1e-4,1e-1)", "uniform(0,1)", "int(0,9)", "choice(null,true,1,[a, b],0.5)"])
def test_a_value_leads_to_optuna_and_back(text: str) -> None:
    (space,) = search_space.parse_spaces([f"train.key={text}"])
    study = optuna.create_study(sampler=optuna.samplers.RandomSampler(seed=1))
    for _ in range(20):
        sampled = study.ask({"x": space.distribution()}).params["x"]
        value = space.from_optuna(sampled)
        assert space.from_optuna(space.to_optuna(value)) == value
    assert space.to_optuna("elsewhere") is None


def test_values_of_another_type_are_not_inside_a_choice() -> None:
    (space,) = search_space.parse_spaces(["train.xla=choice(true,false)"])
    assert space.to_optuna(1) is None
    assert space.to_optuna(True) == "true"


def test_replaced_values_are_checked_and_the_others_stay() -> None:
    changed = search_space.replace_parameters(LOADED, {RATE: 0.5, "train.epochs": 7}, "here")
    assert (changed.model("light_cnn").learning_rate, changed.train.epochs) == (0.5, 7)
    back = search_space.replace_parameters(
        changed, {RATE: LOADED.model("light_cnn").learning_rate, "train.epochs": LOADED.train.epochs}, ""
    )
    assert back == LOADED
    with pytest.raises(InputError, match=r"here: train\.epochs = 0"):
        search_space.replace_parameters(LOADED, {"train.epochs": 0}, "here")
