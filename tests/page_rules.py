"""What every page of nisse holds to: looked at as markup, without a browser."""

from __future__ import annotations

import re
from html.parser import HTMLParser

from pages.palette import COLOURS


class Outline(HTMLParser):
    """Tags with their attributes and the tags they stand in; complains about what is not closed."""

    VOID = frozenset({"meta", "link", "img", "br"})

    def __init__(self, page: str) -> None:
        super().__init__()
        self.open: list[tuple[str, dict[str, str | None]]] = []
        self.found: list[tuple[str, dict[str, str | None], list[tuple[str, dict[str, str | None]]]]] = []
        self.feed(page)
        assert not self.open, self.open

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.found.append((tag, dict(attrs), list(self.open)))
        if tag not in self.VOID:
            self.open.append((tag, dict(attrs)))

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.found.append((tag, dict(attrs), list(self.open)))

    def handle_endtag(self, tag: str) -> None:
        assert self.open[-1][0] == tag, (tag, self.open)
        self.open.pop()


def check_page(page: str) -> None:
    """What every page of nisse holds to."""
    outline = Outline(page)
    tags = [tag for tag, _, _ in outline.found]
    assert tags.count("h1") == 1 and tags.count("main") == 1 and tags.count("style") == 1
    assert not {"script", "link", "img", "iframe"} & set(tags)
    assert not re.search(r"@import|url\((?!#)|http-equiv|src=", page.replace("http://www.w3.org", ""))
    for tag, attributes, within in outline.found:
        if tag == "table":
            assert any(t == "div" and a.get("class") == "scroll" for t, a in within), "a table outside its box"
        if tag == "th":
            assert attributes.get("scope") in ("col", "row")
        if tag == "svg":
            assert attributes.get("role") == "img" and attributes.get("aria-label")
            assert "width" not in attributes and "viewbox" in attributes
            assert any(t == "figure" for t, _ in within)
        assert tag == "svg" or not re.search(r"(?<!max-)(?<!min-)width:\s*\d+px", attributes.get("style") or "")
    body = page[page.index("<body") :]
    assert not re.findall(r"#[0-9a-fA-F]{6}\b|rgba?\(", body), "a colour that is none of the stylesheet's"
    used = set(re.findall(r"var\(--([a-z]+)\)", page))
    assert used <= set(COLOURS)
    identifiers = re.findall(r'\bid="([^"]+)"', page)
    assert len(identifiers) == len(set(identifiers))
