"""Make the tracking server hold every record of the workspace, and read the comparison table back from it."""

from rich.console import Console

from mammo import params, report, results, tables, tracking
from mammo.params import Params
from mammo.record import Record, read_record, record_path
from stages import run
from stages.paths import COMPARISON
from stages.records import TABLE_TAGS, external_paths, result_paths

PAGES = ("data_report", "report")  # stages that show what others computed


def main() -> None:
    """Replay what the server lacks; write metrics/comparison.csv and .md from the runs of this workspace."""
    loaded = params.load()
    paths = [*result_paths(loaded), *external_paths(loaded), *map(record_path, PAGES)]
    records = [read_record(path) for path in paths]
    with tracking.turn("publish"):  # queued experiments share most records, and each asks before it sends
        _publish(loaded, records)


def _publish(loaded: Params, records: list[Record]) -> None:
    published = tracking.publish(loaded.tracking.experiment, records)
    comparison = tracking.rows_of_runs(published.runs, TABLE_TAGS)
    others = [column for column in comparison.columns if column not in results.COLUMNS]
    comparison = comparison[results.COLUMNS + others]
    tables.write_rounded(COMPARISON, comparison)
    tables.write_text(COMPARISON.with_suffix(".md"), report.comparison_markdown(comparison))
    console = Console()
    if published.pipeline is None:
        pages = [COMPARISON, COMPARISON.with_suffix(".md")]
        tracking.log_pipeline(loaded.tracking.experiment, records, published.runs, pages)
        from stages.promotion import promote  # statistics are heavy, and needed on this path only

        console.print(promote(loaded, records, published))
    console.print(f"{len(records)} records on the server, {len(published.replayed)} of them replayed now")


if __name__ == "__main__":
    run(main)
