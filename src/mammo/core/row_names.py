"""Names of the rows of the comparison table, what they stand for, and the models that ensembles are made of.

A name is also where a model's files lie below the folders of core/paths.py.
"""

from collections.abc import Iterable

from mammo.core.config import Config, EnsembleConfig, SeedsConfig

ENSEMBLE, TWO_VIEWS = "ensemble_", "two_views_"  # what the names of the ensemble stage's rows start with
BASELINE, CROSS_VALIDATED = "baseline_", "cross_validate_"
CONTINUED = "continue_training"
READER = "baseline_birads"  # the radiologist's own assessment

# Column `samples` of the comparison table: what a row's metrics were measured on.
OFFICIAL_TEST = "official test"
HELD_OUT_FOLDS = "train, out of fold"


def is_combined(name: str) -> bool:
    """Whether a row of that name is made by the ensemble stage, of several models or of two views."""
    return name.startswith((ENSEMBLE, TWO_VIEWS))


def is_baseline(name: str) -> bool:
    """Whether a row of the comparison table needs no image."""
    return name.startswith(BASELINE)


def ensemble_member_names(models: Iterable[str], seed: int, seeds: SeedsConfig) -> list[str]:
    """Return every model, the continued one, and the models under further seeds."""
    return [
        *table_row_names(models),
        *(member for model in seeds.models for member in seed_member_names(model, seed, seeds).values()),
    ]


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
    architecture = name.removeprefix(CROSS_VALIDATED)
    if architecture in config.models:
        return config.models[architecture].weights_name
    return config.continue_training.start if name == CONTINUED else "-"
