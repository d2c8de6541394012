"""The first section: what a reader who has twenty seconds must know, and what to worry about.

The model is the best on validation, whatever the test set says of it and of the others.
"""

from collections.abc import Iterator

import pandas as pd

from mammo.core.row_names import READER
from mammo.evaluation.lesion_verdict import DOES_NOT_LOOK, LITTLE, LOOKS, judge_drop
from mammo.explain.verdicts import FAILED
from mammo.reporting.cells import format_p, format_percent, format_words
from mammo.reporting.evaluation_report.content import BORDER, Content
from mammo.reporting.figures import png
from mammo.reporting.page import Block, Note, Picture, Pictures, Row, Section, Stack, Tiles

TITLE = "Verdict"
GUIDE = (
    "The model is the best on validation, whatever the test set says of it: a model that is chosen by its test result "
    "looks better than it is. Ensembles were fitted on the validation rows and so cannot be chosen by them. Brackets "
    "hold intervals, resampled by patient."
)
CLOSE = 0.02  # of the AUC: a choice among models that differ less is a matter of chance


def build_verdict(content: Content) -> Section:
    """Build the section on the best model by validation, beside the reader and the baselines, and what to doubt."""
    row = None if content.best is None else content.row(content.best)
    blocks: list[Block] = [Note("No model can be named: there is no validation AUC.")]
    if row is not None:
        worries = [Note(text, warning=True) for text in _worries(content, row)]
        notes = [Note(text) for text in _statements(content, row)]
        blocks = [_tiles(content, row), _beside_aucs(content, [*notes, *worries])]
    return Section("verdict", TITLE, GUIDE, blocks)


def _beside_aucs(content: Content, notes: list[Note]) -> Row:
    """Return the notes beside the figure of the AUCs, where there is one."""
    if not content.aucs:
        return Row([Stack(notes)])
    alt = "AUC of every row of the table, and what is left of it; numbers: tables of results and of shortcut controls"
    caption = "The AUC of every row, and what is left of it"
    picture = Picture(alt, caption, content.aucs, width_px=png.page_width(content.aucs))
    return Row([Stack(notes), Pictures([picture], size="full")])


def _tiles(content: Content, row: pd.Series) -> Tiles:
    chosen = content.validation.set_index("model").loc[content.best]
    reader = content.row(READER)
    tiles = [
        (str(content.best), f"best of {len(content.validation)} models on validation"),
        (f"{chosen['auc']:.3f}", f"AUC on validation, {chosen['n']:.0f} samples"),
        (f"{row['auc']:.3f}", f"AUC, {row['samples']} {_limits(row, 'auc')}"),
    ]
    if reader is not None and pd.notna(reader["auc"]):
        tiles.append((f"{reader['auc']:.3f}", f"AUC of the radiologist {_limits(reader, 'auc')}"))
    if pd.notna(row.get("auc_without_lesion")):
        tiles.append(
            (f"{row['auc_without_lesion']:.3f}", f"AUC without the lesion {_limits(row, 'auc_without_lesion')}")
        )
    tiles += [(f"{row[name]:.3f}", f"{name} {_limits(row, name)}") for name in ("sensitivity", "specificity")]
    return Tiles(tiles)


def _limits(row: pd.Series, name: str) -> str:
    low, high = row.get(f"{name}_low"), row.get(f"{name}_high")
    return f"({low:.3f}\u2013{high:.3f})" if pd.notna(low) and pd.notna(high) else ""


def _statements(content: Content, row: pd.Series) -> Iterator[str]:
    """Yield what is shown about the model: beside the reader, beside the border, without the lesion."""
    yield content.test_set
    for rival, text in ((READER, "the radiologist's BI-RADS"), (BORDER, "the film's border alone")):
        if (statement := _compare(content, str(content.best), rival, text)) is not None:
            yield statement
    if judge_drop(row.to_dict()) == LOOKS:
        yield f"Without the lesion its AUC falls to {row['auc_without_lesion']:.3f}: it looks at the lesion."


def _compare(content: Content, name: str, rival: str, text: str) -> str | None:
    """Return the difference of two AUCs as a sentence that claims no more than its interval; None without a test."""
    tests = content.paired_tests
    for sign, (a, b) in ((1, (rival, name)), (-1, (name, rival))):
        pair = tests[(tests["model_a"] == a) & (tests["model_b"] == b)]
        if len(pair):
            difference, low, high = (sign * float(pair.iloc[0][column]) for column in ("difference", "low", "high"))
            low, high = sorted((low, high))
            shown = "neither a difference nor equality is shown"
            if low > 0 or high < 0:
                shown = "it is better" if low > 0 else "it is worse"
            numbers = f"{difference:+.3f} ({low:+.3f} to {high:+.3f}), p {format_p(float(pair.iloc[0]['p_holm']))}"
            return f"AUC less that of {text}: {numbers} after Holm's correction; {shown}."
    return None


def _worries(content: Content, row: pd.Series) -> Iterator[str]:
    """Yield what to doubt, in the order of its weight."""
    if content.closed:
        yield "The test set is closed: the numbers below are of the validation rows by which the model was chosen."
    yield from _look_worries(content, row)
    yield from _rate_worries(content, row)
    yield from _choice_worries(content, row)
    yield from _subgroup_worries(content)
    yield from _map_worries(content)


def _look_worries(content: Content, row: pd.Series) -> Iterator[str]:
    verdict = judge_drop(row.to_dict())
    if verdict in (DOES_NOT_LOOK, LITTLE):
        yield f"Without the lesion its AUC is {row['auc_without_lesion']:.3f}: {verdict}."
    if not verdict:
        yield "Nobody has measured its AUC without the lesion: nothing shows that it looks at the lesion."
    border = content.row(BORDER)
    if border is not None and pd.notna(border["auc_low"]) and border["auc_low"] > 0.5:
        yield f"The film's border alone reaches an AUC of {border['auc']:.3f}: part of every AUC may be its origin."


def _rate_worries(content: Content, row: pd.Series) -> Iterator[str]:
    rule, target = content.params.evaluate.rule, content.params.evaluate.value
    name = rule.removeprefix("target_")
    if name in ("sensitivity", "specificity") and target is not None and row[name] < target:
        sure = "all of its interval" if row[f"{name}_high"] < target else "its interval holds the target"
        yield f"The operating point aims at a {name} of {target:g} and reaches {row[name]:.3f}: {sure}."
    slopes = content.tables["calibration"]
    raw = slopes[(slopes["model"] == content.best) & (slopes["method"] == "raw")]
    if len(raw) and (raw["slope_low"].iloc[0] > 1 or raw["slope_high"].iloc[0] < 1):
        yield (
            f"Its probabilities are not calibrated (slope {raw['slope'].iloc[0]:.2f}, ideal 1): read the recalibrated "
            "ones."
        )


def _choice_worries(content: Content, row: pd.Series) -> Iterator[str]:
    aucs = content.validation["auc"].astype(float)
    close = int((aucs.max() - aucs < CLOSE).sum()) - 1
    if close > 0:
        yield (
            f"On validation {close} other model{'s are' if close > 1 else ' is'} within {CLOSE:g} of its AUC, on "
            f"{content.validation['n'].max():.0f} samples: which one is best is a matter of chance."
        )
    if pd.isna(row.get("retrained")):
        yield "It was trained once: how far its AUC moves with the seed is not known (params.yaml: seeds)."


def _subgroup_worries(content: Content) -> Iterator[str]:
    table = content.tables["subgroups"]
    worse = table[(table["model"] == content.best) & (table["worse"] == 1)]
    for _, group in worse.iterrows():
        yield (
            f"It is significantly worse where {format_words(group['variable'])} is {group['value']} "
            f"(AUC {group['auc']:.3f}, n {group['n']:.0f})."
        )


def _map_worries(content: Content) -> Iterator[str]:
    if content.sanity.empty:
        return
    failed = content.sanity[(content.sanity["model"] == content.best) & (content.sanity["verdict"] == FAILED)]
    if len(failed):
        named = ", ".join(f"{row['method']}: {row['check']}" for _, row in failed.iterrows())
        yield f"Its heat maps fail a sanity check ({named}): they say little about it."


def describe_prevalence(content: Content, name: str) -> str:
    """Return `at 40.9 %`, the share of malignant samples behind a row; empty where it is not known."""
    share = content.prevalence.get(name)
    return "" if share is None else f"at {format_percent(share)}"
