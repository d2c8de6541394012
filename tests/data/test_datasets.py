"""What all data sets share: the full set is asserted by its counts, and unusable rows are refused on request."""

import pandas as pd
import pytest

from mammo.data.datasets import MAX_REASONS, OUT_OF_SCOPE, DatasetError, assert_full, refuse_excluded

PUBLISHED = {"patients": 1566, "films": 3103, "views": 3032}


def excluded(*reasons: str) -> pd.DataFrame:
    return pd.DataFrame({"reason": pd.Series(reasons, dtype=object)})


def test_the_published_counts_pass() -> None:
    assert_full(dict(PUBLISHED), PUBLISHED, "here")


def test_counts_that_nobody_published_do_not_matter() -> None:
    assert_full(PUBLISHED | {"masks": 1}, PUBLISHED, "here")
    assert_full({"masks": 1}, {}, "here")


@pytest.mark.parametrize("name", PUBLISHED)
@pytest.mark.parametrize("difference", [-1, 1])
def test_a_differing_count_is_named_with_both_numbers_and_the_cure(name: str, difference: int) -> None:
    with pytest.raises(DatasetError) as error:
        assert_full(PUBLISHED | {name: PUBLISHED[name] + difference}, PUBLISHED, "data/x")
    message = str(error.value)
    assert f"data/x is not the full data set: {name}: {PUBLISHED[name] + difference:,} instead of " in message
    assert f"instead of {PUBLISHED[name]:,}." in message
    assert "ingest.expect: subset" in message
    assert not [other for other in PUBLISHED if other != name and other in message]


def test_all_differing_counts_are_named_and_a_missing_one_is_zero() -> None:
    with pytest.raises(DatasetError, match=r"patients: 1,540 instead of 1,566; views: 0 instead of 3,032\."):
        assert_full({"patients": 1540, "films": 3103}, PUBLISHED, "here")


def test_nothing_excluded_is_not_refused() -> None:
    refuse_excluded(excluded(), "here")


def test_rows_out_of_scope_are_not_refused() -> None:
    refuse_excluded(excluded(f"{OUT_OF_SCOPE}type asymmetry"), "here")


def test_unusable_rows_are_refused_with_their_number_and_reasons_the_commonest_first() -> None:
    table = excluded("no film", "truncated", f"{OUT_OF_SCOPE}another type", "truncated")
    with pytest.raises(DatasetError) as error:
        refuse_excluded(table, "data/x")
    message = str(error.value)
    assert message.startswith("data/x: 3 unusable row(s) and ingest.on_error is `fail`: 2 x truncated; 1 x no film. ")
    assert message.endswith("`ingest.on_error: exclude`")


@pytest.mark.parametrize(("different", "ends"), [(MAX_REASONS, "."), (MAX_REASONS + 1, " ...")])
def test_many_reasons_are_cut_short_and_it_shows(different: int, ends: str) -> None:
    with pytest.raises(DatasetError) as error:
        refuse_excluded(excluded(*(f"reason {number}" for number in range(different))), "here")
    assert str(error.value).count("1 x reason") == MAX_REASONS
    assert (" ..." in str(error.value)) == (ends == " ...")
