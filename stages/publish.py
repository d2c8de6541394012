"""Make the tracking server hold every record of the workspace, and read the comparison table back from it."""

from rich.console import Console

from mammo import params, report, results, tables, tracking
from stages import run
from stages.paths import COMPARISON
from stages.records import TABLE_TAGS, external_paths, result_paths

PAGES = ("data_report", "report")  # stages that show what others computed


def main() -> None:
    """Replay what the server lacks; write metrics/comparison.csv and .md from the runs of this workspace."""
    loaded = params.load()
    paths = [*result_paths(loaded), *external_paths(loaded), *map(tracking.record_path, PAGES)]
    records = [tracking.read_record(path) for path in paths]
    replayed, runs = tracking.publish(loaded.tracking.experiment, records)
    comparison = tracking.rows_of_runs(runs, TABLE_TAGS)
    others = [column for column in comparison.columns if column not in results.COLUMNS]
    comparison = comparison[results.COLUMNS + others]
    tables.write_rounded(COMPARISON, comparison)
    tables.write_text(COMPARISON.with_suffix(".md"), report.comparison_markdown(comparison))
    console = Console()
    console.print(f"{len(records)} records on the server, {len(replayed)} of them replayed now")


if __name__ == "__main__":
    run(main)
