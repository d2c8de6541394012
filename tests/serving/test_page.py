"""The reader's page in a real browser: two views, a box drawn by hand, the service's answer, nothing from elsewhere."""

from collections.abc import Iterator
from pathlib import Path

import finished
import pytest
from playwright.sync_api import Page, expect

import mammo
from tests import browser
from tests.service import Server, serving

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def server(finished_lesions: Path) -> Iterator[Server]:
    browser.program()
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(finished_lesions)
        predictor = mammo.load(finished.NAME)
    with serving(predictor) as running:
        yield running


def draw_box(page: Page) -> None:
    """Drag over the middle of the film."""
    canvas = page.locator("#canvas").bounding_box()
    assert canvas is not None
    x, y = canvas["x"] + canvas["width"] / 2, canvas["y"] + canvas["height"] / 2
    page.mouse.move(x - 20, y - 20)
    page.mouse.down()
    page.mouse.move(x + 20, y + 20)
    page.mouse.up()


def test_a_reader_opens_two_views_draws_boxes_and_gets_the_services_answer(
    server: Server, finished_lesions: Path
) -> None:
    films = [str(path) for path in finished.films(finished_lesions)["path"].unique()[:2]]
    requested, problems = [], []
    with browser.page(1280, 900) as page:
        page.on("request", lambda request: requested.append(request.url))
        page.on("pageerror", lambda error: problems.append(str(error)))
        page.on("console", lambda line: problems.append(line.text) if line.type == "error" else None)
        page.goto(server.url)
        expect(page.locator("#model")).to_contain_text("light_cnn, a model of lesions")
        expect(page.locator(".notice")).to_be_visible()
        page.set_input_files("#files", films)
        expect(page.locator("[role=tab]")).to_have_count(2)
        expect(page.locator("#ask")).to_be_disabled()
        boxes = []
        for place in range(2):
            page.locator("[role=tab]").nth(place).click()
            draw_box(page)
            boxes.append(",".join(page.locator(f"#{corner}").input_value() for corner in ("x0", "y0", "x1", "y1")))
        page.click("#ask")
        expect(page.locator(".reading")).to_have_count(2)
        expect(page.locator("#heat-figure")).to_be_visible()
        shown = page.locator(".reading").first.inner_text()
        wide = page.evaluate("document.documentElement.scrollWidth")
        page.set_viewport_size({"width": 390, "height": 844})
        narrow = page.evaluate("document.documentElement.scrollWidth")
        assert browser.violations(page) == []
        page.locator("#canvas").focus()
        for key in ("+", "ArrowLeft", "[", ".", "0"):
            page.keyboard.press(key)
    (answer,) = server.post(f"/v1/predict?box={boxes[0]}", data=Path(films[0]).read_bytes()).json()["films"]
    assert f"{answer['prob']:.3f}" in shown
    assert f"{answer['calibrated']:.3f} (calibrated)" in shown
    assert (wide, narrow) == (1280, 390)
    assert problems == []
    assert all(url.startswith((server.url, "blob:", "data:")) for url in requested)


def test_what_is_no_film_and_a_missing_key_are_said_on_the_page(server: Server, tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("no film")
    with browser.page(800, 600) as page:
        page.goto(server.url)
        page.set_input_files("#files", str(tmp_path / "notes.txt"))
        expect(page.locator(".error")).to_contain_text("notes.txt: the film: not an image or truncated")
