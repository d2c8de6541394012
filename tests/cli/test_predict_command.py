"""The table of `predict` shows of each row what the row has: in a mixed batch, and whatever the files are called."""

import argparse
import io
import json
import os
from pathlib import Path

import pandas as pd
import pytest

from mammo.cli import main, output
from mammo.cli.predict import _table
from mammo.core.errors import InputError
from mammo.inference import predictor

GOOD = {"file": "good.png", "prob": 0.25, "calibrated": 0.5, "call": "benign", "model": "m", "model_sha256": "0" * 64}
DOUBTED = GOOD | {"file": "doubted.png", "prob": 0.75, "call": "malignant", "doubt": "it is nearly blank"}
BAD = {"file": "bad.png", "error": "bad.png: truncated", "model": "m", "model_sha256": "0" * 64}
ESC = "\x1b[31m"
NO_UTF8 = os.fsdecode(b"film\xff.png")


def table(*rows: dict[str, object]) -> pd.DataFrame:
    return predictor.make_table(rows)


def text_by_file(drawn: str) -> dict[str, str]:
    """Return what stands in the row of each film, in one line."""
    texts: dict[str, str] = {}
    for line in drawn.splitlines():
        cells = [cell.strip() for cell in line.split("│")[1:-1]]
        if cells and cells[0].endswith(".png"):
            film = cells[0]
            texts[film] = ""
        if cells:
            texts[film] += f"{' '.join(cells)} "
    return texts


def test_a_mixed_batch_says_of_each_file_what_is_true_of_it() -> None:
    texts = text_by_file(output.render(_table(table(GOOD, DOUBTED, BAD))))
    assert "error" not in texts["good.png"] + texts["doubted.png"]
    assert "no mammogram" not in texts["good.png"] + texts["bad.png"]
    assert "no mammogram? it is nearly blank" in texts["doubted.png"]
    assert "error: bad.png: truncated" in texts["bad.png"]
    assert not {"nan", "None"} & set("".join(texts.values()).split())
    assert "prob 0.250" in texts["good.png"] and "call benign" in texts["good.png"]


def test_the_table_fits_a_terminal(capsys: pytest.CaptureFixture[str]) -> None:
    whole = {"box": "71,162,110,201", "threshold": 0.2, "set": "refer", "answer": "refer", "heat_map": "maps/1.png"}
    rows = table(GOOD | whole | {"file": "data/raw/demo/jpeg/2.25.111668563760926234517307450599636346342/1-174.jpg"})
    output.write(argparse.Namespace(out=None, format=None), rows, rows, lambda: [_table(rows)])
    printed = capsys.readouterr().out
    assert max(map(len, printed.splitlines())) <= 80
    for text in ("box 71,162,110,201", "threshold 0.200", "set refer", "heat_map maps/1.png"):
        assert text in printed


@pytest.mark.parametrize("name", ["P1[left]CC.png", "[/red].png", "[bold]x[/bold].png", "[link=http://x]y[/link].png"])
def test_a_name_is_no_markup(name: str) -> None:
    assert name in output.render(_table(table(GOOD | {"file": name})))


@pytest.mark.parametrize(
    ("name", "shown"),
    [
        (f"{ESC}x.png", r"\x1b[31mx.png"),
        ("a\nb.png", r"a\nb.png"),
        ("a\rb.png", r"a\rb.png"),
        ("gnp.\u202eb.png", r"gnp.\u202eb.png"),
        (NO_UTF8, r"film\udcff.png"),
    ],
)
def test_a_name_does_nothing_to_a_terminal(name: str, shown: str, capsys: pytest.CaptureFixture[str]) -> None:
    rows = table(GOOD | {"file": name})
    output.write(argparse.Namespace(out=None, format=None), rows, rows, lambda: [_table(rows)])
    assert shown in capsys.readouterr().out
    output.write(argparse.Namespace(out=None, format="csv"), rows, rows, lambda: [])
    assert pd.read_csv(io.StringIO(capsys.readouterr().out))["file"].item() == shown


@pytest.mark.parametrize("row", [GOOD | {"file": NO_UTF8}, BAD | {"file": NO_UTF8, "error": f"{NO_UTF8}: truncated"}])
@pytest.mark.parametrize("suffix", ["json", "csv", "txt"])
def test_a_name_that_is_no_utf_8_loses_nothing(suffix: str, row: dict[str, object], tmp_path: Path) -> None:
    rows = table(row, BAD)
    output.write(argparse.Namespace(out=tmp_path / f"x.{suffix}", format=None), rows, rows, lambda: [_table(rows)])
    text = (tmp_path / f"x.{suffix}").read_text(encoding="utf-8")
    assert r"film\udcff.png" in text
    if suffix == "json":
        assert os.fsencode(json.loads(text)[0]["file"]) == b"film\xff.png"


@pytest.mark.parametrize("name", ["=1+1.png", "+x.png", "-x.png", "@SUM(A1).png"])
def test_a_csv_file_holds_no_formula(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    rows = table(GOOD | {"file": name, "prob": -1.0})
    output.write(argparse.Namespace(out=None, format="csv"), rows, rows, lambda: [])
    read = pd.read_csv(io.StringIO(capsys.readouterr().out))
    assert read["file"].item() == f"'{name}"
    assert read["prob"].item() == -1.0


@pytest.mark.parametrize("name", ["x.xlsx", "x.parquet", "x.tsv", "x.png"])
def test_a_format_that_is_not_written_is_refused_before_the_work(name: str) -> None:
    with pytest.raises(SystemExit, match=rf"--out {name}: .* is not written; there are \.json, \.csv and \.txt"):
        main.main(["predict", "nothing.png", "--model", "nobody", "--out", name])


def test_a_place_that_cannot_be_written_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(SystemExit, match="is a folder"):
        main.main(["predict", "nothing.png", "--model", "nobody", "--out", str(tmp_path)])
    (tmp_path / "file").write_text("")
    with pytest.raises(InputError, match="cannot be written"):
        output.write(argparse.Namespace(out=tmp_path / "file/x.json", format=None), {}, None, lambda: [])


def test_an_error_shows_no_control_codes() -> None:
    with pytest.raises(SystemExit) as caught:
        main.main(["export", "nobody", "--out", f"x{ESC}.zip", "--formats", "onnx"])
    assert ESC not in str(caught.value)
