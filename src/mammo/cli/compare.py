"""`python -m mammo compare` and `summary`: the comparison table of the finished run, and its paired tests."""

import argparse
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

from mammo.cli import output
from mammo.cli.parsers import Subparsers, show_examples
from mammo.core.errors import InputError
from mammo.core.paths import COMPARISON, DATA_REPORT_PAGE, GRADCAM, MODEL_CARDS, REPORT_FIGURES, REPORT_PAGE

if TYPE_CHECKING:
    import pandas as pd

    from mammo.inference.example import Example

TABLE_METRICS = ("auc", "sensitivity", "specificity")
SMALLEST_P = 0.001  # of the printed table
PLACES = {
    "table": f"{COMPARISON} and .md (from the tracking server)",
    "figures": f"{REPORT_FIGURES}/, {GRADCAM}/",
    "report": f"{REPORT_PAGE}, {MODEL_CARDS}/",
    "data": f"{DATA_REPORT_PAGE}",
    "runs": "`make ui`",
}


def add_parser(subparsers: Subparsers) -> None:
    """Add `compare` and `summary`."""
    parser = subparsers.add_parser(
        "compare",
        help="rows of the comparison table side by side, with the paired tests between them",
        description="Rows of the comparison table of the finished run; of two or more that are named also the paired "
        "tests of their AUCs, corrected over all pairs of the table (Holm). Nothing is computed again. With --code, "
        "what differs in the code of two finished MLflow runs: their commits, and the changes that were not committed.",
    )
    parser.add_argument("models", nargs="*", metavar="MODEL", help="models, ensembles, baselines; all where none is")
    parser.add_argument(
        "--code", action="store_true", help="of two runs (ids), commits or experiments, in the place of models"
    )
    parser.add_argument("--level", help="raise samples to lesion, image, breast or patient")
    parser.add_argument("--sort", metavar="METRIC", help="best first, e.g. auc; default: the order of the table")
    output.add_options(parser)
    show_examples(
        parser,
        "python -m mammo compare --sort auc",
        "python -m mammo compare light_cnn ensemble_stacked",
        "python -m mammo compare RUN_ID OTHER_RUN_ID --code",
        "python -m mammo compare main my-experiment --code --out code.txt",
    )
    parser.set_defaults(run=run_compare)
    summary = subparsers.add_parser("summary", help="print the comparison table, and where figures and runs are")
    show_examples(summary, "python -m mammo summary", "python -m mammo summary --json | jq .places")
    output.add_json(summary)
    summary.set_defaults(run=run_summary)


def run_compare(args: argparse.Namespace) -> None:
    """Print rows of the comparison table and the paired tests between them, or what differs in the code of two runs."""
    if args.code:
        _compare_code(args)
        return
    from mammo.reporting import comparison

    rows = comparison.select_rows(args.models, args.level, args.sort)
    tested = len(rows) > 1 and args.models and args.level in (None, rows["unit"].iloc[0])
    tests = comparison.select_tests(rows["model"].to_list()) if tested else comparison.NO_TESTS
    content = {"level": args.level, "models": rows, "paired_tests": tests}
    more_metrics = [] if args.sort is None else [args.sort]
    output.write(args, content, rows, lambda: _tables(rows, tests, more_metrics))


def _compare_code(args: argparse.Namespace) -> None:
    """Print the difference between the code of two runs as git shows it, without effects on a terminal."""
    if len(args.models) != 2 or args.level or args.sort or args.format == "csv":
        raise InputError("--code takes two runs, commits or experiments, and neither --level, --sort nor CSV")
    from mammo.core.paths import project_root
    from mammo.pipeline.code_difference import compare_code

    a, b = args.models
    difference = compare_code(a, b, project_root())
    if args.format == "json":
        text = output.as_json({"a": a, "b": b, "difference": difference})
    else:
        lines = (output.printable(line.replace("\t", "    ")) for line in difference.splitlines())
        text = "".join(f"{line}\n" for line in lines) or f"{a} and {b}: the same code\n"
    if args.out is None:
        print(text, end="")
    else:
        output.write_file("--out", args.out, text)


def run_summary(args: argparse.Namespace) -> None:
    """Print the comparison table, where everything else lies, and a command to try a model with."""
    from mammo.inference.example import find_example
    from mammo.reporting import comparison

    rows = comparison.select_rows()
    if args.json:
        print(output.as_json({"models": rows, "places": PLACES}), end="")
        return
    places = (f"{name:8} {place}" for name, place in PLACES.items())
    print(output.render(*_tables(rows, comparison.NO_TESTS), *places), end="")
    if (example := find_example()) is not None:
        print(f"\nTry it on a film of the cohort, a malignant test lesion:\n\n{example.command}\n\n{_expect(example)}")


def _expect(example: "Example") -> str:
    """Return what the example's command will show; the lines fit a terminal of 80 columns."""
    return (
        f"It prints a probability of {example.prob:.3f} beside the threshold, and writes a heat map\n"
        f"to {example.heat_map}. First: source .venv/bin/activate"
    )


def _tables(rows: "pd.DataFrame", tests: "pd.DataFrame", more_metrics: Sequence[str] = ()) -> Iterator[Any]:
    """Yield the rows with the headline and `more_metrics`, and the tests where there are any."""

    metrics = list(dict.fromkeys([*TABLE_METRICS, *more_metrics]))
    for (samples, n, n_patients), part in rows.groupby(["samples", "n", "n_patients"], sort=False):
        title = f"{samples}: {n:.0f} samples of {n_patients:.0f} patients"
        lines = ([row["model"], *(_measured(row, name) for name in metrics)] for _, row in part.iterrows())
        yield output.table(title, ["model", *metrics], lines)
    yield "In brackets: intervals, resampled by patient. baseline_*: no image is seen;"
    yield "cross_validate_*: training patients. All metrics: metrics/comparison.csv"
    if len(tests):
        columns = ["a", "b", "AUC of b - AUC of a", "p", "p after Holm"]
        title = "Paired tests on the same samples; Holm's correction over all pairs of rows"
        yield output.table(title, columns, (_test_line(test) for _, test in tests.iterrows()))


def _measured(row: "pd.Series[Any]", name: str) -> tuple[str, ...]:
    """Return a metric over its interval: beside each other four columns would not fit 80 characters."""
    from mammo.reporting import comparison

    text = comparison.format_interval(row, name) if f"{name}_low" in row else f"{row[name]:g}"
    return tuple(text.split(" ", 1))


def _test_line(test: "pd.Series[Any]") -> list[str | tuple[str, ...]]:
    difference = f"{test['difference']:+.3f}", f"({test['low']:+.3f} to {test['high']:+.3f})"
    p_values = (f"{p:.3f}" if p >= SMALLEST_P else f"< {SMALLEST_P}" for p in (test["p"], test["p_holm"]))
    return [test["model_a"], test["model_b"], difference, *p_values]
