"""What `python -m mammo results` keeps of a data report: the page and its figures, under the run's name."""

from pathlib import Path

import pytest

from mammo.core.errors import InputError
from mammo.reporting import results


@pytest.fixture
def workspace(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with a data report, as a run leaves it."""
    figures = tmp_path / "data/data_report/figures"
    figures.mkdir(parents=True)
    (figures / "flow.png").write_bytes(b"flow")
    (figures.parent / "data.md").write_text("## Counts\n\n![flow](figures/flow.png)\n")
    (figures.parent / "data.html").write_text("films of patients")
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_the_data_page_finds_its_figures_beside_it(workspace: Path) -> None:
    path = results.write_data_page("mine")
    text = path.read_text()
    assert path == Path("docs/data/mine.md")
    assert text.startswith("# Data: mine\n") and "python -m mammo results mine" in text
    assert "![flow](mine/flow.png)" in text
    assert (workspace / "docs/data/mine/flow.png").read_bytes() == b"flow"


def test_the_page_with_films_is_not_kept(workspace: Path) -> None:
    results.write_data_page("mine")
    kept = [path.name for path in (workspace / "docs").rglob("*") if path.is_file()]
    assert sorted(kept) == ["flow.png", "mine.md"]


def test_a_figure_of_an_older_report_goes(workspace: Path) -> None:
    results.write_data_page("mine")
    (workspace / "data/data_report/figures/flow.png").rename(workspace / "data/data_report/figures/folds.png")
    results.write_data_page("mine")
    assert [path.name for path in (workspace / "docs/data/mine").iterdir()] == ["folds.png"]


def test_without_a_data_report_nothing_is_written(workspace: Path) -> None:
    (workspace / "data/data_report/data.md").unlink()
    with pytest.raises(InputError, match=r"data/data_report/data\.md does not exist; run `dvc repro data_report`"):
        results.write_data_page("mine")
    assert not (workspace / "docs").exists()
