"""The records of a finished pipeline, by the names in params.yaml."""

from pathlib import Path

from mammo.core.config import Config
from mammo.core.records import record_path

TABLE_TAGS = ["model", "unit", "samples", "weights"]  # columns of the comparison table beside its metrics


def result_paths(config: Config) -> list[Path]:
    """Return the records of all stages up to the report, less those that a removed model left behind."""
    single = ["ingest", "split", "preprocess", "continue_training", "ensemble", "compare"]
    per_model = [(stage, name) for name in config.models for stage in ("train", "gradcam")]
    per_model += [(stage, name) for name in config.seeds.models for stage in ("seeds", "retrained_maps")]
    per_model += [("cross_validate", name) for name in config.cross_validate.models]
    return [
        *(record_path(stage) for stage in single),
        *(record_path(stage, name) for stage, name in per_model),
        *_folder("evaluate", "any"),
    ]


def external_paths(config: Config) -> list[Path]:
    """Return the records of the evaluations on other data sets."""
    return [path for name in config.external for path in _folder("external", f"{name}/any")]


def _folder(stage: str, model: str) -> list[Path]:
    """Return all records beside that of `model`; one stage alone writes the folder, and leaves nothing old in it."""
    return sorted(record_path(stage, model).parent.glob("*.json"))
