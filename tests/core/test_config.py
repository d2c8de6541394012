"""params.yaml: the committed file loads, and whatever is wrong in it ends in one ParamsError that says where."""

import json
from collections.abc import Iterator
from copy import deepcopy
from pathlib import Path
from typing import Any

import pytest
import yaml
from pydantic import BaseModel, ValidationError

from mammo.core.config import Config, ConfigError, ModelConfig, flatten, load_config, parse_config

COMMITTED = Path(__file__).resolve().parents[2] / "params.yaml"
CONTENT: dict[str, Any] = yaml.safe_load(COMMITTED.read_text(encoding="utf-8"))


NAMED = ("models", "external", "seeds.models", "cross_validate.models")  # they hold names, not keys


def sections(content: dict[str, Any], path: str = "") -> Iterator[str]:
    """Dotted paths of all sections; "" is the file itself."""
    if path not in NAMED:
        yield path
    for key, value in content.items():
        if isinstance(value, dict):
            yield from sections(value, f"{path}.{key}" if path else key)


def keys(content: dict[str, Any], path: str = "") -> Iterator[str]:
    """Dotted paths of everything that must be there."""
    for key, value in content.items():
        dotted_key = f"{path}.{key}" if path else key
        if path not in NAMED:
            yield dotted_key
        if isinstance(value, dict):
            yield from keys(value, dotted_key)


def holder(content: dict[str, Any], key: str) -> tuple[dict[str, Any], str]:
    *sections_on_the_way, last = key.split(".")
    for name in sections_on_the_way:
        content = content[name]
    return content, last


def changed(key: str, value: object) -> dict[str, Any]:
    content = deepcopy(CONTENT)
    section, last = holder(content, key)
    section[last] = value
    return content


def refusal(content: object) -> str:
    with pytest.raises(ConfigError) as error:
        parse_config(content, "params.yaml")
    return str(error.value)


def test_the_committed_file_loads() -> None:
    models = {name: CONTENT["model_defaults"] | entry for name, entry in CONTENT["models"].items()}
    assert load_config(COMMITTED).model_dump(mode="json") == CONTENT | {"models": models}


def test_an_entry_under_models_overrides_the_defaults() -> None:
    config = parse_config(changed("models.light_cnn.epochs", 3))
    assert config.model("light_cnn").epochs == 3
    assert config.model("basic_vgg16").epochs is CONTENT["model_defaults"]["epochs"] is None
    assert parse_config(changed("model_defaults.epochs", 7)).model("light_cnn").epochs == 7


@pytest.mark.parametrize("section", ["seeds", "cross_validate"])
def test_an_architecture_that_disagrees_is_named_with_the_right_one(section: str) -> None:
    message = refusal(changed(f"{section}.models.light_cnn", "vgg16"))
    assert f"{section}.models.light_cnn = 'vgg16', but models.light_cnn.architecture is 'light_cnn'" in message


@pytest.mark.parametrize("section", list(sections(CONTENT)))
def test_an_unknown_key_is_named_beside_the_valid_ones(section: str) -> None:
    key = f"{section}.mistyped" if section else "mistyped"
    valid = ModelConfig.model_fields if section.startswith("models.") else holder(CONTENT, key)[0]
    message = refusal(changed(key, 1))
    assert message == f"params.yaml: unknown key {key!r}; valid here: {', '.join(valid)}"


def has_default(key: str) -> bool:
    """Whether the key of an entry under `models` may be left out."""
    return key.startswith("models.") and key.rpartition(".")[2] in CONTENT["model_defaults"]


@pytest.mark.parametrize("key", [key for key in keys(CONTENT) if not has_default(key)])
def test_a_missing_key_is_named(key: str) -> None:
    content = deepcopy(CONTENT)
    section, last = holder(content, key)
    del section[last]
    assert refusal(content) == f"params.yaml: key {key!r} is missing"


@pytest.mark.parametrize("key", list(keys(CONTENT)))
def test_a_value_of_the_wrong_kind_is_named(key: str) -> None:
    wrong: object = "text" if isinstance(holder(CONTENT, key)[0][key.split(".")[-1]], dict) else {"a": "section"}
    messages = refusal(changed(key, wrong)).splitlines()
    assert all(message.startswith(f"params.yaml: {key}") for message in messages)


@pytest.mark.parametrize(
    ("key", "value", "cure"),
    [
        ("seed", -1, "greater than or equal to 0"),
        ("seed", 2**32, "less than 4294967296"),
        ("ingest.unit", "patient", "'lesion', 'image' or 'breast'"),
        ("ingest.expect", "some", "'full' or 'subset'"),
        ("ingest.on_error", "ignore", "'exclude' or 'fail'"),
        ("ingest.idc.patients", 0, "greater than or equal to 1"),
        ("ingest.abnormality_types", [], "at least 1 item"),
        ("ingest.abnormality_types", ["mass", "cyst"], "'mass' or 'calcification'"),
        ("ingest.demo.patients", 3, "greater than or equal to 20"),
        ("ingest.demo.signal", float("nan"), "finite"),
        ("ingest.demo.signal", float("inf"), "finite"),
        ("split.val_fraction", 0, "greater than 0"),
        ("split.val_fraction", 1.0, "less than 1"),
        ("split.folds", 1, "greater than or equal to 2"),
        ("split.folds", 2.5, "valid integer"),
        ("preprocess.size_px", 8, "greater than or equal to 32"),
        ("preprocess.bits", 12, "8 or 16"),
        ("preprocess.clahe", 0, "greater than 0"),
        ("preprocess.context", 0.5, "greater than or equal to 1"),
        ("preprocess.window_percentiles", [1, 101], "less than or equal to 100"),
        ("preprocess.window_percentiles", [99, 1], "first must be below the second"),
        ("preprocess.window_percentiles", [50, 50], "first must be below the second"),
        ("train.epochs", 0, "greater than or equal to 1"),
        ("train.balance", "perhaps", "'class_weights', 'sampling' or 'none'"),
        ("train.xla", "perhaps", "valid boolean"),
        ("train.ema", 1, "less than 1"),
        ("train.clip_norm", 0, "greater than 0"),
        ("train.precision", "float16", "'float32' or 'mixed'"),
        ("train.augmentation.zoom", 2, "less than or equal to 1"),
        ("train.health.slowdown", 1, "less than 1"),
        ("train.health.collapse_share", 0.3, "greater than 0.5"),
        ("models", {}, "at least 1 item"),
        ("models.light_cnn.dropout", 1, "less than 1"),
        ("models.light_cnn.loss", "hinge", "'binary_crossentropy' or 'focal'"),
        ("models.light_cnn.learning_rate", 0, "greater than 0"),
        ("models.light_cnn.head_units", [0], "greater than or equal to 1"),
        ("focal.alpha", 1.5, "less than 1"),
        ("ensemble.methods", ["median"], "'mean', 'weighted' or 'stacked'"),
        ("evaluate.prevalence", 90, "less than 1"),
        ("evaluate.resamples", 10, "greater than or equal to 100"),
        ("compute.workers", 0, "greater than or equal to 1"),
        ("tracking.experiment", "", "at least 1 character"),
    ],
)
def test_a_value_out_of_range_is_named_with_what_would_do(key: str, value: object, cure: str) -> None:
    (message,) = refusal(changed(key, value)).splitlines()
    assert message.startswith(f"params.yaml: {key}")
    assert cure in message


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("cross_validate.models", {"vgg99": "vgg16"}),
        ("seeds.models", {"vgg99": "vgg16"}),
        ("continue_training.model", "vgg99"),
    ],
)
def test_a_model_without_a_section_is_named_beside_those_that_have_one(key: str, value: object) -> None:
    assert refusal(changed(key, value)) == (
        f"params.yaml: {key}: 'vgg99' is not under `models:`; there are {', '.join(CONTENT['models'])}"
    )


def test_two_views_are_of_a_model_or_an_ensemble() -> None:
    assert parse_config(changed("ensemble.two_views", ["light_cnn", "ensemble_mean"])).ensemble.two_views
    assert "ensemble.two_views: 'vgg99' is no model and no ensemble; there are" in refusal(
        changed("ensemble.two_views", ["vgg99"])
    )


def test_an_unknown_model_lists_the_others() -> None:
    config = parse_config(CONTENT)
    assert config.model("light_cnn") is config.models["light_cnn"]
    with pytest.raises(ConfigError, match=f"'vgg99'.*{', '.join(CONTENT['models'])}"):
        config.model("vgg99")


def test_all_problems_are_told_at_once() -> None:
    content = changed("train.epochs", 0)
    content["split"]["folds"] = 0
    content["extra"] = 1
    assert len(refusal(content).splitlines()) == 3


@pytest.mark.parametrize("content", [None, [], "text", 3])
def test_content_that_is_no_mapping_is_refused(content: object) -> None:
    assert refusal(content).startswith("params.yaml: ")


def test_every_section_is_frozen() -> None:
    def freeze_check(section: BaseModel) -> int:
        checked = 1
        for name, value in section:
            with pytest.raises(ValidationError, match="frozen"):
                setattr(section, name, value)
            inner = value.values() if isinstance(value, dict) else [value]
            checked += sum(freeze_check(part) for part in inner if isinstance(part, BaseModel))
        return checked

    assert freeze_check(parse_config(CONTENT)) == len(list(sections(CONTENT)))


def test_parsing_leaves_its_input_alone() -> None:
    content = deepcopy(CONTENT)
    assert isinstance(parse_config(content), Config)
    assert content == CONTENT


def test_a_missing_file_is_named_with_the_cure(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"params\.yaml does not exist; run from the repository's root") as error:
        load_config(tmp_path / "params.yaml")
    assert str(tmp_path) in str(error.value)


@pytest.mark.parametrize("broken", [b"seed: [1, 2", b"seed: 1\n\tingest: 2", b"seed: \xff\xfe"])
def test_a_file_that_is_no_yaml_is_named(tmp_path: Path, broken: bytes) -> None:
    path = tmp_path / "params.yaml"
    path.write_bytes(broken)
    with pytest.raises(ConfigError, match="is not valid YAML") as error:
        load_config(path)
    assert str(path) in str(error.value)


def test_errors_from_a_file_name_the_file(tmp_path: Path) -> None:
    path = tmp_path / "params.yaml"
    path.write_text(yaml.safe_dump(changed("train.epochs", 0)), encoding="utf-8")
    with pytest.raises(ConfigError, match=r"train\.epochs") as error:
        load_config(path)
    assert str(error.value).startswith(str(path))


def test_an_augmentation_beyond_the_whole_range_is_refused() -> None:
    content = yaml.safe_load(COMMITTED.read_text(encoding="utf-8"))
    content["models"]["light_cnn"]["augmentation_strength"] = 30
    with pytest.raises(ConfigError, match=r"models\.light_cnn\.augmentation_strength times train\.augmentation\.zoom"):
        parse_config(content)


def test_flat_parameters_are_what_json_makes_of_them() -> None:
    """A run on the server is compared with its record, which is JSON."""
    nested = {"preprocess": {"window_percentiles": (1.0, 99.5), "bits": 8}}
    assert flatten(nested) == {"preprocess.window_percentiles": [1.0, 99.5], "preprocess.bits": 8}
    assert json.loads(json.dumps(flatten(nested))) == flatten(nested)
