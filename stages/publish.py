"""Make the tracking server hold every record of the workspace, and read the comparison table back from it."""

from rich.console import Console

from mammo import params, report, results, tables, tracking
from stages import run
from stages.paths import COMPARISON
from stages.records import TABLE_TAGS, result_paths


def main() -> None:
    """Replay what the server lacks; write metrics/comparison.csv and .md from the runs of this workspace."""
    loaded = params.load()
    records = [tracking.read_record(path) for path in [*result_paths(loaded), tracking.record_path("report")]]
    replayed, runs = tracking.publish(loaded.tracking.experiment, records)
    comparison = tracking.rows_of_runs(runs, "evaluate", TABLE_TAGS)
    others = [column for column in comparison.columns if column not in results.COLUMNS]
    comparison = comparison[results.COLUMNS + others]
    tables.write_text(COMPARISON, comparison.round(6).to_csv(index=False, lineterminator="\n"))
    tables.write_text(COMPARISON.with_suffix(".md"), report.comparison_markdown(comparison))
    console = Console()
    console.print(f"{len(records)} records on the server, {len(replayed)} of them replayed now")


if __name__ == "__main__":
    run(main)
