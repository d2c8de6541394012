"""How large the lesion of each sample is among those of the training rows."""

import pandas as pd

from mammo.core import schemas
from mammo.core.files import read_table
from mammo.core.paths import PIXELS
from mammo.evaluation import subgroups


def size_tertiles() -> pd.DataFrame:
    """sample_id and `size` of every sample: thirds of the lesion's share of the film, cut on the training rows."""
    sizes = read_table(PIXELS / "sizes.csv", schemas.SIZES)
    index = read_table(PIXELS / "index.csv", schemas.INDEX)
    joined = index[["sample_id", "split"]].merge(sizes, on="sample_id", how="left", validate="one_to_one")
    size = subgroups.tertiles(joined["lesion_share"], joined["split"] == "train")
    return joined[["sample_id"]].assign(size=size)
