"""Results that are kept: a finished run's comparison table and data report as small pages under docs/.

The comparison table also goes to README.md. No page holds a film of a patient.
"""

import shutil
from pathlib import Path

import pandas as pd

from mammo.core.errors import InputError
from mammo.core.files import fresh_folder, write_rounded_table, write_text
from mammo.core.paths import DATA_PAGES, DATA_REPORT_FIGURES, DATA_REPORT_TEXT, README, RESULTS, ROC_FIGURE
from mammo.reporting import saliency_results
from mammo.reporting.comparison import HEADLINE_METRICS, read_comparison, render_markdown

COLUMNS = ["model", "unit", "n", "n_patients", "auc", "auc_low", "auc_high", "accuracy", "sensitivity", "specificity"]
BEGIN, END = "<!-- results: {name} -->", "<!-- /results -->"


def write_results(name: str, command: str, test_set: str) -> list[Path]:
    """Write docs/results/<name>.csv, .md, its ROC figure and <name>-saliency, README.md's table, docs/data/<name>.md.

    `command`: what was run, for the page; test_set: the sentence on the openings of the test set.
    README.md is changed between its markers for `name`, where it has them.
    Raises InputError where there is no finished run.
    """
    comparison = read_comparison()
    data = write_data_page(name)
    table = comparison[COLUMNS].astype({"n": int, "n_patients": int})
    write_rounded_table(RESULTS / f"{name}.csv", table)
    shutil.copyfile(ROC_FIGURE, RESULTS / f"{name}-roc.png")
    write_text(RESULTS / f"{name}.md", _render_page(name, command, comparison, test_set))
    _update_readme(name, comparison)
    saliency = saliency_results.write_saliency_page(name, comparison["model"], RESULTS)
    return [RESULTS / f"{name}.csv", RESULTS / f"{name}.md", RESULTS / f"{name}-roc.png", data, *saliency]


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


def _render_data_page(name: str, report: str) -> str:
    return f"""# Data: {name}

Written by `python -m mammo results {name}` from `{DATA_REPORT_TEXT.as_posix()}`, which `dvc repro data_report` writes;
`data.html` beside it shows the same, and examples of films.

{report}"""


def _render_page(name: str, command: str, comparison: pd.DataFrame, test_set: str) -> str:
    return f"""# Results: {name}

Written by `python -m mammo results {name}` from `metrics/comparison.csv`, which `publish` reads from the tracking
server. In brackets: 95 % confidence interval, resampled by patient. The operating point is chosen on validation.

```
{command}
```

{render_markdown(comparison)}
{test_set}

![ROC curves]({name}-roc.png)
"""


def _update_readme(name: str, comparison: pd.DataFrame) -> None:
    begin = BEGIN.format(name=name)
    text = README.read_text(encoding="utf-8") if README.is_file() else ""
    if begin not in text:
        return
    before, rest = text.split(begin, 1)
    after = rest.split(END, 1)[1]
    short = render_markdown(comparison, HEADLINE_METRICS)
    write_text(README, f"{before}{begin}\n{short}{END}{after}")
