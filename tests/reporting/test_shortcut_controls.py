"""Report, card and table say what an AUC owes to the border, and who does not look at the lesion."""

import pandas as pd

from mammo.evaluation.lesion_verdict import DOES_NOT_LOOK, LOOKS
from mammo.reporting import evaluation_report, model_card, result_tables
from mammo.reporting.evaluation_report.shortcuts import build_controls, describe_controls
from mammo.reporting.page import Note
from tests.reporting import test_evaluation_report as run

DROPS = [0.2, -0.01]


def controlled(measured: bool = True) -> pd.DataFrame:
    """The first row falls without the lesion, the second does not, the others were not measured."""
    table = run.comparison()
    table["auc"] = 0.8
    if not measured:
        return table
    for column, values in {
        "auc_controlled": [0.75, 0.6],
        "auc_without_lesion": [0.6, 0.81],
        "auc_drop": DROPS,
    }.items():
        for limit, shift in (("", 0.0), ("_low", -0.05), ("_high", 0.05)):
            table[f"{column}{limit}"] = pd.Series([value + shift for value in values])
    return table.assign(auc_drop_p=pd.Series([0.0001, 0.7]), border_correlation=pd.Series([0.1, 0.6]))


def test_the_report_names_who_does_not_look_at_the_lesion() -> None:
    table = controlled()
    section = build_controls(run.content(comparison=table))
    notes = [block.text for block in section.blocks if isinstance(block, Note)]
    assert notes == [f"{DOES_NOT_LOOK[0].upper()}{DOES_NOT_LOOK[1:]}: {table['model'][1]}."]
    html = evaluation_report.render(run.content(comparison=table))
    assert DOES_NOT_LOOK in html
    assert LOOKS in html


def test_a_report_without_controls_says_so() -> None:
    (note,) = build_controls(run.content(comparison=controlled(measured=False))).blocks
    assert isinstance(note, Note)
    assert "Not estimable" in note.text


def test_the_card_states_the_fall_and_its_verdict() -> None:
    table = controlled()
    text = model_card.render(str(table["model"][0]), run.content(comparison=table))
    assert "AUC without the lesion: 0.600 (0.550 to 0.650), a fall of 0.200 (0.150 to 0.250)" in text
    assert f"Verdict: {LOOKS}." in text
    assert f"Verdict: {DOES_NOT_LOOK}." in describe_controls(table.iloc[1].to_dict())[1]
    assert "### Shortcuts" not in model_card.render(
        str(table["model"][0]), run.content(comparison=controlled(measured=False))
    )


def test_the_markdown_table_has_the_controls_in_columns_of_their_own() -> None:
    lines = result_tables.render_controls(controlled()).splitlines()
    assert lines[0] == "| model | AUC within border quartiles | AUC without the lesion |"
    assert f"0.750 (0.700-0.800) | 0.600 (0.550-0.650), {LOOKS} |" in lines[2]
    assert f"0.810 (0.760-0.860), {DOES_NOT_LOOK} |" in lines[3]
    assert lines[4].endswith("| - | - |")
    assert result_tables.render_controls(controlled(measured=False)) == ""
