"""How large the lesion of each sample is among those of the training rows."""

import pandas as pd

from mammo import subgroups, tables
from stages.paths import PIXELS


def thirds() -> pd.DataFrame:
    """sample_id and `size` of every sample: thirds of the lesion's share of the film, cut on the training rows."""
    sizes = tables.read(PIXELS / "sizes.csv", tables.SIZES)
    index = tables.read(PIXELS / "index.csv", tables.INDEX)
    joined = index[["sample_id", "split"]].merge(sizes, on="sample_id", how="left", validate="one_to_one")
    size = subgroups.thirds(joined["lesion_share"], joined["split"] == "train")
    return joined[["sample_id"]].assign(size=size)
