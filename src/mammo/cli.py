"""`python -m mammo`: what is done beside `dvc repro`."""

import argparse
import os
import sys
from collections.abc import Sequence
from pathlib import Path

from rich.console import Console
from rich.table import Table

from mammo import params, profiles, project, report, reproduce, results, spaces, tracking
from mammo.errors import InputError

SUMMARY_WIDTH = 170


def main(words: Sequence[str] | None = None) -> None:
    """Run one command; bad input ends in one message and exit code 1."""
    asked = _parser().parse_args(words)
    try:
        asked.run(asked)
    except InputError as error:
        sys.exit(f"error: {error}")


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="mammo", description=__doc__)
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    profile = commands.add_parser("profile", help="merge profiles/NAME.yaml into params.yaml, keeping its comments")
    profile.add_argument("name", metavar="NAME", help=f"one of: {', '.join(profiles.names()) or '(none here)'}")
    profile.set_defaults(run=_profile)
    result = commands.add_parser(
        "results", help="write docs/results/NAME and docs/data/NAME from the finished run, and README's table"
    )
    result.add_argument("name", metavar="NAME")
    result.set_defaults(run=_results)
    search = commands.add_parser(
        "search", help="search the parameters of models.MODEL: TPE proposes them, validation patients alone judge them"
    )
    search.add_argument("model", metavar="MODEL")
    search.add_argument(
        *("-S", "--space"),
        action="append",
        default=[],
        metavar="KEY=SPACE",
        help=f"what may change, e.g. '{spaces.EXAMPLE}'; there are {', '.join(spaces.KINDS)}",
    )
    search.add_argument("--spaces", type=Path, metavar="FILE", help="more of them, in YAML, nested as params.yaml")
    search.add_argument("--trials", type=int, default=30, help="in all, those of earlier calls included (30)")
    search.add_argument(
        "--folds",
        action="store_true",
        help="judge by the folds of all training patients, not by the validation patients: less luck, more time",
    )
    search.add_argument("--apply", action="store_true", help="write the best trial's values into params.yaml")
    search.set_defaults(run=_search)
    summary = commands.add_parser("summary", help="print the comparison table, and where figures and runs are")
    summary.set_defaults(run=_summary)
    again = commands.add_parser(
        "reproduce", help="run a finished MLflow run again from its commit, in a temporary worktree, and compare"
    )
    again.add_argument("run_id", metavar="RUN_ID", help="of a stage or a whole pipeline; `make ui` shows it")
    again.add_argument("--tolerance", type=float, default=1e-6, help="largest difference of a metric (default 1e-6)")
    again.add_argument("--keep", action="store_true", help="leave the worktree")
    again.set_defaults(run=_reproduce)
    ui = commands.add_parser("ui", help="open the MLflow UI of this workspace's runs")
    ui.add_argument("--port", type=int, default=5000)
    ui.set_defaults(run=_ui)
    return parser


def _profile(asked: argparse.Namespace) -> None:
    changed = profiles.apply(asked.name)
    print(f"params.yaml: {len(changed)} values changed ({', '.join(changed) or 'it was merged already'})")
    print("`git diff params.yaml` shows the experiment, `dvc repro` runs it, `git checkout params.yaml` undoes it")


def _results(asked: argparse.Namespace) -> None:
    command = f"python -m mammo profile {asked.name} && dvc repro"
    for path in results.write(asked.name, command):
        print(path)


def _search(asked: argparse.Namespace) -> None:
    if asked.trials < 1:
        raise InputError(f"--trials is {asked.trials}; ask for 1 or more")
    wanted = spaces.parse(asked.space, asked.spaces)
    spaces.check(wanted, asked.model, params.load())
    sys.path.insert(0, str(Path.cwd()))  # the repository's stages, also for an installed `mammo`
    from stages import search  # it imports Keras, which takes seconds

    search.main(asked.model, wanted, asked.trials, asked.folds, asked.apply)


def _summary(asked: argparse.Namespace) -> None:
    comparison = results.read_comparison()
    table = Table(title="In brackets: intervals resampled by patient")
    for column in ("model", "weights", "samples", "n (patients)", *report.HEADLINE_METRICS):
        table.add_column(column, no_wrap=True)
    for _, row in comparison.iterrows():
        count = f"{row['n']:.0f} ({row['n_patients']:.0f})"
        values = [report.with_interval(row, name) for name in report.HEADLINE_METRICS]
        table.add_row(row["model"], row["weights"], row["samples"], count, *values)
    console = Console(width=SUMMARY_WIDTH)
    console.print(table)
    console.print(
        "baseline_*: no image is seen; cross_validate_*: training patients, out of fold; others: official test"
    )
    console.print("table    metrics/comparison.csv and .md (read back from the tracking server)", highlight=False)
    console.print("figures  data/figures/, data/gradcam/", highlight=False)
    console.print("report   data/report/report.html, data/report/model_cards/", highlight=False)
    console.print("data     data/data_report/data.html", highlight=False)
    console.print("runs     `make ui`", highlight=False)


def _reproduce(asked: argparse.Namespace) -> None:
    """Exit code 1 where a metric differs by more than the tolerance."""
    found = reproduce.reproduce(asked.run_id, project.root(), asked.keep)
    console = Console(width=SUMMARY_WIDTH)
    if found.differences:
        table = Table(title="What came out otherwise")
        for column in ("run", "what", "then", "now", "difference"):
            table.add_column(column)
        for row in found.differences:
            table.add_row(
                row.run, row.what, row.before, row.now, f"{row.distance:.2g}" if row.distance else "other bytes"
            )
        console.print(table)
    for tag, (then, now) in found.machine.items():
        console.print(f"{tag}: then {then}; now {now}", highlight=False)
    count = f"{len(found.compared)} run{'s' if len(found.compared) > 1 else ''}"
    if found.largest() > asked.tolerance:
        raise InputError(f"not reproduced: a metric of {count} differs by {found.largest():.2g}")
    same = "with the same bytes" if not found.differences else f"metrics within {found.largest():.2g}"
    console.print(f"reproduced: {count}, {same}")


def _ui(asked: argparse.Namespace) -> None:
    """Serve the embedded store, or name the page of the server that holds the runs."""
    store, page = tracking.table_page(params.load().tracking.experiment)
    if store.startswith("http"):
        print(f"the comparison table's runs: {store.rstrip('/')}{page}")
        return
    print(f"the comparison table's runs: http://127.0.0.1:{asked.port}{page}", flush=True)
    server = ["mlflow", "server", "--backend-store-uri", store, "--host", "127.0.0.1", "--port", str(asked.port)]
    os.execvp(server[0], server)
