"""The comparison shows what the run's tables hold, and no other number."""

import io
import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from mammo.cli import main
from mammo.core.errors import InputError
from mammo.core.files import write_rounded_table
from mammo.reporting import comparison

NAMES = ["one", "two", "three"]
ROWS = pd.DataFrame(
    {
        "model": NAMES,
        "unit": "lesion",
        "n": 20.0,
        "n_patients": 10.0,
        "auc": [0.7, 0.9, 0.8],
        "auc_low": [0.6, 0.8, 0.7],
        "auc_high": [0.8, 1.0, 0.9],
        **dict.fromkeys(("accuracy", "sensitivity", "specificity"), 0.5),
        **{f"{name}_{limit}": 0.5 for name in ("accuracy", "sensitivity", "specificity") for limit in ("low", "high")},
        "brier": [0.3, 0.2, np.nan],
        "samples": "official test",
        "weights": "-",
    }
)
TESTS = pd.DataFrame(
    [
        ("one", "two", 0.2, 0.1, 0.3, 0.0004, 0.0012, "patients"),
        ("one", "three", 0.1, -0.1, 0.3, 0.3, 0.3, "patients"),
        ("two", "three", -0.1, -0.3, 0.1, 0.2, 0.3, "patients"),
    ],
    columns=comparison.NO_TESTS.columns,
)


def level_rows(level: str, shift: float) -> list[tuple[object, ...]]:
    metrics = [("all", "auc"), ("operating", "sensitivity"), ("operating", "specificity"), ("operating", "accuracy")]
    metrics += [("sensitivity_90", "accuracy")]
    return [
        (name, "official test", level, point, metric, *(np.array([0.5, 0.4, 0.6]) + shift + place / 100), 9, 5)
        for place, name in enumerate(NAMES)
        for point, metric in metrics
    ]


@pytest.fixture
def workspace(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    columns = ["model", "samples", "level", "point", "metric", "value", "low", "high", "n", "n_patients"]
    levels = pd.DataFrame([*level_rows("lesion", 0.1), *level_rows("patient", 0.2)], columns=columns)
    for path, table in (
        (comparison.COMPARISON, ROWS),
        (comparison.LEVEL_METRICS, levels),
        (comparison.PAIRED_TESTS, TESTS),
    ):
        write_rounded_table(path, table)
    return tmp_path


def test_without_a_name_it_is_the_comparison_table(workspace):
    pd.testing.assert_frame_equal(comparison.select_rows(), comparison.read_comparison())


def test_named_rows_come_in_the_order_of_the_names_and_once(workspace):
    assert comparison.select_rows(["three", "one", "three"])["model"].to_list() == ["three", "one"]


@pytest.mark.parametrize(("metric", "order"), [("auc", ["two", "three", "one"]), ("brier", ["two", "one", "three"])])
def test_the_best_comes_first_and_what_is_not_known_last(workspace, metric, order):
    assert comparison.select_rows(sort=metric)["model"].to_list() == order


def test_a_level_shows_the_metrics_of_the_chosen_operating_point(workspace):
    rows = comparison.select_rows(["two"], "patient").iloc[0]
    found = rows[["auc", "auc_low", "auc_high", "accuracy", "accuracy_low", "n", "n_patients", "unit", "weights"]]
    np.testing.assert_allclose(found.iloc[:7].to_numpy(float), [0.71, 0.61, 0.81, 0.71, 0.61, 9, 5])
    assert (rows["unit"], rows["weights"], rows["samples"]) == ("lesion", "-", "official test")


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ({"names": ["one", "nobody"]}, r"nobody: not in metrics/comparison\.csv; there are one, two, three"),
        ({"names": ["nobody"], "level": "patient"}, r"nobody: not in .*level patient; there are one"),
        ({"level": "breast"}, r"'breast' was not evaluated; there are lesion, patient"),
        ({"sort": "auc_low"}, r"cannot sort by 'auc_low'; there are n, n_patients, auc"),
    ],
)
def test_what_is_not_there_is_refused_with_what_is(workspace, words, message):
    with pytest.raises(InputError, match=message):
        comparison.select_rows(**words)


def test_the_tests_are_those_among_the_named(workspace):
    assert len(comparison.select_tests(NAMES)) == 3
    pd.testing.assert_frame_equal(comparison.select_tests(["one", "two", "baseline"]), TESTS.iloc[:1])
    assert comparison.select_tests(["one"]).empty


def test_tables_that_are_missing_say_what_writes_them(workspace):
    comparison.LEVEL_METRICS.unlink()
    comparison.PAIRED_TESTS.unlink()
    with pytest.raises(InputError, match=r"paired_tests\.csv does not exist; run `dvc repro evaluate`"):
        comparison.select_tests(NAMES)
    with pytest.raises(InputError, match=r"metrics\.csv does not exist; run `dvc repro evaluate`"):
        comparison.select_rows(level="patient")


# The command


def test_the_command_says_the_same_in_every_format(workspace, capsys):
    main.main(["compare", "two", "one", "--json"])
    found = json.loads(capsys.readouterr().out)
    assert [row["model"] for row in found["models"]] == ["two", "one"]
    assert found["models"][0]["auc"] == 0.9
    assert found["paired_tests"] == TESTS.iloc[:1].to_dict(orient="records")
    main.main(["compare", "two", "one", "--format", "csv"])
    assert pd.read_csv(io.StringIO(capsys.readouterr().out))["auc"].to_list() == [0.9, 0.7]
    main.main(["compare", "two", "one"])
    drawn = capsys.readouterr().out
    assert all(text in drawn for text in ("0.900", "+0.200", "(+0.100 to +0.300)", "< 0.001", "0.001"))


def test_tests_of_samples_are_not_shown_beside_another_level(workspace, capsys):
    for level, tested in (("lesion", 1), ("patient", 0)):
        main.main(["compare", "two", "one", "--json", "--level", level])
        assert len(json.loads(capsys.readouterr().out)["paired_tests"]) == tested


def test_the_metric_that_sorts_is_shown(workspace, capsys):
    main.main(["compare", "--sort", "brier"])
    drawn = capsys.readouterr().out
    assert "brier" in drawn
    assert drawn.index("two") < drawn.index("one") < drawn.index("three")


def test_the_summary_is_the_same_table_and_says_where_the_rest_is(workspace, capsys):
    main.main(["compare"])
    table = capsys.readouterr().out
    main.main(["summary"])
    assert capsys.readouterr().out.startswith(table)
    main.main(["summary", "--json"])
    found = json.loads(capsys.readouterr().out)
    assert [row["model"] for row in found["models"]] == NAMES
    assert found["places"]["data"] == "data/data_report/data.html"
