"""Make the tracking server hold every record of the workspace, and read the comparison table back from it."""

import pandas as pd
from rich.console import Console

from mammo.core.config import Config, load_config
from mammo.core.files import write_rounded_table, write_text
from mammo.core.paths import COMPARISON
from mammo.core.records import Record, read_record, record_path
from mammo.evaluation.lesion_verdict import judge_drop
from mammo.pipeline import test_ledger
from mammo.pipeline.workspace_records import TABLE_TAGS, external_paths, result_paths
from mammo.reporting import results
from mammo.reporting.comparison import state_test_set
from mammo.reporting.result_tables import render_controls, render_tables
from mammo.tracking import artifact_links, mlflow_client, publishing
from stages import run

PAGES = ("data_report", "report")  # stages that show what others computed


def main() -> None:
    """Replay what the server lacks; write metrics/comparison.csv and .md from the runs of this workspace."""
    config = load_config()
    paths = [*result_paths(config), *external_paths(config), *map(record_path, PAGES)]
    records = [read_record(path) for path in paths]
    # Queued experiments share most records, and each asks before it sends.
    with mlflow_client.exclusive_lock("publish"):
        _publish(config, records)


def _render(comparison: pd.DataFrame, config: Config) -> str:
    """Render what fits a page: four columns, the controls below; the CSV beside it has everything."""
    tables = "\n".join(table for table in (render_tables(comparison), render_controls(comparison)) if table)
    text = f"{tables}\nAll metrics with their intervals: {COMPARISON.name}.\n"
    return state_test_set(text, test_ledger.describe(config), config.evaluate.primary)


def _publish(config: Config, records: list[Record]) -> None:
    published = publishing.publish(config.tracking.experiment, records)
    comparison = publishing.table_of_runs(published.runs, TABLE_TAGS)
    others = [column for column in comparison.columns if column not in results.COLUMNS]
    comparison = comparison[results.COLUMNS + others]
    comparison = comparison.assign(lesion=[judge_drop(row) for row in comparison.to_dict(orient="records")])
    write_rounded_table(COMPARISON, comparison)
    write_text(COMPARISON.with_suffix(".md"), _render(comparison, config))
    console = Console(soft_wrap=True)
    for difference in published.differing:
        console.print(f"warning: {difference}. It is retired, and the table shows the record.", markup=False)
    pipeline = published.pipeline
    if pipeline is None:
        pages = [COMPARISON, COMPARISON.with_suffix(".md")]
        pipeline = publishing.log_pipeline(config.tracking.experiment, records, published.runs, pages)
    if published.promotion is None:
        from mammo.pipeline.promotion import promote  # statistics are heavy, and needed on this path only

        decision = promote(config, records, published)
        publishing.note_promotion(pipeline, decision)
        console.print(decision)
    if published.pipeline is None or published.replayed:
        artifact_links.link_artifacts(published.runs)
    console.print(f"{len(records)} records on the server, {len(published.replayed)} of them replayed now")


if __name__ == "__main__":
    run(main)
