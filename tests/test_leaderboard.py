"""The page of published figures is what its table and the committed results say."""

import importlib.util
from pathlib import Path

import pandas as pd
import pytest

SCRIPT = Path(__file__).resolve().parents[1] / "docs/leaderboard.py"
SPEC = importlib.util.spec_from_file_location("leaderboard", SCRIPT)
assert SPEC is not None and SPEC.loader is not None
leaderboard = importlib.util.module_from_spec(SPEC)
SPEC.loader.exec_module(leaderboard)


def test_the_page_is_written_from_its_table() -> None:
    assert leaderboard.PAGE.read_text(encoding="utf-8") == leaderboard.render(), "run `python docs/leaderboard.py`"


def test_our_rows_are_those_of_the_committed_results() -> None:
    rows = leaderboard.read_rows()
    ours = rows[rows["source"].str.startswith(f"[{leaderboard.HERE}]")]
    committed = pd.read_csv(SCRIPT.parent / "results/cbis-ddsm-mass.csv")["auc"]
    assert len(ours) > 4
    assert set(ours.loc[ours["unit"] == "lesion", "auc"]) <= set(committed)


def test_every_published_row_says_how_one_knows() -> None:
    rows = leaderboard.read_rows()
    assert rows[["split", "n", "leak_free", "known_by"]].notna().all(axis=None)
    assert rows["auc"].between(0.5, 1).all()
    assert not (rows["auc"] < rows["auc_low"]).any() and not (rows["auc"] > rows["auc_high"]).any()


@pytest.mark.parametrize(("before", "after"), [("leak_free,known_by", "leak_free,known"), (",partly,", ",surely,")])
def test_a_row_that_cannot_be_read_is_refused(before: str, after: str, tmp_path: Path, monkeypatch) -> None:
    broken = tmp_path / "leaderboard.csv"
    broken.write_text(leaderboard.TABLE.read_text().replace(before, after))
    monkeypatch.setattr(leaderboard, "TABLE", broken)
    with pytest.raises(ValueError, match="leaderboard"):
        leaderboard.read_rows()
