"""Drift: whether the films of a day, and the answers about them, are like those that the model was validated on.

It is read from the audit log, which holds scores, answers and doubts, and no pixel. Whether answers are right it cannot
say.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import numpy.typing as npt
import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError
from scipy import stats

from mammo.core.errors import InputError, list_issues
from mammo.inference.about import REFER, About
from mammo.serving import audit_log

BINS = 10  # of the population stability index: deciles of the reference
SMOOTHING = 0.5  # films that every bin has in addition, so that an empty one has a logarithm
SCORES, DOUBT, REFERRED = ALARMS = ("scores", "doubt", "refer")
EVENTS = ("predict", "explain", "watch")

Floats = npt.NDArray[np.float64]
Share = Annotated[float, Field(ge=0, le=1)]


class DriftLimits(BaseModel):
    """What raises an alarm.

    min_films: with fewer there is none. ks: the largest distance of the two distribution functions of scores. p: how
    improbable a deviation must be, were nothing different. doubt_rate: the share of films that can be no mammograms.
    refer_change: of the share that is referred, up or down. window: films that /metrics looks back on.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    min_films: Annotated[int, Field(ge=1)] = 30
    ks: Share = 0.2
    p: Share = 0.001
    doubt_rate: Share = 0.05
    refer_change: Share = 0.15
    window: Annotated[int, Field(ge=1)] = 500


@dataclass(frozen=True)
class LoggedFilm:
    """What the log says of one film: the day, YYYY-MM-DD, and the answer; key: its hash and box."""

    day: str
    prob: float
    referred: bool
    doubted: bool
    key: tuple[str, str]


def log_film(day: str, digest: str, answer: Mapping[str, Any]) -> LoggedFilm:
    """Return what is kept of an answer of the service about a film of that hash."""
    key = (digest, str(answer["box"]))
    return LoggedFilm(day, answer["prob"], answer["answer"] == REFER, answer["doubt"] is not None, key)


@dataclass(frozen=True)
class DriftReference:
    """What films are compared with: sorted scores, and the share that was referred (None: not known)."""

    scores: Floats
    refer_rate: float | None
    source: str


@dataclass(frozen=True)
class Drift:
    """How far some films are from the reference; alarms: of ALARMS."""

    films: int
    median: float
    ks: float
    p: float
    psi: float
    doubt_rate: float
    refer_rate: float
    alarms: tuple[str, ...]


def read_limits(path: Path | None) -> DriftLimits:
    """Return the limits of a YAML file, which may name some of them; without a file the default. Raises InputError."""
    if path is None:
        return DriftLimits()
    try:
        return DriftLimits.model_validate(yaml.safe_load(path.read_text(encoding="utf-8")) or {})
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise InputError(f"{path}: cannot be read ({error})") from error
    except ValidationError as error:
        raise InputError(f"{path}: {'; '.join(list_issues(error))}") from error


def read_films(path: Path, model_sha256: str | None) -> Iterator[LoggedFilm]:
    """Yield the films of an audit log that a model answered (None: any model), each once a day; raises InputError.

    A film that was asked about twice, once for its heat map, is one film.
    """
    known: set[tuple[object, ...]] = set()
    for entry in audit_log.read_entries(path):
        if entry.get("event") not in EVENTS or model_sha256 not in (None, entry["model"]["model_sha256"]):
            continue
        day = str(entry["time"])[:10]
        for digest, answer in zip(entry["inputs_sha256"], entry["films"], strict=True):
            film = log_film(day, digest, answer)
            key = (day, film.key, entry["model"]["model_sha256"])
            if key not in known:
                known.add(key)
                yield film


def reference_of(about: About) -> DriftReference:
    """Return the validation rows of a model as reference; raises InputError for a model that has kept none."""
    if about.reference is None:
        raise InputError(
            f"{about.name} has kept no scores of its validation rows: export it again, or compare with the first days "
            "of the log (--baseline-days)"
        )
    return DriftReference(np.array(about.reference.scores), about.reference.refer_rate, "the validation rows")


def reference_of_days(films: Sequence[LoggedFilm], days: int) -> DriftReference:
    """Return the first days of a log as reference; raises InputError where there are no others."""
    dates = sorted({film.day for film in films})
    if len(dates) <= days:
        raise InputError(f"the log has films of {len(dates)} days; {days} of them as baseline leave none to compare")
    last = dates[days - 1]
    first = [film for film in films if film.day <= last]
    scores = np.sort([film.prob for film in first])
    return DriftReference(scores, _rate([film.referred for film in first]), f"{dates[0]} to {last}")


def measure_days(
    films: Iterable[LoggedFilm], reference: DriftReference, limits: DriftLimits
) -> Iterator[tuple[str, Drift]]:
    """Yield each day, in order, and its drift."""
    for day, group in groupby(sorted(films, key=lambda film: film.day), lambda film: film.day):
        yield day, measure(list(group), reference, limits)


def measure(films: Sequence[LoggedFilm], reference: DriftReference, limits: DriftLimits) -> Drift:
    """Return how far films are from the reference; at least one film."""
    prob = np.array([film.prob for film in films])
    test = stats.ks_2samp(prob, reference.scores)
    doubted, referred = ([getattr(film, name) for film in films] for name in ("doubted", "referred"))
    alarms = {
        SCORES: test.statistic > limits.ks and test.pvalue < limits.p,
        DOUBT: _exceeds(doubted, limits.doubt_rate, limits.p),
        REFERRED: _has_changed(referred, reference.refer_rate, limits),
    }
    return Drift(
        films=len(films),
        median=float(np.median(prob)),
        ks=float(test.statistic),
        p=float(test.pvalue),
        psi=stability_index(prob, reference.scores),
        doubt_rate=_rate(doubted),
        refer_rate=_rate(referred),
        alarms=tuple(name for name in ALARMS if alarms[name] and len(films) >= limits.min_films),
    )


def stability_index(prob: Floats, reference: Floats) -> float:
    """Return the population stability index: the sum over bins of (p - q) ln(p / q), p of films, q of the reference.

    It grows with few films, by about (BINS - 1) (1 / n + 1 / n_reference); the distance `ks` has a test instead.
    """
    edges = np.unique(np.quantile(reference, np.linspace(0, 1, BINS + 1)[1:-1]))
    counts = [np.bincount(np.digitize(scores, edges), minlength=len(edges) + 1) for scores in (prob, reference)]
    p, q = ((count + SMOOTHING) / (count + SMOOTHING).sum() for count in counts)
    return float(np.sum((p - q) * np.log(p / q)))


def _exceeds(flags: Sequence[bool], limit: float, p: float) -> bool:
    """Say whether a share is larger than a limit by more than chance (exact binomial test)."""
    return bool(_rate(flags) > limit and stats.binomtest(sum(flags), len(flags), limit, "greater").pvalue < p)


def _has_changed(flags: Sequence[bool], rate: float | None, limits: DriftLimits) -> bool:
    """Say whether a share differs from that of the reference by more than the limit, and more than chance."""
    if rate is None or abs(_rate(flags) - rate) <= limits.refer_change:
        return False
    return bool(stats.binomtest(sum(flags), len(flags), rate).pvalue < limits.p)


def _rate(flags: Sequence[bool]) -> float:
    return sum(flags) / len(flags)
