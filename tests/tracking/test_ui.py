"""In a real browser: the MLflow UI (experiment, table, comparison, figure) and the report (accessible, nothing cut)."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser, Page, expect
from reporting import test_evaluation_report as run

from mammo.core.records import read_record, record_path
from mammo.evaluation.comparison_rows import tabulate_roc
from mammo.reporting import evaluation_report
from mammo.reporting.figures import evaluation, png
from mammo.tracking import live_run, publishing, table_view
from tests import arrays, browser, mlflow_server

pytestmark = pytest.mark.slow

EXPERIMENT = "screening"
AUC = {"light_cnn": 0.71, "ensemble_mean": 0.83, "basic_vgg16": 0.64, "baseline_birads": 0.79}
BY_AUC = [f"evaluate@{name}" for name in sorted(AUC, key=AUC.__getitem__, reverse=True)]


@pytest.fixture(scope="module")
def table(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The address of the table's page, on a server with a few runs as a pipeline leaves them."""
    browser.program()
    folder = tmp_path_factory.mktemp("ui")
    with (
        pytest.MonkeyPatch.context() as patch,
        mlflow_server.serving(f"sqlite:///{folder / 'runs.db'}", folder) as server,
    ):
        for variable in ("DVC_ROOT", "DVC_EXP_NAME", "DVC_EXP_BASELINE_REV"):
            patch.delenv(variable, raising=False)
        patch.setenv("MLFLOW_TRACKING_URI", server.url)
        patch.chdir(folder)
        records = [evaluated(order, name, auc) for order, (name, auc) in enumerate(AUC.items())]
        with live_run.tracked_run(
            "split", experiment=EXPERIMENT, parameters={"seed": 1}, tags={"data": "abc"}
        ) as tracked:
            tracked.log_metrics({"patients": 60})
        assert publishing.publish(EXPERIMENT, records).replayed == []
        address, page = table_view.table_page(EXPERIMENT)
        yield f"{address}{page}"


def evaluated(order: int, name: str, auc: float) -> object:
    path = Path("data/figures/evaluate") / name / "roc.png"
    rows = arrays.predictions(60, skill=8 * auc - 4, seed=order).query("split == 'test'").assign(predicted_positive=0)
    png.save_figure(evaluation.draw_roc(tabulate_roc(name, rows), {name: name}, {}, "ROC"), path)
    with live_run.tracked_run(
        "evaluate",
        model=name,
        experiment=EXPERIMENT,
        parameters={"seed": 3, "rule": "target_sensitivity"},
        tags={"order": f"{order:03d}", "unit": "lesion", "data": "abc"},
    ) as tracked:
        tracked.log_metrics({"auc": auc, "sensitivity": 0.9 - order / 20})
        tracked.log_artifact(path)
    return read_record(record_path("evaluate", name))


@pytest.fixture(scope="module")
def chromium() -> Iterator[Browser]:
    with browser.chromium() as started:
        yield started


@pytest.fixture
def page(chromium: Browser) -> Iterator[Page]:
    with browser.open_page(chromium) as opened:
        yield opened


def test_the_experiment_is_found_from_the_front_page(page: Page, table: str) -> None:
    page.goto(f"{table.split('/#')[0]}/#/experiments")
    page.get_by_text("Model training", exact=True).click()
    page.get_by_role("link", name=EXPERIMENT).first.click()
    page.locator("a", has_text="split").first.wait_for()
    expect(page.locator("a", has_text="evaluate@")).to_have_count(len(AUC))


def test_the_printed_page_lists_the_rows_by_auc_and_turns_round(page: Page, table: str) -> None:
    browser.open_table(page, table)
    assert browser.names(page) == BY_AUC
    for column in ("auc", "sensitivity"):
        expect(page.locator(".ag-header-cell", has_text=column).first).to_be_visible()
    shown = [
        page.locator(f".ag-row[row-index='{row}']", has_text=str(AUC[name.removeprefix("evaluate@")]))
        for row, name in enumerate(BY_AUC)
    ]
    for cell in shown:
        expect(cell.first).to_be_visible()
    page.get_by_role("button", name="Sort: auc").click()
    page.get_by_role("button", name="Sort ascending").click()
    page.wait_for_function(
        "name => document.querySelector('.ag-row[row-index=\"0\"] a')?.innerText === name", arg=BY_AUC[-1]
    )
    assert browser.names(page) == BY_AUC[::-1]


def test_two_runs_stand_side_by_side_with_their_metrics(page: Page, table: str) -> None:
    browser.open_table(page, table)
    browser.compare(page, *BY_AUC[:2])
    text = page.locator("main, body").first.inner_text()
    for name in BY_AUC[:2]:
        assert name in text
        assert str(AUC[name.removeprefix("evaluate@")]) in text


def test_the_roc_curve_of_a_run_is_seen(page: Page, table: str) -> None:
    browser.open_table(page, table)
    browser.open_artifact(page, "evaluate@light_cnn", "roc.png")
    image = page.locator("img[src^='blob:']").first
    assert image.evaluate("image => image.complete && image.naturalWidth") > 300
    box = image.bounding_box()
    assert box is not None
    assert min(box["width"], box["height"]) > 200


@pytest.fixture(scope="module")
def report(tmp_path_factory: pytest.TempPathFactory) -> str:
    """The address of a report."""
    path = tmp_path_factory.mktemp("report") / "report.html"
    evaluation_report.write(path, run.content())
    return path.as_uri()


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_the_report_can_be_used_by_everybody(chromium: Browser, report: str, scheme: browser.Scheme) -> None:
    with browser.open_page(chromium, scheme=scheme) as page:
        page.goto(report)
        assert browser.violations(page) == []


@pytest.mark.parametrize("width", [390, 1280, 1920])
def test_no_column_of_the_report_is_cut(chromium: Browser, report: str, width: int) -> None:
    with browser.open_page(chromium, width) as page:
        page.goto(report)
        assert page.evaluate("document.documentElement.scrollWidth") == width
        assert width == 390 or browser.cut_tables(page) == []


def test_a_cut_column_and_a_violation_would_be_seen(page: Page) -> None:
    cells = "<td style='min-width: 9em'>0.5</td>" * 9
    page.set_content(f"<div style='width: 20em; overflow: auto'><table><tr>{cells}</tr></table></div><img src=''>")
    assert len(browser.cut_tables(page)) == 1
    assert any(broken.startswith("image-alt") for broken in browser.violations(page))
