"""Make the tracking server hold every record of the workspace, and read the comparison table back from it."""

from pathlib import Path

from rich.console import Console

from mammo import params, report, tables, tracking
from mammo.params import Params
from stages import run
from stages.paths import COMPARISON

TAGS = ["model", "unit", "samples", "weights"]
LEADING = ["model", "unit", "n", "n_patients", "auc", "auc_low", "auc_high", "accuracy", "sensitivity", "specificity"]


def main() -> None:
    """Replay what the server lacks; write metrics/comparison.csv and .md from the runs of this workspace."""
    loaded = params.load()
    records = [tracking.read_record(path) for path in _record_paths(loaded)]
    replayed, runs = tracking.publish(loaded.tracking.experiment, records)
    comparison = tracking.rows(runs, "evaluate", TAGS)
    others = [column for column in comparison.columns if column not in LEADING]
    comparison = comparison[LEADING + others]
    tables.write_text(COMPARISON, comparison.round(6).to_csv(index=False, lineterminator="\n"))
    tables.write_text(COMPARISON.with_suffix(".md"), report.comparison_markdown(comparison))
    console = Console()
    console.print(f"{len(records)} records on the server, {len(replayed)} of them replayed now")


def _record_paths(loaded: Params) -> list[Path]:
    """Records of the stages that params.yaml names; those of a removed model stay behind and are not asked for."""
    single = ["ingest", "split", "preprocess", "continue_training", "ensemble", "compare"]
    per_model = [(stage, name) for name in loaded.models for stage in ("train", "gradcam")]
    per_model += [("cross_validate", name) for name in loaded.cross_validate.models]
    return [
        *(tracking.record_path(stage) for stage in single),
        *(tracking.record_path(stage, name) for stage, name in per_model),
        *sorted(tracking.record_path("evaluate", "any").parent.glob("*.json")),  # this folder is evaluate's alone
    ]


if __name__ == "__main__":
    run(main)
