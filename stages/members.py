"""The trained models that ensembles are made of, and the ensembles.

A name is where the files lie below a folder of paths.py.
"""

from collections.abc import Iterable

from mammo.params import EnsembleParams, SeedsParams

CONTINUED = "continue_training"


def names(models: Iterable[str], seed: int, seeds: SeedsParams) -> list[str]:
    """Every model, the continued one, and the models under further seeds."""
    return [*rows(models), *(member for model in seeds.models for member in of_seeds(model, seed, seeds).values())]


def rows(models: Iterable[str]) -> list[str]:
    """Those with a row of their own in the comparison table."""
    return [*models, CONTINUED]


def ensembles(ensemble: EnsembleParams) -> list[str]:
    """What the ensemble stage makes of them."""
    return [*map(of_method, ensemble.methods), *map(of_two_views, ensemble.two_views)]


def of_method(method: str) -> str:
    """The row of an ensemble by `method`."""
    return f"ensemble_{method}"


def of_two_views(name: str) -> str:
    """The row `name` with the mean over a lesion's views."""
    return f"two_views_{name}"


def of_seeds(model: str, seed: int, seeds: SeedsParams) -> dict[int, str]:
    """`model` under each further seed."""
    return {further: f"seeds/{model}/{further}" for further in range(seed + 1, seed + 1 + seeds.count)}
