"""What `mammo accept` prints, and its exit code."""

import argparse
import json

import pytest

from mammo.cli import accept as command
from mammo.pipeline.accept import Reason, Result, Verdict

ACCEPTED = Verdict("train@small", ("src/network", "stages/train.py"), ())
REFUSED = Verdict(
    "prepare", ("src/tables.py",), (Reason("src/tables.py", "`x = 1` is new", 3), Reason("a.csv", "input is deleted"))
)


def call(monkeypatch: pytest.MonkeyPatch, result: Result, *words: str) -> None:
    asked_for = []
    monkeypatch.setattr("mammo.pipeline.accept.accept", lambda *arguments: asked_for.append(arguments) or result)
    parser = argparse.ArgumentParser()
    command.add_parser(parser.add_subparsers())
    args = parser.parse_args(["accept", *words])
    args.run(args)
    assert asked_for == [(args.stages, args.dry_run)]


def test_a_line_per_stage_and_reason(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]):
    with pytest.raises(SystemExit) as stopped:
        call(monkeypatch, Result((ACCEPTED,), (REFUSED,), 7), "train", "prepare")
    assert stopped.value.code == 1
    assert capsys.readouterr().out.splitlines() == [
        "accepted  train@small: src/network, stages/train.py",
        "refused   prepare: src/tables.py:3: `x = 1` is new",
        "refused   prepare: a.csv: input is deleted",
        "1 accepted, 1 refused, 7 up to date",
    ]


def test_nothing_refused_is_exit_code_0(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]):
    call(monkeypatch, Result((ACCEPTED,), (), 7), "--dry-run")
    assert capsys.readouterr().out.splitlines()[-1] == "1 would be accepted, 0 refused, 7 up to date"


def test_json(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]):
    call(monkeypatch, Result((ACCEPTED,), (), 7), "--json")
    accepted = {"stage": "train@small", "dependencies": ["src/network", "stages/train.py"], "reasons": []}
    assert json.loads(capsys.readouterr().out) == {
        "accepted": [accepted],
        "refused": [],
        "up_to_date": 7,
        "dry_run": False,
    }
