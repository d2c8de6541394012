"""Lesions as small, medium or large: the tertiles of the training rows."""

import numpy as np
import numpy.typing as npt
import pandas as pd

from mammo.core.errors import InputError


def tertiles(values: npt.ArrayLike, training: npt.ArrayLike) -> "pd.Categorical[str]":
    """Cut values (n,) at the tertiles of the training rows (n,) 0/1 into small, medium, large; nan stays missing."""
    numbers = np.asarray(values, np.float64)
    training_values = numbers[np.asarray(training, bool) & ~np.isnan(numbers)]
    if not training_values.size:
        raise InputError("no training row has a size, so that there are no tertiles; preprocess again")
    names = np.array(["small", "medium", "large"], object)
    sizes = names[np.searchsorted(np.quantile(training_values, [1 / 3, 2 / 3]), numbers).clip(max=2)]
    sizes[np.isnan(numbers)] = None
    return pd.Categorical(sizes.tolist(), categories=names.tolist(), ordered=True)


def size_tertiles(index: pd.DataFrame, sizes: pd.DataFrame) -> pd.DataFrame:
    """Return sample_id and `size` of every sample: tertiles of the lesion's share of the film, cut on training rows.

    index: schemas.INDEX; sizes: schemas.SIZES.
    """
    joined = index[["sample_id", "split"]].merge(sizes, on="sample_id", how="left", validate="one_to_one")
    return joined[["sample_id"]].assign(size=tertiles(joined["lesion_share"], joined["split"] == "train"))
