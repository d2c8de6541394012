"""Names of the rows of the comparison table, what they stand for, and the models that ensembles are made of.

A name is also where a model's files lie below the folders of core/paths.py.
"""

from collections.abc import Iterable

from mammo.core.config import Config, CrossValidateConfig, EnsembleConfig, SeedsConfig
from mammo.core.paths import MEMBERS

ENSEMBLE, TWO_VIEWS = "ensemble_", "two_views_"  # what the names of the ensemble stage's rows start with
BASELINE, CROSS_VALIDATED = "baseline_", "cross_validate_"
CONTINUED = "continue_training"
READER_WITH = "reader_with_"  # what the names of rows start with that contain the radiologist's answer and a model
READER = "baseline_birads"  # the radiologist's own assessment

# Column `samples` of the comparison table: what a row's metrics were measured on.
OFFICIAL_TEST = "official test"
HELD_OUT_FOLDS = "train, out of fold"
HELD_OUT_ROWS = "train, held out"  # validation rows, while the test set is closed


def is_combined(name: str) -> bool:
    """Whether a row of that name is made by the ensemble stage, of several models or of two views."""
    return name.startswith((ENSEMBLE, TWO_VIEWS))


def is_average(name: str) -> bool:
    """Whether a row of that name is the mean over the members of a cross-validation."""
    return name.startswith(MEMBERS)


def is_ensemble(name: str) -> bool:
    """Whether a row of that name combines several models."""
    return name.startswith(ENSEMBLE)


def reader_with_name(name: str) -> str:
    """Return the row of `name` and the radiologist's assessment together."""
    return f"{READER_WITH}{name}"


def contains_reader(name: str) -> bool:
    """Whether a row of that name contains the radiologist's answer."""
    return name == READER or name.startswith(READER_WITH)


def is_baseline(name: str) -> bool:
    """Whether a row of the comparison table needs no image."""
    return name.startswith(BASELINE)


def ensemble_member_names(config: Config) -> list[str]:
    """Return what the ensembles combine: the cross-validated models, each as the mean over its members.

    Where fewer than two are cross-validated: every single model, the continued one, and those under further seeds.
    """
    return _several_averages(config) or single_model_names(config)


def candidate_names(config: Config) -> list[str]:
    """Return the models among which a champion is chosen: the averaged ones, or with fewer than two the single ones.

    All of them are scored on the same validation rows.
    """
    return _several_averages(config) or table_row_names(config.models)


def _several_averages(config: Config) -> list[str]:
    """Return the rows that are a mean over members; none where there are fewer than two to choose among."""
    names = members_row_names(config.cross_validate)
    return names if len(names) > 1 else []


def single_model_names(config: Config) -> list[str]:
    """Return every model of one training: the models, the continued one, and those under further seeds."""
    further = [seed_member_names(model, config.seed, config.seeds).values() for model in config.seeds.models]
    return [*table_row_names(config.models), *(name for names in further for name in names)]


def members_row_names(cross_validate: CrossValidateConfig) -> list[str]:
    """Return the rows of the cross-validated models on the test set, each the mean over its members."""
    return [members_name(model) for model in cross_validate.models]


def members_name(model: str) -> str:
    """Return the row of the mean over the models of `model`'s cross-validation, the members."""
    return f"{MEMBERS}{model}"


def table_row_names(models: Iterable[str]) -> list[str]:
    """Return the single models that have a row of their own in the comparison table."""
    return [*models, CONTINUED]


def ensemble_names(ensemble: EnsembleConfig) -> list[str]:
    """Return the rows that the ensemble stage makes."""
    return [*map(ensemble_name, ensemble.methods), *map(two_views_name, ensemble.two_views)]


def ensemble_name(method: str) -> str:
    """Return the row of an ensemble by `method`."""
    return f"{ENSEMBLE}{method}"


def two_views_name(name: str) -> str:
    """Return the row of `name` averaged over a lesion's views."""
    return f"{TWO_VIEWS}{name}"


def cross_validated_name(model: str) -> str:
    """Return the row of the cross-validation of `model`."""
    return f"{CROSS_VALIDATED}{model}"


def seed_member_names(model: str, seed: int, seeds: SeedsConfig) -> dict[int, str]:
    """Return the names of `model` under each further seed, by seed."""
    return {further: f"seeds/{model}/{further}" for further in range(seed + 1, seed + 1 + seeds.count)}


def starting_weights(name: str, config: Config) -> str:
    """Return what the weights of row `name` started from, as the comparison table shows it; `-` without any."""
    architecture = name.removeprefix(CROSS_VALIDATED).removeprefix(MEMBERS)
    if architecture in config.models:
        return config.models[architecture].weights_name
    return config.continue_training.start if name == CONTINUED else "-"
