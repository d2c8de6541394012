"""The sections on net benefit and on conformal prediction: what acting on a model brings."""

from dataclasses import replace

import numpy as np
import pandas as pd

from mammo.core.row_names import is_baseline
from mammo.reporting.cells import (
    format_words,
    full_picture,
    interval_cell,
    name_cells,
    plain_table,
    render_figure,
    value_cell,
)
from mammo.reporting.evaluation_report.content import Content
from mammo.reporting.figures import evaluation
from mammo.reporting.page import Block, Note, Pictures, Section, Table

DECISION_THRESHOLDS = (0.1, 0.2, 0.3, 0.4, 0.5)


def build_decision_curve(content: Content) -> Section:
    """Build the section on net benefit against calling everyone and no one malignant."""
    table = content.tables["decision_curve"]
    guide = (
        "At a threshold probability of 0.2, a missed cancer weighs four false alarms; a model is useful there only if "
        "its curve is above both calling everyone and calling no one. Scores were made risks first, on validation "
        "rows: by Platt's line, ranks such as BI-RADS by the share of malignant rows observed at each."
    )
    blocks: list[Block] = [Note("Decision curve: not estimable (the table is empty).")]
    if len(table):
        alt = "Net benefit against threshold probability per model; the next table holds numbers from it"
        figure = evaluation.draw_decision_curve(table, content.shown)
        blocks = [full_picture(figure, alt, "Decision curve"), _decision_table(table)]
    return Section("decision-curve", "Decision curve", guide, blocks)


def _decision_table(table: pd.DataFrame) -> Block:
    known = np.sort(table["threshold_prob"].unique())
    nearest = {float(known[np.argmin(np.abs(known - wanted))]) for wanted in DECISION_THRESHOLDS}
    columns = ["model", "threshold_prob", "net_benefit", "treat_all", "treat_none"]
    chosen = table[table["threshold_prob"].isin(nearest)]
    return replace(plain_table("Net benefit at some thresholds", chosen[columns]), fold=True)


def build_conformal(content: Content) -> Section:
    """Build the section on what a model reaches when it may refer a sample to a reader."""
    table = content.tables["conformal"]
    guide = (
        "A sample is decided when its prediction set holds one class and referred otherwise: coverage should keep to "
        "the promised line, and the accuracy of the decided is bought with the share referred."
    )
    blocks: list[Block] = [Note("Conformal prediction: not estimable (the table is empty).")]
    if len(table):
        models = table[~table["model"].map(is_baseline)]
        shown = [content.best] if content.best else list(models["model"].iloc[:1])
        pictures = [
            render_figure(
                evaluation.draw_conformal(models, column, shown),
                f"{title} against confidence; numbers in the next table",
                title,
            )
            for column, title in evaluation.CONFORMAL.items()
        ]
        blocks = [Pictures(pictures), _conformal_table(table)]
    return Section("conformal", "Conformal prediction", guide, blocks)


def _conformal_table(table: pd.DataFrame) -> Block:
    plain = ["decided", "accuracy_decided", "sensitivity_decided", "specificity_decided"]
    rows = [
        [*name_cells(row, "confidence"), interval_cell(row, "coverage"), *(value_cell(row[name]) for name in plain)]
        for _, row in table.iterrows()
    ]
    head = ["model", "confidence", "n", "coverage", *map(format_words, plain)]
    return Table("Conformal prediction sets", head, [("", rows)], fold=True)
