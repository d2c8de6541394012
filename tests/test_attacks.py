"""docs/results/attacks.md says what benchmarks/attacks.py lists: no case is lost, and none ends wrong."""

import re
from pathlib import Path

import pandas as pd

from benchmarks import attack_cases

RESULTS = Path(__file__).resolve().parents[1] / "docs/results"
PAGE = (RESULTS / "attacks.md").read_text(encoding="utf-8")
CASES = pd.read_csv(RESULTS / "attacks.csv", dtype=str, keep_default_na=False)
PROBLEMS = ["wrong answer", "traceback", "row lost"]


def counts() -> pd.DataFrame:
    """The page's table, a row per kind of case and one of all."""
    head, _, *rows = [
        [cell.strip() for cell in line.strip("|").split("|")] for line in PAGE.splitlines() if line.startswith("|")
    ]
    return pd.DataFrame(rows, columns=head).set_index("what").astype(int)


def test_the_page_counts_the_cases_that_are_listed() -> None:
    table = counts()
    kinds, whole = table.drop(index="**all**"), table.loc["**all**"]
    assert kinds.sum().to_dict() == whole.to_dict()
    assert kinds.drop(columns="cases").sum(axis=1).to_list() == kinds["cases"].to_list()
    assert sorted(kinds["cases"]) == sorted(CASES["kind"].value_counts())
    assert (
        whole.drop("cases").to_dict() == CASES["ending"].value_counts().reindex(whole.index[1:], fill_value=0).to_dict()
    )
    assert f"the {len(CASES)} cases" in PAGE and len(CASES) == whole["cases"]


def test_no_case_ends_wrong() -> None:
    assert not counts()[PROBLEMS].to_numpy().any()
    assert CASES.loc[CASES["case"] == "untouched", "ending"].isin(["same", "left alone"]).all()


def test_every_case_of_the_script_was_run() -> None:
    """The cases that are plain values; those of DICOM that pydicom refuses to write are left out."""
    run = {kind: set(rows["case"]) for kind, rows in CASES.groupby("kind")}
    assert {ascii(f"{name}.png")[1:-1] for name in attack_cases.NAMES} == run["name"]
    assert {f"box {box}" for box in attack_cases.BOXES} <= run["boxes"]
    assert {f"flip {number}.png" for number in range(attack_cases.FLIPS)} <= run["file"]
    headers = {f"{key} {value}" for key, values in attack_cases.HEADERS.items() for value in values}
    assert run["DICOM"] - headers == {"untouched", *(f"cut {share}.dcm" for share in attack_cases.CUTS)}
    values = (*attack_cases.CELLS, attack_cases.OF_ANOTHER_ROW)
    assert {ascii(f"{column}={value}")[1:-1] for column in attack_cases.COLUMNS for value in values} == run["table"]


def test_edits_that_raise_no_doubt_are_those_that_a_table_cannot_tell() -> None:
    table = CASES[CASES["kind"] == "table"]
    cells = table["case"].str.extract(r"^(?P<column>[^=]*)=(?P<value>.*)$", flags=re.DOTALL)
    expected = [
        attack_cases.tells(column, value.encode().decode("unicode_escape"))
        for column, value in cells.itertuples(index=False)
    ]
    assert (table["ending"] != "left alone").to_list() == expected
