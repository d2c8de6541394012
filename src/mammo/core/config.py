"""Typed, frozen sections of params.yaml; an unknown or wrong key is an error that names it and the valid ones."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated, Any, Literal, get_args

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator, model_validator

from mammo.core.errors import InputError

PARAMS_FILE = Path("params.yaml")

Fraction = Annotated[float, Field(gt=0, lt=1)]
Share = Annotated[float, Field(ge=0, le=1)]
NonNegative = Annotated[float, Field(ge=0)]
Positive = Annotated[float, Field(gt=0)]
Count = Annotated[int, Field(ge=1)]

Unit = Literal["lesion", "image", "breast"]
Expect = Literal["full", "subset"]
OnError = Literal["exclude", "fail"]
AbnormalityType = Literal["mass", "calcification"]
Balance = Literal["class_weights", "sampling", "none"]
SaliencyMethod = Literal[
    "gradcam", "gradcam_pp", "hirescam", "layercam", "scorecam", "smoothgrad", "integrated_gradients", "occlusion"
]


class ConfigError(InputError):
    """Wrong content of params.yaml; the message says what is wrong, where, and the valid choices."""


class _Section(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)


def _short_source(source: str) -> str:
    """Return the file name of a path, or the whole of an MLflow URI."""
    return source if ":/" in source else Path(source).name


class DemoConfig(_Section):
    """Size and difficulty of the synthetic cohort."""

    patients: Annotated[int, Field(ge=20)]
    height_px: Annotated[int, Field(ge=96)]
    signal: NonNegative
    border_cue: NonNegative


class IdcConfig(_Section):
    """The size of a download from the Imaging Data Commons; patients: None for all."""

    patients: Count | None


class ChecksConfig(_Section):
    """Limits beyond which the pixels of a film, a mask or a crop cannot be what they are said to be."""

    marked_share: tuple[Share, Share]
    inside_breast: Share
    spread: NonNegative
    crop_correlation: Share
    crop_min_px: Count
    crop_mismatches: Share


class IngestConfig(_Section):
    """The source of the data, and the unit of a sample."""

    source: str
    dataset: str
    root: str | None
    unit: Unit
    abnormality_types: Annotated[list[AbnormalityType], Field(min_length=1)]
    expect: Expect
    on_error: OnError
    checks: ChecksConfig
    idc: IdcConfig
    demo: DemoConfig


class SplitConfig(_Section):
    """The hold-out and the folds, by patient."""

    val_fraction: Fraction
    folds: Annotated[int, Field(ge=2)]


class PreprocessConfig(_Section):
    """The steps from a film to a square array."""

    size_px: Annotated[int, Field(ge=32)]
    bits: Literal[8, 16]
    context: Annotated[float, Field(ge=1)]
    clahe: Positive | None
    window_percentiles: tuple[Annotated[float, Field(ge=0, le=100)], Annotated[float, Field(ge=0, le=100)]]
    edge_margin: Annotated[float, Field(ge=0, lt=0.25)]
    equalisation: Share
    blur_px: NonNegative

    @field_validator("window_percentiles")
    @classmethod
    def _black_below_white(cls, percentiles: tuple[float, float]) -> tuple[float, float]:
        if percentiles[0] >= percentiles[1]:
            raise ValueError("the first must be below the second: they become black and white")
        return percentiles


class AugmentationConfig(_Section):
    """Random changes of a training image, at strength 1."""

    flip: bool
    rotation_degrees: NonNegative
    shear_degrees: NonNegative
    zoom: Share
    translation: Share
    gamma: Share
    contrast: Share
    blur: Share
    noise: Share
    artifacts: Share


class HealthConfig(_Section):
    """Limits of the health monitors, and the number of restarts."""

    collapse_share: Annotated[float, Field(gt=0.5, le=1)]
    collapse_spread: Share
    collapse_epochs: Count
    sensitivity_floor: Share
    exploding_loss: Annotated[float, Field(gt=1)]
    overfitting_gap: Positive
    restarts: Annotated[int, Field(ge=0)]
    slowdown: Fraction


class TrainConfig(_Section):
    """The part of the training that all models share."""

    epochs: Count
    batch_size: Count
    keep: Literal["last", "best"]
    patience: Count
    balance: Balance
    weight_decay: NonNegative
    warmup_fraction: Share
    clip_norm: Positive
    ema: Annotated[float, Field(ge=0, lt=1)]
    label_smoothing: Annotated[float, Field(ge=0, lt=1)]
    mixup: NonNegative
    precision: Literal["float32", "mixed"]
    xla: bool
    feature_copies: Count
    augmentation: AugmentationConfig
    health: HealthConfig


class ModelDefaultsConfig(_Section):
    """Defaults of the keys that an entry under `models` may leave out."""

    epochs: Count | None
    head_epochs: Annotated[int, Field(ge=0)]
    head_learning_rate: Positive
    head_start: Literal["random", "logistic_regression"]
    input_px: Annotated[int, Field(ge=32)] | None
    crops: Annotated[list[Annotated[float, Field(gt=0, le=1)]], Field(min_length=1)]
    pool_max: bool
    cut_after: str | None
    cache_frozen: bool
    optimizer: Literal["adamw", "logistic_regression"]
    inverse_l2: Positive
    mirrored_rows: bool


class ModelConfig(ModelDefaultsConfig):
    """An entry under `models`, completed from `model_defaults`: an architecture and its part of the training."""

    architecture: str
    weights: str
    trainable: list[str]
    head_units: list[Count]
    dropout: Annotated[float, Field(ge=0, lt=1)]
    learning_rate: Positive
    loss: Literal["binary_crossentropy", "focal"]
    augmentation_strength: NonNegative

    @property
    def weights_name(self) -> str:
        """Return `weights` as tables show it: a file name, or a URI."""
        return _short_source(self.weights)


class FocalConfig(_Section):
    """Focal loss (Lin et al., ICCV 2017)."""

    gamma: NonNegative
    alpha: Fraction


class PredictConfig(_Section):
    """The prediction of a trained model."""

    flips: bool


class ContinueConfig(_Section):
    """The further training of a trained model."""

    model: str
    checkpoint: str | None
    epochs: Count
    learning_rate: Positive

    @property
    def start(self) -> str:
        """Return the model or file that the training starts from, as tables show it."""
        return self.model if self.checkpoint is None else _short_source(self.checkpoint)


class SeedsConfig(_Section):
    """The models (each with its architecture) that are also trained under `count` further seeds."""

    models: dict[str, str]
    count: Count


class CrossValidateConfig(_Section):
    """The models (each with its architecture) that are cross-validated, over `repeats` draws of the folds.

    val_fraction: the share of the training folds' patients on which a training is monitored.
    """

    models: dict[str, str]
    repeats: Count
    val_fraction: Fraction


class EnsembleConfig(_Section):
    """The methods that combine probabilities, and the models or ensembles whose two views are combined."""

    methods: list[Literal["mean", "weighted", "stacked"]]
    two_views: list[str]


class ExternalConfig(_Section):
    """An external data set for the trained models, with the keys of `ingest`."""

    source: str
    root: str | None
    expect: Expect
    on_error: OnError
    patients: Count | None


class ReaderConfig(_Section):
    """The rows that are combined with the radiologist's BI-RADS, and the shares of errors put into it."""

    models: list[str]
    error_shares: Annotated[list[Annotated[float, Field(ge=0, le=1)]], Field(min_length=1)]


class EvaluateConfig(_Section):
    """What is reported, the operating point and the intervals."""

    test: Literal["closed", "open"]
    primary: Annotated[list[str], Field(min_length=2, max_length=2)] | None
    reader: ReaderConfig
    rule: Literal["target_sensitivity", "target_specificity", "youden", "cost_ratio"]
    value: NonNegative
    levels: Annotated[list[Literal["lesion", "abnormality", "image", "breast", "patient"]], Field(min_length=1)]
    min_specificity: Annotated[float, Field(ge=0, lt=1)]
    prevalence: Fraction
    conformal: Annotated[list[Fraction], Field(min_length=1)]
    errors: Count
    confidence: Fraction
    resamples: Annotated[int, Field(ge=100)]

    @property
    def reported_split(self) -> Literal["val", "test"]:
        """The split whose samples are reported: the held-out training rows while the test set is closed."""
        return "test" if self.test == "open" else "val"


class GradcamConfig(_Section):
    """The saliency methods (mammo.explain.saliency.METHODS), and the samples that are shown."""

    methods: Annotated[list[SaliencyMethod], Field(min_length=1)]
    samples: Count
    choose: Literal["mixed", "random"] | Annotated[list[str], Field(min_length=1)]


class ChampionConfig(_Section):
    """Conditions under which a model is registered, and replaces the registered champion."""

    significance: Fraction
    sensitivity_floor: Share
    specificity_floor: Share


class TrackingConfig(_Section):
    """The MLflow experiment of all runs, and the promotion of a registered model."""

    experiment: Annotated[str, Field(min_length=1)]
    champion: ChampionConfig


class ComputeConfig(_Section):
    """The number of parallel workers; it never changes a result."""

    workers: Count


@dataclass(frozen=True)
class TrainingConfig:
    """The parameters of one training, without its data and its file of weights.

    seed: of what a training draws. base_seed: of what a frozen base draws, its random weights and its augmented copies;
    the folds of a cross-validation have a seed each and one base_seed, so that they share the base's vectors.
    """

    model: ModelConfig
    train: TrainConfig
    focal: FocalConfig
    predict: PredictConfig
    seed: int
    base_seed: int

    def reseed(self, seed: int) -> "TrainingConfig":
        """Return the parameters under another seed, for a frozen base as well."""
        return replace(self, seed=seed, base_seed=seed)

    def parameters(self) -> dict[str, Any]:
        """Return the values as an MLflow run logs them."""
        return {
            "seed": self.seed,
            **self.train.model_dump(),
            **self.model.model_dump(),
            "focal": self.focal.model_dump(),
            "predict": self.predict.model_dump(),
        }


class Config(_Section):
    """The whole of params.yaml."""

    seed: Annotated[int, Field(ge=0, lt=2**32)]
    ingest: IngestConfig
    split: SplitConfig
    preprocess: PreprocessConfig
    train: TrainConfig
    model_defaults: ModelDefaultsConfig
    models: Annotated[dict[str, ModelConfig], Field(min_length=1)]
    focal: FocalConfig
    predict: PredictConfig
    continue_training: ContinueConfig
    seeds: SeedsConfig
    cross_validate: CrossValidateConfig
    ensemble: EnsembleConfig
    evaluate: EvaluateConfig
    external: dict[str, ExternalConfig]
    gradcam: GradcamConfig
    tracking: TrackingConfig
    compute: ComputeConfig

    @model_validator(mode="before")
    @classmethod
    def _complete_models(cls, content: Any) -> Any:
        """Give each entry under `models` the keys of `model_defaults` that it leaves out."""
        if not isinstance(content, Mapping):
            return content
        defaults, models = content.get("model_defaults"), content.get("models")
        if not isinstance(defaults, Mapping) or not isinstance(models, Mapping):
            return content
        complete = {
            name: {**defaults, **entry} if isinstance(entry, Mapping) else entry for name, entry in models.items()
        }
        return {**content, "models": complete}

    @model_validator(mode="after")
    def _named_models_exist(self) -> "Config":
        for key, names in (
            ("continue_training.model", [self.continue_training.model]),
            ("seeds.models", self.seeds.models),
            ("cross_validate.models", self.cross_validate.models),
        ):
            for name in names:
                if name not in self.models:
                    raise ValueError(f"{key}: {name!r} is not under `models:`; there are {', '.join(self.models)}")
        return self

    @model_validator(mode="after")
    def _architectures_agree(self) -> "Config":
        """Check that the architectures by which DVC finds a stage's files are those of the models."""
        for section, models in (("seeds", self.seeds.models), ("cross_validate", self.cross_validate.models)):
            for name, architecture in models.items():
                expected = self.models[name].architecture
                if architecture != expected:
                    raise ValueError(
                        f"{section}.models.{name} = {architecture!r}, but models.{name}.architecture is {expected!r}; "
                        "write the same name, by which DVC finds the architecture's file"
                    )
        return self

    @model_validator(mode="after")
    def _two_views_are_of_known_rows(self) -> "Config":
        known = [
            *self.models,
            "continue_training",
            *(f"members_{name}" for name in self.cross_validate.models),
            *(f"ensemble_{method}" for method in self.ensemble.methods),
        ]
        for name in self.ensemble.two_views:
            if name not in known:
                raise ValueError(
                    f"ensemble.two_views: {name!r} is no model and no ensemble; there are {', '.join(known)}"
                )
        return self

    @model_validator(mode="after")
    def _augmentations_stay_shares(self) -> "Config":
        augmentation = self.train.augmentation
        for name, model in self.models.items():
            for change in ("zoom", "translation", "gamma", "contrast", "blur", "noise", "artifacts"):
                amount = model.augmentation_strength * getattr(augmentation, change)
                if amount > 1:
                    raise ValueError(
                        f"models.{name}.augmentation_strength times train.augmentation.{change} is {amount:g}, "
                        "but it is a share of the image or of its range; lower one of them to at most 1 together"
                    )
        return self

    def model(self, name: str) -> ModelConfig:
        """Return section `models.<name>`, completed; an unknown name lists the others."""
        if name not in self.models:
            raise ConfigError(f"unknown model {name!r}; params.yaml has models: {', '.join(self.models)}")
        return self.models[name]

    def for_model(self, name: str) -> TrainingConfig:
        """Return the parameters of training `models.<name>`; an unknown name lists the others."""
        return TrainingConfig(self.model(name), self.train, self.focal, self.predict, self.seed, self.seed)


def load_config(path: Path = PARAMS_FILE) -> Config:
    """Read and check params.yaml; raise ConfigError with the file, the key and the valid choices."""
    if not path.is_file():
        raise ConfigError(f"{path.resolve()} does not exist; run from the repository's root")
    try:
        content = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path} is not valid YAML: {error}") from error
    return parse_config(content, str(path))


def parse_config(content: Any, where: str = "params") -> Config:
    """Return the checked configuration of a nested mapping; raise ConfigError.

    where: the name of the mapping in errors.
    """
    try:
        return Config.model_validate(content)
    except ValidationError as error:
        problems = [_explain(issue) for issue in _without_consequences(error.errors())]
        raise ConfigError("\n".join(f"{where}: {problem}" for problem in problems)) from None


def flatten(values: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Return a nested mapping with dotted keys: {"train": {"epochs": 3}} becomes {"train.epochs": 3}.

    A tuple becomes a list, which it is once it was written as JSON.
    """
    flat: dict[str, Any] = {}
    for key, value in values.items():
        if isinstance(value, Mapping):
            flat |= flatten(value, f"{prefix}{key}.")
        else:
            flat[f"{prefix}{key}"] = list(value) if isinstance(value, tuple) else value
    return flat


def _without_consequences(issues: list[Any]) -> list[Any]:
    """Drop the issues of entries under `models` that come from `model_defaults`."""
    wrong = {issue["loc"][1:] for issue in issues if issue["loc"][:1] == ("model_defaults",)}
    if () in wrong:  # the whole section
        wrong |= {(key,) for key in ModelDefaultsConfig.model_fields}
    return [issue for issue in issues if not (issue["loc"][:1] == ("models",) and issue["loc"][2:] in wrong)]


def _explain(issue: Any) -> str:
    key = ".".join(str(part) for part in issue["loc"])
    if issue["type"] == "extra_forbidden":
        return f"unknown key {key!r}; valid here: {', '.join(_valid_keys(issue['loc'][:-1]))}"
    if issue["type"] == "missing":
        return f"key {key!r} is missing"
    message = issue["msg"].removeprefix("Value error, ")
    return f"{key} = {issue['input']!r}: {message}" if key else message


def _valid_keys(location: tuple[str | int, ...]) -> list[str]:
    section: Any = Config
    for part in location:
        fields = getattr(section, "model_fields", None)
        # In dict[str, Section] any name leads to the same section.
        section = get_args(section)[-1] if fields is None else fields[part].annotation
    return list(section.model_fields)
