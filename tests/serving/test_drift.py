"""Drift from the audit log: days like the validation rows are quiet, days of other films are named, by what changed."""

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from scipy import stats

from mammo.cli import main
from mammo.core.errors import InputError
from mammo.inference import description
from mammo.inference.about import About, Reference, make_reference
from mammo.serving import audit_log, drift
from mammo.serving.drift import DriftLimits, DriftReference, LoggedFilm, measure
from mammo.serving.drift_monitor import DriftMonitor
from tests.data.test_preprocess import SETTINGS

SCORES = np.sort(np.random.default_rng(0).beta(2, 3, 400))
REFERENCE = DriftReference(SCORES, 0.2, "the validation rows")
LIMITS = DriftLimits()
ABOUT = About(
    name="light_cnn",
    unit="image",
    preprocess=SETTINGS,
    flips=False,
    model_sha256="a" * 64,
    reference=Reference(scores=SCORES.tolist(), refer_rate=0.2),
)


def films(prob: Sequence[float], refer: float = 0.2, doubt: float = 0.0, day: str = "2026-11-28") -> list[LoggedFilm]:
    return [
        LoggedFilm(day, float(value), every(refer, number), every(doubt, number), (str(number), ""))
        for number, value in enumerate(prob)
    ]


def every(share: float, number: int) -> bool:
    """Whether the film of that number is one of a share that is spread evenly."""
    return int((number + 1) * share + 1e-9) > int(number * share + 1e-9)


def draw(count: int, seed: int, shift: float = 0.0) -> list[float]:
    return list(np.clip(np.random.default_rng(seed).beta(2, 3, count) + shift, 0, 1))


# The numbers


def test_days_without_drift_are_quiet() -> None:
    """An alarm a year, at one in a thousand: none in 60 days."""
    assert [measure(films(draw(100, seed)), REFERENCE, LIMITS).alarms for seed in range(1, 61)] == [()] * 60


@pytest.mark.parametrize(
    ("day", "alarms"),
    [
        (films(draw(100, 1, shift=0.25)), ("scores",)),
        (films(draw(100, 1, shift=-0.25)), ("scores",)),
        (films([0.5] * 100), ("scores",)),
        (films(draw(100, 1), doubt=0.3), ("doubt",)),
        (films(draw(100, 1), refer=0.6), ("refer",)),
        (films(draw(100, 1), refer=0.0), ("refer",)),
        (films(draw(100, 1, shift=0.3), refer=0.9, doubt=0.9), ("scores", "doubt", "refer")),
        (films(draw(29, 1, shift=0.5), refer=1, doubt=1), ()),
    ],
)
def test_what_changed_is_named(day: list[LoggedFilm], alarms: tuple[str, ...]) -> None:
    assert measure(day, REFERENCE, LIMITS).alarms == alarms


def test_the_distance_is_the_largest_between_the_distribution_functions() -> None:
    day = films(draw(57, 3, shift=0.1))
    prob = np.sort([film.prob for film in day])
    grid = np.concatenate([prob, SCORES])
    by_hand = max(abs((prob <= at).mean() - (at >= SCORES).mean()) for at in grid)
    assert measure(day, REFERENCE, LIMITS).ks == pytest.approx(by_hand)


def test_the_stability_index_is_the_symmetric_divergence_of_the_bins() -> None:
    reference, prob = np.linspace(0, 1, 1000), np.linspace(0, 0.499, 1000)
    shares = np.array([0.2] * 5 + [0] * 5), np.full(10, 0.1)
    p, q = ((1000 * share + 0.5) / 1005 for share in shares)
    divergence = stats.entropy(p, q) + stats.entropy(q, p)
    assert drift.stability_index(prob, reference) == pytest.approx(divergence, rel=0.01)
    assert drift.stability_index(reference, reference) == 0


def test_scores_that_are_all_alike_are_no_reason_to_fail() -> None:
    same = DriftReference(np.full(50, 0.5), None, "the validation rows")
    assert measure(films([0.5] * 50), same, LIMITS).psi == 0
    assert measure(films([0.5] * 50, refer=1.0), same, LIMITS).alarms == (), "nothing is known of who was referred"


def test_the_reference_of_a_model_is_its_validation_rows() -> None:
    fitted = {"operating_point": None, "conformal": {"0.9": 0.6, "0.5": 0.1}}
    prob = np.array([0.1, 0.5, 0.9, 0.55])
    reference = make_reference(prob, fitted)
    assert reference.scores == [0.1, 0.5, 0.55, 0.9]
    assert reference.refer_rate == 0.5, "at .9 the sets of .5 and .55 hold both classes"
    assert make_reference(prob, {"operating_point": None, "conformal": {}}).refer_rate is None
    many = make_reference(np.random.default_rng(0).random(5000), fitted)
    assert len(many.scores) == 1000
    assert many.scores == sorted(many.scores)


# The log


def entry(number: int, prob: float, day: str = "2026-11-28", **film: Any) -> dict[str, Any]:
    said = "refer" if every(0.2, number) else "benign"
    answer = {"box": None, "prob": prob, "answer": said, "doubt": None} | film
    model = {"name": "light_cnn", "version": None, "model_sha256": "a" * 64}
    time = f"{day}T10:00:00Z"
    return {"event": "predict", "time": time, "inputs_sha256": [f"{number:064x}"], "model": model, "films": [answer]}


@pytest.fixture
def log(tmp_path: Path) -> Path:
    """Two quiet days, one of other films, and entries that are no answers of this model."""
    path, last_hash = tmp_path / "audit.jsonl", audit_log.START
    days = {"2026-11-26": draw(40, 1), "2026-11-27": draw(40, 2), "2026-11-28": draw(40, 3, shift=0.4)}
    lines = [entry(number, prob, day) for day, scores in days.items() for number, prob in enumerate(scores)]
    lines += [{"event": "recovered", "dropped_bytes": 7}, entry(0, days["2026-11-28"][0]) | {"event": "explain"}]
    lines.append(entry(999, 0.5) | {"model": {"name": "other", "version": None, "model_sha256": "b" * 64}})
    with path.open("wb") as file:
        for content in lines:
            line, last_hash = audit_log.chain(content, last_hash)
            file.write(line)
    return path


def test_each_film_counts_once_a_day_and_other_models_not(log: Path) -> None:
    days = dict(drift.measure_days(drift.read_films(log, ABOUT.model_sha256), drift.reference_of(ABOUT), LIMITS))
    assert {day: measured.films for day, measured in days.items()} == dict.fromkeys(days, 40)
    assert [measured.alarms for measured in days.values()] == [(), (), ("scores",)]
    assert len(list(drift.read_films(log, None))) == 121


def test_a_log_that_was_changed_is_no_evidence(log: Path) -> None:
    log.write_bytes(log.read_bytes().replace(b'"prob": 0.', b'"prob": 0.0', 1))
    with pytest.raises(InputError, match="line 1: was changed"):
        list(drift.read_films(log, None))


def test_the_command_prints_each_day_and_writes_a_page(
    log: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(description, "describe", lambda source: ABOUT)
    main.main(["audit", "drift", str(log), "--model", "light_cnn", "--page", str(tmp_path / "drift.html")])
    lines = [line for line in capsys.readouterr().out.splitlines() if "2026-11" in line]
    assert len(lines) == 3
    assert "scores" in lines[2]
    assert "none" in lines[1]
    page = (tmp_path / "drift.html").read_text()
    assert "1</" in page
    assert not re.search(r"(src|href)=\"https?:", page)
    main.main(["audit", "drift", str(log), "--baseline-days", "2", "--format", "csv"])
    assert "2026-11-28" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("words", "reason"),
    [
        (["--baseline-days", "3"], "leave none to compare"),
        (["--baseline-days", "1", "--limits", "limits.yaml"], "limits.yaml: ks"),
        (["--model", "absent"], "no finished model 'absent'"),
        (["--baseline-days", "1", "--page", "limits.yaml/drift.html"], "--page .*drift.html: cannot be written"),
    ],
)
def test_what_cannot_be_compared_is_said(
    words: list[str], reason: str, log: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "limits.yaml").write_text("ks: 2\n")
    with pytest.raises(SystemExit, match=reason):
        main.main(["audit", "drift", str(log), *words])


def test_limits_of_a_file_replace_the_default(tmp_path: Path) -> None:
    (tmp_path / "limits.yaml").write_text("ks: 0.5\nmin_films: 10\n")
    assert drift.read_limits(tmp_path / "limits.yaml") == DriftLimits(ks=0.5, min_films=10)
    assert drift.read_limits(None) == LIMITS


# While serving


def test_the_service_looks_back_on_its_last_films() -> None:
    monitor = DriftMonitor(REFERENCE, DriftLimits(window=50))
    assert monitor.measure() is None
    for film in films(draw(200, 1, shift=0.4)):
        monitor.add(film)
        monitor.add(film)
    measured = monitor.measure()
    assert measured is not None
    assert (measured.films, measured.alarms) == (50, ("scores",))
    for number, film in enumerate(films(draw(50, 2))):
        monitor.add(LoggedFilm(film.day, film.prob, film.referred, film.doubted, (f"new {number}", "")))
    measured = monitor.measure()
    assert measured is not None
    assert measured.alarms == ()
