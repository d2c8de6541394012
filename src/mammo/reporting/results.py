"""Results that are kept: a finished run's comparison table and data report as small pages under docs/.

The comparison table also goes to README.md. No page holds a film of a patient.
"""

import re
import shutil
from pathlib import Path

import pandas as pd

from mammo.core.errors import InputError
from mammo.core.files import fresh_folder, write_rounded_table, write_text
from mammo.core.paths import (
    AUC_FIGURE,
    DATA_PAGES,
    DATA_REPORT_FIGURES,
    DATA_REPORT_TEXT,
    PAIRED_TESTS,
    README,
    RESULTS,
    ROC_FIGURE,
)
from mammo.reporting import saliency_results
from mammo.reporting.comparison import TABLE_METRICS, read_comparison
from mammo.reporting.result_tables import render_controls, render_tables

COLUMNS = [
    *("model", "unit", "weights", "samples", "n", "n_patients"),
    *(f"{metric}{limit}" for metric in TABLE_METRICS for limit in ("", "_low", "_high")),
]
MORE_COLUMNS = [  # where the comparison table has them
    *(f"{name}{limit}" for name in ("auc_controlled", "auc_without_lesion") for limit in ("", "_low", "_high")),
    *("retrained", "auc_retrained_mean", "auc_retrained_sd"),
]
# Names after the run's name choose the rows: <!-- results: NAME: light_cnn baseline_birads -->
BLOCK = r"(<!-- results: {name}(?:: ([^\n]*?))? -->\n).*?(<!-- /results -->)"


def write_results(name: str, command: str, test_set: str, data_name: str) -> list[Path]:
    """Write docs/results/<name>.* and docs/data/<data_name>.md, and README.md's table.

    `command`: what was run, for the page; test_set: the sentence on the openings of the test set.
    README.md is changed between its markers for `name`, where it has them.
    Raises InputError where there is no finished run.
    """
    comparison = read_comparison()
    data = write_data_page(data_name)
    columns = [*COLUMNS, *(column for column in MORE_COLUMNS if column in comparison)]
    write_rounded_table(RESULTS / f"{name}.csv", comparison[columns].astype({"n": int, "n_patients": int}))
    tests = _copy_paired_tests(name)
    figures = [RESULTS / f"{name}-{figure.name}" for figure in (AUC_FIGURE, ROC_FIGURE)]
    for figure, path in zip((AUC_FIGURE, ROC_FIGURE), figures, strict=True):
        shutil.copyfile(figure, path)
    write_text(RESULTS / f"{name}.md", _render_page(name, command, comparison, test_set))
    _update_readme(name, comparison)
    saliency = saliency_results.write_saliency_page(name, comparison["model"], RESULTS)
    return [RESULTS / f"{name}.csv", RESULTS / f"{name}.md", *figures, *tests, data, *saliency]


def write_data_page(name: str) -> Path:
    """Write docs/data/<name>.md and the figures in docs/data/<name>/ from the data report of the workspace."""
    if not DATA_REPORT_TEXT.is_file():
        raise InputError(f"{DATA_REPORT_TEXT} does not exist; run `dvc repro data_report` first")
    with fresh_folder(DATA_PAGES / name) as folder:
        for figure in sorted(DATA_REPORT_FIGURES.glob("*.png")):
            shutil.copyfile(figure, folder / figure.name)
    report = DATA_REPORT_TEXT.read_text(encoding="utf-8").replace(f"]({DATA_REPORT_FIGURES.name}/", f"]({name}/")
    path = DATA_PAGES / f"{name}.md"
    write_text(path, _render_data_page(name, report))
    return path


def _copy_paired_tests(name: str) -> list[Path]:
    """Copy the paired tests beside the table, where the run has them; return the file."""
    if not PAIRED_TESTS.is_file():
        return []
    path = RESULTS / f"{name}-paired-tests.csv"
    shutil.copyfile(PAIRED_TESTS, path)
    return [path]


def _render_data_page(name: str, report: str) -> str:
    return f"""# Data: {name}

Written by `python -m mammo results {name}` from `{DATA_REPORT_TEXT.as_posix()}`, which `dvc repro data_report` writes;
`data.html` beside it shows the same, and examples of films.

{report}"""


def _render_page(name: str, command: str, comparison: pd.DataFrame, test_set: str) -> str:
    return f"""# Results: {name}

Written by `python -m mammo results {name}` from `metrics/comparison.csv`, which `publish` reads from the tracking
server. The operating point is chosen on validation. [{name}.csv]({name}.csv) has all metrics with their intervals.

```
{command}
```

{render_tables(comparison)}
{test_set}

{_under("Controls", render_controls(comparison))}![AUC of every row, and what is left of it]({name}-auc.png)

![ROC curves]({name}-roc.png)
"""


def _under(title: str, text: str) -> str:
    return f"## {title}\n\n{text}\n" if text else ""


def _update_readme(name: str, comparison: pd.DataFrame) -> None:
    """Write the table into README.md's block of `name`: the rows that its first line names, else all."""
    text = README.read_text(encoding="utf-8") if README.is_file() else ""
    block = re.search(BLOCK.format(name=re.escape(name)), text, flags=re.DOTALL)
    if block is None:
        return
    begin, names, end = block.groups()
    tables = render_tables(comparison, names.split() if names else None)
    write_text(README, f"{text[: block.start()]}{begin}\n{tables}{end}{text[block.end() :]}")
