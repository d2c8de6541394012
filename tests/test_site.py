"""The built site in a real browser (make test-site): searched from the disk, guides first, accessible, nothing cut."""

import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser

from tests import browser

SITE = os.environ.get("MAMMO_SITE", "")
pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not SITE, reason="`make docs test-site` builds the site and tests it"),
]

# One page of each kind: start, tables of results, guides with tables and with code, reference.
PAGES = ["index.html", "results/cbis-ddsm-mass.html", "how-to/runs-in-mlflow.html", "how-to/add-a-model.html"]
PAGES += ["reference/cli.html"]
WORDS = {  # and the guide that explains them
    "champion": "how-to/runs-in-mlflow.html",
    "heat maps": "how-to/explain-a-model.html",
    "augmentation": "how-to/add-an-augmentation.html",
}


@pytest.fixture(scope="module")
def chromium() -> Iterator[Browser]:
    with browser.chromium() as started:
        yield started


def address(page: str) -> str:
    return (Path(SITE).resolve() / page).as_uri()


@pytest.mark.parametrize("word", WORDS)
def test_search_works_from_the_disk_and_lists_the_guide_first(chromium: Browser, word: str) -> None:
    with browser.open_page(chromium) as page:
        requested: list[str] = []
        page.on("request", lambda request: requested.append(request.url))
        page.goto(address("index.html"))
        page.locator("input[name=query]").fill(word)
        first = page.locator(".md-search-result__link").first
        first.wait_for()
        assert (first.get_attribute("href") or "").split("?")[0].split("#")[0].endswith(WORDS[word])
        assert all(url.startswith(("file:", "blob:", "data:")) for url in requested)


@pytest.mark.parametrize(("scheme", "width"), [("light", 1280), ("dark", 1280), ("light", 390)])
@pytest.mark.parametrize("name", PAGES)
def test_a_page_can_be_used_by_everybody(chromium: Browser, name: str, scheme: browser.Scheme, width: int) -> None:
    with browser.open_page(chromium, width, scheme=scheme) as page:
        page.goto(address(name))
        assert page.evaluate("document.documentElement.scrollWidth") == width
        assert browser.violations(page) == []


@pytest.mark.parametrize("width", [1280, 1920])
@pytest.mark.parametrize("name", ["results/cbis-ddsm-mass.html", "results/cbis-ddsm-mass-image.html"])
def test_no_column_of_a_result_table_is_cut(chromium: Browser, name: str, width: int) -> None:
    with browser.open_page(chromium, width) as page:
        page.goto(address(name))
        assert browser.cut_tables(page) == []
