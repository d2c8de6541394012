"""Rank guides above results, checklists and reference in the site's search; a hook of mkdocs.yml."""

from typing import Any

BOOSTS = {"reference/": 0.0001, "results/": 0.1, "data/": 0.1, "tripod-ai.md": 0.1, "claim.md": 0.1}  # others: 1


def on_page_markdown(markdown: str, *, page: Any, **_: object) -> str:
    """Set the boost that mkdocs-material's search reads from a page; the page stays as it is."""
    for path, boost in BOOSTS.items():
        if page.file.src_uri.startswith(path):
            page.meta["search"] = {"boost": boost}
    return markdown
