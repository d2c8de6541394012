"""Rows of a published table that describe one finding more than once."""

import pandas as pd

DUPLICATE = "duplicate of an earlier row"


def find_repeats(rows: pd.DataFrame, key: list[str], contradiction: str) -> "pd.Series[str]":
    """Return the reason of repeated rows: of equal ones all but the first, of those that differ under one key all.

    contradiction: the reason of the latter. An empty text for all other rows.
    """
    reasons = pd.Series("", index=rows.index, dtype=object)
    reasons[rows.duplicated()] = DUPLICATE
    distinct = rows.drop_duplicates()
    contradicting = distinct.loc[distinct.duplicated(key, keep=False), key]
    differ = pd.MultiIndex.from_frame(rows[key]).isin(pd.MultiIndex.from_frame(contradicting))
    return reasons.mask(differ, contradiction)
