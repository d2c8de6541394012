"""The verdict on a model by the fall of its AUC without the lesion, in the field's words."""

import math
from collections.abc import Mapping
from typing import Any

LOOKS, LITTLE = "looks at the lesion", "little of it from the lesion"
DOES_NOT_LOOK, NOT_SHOWN = "does not look at the lesion", "fall not shown"


def judge_drop(metrics: Mapping[Any, Any]) -> str:
    """Return the verdict on a row of the comparison table; empty where the fall was not measured.

    metrics: auc, and auc_drop with its limits. The AUC falls where the whole interval of the drop lies above 0; little
    of it comes from the lesion where even the upper limit leaves more than half of what the model has above chance. It
    does not fall where the interval reaches 0 and the drop is 0 or less, or so small.
    """
    drop, low, high = (float(metrics.get(f"auc_drop{limit}", math.nan)) for limit in ("", "_low", "_high"))
    if math.isnan(drop):
        return ""
    small = high < (float(metrics["auc"]) - 0.5) / 2
    if low > 0:
        return LITTLE if small else LOOKS
    return DOES_NOT_LOOK if drop <= 0 or small else NOT_SHOWN
