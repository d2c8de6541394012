"""What a second attempt says: the same, or which numbers and files are not."""

import dataclasses
import json
import math
from pathlib import Path

import pytest

from mammo.cli import main
from mammo.core.files import write_text
from mammo.core.records import Part, Record, record_path
from mammo.pipeline import reproduce
from mammo.tracking.publishing import Origin

RECORD = Record(
    "cross_validate",
    "light_cnn",
    {"seed": 3},
    {"data": "abc"},
    {"auc": 0.75, "ppv": None},
    [],
    [Part("fold0", {}, {"auc": 0.7}, [])],
    {"data/predictions/light_cnn.csv": "0" * 64},
    None,
)


def compared(now: Record, folder: Path) -> reproduce.Reproduction:
    write_text(folder / record_path(now.stage, now.model), now.text())
    return reproduce.compare(Origin("id", {"hardware": "another"}, None, [RECORD]), folder)


def test_the_same_record_has_no_difference(tmp_path):
    found = compared(RECORD, tmp_path)
    assert found.compared == ["cross_validate@light_cnn"]
    assert (found.differences, found.largest()) == ([], 0)
    assert found.machine["hardware"][0] == "another"


@pytest.mark.parametrize(
    ("change", "what", "distance"),
    [
        ({"metrics": {"auc": 0.76, "ppv": None}}, "auc", 0.01),
        ({"metrics": {"auc": 0.75, "ppv": 0.5}}, "ppv", math.inf),
        ({"metrics": {"auc": 0.75}, "parts": [Part("fold0", {}, {"auc": 0.6}, [])]}, "fold0 auc", 0.1),
        ({"parts": []}, "fold0 auc", math.inf),
        ({"artifacts": {"data/predictions/light_cnn.csv": "1" * 64}}, "data/predictions/light_cnn.csv", 0),
    ],
    ids=["metric", "not estimable before", "a part's", "a lost part", "file"],
)
def test_each_difference_is_named(tmp_path, change, what, distance):
    (found,) = compared(dataclasses.replace(RECORD, **change), tmp_path).differences
    assert (found.run, found.what) == ("cross_validate@light_cnn", what)
    assert found.distance == pytest.approx(distance)


@pytest.mark.parametrize(
    ("stage", "model", "target"),
    [
        ("train", "light_cnn", "train@light_cnn"),
        ("ingest", None, "ingest"),
        ("evaluate", "ensemble_mean", "evaluate"),
        ("compare", None, "evaluate"),
        ("external", "mini_mias/light_cnn", "external@mini_mias"),
    ],
)
def test_a_record_names_the_stage_that_writes_it(stage, model, target):
    assert reproduce.name_stage(dataclasses.replace(RECORD, stage=stage, model=model)) == target


@pytest.mark.parametrize(("auc", "code"), [(0.75, None), (0.7500001, None), (0.76, 1)])
def test_the_command_tells_programs_the_same(tmp_path, monkeypatch, capsys, auc, code):
    now = dataclasses.replace(RECORD, metrics={"auc": auc, "ppv": None})
    monkeypatch.setattr(reproduce, "reproduce", lambda run_id, root, keep: compared(now, tmp_path))
    if code is None:
        main.main(["reproduce", "id", "--json"])
    else:
        with pytest.raises(SystemExit, match=r"not reproduced: a metric of 1 run differs by 0\.01"):
            main.main(["reproduce", "id", "--json"])
    found = json.loads(capsys.readouterr().out)
    assert found["reproduced"] is (code is None)
    assert found["largest"] == pytest.approx(auc - 0.75)
    assert [row["what"] for row in found["differences"]] == (["auc"] if auc != 0.75 else [])
    assert found["compared"] == ["cross_validate@light_cnn"]
