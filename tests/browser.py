"""The system's Chromium over the MLflow UI and our pages; Playwright drives it and downloads no browser of its own."""

import os
import re
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Literal

import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Browser, Page, expect, sync_playwright

PROGRAMS = ("chromium", "chromium-browser", "google-chrome-stable", "google-chrome")
PATIENCE_MS = 60_000  # a loaded machine
Scheme = Literal["light", "dark"]
WIDER_THAN_THEIR_BOX = """[...document.querySelectorAll('table')].filter(table => {
  for (let box = table.parentElement; box; box = box.parentElement)
    if (table.getBoundingClientRect().right > box.getBoundingClientRect().right + 1) return true
  return false
}).filter(table => table.checkVisibility()).map(table => table.innerText.split('\\n')[0])"""


def program() -> str:
    """Where Chromium is; skips where there is none."""
    found = os.environ.get("MAMMO_CHROMIUM") or next(filter(None, map(shutil.which, PROGRAMS)), None)
    if found is None:
        pytest.skip("there is no Chromium here: `apt-get install chromium` (.ci/run does where it may)")
    return found


@contextmanager
def chromium() -> Iterator[Browser]:
    """A started browser; its start costs more than a page."""
    with sync_playwright() as playwright:
        started = playwright.chromium.launch(executable_path=program(), args=["--no-sandbox", "--disable-gpu"])
        expect.set_options(timeout=PATIENCE_MS)
        yield started
        started.close()


@contextmanager
def open_page(started: Browser, width: int = 1400, height: int = 800, scheme: Scheme = "light") -> Iterator[Page]:
    """An empty page in the light or dark scheme, without the memory of others."""
    context = started.new_context(
        viewport={"width": width, "height": height}, color_scheme=scheme, reduced_motion="reduce"
    )
    context.set_default_timeout(PATIENCE_MS)
    yield context.new_page()
    context.close()


@contextmanager
def page(width: int = 1400, height: int = 800) -> Iterator[Page]:
    """An empty page in a browser of its own."""
    with chromium() as started, open_page(started, width, height) as opened:
        yield opened


def violations(page: Page) -> list[str]:
    """What axe-core finds against WCAG and good practice, with all folds open: rule, and the first element."""
    page.evaluate("document.querySelectorAll('details').forEach(fold => { fold.open = true })")
    broken = Axe().run(page).response["violations"]
    return [f"{rule['id']}, {len(rule['nodes'])} elements: {rule['nodes'][0]['html'][:200]}" for rule in broken]


def cut_tables(page: Page) -> list[str]:
    """The visible tables of which a part lies outside the box that they scroll in, by their first line."""
    return list(page.evaluate(WIDER_THAN_THEIR_BOX))


def open_table(page: Page, address: str) -> None:
    """The page of the comparison table's runs, loaded, without the assistant that MLflow opens on a first visit."""
    page.goto(address)
    page.locator("a", has_text="evaluate@").first.wait_for()
    assistant = page.get_by_role("button", name="Close", exact=True)
    if assistant.count():
        assistant.click()


def change_columns(page: Page, *names: str) -> None:
    """Tick or untick columns of the table, by their names in its menu."""
    page.get_by_role("button", name="Columns").first.click()
    for name in names:
        page.get_by_title(name, exact=True).first.click()
    page.keyboard.press("Escape")


def names(page: Page) -> list[str]:
    """The run names of the table, from top to bottom."""
    cells = page.locator(".ag-row a", has_text=re.compile("@")).all()
    return [cell.inner_text() for cell in sorted(cells, key=lambda cell: (cell.bounding_box() or {"y": 0})["y"])]


def compare(page: Page, *chosen: str) -> None:
    """Tick those runs and open them side by side."""
    for name in chosen:
        row = page.locator(".ag-row", has=page.get_by_text(name, exact=True)).first
        row.locator("input[type=checkbox]:visible").click()
    page.get_by_role("button", name="Compare").first.click()
    page.get_by_text(f"Comparing {len(chosen)} Runs").wait_for()


def open_artifact(page: Page, run: str, *path: str) -> None:
    """Show a figure among the artifacts of the run of that name; the page must show the table, which lists the run."""
    page.locator("a", has_text=re.compile(f"^{run}$")).first.click()
    page.get_by_role("tab", name="Artifacts").click()
    for name in path:
        page.get_by_text(name, exact=True).first.click()
    page.locator("img[src^='blob:']").first.wait_for()


def shot(page: Page, path: Path) -> None:
    """A small PNG of the page."""
    page.wait_for_timeout(1500)  # what slides or loads has come to rest
    page.screenshot(path=path)
