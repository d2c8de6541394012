"""The page of drift: a row for each day, what it is compared with, and what raises an alarm."""

from collections.abc import Sequence

from mammo.reporting import page
from mammo.reporting.page import Cell, Note, Section, Table, Tiles
from mammo.serving.drift import Drift, DriftLimits, DriftReference

HEAD = ["day", "films", "median", "KS distance", "p", "PSI", "can be no mammogram", "referred", "alarm"]


def cells(day: str, drift: Drift) -> list[str]:
    """Return the cells of a day."""
    numbers = [f"{drift.median:.3f}", f"{drift.ks:.3f}", f"{drift.p:.2g}", f"{drift.psi:.2f}"]
    return [day, str(drift.films), *numbers, f"{drift.doubt_rate:.1%}", f"{drift.refer_rate:.1%}", _alarm(drift)]


def draw(days: Sequence[tuple[str, Drift]], reference: DriftReference, limits: DriftLimits) -> str:
    """Return the page as HTML that links to nothing outside."""
    alarms = sum(bool(drift.alarms) for _, drift in days)
    rows = [[Cell(text, warning=bool(drift.alarms)) for text in cells(day, drift)] for day, drift in days]
    referred = "not known" if reference.refer_rate is None else f"{reference.refer_rate:.1%}"
    section = Section(
        "days",
        "Days",
        f"Each day against {reference.source}: {len(reference.scores)} scores, {referred} of them referred.",
        [
            Tiles([(str(sum(drift.films for _, drift in days)), "films"), (str(alarms), f"of {len(days)} days alarm")]),
            Table("Scores, doubts and referrals", HEAD, [("", rows)]),
            Note(_explain(limits)),
            Note(
                "A validation set holds more malignant films than a screening population. Where a site's first days "
                "already differ, compare with them instead (--baseline-days). Drift says that films or answers have "
                "changed, not that answers are wrong."
            ),
        ],
    )
    return page.html("Drift of a served model", [section], synthetic=False, origin="python -m mammo audit drift")


def _alarm(drift: Drift) -> str:
    return ", ".join(drift.alarms) or "none"


def _explain(limits: DriftLimits) -> str:
    return (
        f"An alarm needs {limits.min_films} films and a deviation with p below {limits.p:g}. scores: the distribution "
        f"functions are more than {limits.ks:g} apart (Kolmogorov and Smirnov). doubt: more than "
        f"{limits.doubt_rate:.0%} of the films can be no mammograms. refer: the share that is referred has changed by "
        f"more than {limits.refer_change:.0%}."
    )
