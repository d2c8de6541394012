"""`python -m mammo experiments`: a readable `dvc exp show`."""

import argparse
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

from mammo.cli import output
from mammo.cli.parsers import Subparsers, show_examples

if TYPE_CHECKING:
    from mammo.pipeline.experiments import Experiment


def add_parser(subparsers: Subparsers) -> None:
    """Add `experiments`."""
    parser = subparsers.add_parser(
        "experiments",
        help="DVC's experiments: what each changes of its baseline, and four metrics",
        description="Lists DVC's experiments with the parameters that differ from their baseline, and the metrics of "
        "the model that has the best AUC on validation rows: that AUC, and the reported AUC, sensitivity and "
        "specificity. No choice rests on a test score.",
    )
    parser.add_argument("--all", action="store_true", help="of all commits that have experiments, not of HEAD alone")
    output.add_json(parser)
    show_examples(
        parser,
        "python -m mammo experiments           HEAD and its experiments",
        "python -m mammo experiments --all     of all commits",
        "dvc exp apply NAME                    make one of them the workspace",
    )
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> None:
    """Print the experiments."""
    from mammo.pipeline.experiments import list_experiments

    with output.progress_to_stderr():
        experiments = list_experiments(args.all)
    if args.json:
        print(output.as_json(experiments), end="")
    else:
        print(output.render(*lines(experiments)), end="")


def lines(experiments: Sequence["Experiment"]) -> Iterator[Any]:
    """Yield the table of experiments, what its numbers are, and why some have none."""
    from mammo.pipeline.experiments import BASELINE

    if not experiments:
        yield "there is no commit yet"
        return
    columns = ["experiment", "changed parameters", "metrics"]
    yield output.table("Experiments", columns, map(_row, experiments))
    samples = {row.selected.metrics["samples"] for row in experiments if row.selected is not None}
    yield "The model is the best on validation rows of those that could become champion."
    yield f"The other metrics: {', '.join(sorted(samples)) or 'none'}."
    if any(row.selected is not None and not row.selected.reaches_floors for row in experiments):
        yield "* no model holds the floors of tracking.champion; this is the best of all"
    yield from (f"{row.name}: {row.problem}" for row in experiments if row.problem and row.problem != row.state)
    if all(row.state == BASELINE for row in experiments):
        yield "No experiments; `dvc exp run -S KEY=VALUE` makes one."


def _row(experiment: "Experiment") -> list[object]:
    from mammo.pipeline.experiments import BASELINE, FINISHED

    name = (experiment.name, *(() if experiment.state == FINISHED else (f"({experiment.state})",)))
    changes = tuple(f"{key}: {old} -> {new}" for key, (old, new) in experiment.changes.items())
    selected = experiment.selected
    if selected is None:
        return [name, changes, "unknown" if experiment.state in (BASELINE, FINISHED) else ""]
    metrics, star = selected.metrics, "" if selected.reaches_floors else "*"
    numbers = (
        f"{selected.row}{star}",
        f"validation AUC {selected.val_auc:.3f}",
        f"AUC {metrics['auc']:.3f} ({metrics['auc_low']:.3f}-{metrics['auc_high']:.3f})",
        *(f"{rate} {metrics[rate]:.3f}" for rate in ("sensitivity", "specificity")),
    )
    return [name, changes, numbers]
