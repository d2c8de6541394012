"""Names of the rows of the comparison table, and of the models that ensembles are made of.

A name is where a model's files lie below the folders of core/paths.py.
"""

from collections.abc import Iterable

from mammo.core.config import EnsembleConfig, SeedsConfig

ENSEMBLE, TWO_VIEWS = "ensemble_", "two_views_"  # what the names of the ensemble stage's rows start with


def is_combined(name: str) -> bool:
    """Whether a row of that name is made by the ensemble stage, of several models or of two views."""
    return name.startswith((ENSEMBLE, TWO_VIEWS))


CONTINUED = "continue_training"


def ensemble_member_names(models: Iterable[str], seed: int, seeds: SeedsConfig) -> list[str]:
    """Every model, the continued one, and the models under further seeds."""
    return [
        *table_row_names(models),
        *(member for model in seeds.models for member in seed_member_names(model, seed, seeds).values()),
    ]


def table_row_names(models: Iterable[str]) -> list[str]:
    """Those with a row of their own in the comparison table."""
    return [*models, CONTINUED]


def ensemble_names(ensemble: EnsembleConfig) -> list[str]:
    """What the ensemble stage makes of them."""
    return [*map(ensemble_name, ensemble.methods), *map(two_views_name, ensemble.two_views)]


def ensemble_name(method: str) -> str:
    """The row of an ensemble by `method`."""
    return f"ensemble_{method}"


def two_views_name(name: str) -> str:
    """The row `name` with the mean over a lesion's views."""
    return f"two_views_{name}"


def seed_member_names(model: str, seed: int, seeds: SeedsConfig) -> dict[int, str]:
    """`model` under each further seed."""
    return {further: f"seeds/{model}/{further}" for further in range(seed + 1, seed + 1 + seeds.count)}
