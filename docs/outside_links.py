"""Links of the pages that leave docs/ for the sources: they work where the repository is read; the site names the file.

A hook of mkdocs. A link to a file that does not exist is a warning, which ends a strict build.
"""

from __future__ import annotations

import logging
import re
from pathlib import Path
from typing import Any

LINK = re.compile(r"\[([^\]]*)\]\(([^)\s#:]+)(#[^)\s]*)?\)")

log = logging.getLogger("mkdocs.hooks")


def on_page_markdown(markdown: str, page: Any, config: Any, **_: Any) -> str:
    docs = Path(config["docs_dir"]).resolve()
    here = docs / Path(page.file.src_uri).parent

    def named(link: re.Match[str]) -> str:
        target = (here / link[2]).resolve()
        if target.is_relative_to(docs):
            return link[0]
        if not target.exists():
            log.warning("%s: no such file: %s", page.file.src_uri, link[2])
        path = target.relative_to(docs.parent)
        return link[1] if f"`{path}`" == link[1] else f"{link[1]} (`{path}`)"

    return LINK.sub(named, markdown)
