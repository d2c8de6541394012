"""Which records a finished pipeline holds, by the names in params.yaml."""

from pathlib import Path

from mammo import tracking
from mammo.params import Params

TABLE_TAGS = ["model", "unit", "samples", "weights"]  # columns of the comparison table beside its metrics


def result_paths(loaded: Params) -> list[Path]:
    """Records of all stages up to the report; those of a removed model stay behind and are not asked for."""
    single = ["ingest", "split", "preprocess", "continue_training", "ensemble", "compare"]
    per_model = [(stage, name) for name in loaded.models for stage in ("train", "gradcam")]
    per_model += [("cross_validate", name) for name in loaded.cross_validate.models]
    return [
        *(tracking.record_path(stage) for stage in single),
        *(tracking.record_path(stage, name) for stage, name in per_model),
        *sorted(tracking.record_path("evaluate", "any").parent.glob("*.json")),  # this folder is evaluate's alone
    ]
