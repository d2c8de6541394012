"""`python -m mammo data`: download, check and count the data that params.yaml names."""

import argparse
import sys
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from mammo.cli import output
from mammo.cli.parsers import Subparsers, show_examples

if TYPE_CHECKING:
    import pandas as pd

PROBLEMS_SHOWN = 20


def add_parser(subparsers: Subparsers) -> None:
    """Add `data download`, `data check` and `data describe`."""
    parser = subparsers.add_parser("data", help="fetch, check or count the data that params.yaml names")
    parts = parser.add_subparsers(required=True, metavar="download|check|describe")
    download = parts.add_parser(
        "download", help="fetch what `ingest.source` names; whole files are kept, partial ones are continued"
    )
    show_examples(
        parser,
        "python -m mammo data download",
        "python -m mammo data check",
        "python -m mammo data describe",
    )
    output.add_json(download)
    download.set_defaults(run=run_download)
    check = parts.add_parser(
        "check",
        help="whether files, tables and split are whole; exit code 1 where they are not",
        description="Reads every file that the data set names: missing, truncated and unreadable ones; the published "
        "counts where `ingest.expect` is `full`; files that changed since ingest; patients and films in two splits.",
    )
    output.add_json(check)
    check.set_defaults(run=run_check)
    describe = parts.add_parser("describe", help="count patients, films and lesions by split, class and finding")
    output.add_options(describe)
    describe.set_defaults(run=run_describe)


def run_download(args: argparse.Namespace) -> None:
    """Fetch what params.yaml names."""
    from mammo.pipeline import data_commands

    with output.progress_to_stderr():
        download = data_commands.download()
    if args.json:
        print(output.as_json(download), end="")
    elif download.generated:
        print(f"ingest.source {download.source}: nothing to download, `dvc repro ingest` makes {download.dataset}")
    else:
        size = f"{download.files:,} files, {download.bytes / 1e9:,.2f} GB"
        print(f"{download.root}: {size} of {download.dataset} ({download.source})")
        print("`python -m mammo data check` reads them all, `dvc repro` takes them in")


def run_check(args: argparse.Namespace) -> None:
    """Print what is wrong with the data; exit code 1 where something is."""
    from mammo.pipeline import data_commands

    check = data_commands.check()
    if args.json:
        print(output.as_json(check), end="")
    else:
        counts = ", ".join(f"{name} {count:,}" for name, count in check.counts.items())
        print(f"{check.root}: {check.files:,} usable files; {counts}")
        print(f"compared with {', '.join(map(str, check.compared)) or 'no table: ingest has not run'}")
        for problem in check.problems[:PROBLEMS_SHOWN]:
            print(f"- {problem}")
        if (n_more := len(check.problems) - PROBLEMS_SHOWN) > 0:
            print(f"... and {n_more:,} more; --json lists all")
    if check.problems:
        sys.exit(f"{len(check.problems):,} problem{'s' if len(check.problems) > 1 else ''}")
    print("nothing is wrong", file=sys.stderr)


def run_describe(args: argparse.Namespace) -> None:
    """Count the samples of the splits."""
    from mammo.pipeline import data_commands

    description = data_commands.describe()
    counts, composition = description.counts, description.composition
    output.write(args, vars(description), composition, lambda: _tables(counts, composition))


def _tables(counts: "pd.DataFrame", composition: "pd.DataFrame") -> Iterator[Any]:
    yield output.table("Samples of the splits", counts.columns, counts.itertuples(index=False))
    splits = list(dict.fromkeys(composition["split"]))
    rows = []
    for (variable, value), group in composition.groupby(["variable", "value"], sort=False):
        by_split = group.set_index("split").loc[splits]
        rows.append([variable, value, *(_prevalence(row) for _, row in by_split.iterrows())])
    yield output.table("Samples: n, of them malignant (95 % interval by patient)", ["", "", *splits], rows)


def _prevalence(row: "pd.Series[Any]") -> str:
    """Return `112: 0.393 (0.311-0.472)`."""
    from mammo.reporting import comparison

    if not row["n"]:
        return "0"
    limits = {limit: f"prevalence_{limit}" for limit in ("low", "high")}
    return f"{row['n']:,}: {comparison.format_interval(row.rename(limits), 'prevalence')}"
