"""Results for programs: JSON and CSV that others can read, whatever the numbers are."""

import argparse
import io
import json
import math
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from mammo.cli import output

TABLE = pd.DataFrame({"name": ["a", "b"], "n": [1, 2], "auc": [0.5, math.nan], "odds": [math.inf, 2.0]})


@dataclass(frozen=True)
class Result:
    place: Path
    rows: pd.DataFrame
    pair: tuple[str, float]


def asked(*words: str) -> argparse.Namespace:
    parser = argparse.ArgumentParser()
    output.add_options(parser)
    return parser.parse_args(words)


def written(capsys: pytest.CaptureFixture[str], *words: str) -> str:
    output.write(
        asked(*words), {"rows": TABLE}, TABLE, lambda: [output.table("title", TABLE.columns, TABLE.to_numpy())]
    )
    return capsys.readouterr().out


def test_json_holds_what_python_holds_and_null_where_there_is_no_number():
    found = json.loads(output.as_json(Result(Path("a/b"), TABLE, ("x", np.float32(0.25)))), parse_constant=pytest.fail)
    assert found["place"] == "a/b"
    assert found["pair"] == ["x", 0.25]
    assert found["rows"] == [
        {"name": "a", "n": 1, "auc": 0.5, "odds": None},
        {"name": "b", "n": 2, "auc": None, "odds": 2.0},
    ]


def test_the_formats_hold_the_same(capsys):
    assert json.loads(written(capsys, "--json")) == json.loads(written(capsys, "--format", "json"))
    pd.testing.assert_frame_equal(pd.read_csv(io.StringIO(written(capsys, "--format", "csv"))), TABLE)
    drawn = written(capsys)
    assert all(str(value) in drawn for value in TABLE.to_numpy().ravel())


@pytest.mark.parametrize(("name", "words", "start"), [("x.json", [], "{"), ("x.csv", [], "name,"), ("x.txt", [], " ")])
def test_a_file_has_the_format_of_its_suffix(name, words, start, tmp_path, capsys):
    assert written(capsys, "--out", str(tmp_path / name), *words) == ""
    assert (tmp_path / name).read_text().startswith(start)


def test_an_asked_format_goes_before_the_suffix(tmp_path, capsys):
    written(capsys, "--out", str(tmp_path / "x.csv"), "--json")
    assert json.loads((tmp_path / "x.csv").read_text())["rows"][0]["name"] == "a"


def test_a_table_cuts_nothing_off():
    long = "-".join(map(str, range(200)))
    drawn = output.render(output.table("", ["one", "other"], [[long, long]]), "[not a style]")
    kept = "".join(drawn.split("│")[1::3]).replace(" ", "")
    assert long in kept
    assert "[not a style]" in drawn
