"""Links of the pages outside docs/ lead to a file of the repository; those within are checked by `make docs`."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PAGES = [*ROOT.glob("*.md"), ROOT / "benchmarks" / "README.md", ROOT / "examples" / "README.md"]


def heading_anchor(title: str) -> str:
    return re.sub(r"[^\w\- ]", "", title.lower()).strip().replace(" ", "-")


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_links_lead_somewhere(page: Path) -> None:
    links = [link for link in re.findall(r"\]\(([^)\s]+)\)", page.read_text()) if not re.match(r"[a-z]+:", link)]
    missing = []
    for link in links:
        path, _, anchor = link.partition("#")
        target = page.parent / path if path else page
        titles = re.findall(r"^#+ (.*)$", target.read_text(), re.M) if anchor and target.is_file() else []
        if not target.exists() or (anchor and anchor not in map(heading_anchor, titles)):
            missing.append(link)
    assert not missing
